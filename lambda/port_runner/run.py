"""The run that a handler gets, and the calls it can make."""

from collections.abc import Mapping
from typing import Any

from .catalog import Catalog
from .messages import RunRequest
from .outcomes import Links, list_links
from .port_api import PortClient
from .run_api import RUNNING, RunApi
from .run_log import RunLog


class ActionRun[I](Catalog):
    """One run of an action.

    Calls that reach Port raise the errors of ``Catalog``. A log line that cannot be sent raises nothing. Port shows the
    entities that are saved here with the run.
    """

    inputs: I
    """The inputs: an instance of the handler's dataclass, or a mapping if the handler has none."""

    def __init__(
        self,
        run_request: RunRequest,
        port: PortClient,
        run_api: RunApi,
        *,
        until: float,
        log_url: str | None,
    ) -> None:
        super().__init__(port, until=until, run_id=run_api.entity_run_id(run_request.run_id))
        self._run_request = run_request
        self._run_api = run_api
        self._log_url = log_url
        self._links = list_links(log_url)
        self._delivery_seconds = run_request.record.age
        self._handler_seconds: float | None = None
        self._label = RUNNING
        self._route_identifier: str | None = None
        self._log = RunLog(lambda text, until: run_api.add_lines(run_request.run_id, text, until=until))

    @property
    def id(self) -> str:
        """The run's identifier in Port, such as ``r_q2mGf9ZYkFRnZJjB``."""
        return self._run_request.run_id

    @property
    def action(self) -> str:
        """The action's identifier, as in the message."""
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
        """The entity of a DAY-2 or DELETE run, as Port sent it."""
        return self._run_request.entity

    @property
    def entity_identifier(self) -> str | None:
        """The identifier of that entity."""
        return self._run_request.entity_identifier

    @property
    def user_email(self) -> str | None:
        """The email address of the user who ran the action."""
        return self._run_request.user_email

    @property
    def message(self) -> Any:
        """The complete message, decoded from JSON."""
        return self._run_request.message

    def log(self, text: str) -> None:
        """Add a line to the run's log in Port, without waiting for Port.

        Lines are sent in order, within seconds, and before the run ends.
        """
        self._check()
        self._log.add(str(text))

    def label(self, text: str) -> None:
        """Show *text* as the state of the run that is in progress."""
        self._note(label=text)
        self._label = text

    def link(self, *links: str) -> None:
        """Show *links* with the run, in addition to its other links."""
        shown = [*self._links, *(link for link in links if link not in self._links)]
        self._note(links=shown)
        self._links = shown  # only now: a link that Port refuses must not be sent again with the run's end

    def external_run_id(self, identifier: str) -> None:
        """Set the run's name in another system. Port can search for it."""
        self._note(external_run_id=identifier)

    # For the runner, not for handlers

    def _links_with(self, link: Links | None) -> list[str]:
        """Return the run's links and those of its outcome. Port keeps only the links that were sent last."""
        return self._links + [each for each in list_links(link) if each not in self._links]

    def _note(self, **changes: Any) -> None:
        self._check()
        self._run_api.note(self.id, until=self._until, **changes)
