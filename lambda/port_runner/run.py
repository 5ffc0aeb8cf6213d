"""What a handler sees of its run, and may do with it."""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import ActionFailed, PortRunnerError
from .messages import Invocation
from .outcomes import Links, links_of
from .port_api import Entity, PortClient


class ActionRun[I]:
    """One run of an action.

    Calls that reach Port raise ``PortApiError`` where Port refuses and ``PortUnavailableError`` where it cannot be
    reached in the time that the invocation has; a log line raises neither. Once the run has ended every call raises
    ``PortRunnerError``.
    """

    inputs: I
    """The inputs, as the dataclass that the handler was registered with, else as a mapping."""

    def __init__(self, invocation: Invocation, port: PortClient, *, until: float, log_url: str | None) -> None:
        self._invocation = invocation
        self._port = port
        self._until = until
        self._links = links_of(log_url)
        self._lines: list[str] = []
        self._lines_lock = threading.Lock()
        self._ended = False

    @property
    def id(self) -> str:
        """The run's identifier in Port, such as ``r_q2mGf9ZYkFRnZJjB``."""
        return self._invocation.run_id

    @property
    def action(self) -> str:
        """The action's identifier, as the message has it."""
        return self._invocation.action or ""

    @property
    def operation(self) -> str | None:
        """``CREATE``, ``DAY-2`` or ``DELETE``."""
        return self._invocation.operation

    @property
    def blueprint(self) -> str | None:
        """The blueprint that the action belongs to."""
        return self._invocation.blueprint

    @property
    def entity(self) -> Mapping[str, Any] | None:
        """The entity that a DAY-2 or DELETE run is about, as Port sent it."""
        return self._invocation.entity

    @property
    def entity_identifier(self) -> str | None:
        """The identifier of that entity."""
        return self._invocation.entity_identifier

    @property
    def user_email(self) -> str | None:
        """Who ran the action."""
        return self._invocation.user_email

    @property
    def message(self) -> Any:
        """The whole message, as its JSON."""
        return self._invocation.message

    @property
    def seconds_left(self) -> float:
        """How long the handler may still run before the run is ended as timed out."""
        return max(0.0, self._until - time.monotonic())

    def log(self, text: str) -> None:
        """Add a line to the run's log in Port. Lines are sent in order, soon, and before the run ends."""
        self._check()
        with self._lines_lock:
            self._lines.append(str(text))

    def label(self, text: str) -> None:
        """Show *text* as the run's state while it goes on."""
        self._update(statusLabel=text)

    def link(self, *links: str) -> None:
        """Show *links* with the run, beside those that it has."""
        self._links += [link for link in links if link not in self._links]
        self._update(link=self._links)

    def external_run_id(self, identifier: str) -> None:
        """Note what another system calls this run; Port can search for it."""
        self._update(externalRunId=identifier)

    def upsert_entity(
        self,
        blueprint: str,
        *,
        identifier: str | None = None,
        title: str | None = None,
        properties: Mapping[str, Any] | None = None,
        relations: Mapping[str, Any] | None = None,
        team: str | Sequence[str] | None = None,
        icon: str | None = None,
        merge: bool = True,
    ) -> Entity:
        """Create an entity or change the one there is, and tie it to this run.

        Without *identifier* Port makes one up. Without *merge* what is not given here is cleared.
        """
        content = entity_content(
            identifier=identifier,
            title=title,
            properties=properties,
            relations=relations,
            team=team,
            icon=icon,
        )
        self._check()
        return self._port.upsert_entity(blueprint, content, run_id=self.id, merge=merge, until=self._until)

    def upsert_entities(self, blueprint: str, entities: Sequence[Mapping[str, Any]], *, merge: bool = True) -> None:
        """Upsert many, each a mapping with Port's keys (``identifier``, ``title``, ``properties``…).

        All are tried; raises ``ActionFailed`` that names those that Port refused.
        """
        self._check()
        refused = self._port.upsert_entities(blueprint, entities, run_id=self.id, merge=merge, until=self._until)
        if refused:
            names = ", ".join(
                f"{entities[index].get('identifier')} ({error or status})" for index, status, error in refused
            )
            raise ActionFailed(f"Port refused {len(refused)} of {len(entities)} {blueprint} entities: {names}")

    def update_entity(
        self,
        blueprint: str,
        identifier: str,
        *,
        title: str | None = None,
        properties: Mapping[str, Any] | None = None,
        relations: Mapping[str, Any] | None = None,
        team: str | Sequence[str] | None = None,
        icon: str | None = None,
    ) -> Entity:
        """Change what is given of an entity that exists; a property of ``None`` is cleared."""
        changes = entity_content(title=title, properties=properties, relations=relations, team=team, icon=icon)
        self._check()
        return self._port.update_entity(blueprint, identifier, changes, run_id=self.id, until=self._until)

    def get_entity(self, blueprint: str, identifier: str) -> Entity | None:
        """The entity, or ``None`` where there is none."""
        self._check()
        return self._port.get_entity(blueprint, identifier, until=self._until)

    def delete_entity(self, blueprint: str, identifier: str, *, delete_dependents: bool = False) -> None:
        """Delete the entity; one that is not there is deleted already."""
        self._check()
        self._port.delete_entity(
            blueprint, identifier, delete_dependents=delete_dependents, run_id=self.id, until=self._until
        )

    # For the runner, not for handlers

    def _links_with(self, link: Links | None) -> list[str]:
        """The links that the run has and those of its outcome: Port keeps only what was sent last."""
        return self._links + [each for each in links_of(link) if each not in self._links]

    def _take_lines(self) -> list[str]:
        """The log lines that were not sent yet."""
        with self._lines_lock:
            lines, self._lines = self._lines, []
        return lines

    def _put_back(self, lines: list[str]) -> None:
        """Keep *lines*, which could not be sent, for the next time."""
        with self._lines_lock:
            self._lines = lines + self._lines

    def _end(self) -> None:
        """Let a handler that was left behind do nothing more in Port."""
        self._ended = True

    def _update(self, **changes: Any) -> None:
        self._check()
        self._port.update_run(self.id, until=self._until, **changes)

    def _check(self) -> None:
        if self._ended:
            raise PortRunnerError(f"the run {self.id} has ended")


def entity_content(**given: Any) -> dict[str, Any]:
    """An entity as Port's API takes it: what was not given is left out."""
    return {name: value for name, value in given.items() if value is not None}
