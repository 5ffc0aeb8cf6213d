"""What handlers do with the entities of Port's catalog."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import ActionFailed, PortRunnerError
from .port_api import Entity, PortClient


class Catalog:
    """Port's entities, for as long as a handler may work on them.

    Calls raise ``PortApiError`` where Port refuses, ``PortUnavailableError`` where it cannot be reached in the time
    that the invocation has, and ``PortRunnerError`` once the handler's time is over.
    """

    def __init__(self, port: PortClient, *, until: float, run_id: str | None) -> None:
        self._port = port
        self._until = until
        self._run_id = run_id
        self._ended = False

    @property
    def seconds_left(self) -> float:
        """How long the handler may still run before it is stopped as timed out."""
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
        """Create an entity or change the one there is, and tie it to the run.

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
        return self._port.upsert_entity(blueprint, content, run_id=self._run_id, merge=merge, until=self._until)

    def upsert_entities(self, blueprint: str, entities: Sequence[Mapping[str, Any]], *, merge: bool = True) -> None:
        """Upsert many, each a mapping with Port's keys (``identifier``, ``title``, ``properties``…).

        All are tried; raises ``ActionFailed`` that names those that Port refused.
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
        """Change what is given of an entity that exists; a property of ``None`` is cleared."""
        changes = entity_content(title=title, properties=properties, relations=relations, team=team, icon=icon)
        self._check()
        return self._port.update_entity(blueprint, identifier, changes, run_id=self._run_id, until=self._until)

    def get_entity(self, blueprint: str, identifier: str) -> Entity | None:
        """The entity, or ``None`` where there is none."""
        self._check()
        return self._port.get_entity(blueprint, identifier, until=self._until)

    def delete_entity(self, blueprint: str, identifier: str, *, delete_dependents: bool = False) -> None:
        """Delete the entity; one that is not there is deleted already."""
        self._check()
        self._port.delete_entity(
            blueprint, identifier, delete_dependents=delete_dependents, run_id=self._run_id, until=self._until
        )

    # For the runner, not for handlers

    def _end(self) -> None:
        """Let a handler that was left behind do nothing more in Port."""
        self._ended = True

    def _check(self) -> None:
        if self._ended:
            raise PortRunnerError("the handler's time is over")


def entity_content(**given: Any) -> dict[str, Any]:
    """An entity as Port's API takes it: what was not given is left out."""
    return {name: value for name, value in given.items() if value is not None}
