"""The outcomes that a handler returns and that are reported to Port."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

type Links = str | Sequence[str]


@dataclass(frozen=True)
class Success:
    """The action is done. Port shows *summary* (Markdown) and *link* with the run."""

    status: ClassVar[str] = "SUCCESS"
    summary: str | None = None
    link: Links | None = None
    label: str = "Done"


@dataclass(frozen=True)
class InProgress:
    """The action continues in a pipeline, which will end the run itself.

    *external_run_id* is the pipeline's name for the run. Port can find the run by it.
    """

    status: ClassVar[str] = "IN_PROGRESS"
    link: Links | None = None
    external_run_id: str | None = None
    label: str = "In progress"


@dataclass(frozen=True)
class Failure:
    """The run ends as FAILURE with *summary*. Handlers raise ``ActionFailed`` instead."""

    status: ClassVar[str] = "FAILURE"
    summary: str
    link: Links | None = None
    label: str = "Failed"


type Outcome = Success | InProgress | Failure


def list_links(link: Links | None) -> list[str]:
    """Return *link* as the list that Port takes."""
    if link is None:
        return []
    return [link] if isinstance(link, str) else list(link)
