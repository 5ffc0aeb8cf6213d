"""What a handler returns, and what is reported to Port for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

type Links = str | Sequence[str]


@dataclass(frozen=True)
class Success:
    """The action is done. *summary* (Markdown) and *link* are shown with the run in Port."""

    status: ClassVar[str] = "SUCCESS"
    summary: str | None = None
    link: Links | None = None
    label: str = "Done"


@dataclass(frozen=True)
class InProgress:
    """The action goes on elsewhere, in a pipeline that will end the run itself.

    *external_run_id* is the pipeline's own name for it, by which Port can find the run.
    """

    status: ClassVar[str] = "IN_PROGRESS"
    link: Links | None = None
    external_run_id: str | None = None
    label: str = "In progress"


@dataclass(frozen=True)
class Failure:
    """The run is to end as FAILURE with *summary*. Handlers raise ``ActionFailed`` for it."""

    status: ClassVar[str] = "FAILURE"
    summary: str
    link: Links | None = None
    label: str = "Failed"


type Outcome = Success | InProgress | Failure


def list_links(link: Links | None) -> list[str]:
    """*link* as the list that Port takes."""
    if link is None:
        return []
    return [link] if isinstance(link, str) else list(link)
