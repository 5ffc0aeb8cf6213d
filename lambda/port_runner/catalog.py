"""The calls of handlers about entities of Port's catalog."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import ActionFailed, PortRunnerError
from .port_api import Entity, PortClient


class Catalog:
    """Port's entities, for as long as a handler may use them.

    Calls raise ``PortApiError`` if Port refuses, ``PortUnavailableError`` if Port cannot be reached within the
    invocation's time, and ``PortRunnerError`` after the handler's time is over.
    """

    def __init__(self, port: PortClient, *, until: float, run_id: str | None) -> None:
        self._port = port
        self._until = until
        self._run_id = run_id
        self._ended = False

    @property
    def seconds_left(self) -> float:
        """The seconds that the handler may still run before it is stopped as timed out."""
        return max(0.0, self._until - time.monotonic())

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
        """Create an entity or change the existing one. Port shows it with the run.

        Without *identifier*, a new entity gets one. Without *merge*, everything that is not given here is cleared.
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
        return self._port.upsert_entity(blueprint, content, run_id=self._run_id, merge=merge, until=self._until)

    def upsert_entities(self, blueprint: str, entities: Sequence[Mapping[str, Any]], *, merge: bool = True) -> None:
        """Upsert many entities, each a mapping with Port's keys (``identifier``, ``title``, ``properties``…).

        All are sent. Raises ``ActionFailed`` with the names of those that Port refused, or ``PortApiError`` if Port
        cannot be reached or does not accept the credentials: then the rest is not sent.
        """
        self._check()
        refused = self._port.upsert_entities(blueprint, entities, run_id=self._run_id, merge=merge, until=self._until)
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
        """Change the given parts of an existing entity. A property of ``None`` is cleared."""
        changes = entity_content(title=title, properties=properties, relations=relations, team=team, icon=icon)
        self._check()
        return self._port.update_entity(blueprint, identifier, changes, run_id=self._run_id, until=self._until)

    def get_entity(self, blueprint: str, identifier: str) -> Entity | None:
        """Return the entity, or ``None`` if it does not exist."""
        self._check()
        return self._port.get_entity(blueprint, identifier, until=self._until)

    def delete_entity(self, blueprint: str, identifier: str, *, delete_dependents: bool = False) -> None:
        """Delete the entity. An entity that does not exist counts as deleted."""
        self._check()
        self._port.delete_entity(
            blueprint, identifier, delete_dependents=delete_dependents, run_id=self._run_id, until=self._until
        )

    # For the runner, not for handlers

    def _end(self) -> None:
        """Refuse all further calls, so that a handler that was left behind does nothing more in Port."""
        self._ended = True

    def _check(self) -> None:
        if self._ended:
            raise PortRunnerError("the handler's time is over")


def entity_content(**given: Any) -> dict[str, Any]:
    """Return an entity as Port's API takes it, without what was not given."""
    return {name: value for name, value in given.items() if value is not None}
