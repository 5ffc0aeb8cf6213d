"""What a handler sees of its run, and may do with it."""

import threading
from collections.abc import Mapping
from typing import Any

from .catalog import Catalog
from .messages import RunRequest
from .outcomes import Links, list_links
from .port_api import PortClient
from .run_api import RunApi


class ActionRun[I](Catalog):
    """One run of an action.

    Calls that reach Port raise as those of ``Catalog`` do; a log line that cannot be sent raises nothing. Entities
    that are saved here are tied to the run.
    """

    inputs: I
    """The inputs, as the dataclass that the handler was registered with, else as a mapping."""

    def __init__(
        self,
        run_request: RunRequest,
        port: PortClient,
        run_api: RunApi,
        *,
        until: float,
        log_url: str | None,
    ) -> None:
        super().__init__(port, until=until, run_id=run_api.run_id_of_entities(run_request.run_id))
        self._run_request = run_request
        self._run_api = run_api
        self._links = list_links(log_url)
        self._delivery_seconds = run_request.record.age
        self._handler_seconds: float | None = None
        self._lines: list[str] = []
        self._lines_lock = threading.Lock()

    @property
    def id(self) -> str:
        """The run's identifier in Port, such as ``r_q2mGf9ZYkFRnZJjB``."""
        return self._run_request.run_id

    @property
    def action(self) -> str:
        """The action's identifier, as the message has it."""
        return self._run_request.action or ""

    @property
    def operation(self) -> str | None:
        """``CREATE``, ``DAY-2`` or ``DELETE``."""
        return self._run_request.operation

    @property
    def blueprint(self) -> str | None:
        """The blueprint that the action belongs to."""
        return self._run_request.blueprint

    @property
    def entity(self) -> Mapping[str, Any] | None:
        """The entity that a DAY-2 or DELETE run is about, as Port sent it."""
        return self._run_request.entity

    @property
    def entity_identifier(self) -> str | None:
        """The identifier of that entity."""
        return self._run_request.entity_identifier

    @property
    def user_email(self) -> str | None:
        """Who ran the action."""
        return self._run_request.user_email

    @property
    def message(self) -> Any:
        """The whole message, as its JSON."""
        return self._run_request.message

    def log(self, text: str) -> None:
        """Add a line to the run's log in Port. Lines are sent in order, soon, and before the run ends."""
        self._check()
        with self._lines_lock:
            self._lines.append(str(text))

    def label(self, text: str) -> None:
        """Show *text* as the run's state while it goes on."""
        self._note(label=text)

    def link(self, *links: str) -> None:
        """Show *links* with the run, beside those that it has."""
        shown = [*self._links, *(link for link in links if link not in self._links)]
        self._note(links=shown)
        self._links = shown  # only now: one that Port refuses must not come back with the run's end

    def external_run_id(self, identifier: str) -> None:
        """Note what another system calls this run; Port can search for it."""
        self._note(external_run_id=identifier)

    # For the runner, not for handlers

    def _links_with(self, link: Links | None) -> list[str]:
        """The links that the run has and those of its outcome: Port keeps only what was sent last."""
        return self._links + [each for each in list_links(link) if each not in self._links]

    def _take_lines(self) -> list[str]:
        """The log lines that were not sent yet."""
        with self._lines_lock:
            lines, self._lines = self._lines, []
        return lines

    def _put_back(self, text: str) -> None:
        """Keep *text*, which could not be sent, for the next time."""
        with self._lines_lock:
            self._lines.insert(0, text)

    def _note(self, **changes: Any) -> None:
        self._check()
        self._run_api.note(self.id, until=self._until, **changes)
