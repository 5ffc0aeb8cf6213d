"""The calls of Port's API that runs and entities need. ``port_http`` sends the requests.

https://docs.port.io/api-reference/port-api
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .errors import PortApiError, PortAuthenticationError, PortNotFoundError, PortUnavailableError
from .journal import PAGE, LogLine
from .port_http import PortHttp
from .settings import Credentials

BULK_SIZE = 20


@dataclass(frozen=True)
class Entity:
    """An entity as Port has it."""

    blueprint: str
    identifier: str
    title: str | None
    properties: Mapping[str, Any]
    relations: Mapping[str, Any]

    @classmethod
    def from_answer(cls, blueprint: str, content: Mapping[str, Any]) -> "Entity":
        return cls(
            blueprint=str(content.get("blueprint") or blueprint),
            identifier=str(content.get("identifier")),
            title=content.get("title"),
            properties=content.get("properties") or {},
            relations=content.get("relations") or {},
        )


class PortClient:
    """Calls Port. Safe for several threads.

    Every call takes *until* and raises as ``PortHttp.request`` does.
    """

    def __init__(self, url: str, credentials: Callable[[], Credentials], *, connections: int = 16) -> None:
        self.http = PortHttp(url, credentials, connections=connections)

    # Runs

    def get_run(self, run_id: str, *, until: float) -> Mapping[str, Any]:
        """Return the run as Port has it."""
        answer = self.http.request("read the run", "GET", _path("actions", "runs", run_id), until=until)
        run = answer.get("run")
        return run if isinstance(run, Mapping) else {}

    def get_operation(self, action: str, *, until: float) -> str | None:
        """Return the operation of a self-service action: CREATE, DAY-2 or DELETE."""
        answer = self.http.request("read the action", "GET", _path("actions", action), until=until)
        content = answer.get("action")
        trigger = content.get("trigger") if isinstance(content, Mapping) else None
        operation = trigger.get("operation") if isinstance(trigger, Mapping) else None
        return operation if isinstance(operation, str) else None

    def update_run(self, run_id: str, *, until: float, **changes: Any) -> None:
        """Set ``status``, ``statusLabel``, ``link``, ``summary``… A run with status SUCCESS or FAILURE is read-only."""
        self.http.request("update the run", "PATCH", _path("actions", "runs", run_id), body=changes, until=until)

    def add_run_log(self, run_id: str, message: str, *, until: float, **more: Any) -> None:
        """Add a line to the run's log. *more* may hold ``statusLabel``."""
        path = _path("actions", "runs", run_id, "logs")
        self.http.request("add to the run's log", "POST", path, body={"message": message, **more}, until=until)

    def run_log(self, run_id: str, *, offset: int, until: float) -> Sequence[LogLine]:
        """Return up to ``journal.PAGE`` lines of the run's log, without the first *offset* lines."""
        answer = self.http.request(
            "read the run's log",
            "GET",
            _path("actions", "runs", run_id, "logs"),
            query={"limit": PAGE, "offset": offset},
            until=until,
        )
        lines = answer.get("runLogs")
        return [
            LogLine(str(line.get("message")), str(line.get("createdAt")))
            for line in (lines if isinstance(lines, list) else [])
            if isinstance(line, Mapping)
        ]

    def update_node_run(self, node_run_id: str, *, until: float, **changes: Any) -> None:
        """Set ``status`` (COMPLETED, with a ``result``: SUCCESS or FAILED), ``statusLabel``, ``links``, ``output``…"""
        path = _path("workflows", "nodes", "runs", node_run_id)
        self.http.request("update the workflow node's run", "PATCH", path, body=changes, until=until)

    def add_node_run_log(self, node_run_id: str, message: str, *, until: float) -> None:
        """Add a line to the log of a workflow node run."""
        path = _path("workflows", "nodes", "runs", node_run_id, "logs")
        body = {"logs": [{"level": "INFO", "message": message}]}
        self.http.request("add to the log of the workflow node's run", "POST", path, body=body, until=until)

    # Entities

    def upsert_entity(
        self, blueprint: str, content: Mapping[str, Any], *, run_id: str | None, merge: bool, until: float
    ) -> Entity:
        """Create the entity or change the existing one. Without *merge*, everything that is not named is cleared."""
        content = with_identifier(content)
        answer = self.http.request(
            "save the entity",
            "POST",
            _path("blueprints", blueprint, "entities"),
            query={"upsert": True, "merge": merge, "run_id": run_id},
            body=content,
            until=until,
        )
        return Entity.from_answer(blueprint, {**content, **(answer.get("entity") or {})})

    def upsert_entities(
        self,
        blueprint: str,
        contents: Sequence[Mapping[str, Any]],
        *,
        run_id: str | None,
        merge: bool,
        until: float,
    ) -> list[tuple[int, int | None, str | None]]:
        """Save many entities, twenty a request.

        Return each refused one as (index in *contents*, status, error code). Port can also refuse a request as a whole,
        for example as too large. Then all of its entities are refused, and the next request is sent all the same.
        """
        contents = [with_identifier(content) for content in contents]
        refused: list[tuple[int, int | None, str | None]] = []
        for start in range(0, len(contents), BULK_SIZE):
            chunk = contents[start : start + BULK_SIZE]
            try:
                answer = self.http.request(
                    "save the entities",
                    "POST",
                    _path("blueprints", blueprint, "entities", "bulk"),
                    query={"upsert": True, "merge": merge, "run_id": run_id},
                    body={"entities": chunk},
                    until=until,
                )
            except (PortUnavailableError, PortAuthenticationError):
                raise
            except PortApiError as error:
                refused += [(start + place, error.status, error.code) for place in range(len(chunk))]
                continue
            refused += [
                (start + int(error.get("index", 0)), error.get("statusCode"), error.get("error"))
                for error in answer.get("errors") or []
            ]
        return refused

    def update_entity(
        self, blueprint: str, identifier: str, changes: Mapping[str, Any], *, run_id: str | None, until: float
    ) -> Entity:
        """Change the named parts of an existing entity. ``None`` clears a property."""
        answer = self.http.request(
            "update the entity",
            "PATCH",
            _path("blueprints", blueprint, "entities", identifier),
            query={"run_id": run_id},
            body=changes,
            until=until,
        )
        return Entity.from_answer(blueprint, {"identifier": identifier, **(answer.get("entity") or {})})

    def get_entity(self, blueprint: str, identifier: str, *, until: float) -> Entity | None:
        """Return the entity, or ``None`` if it does not exist."""
        path = _path("blueprints", blueprint, "entities", identifier)
        try:
            answer = self.http.request("read the entity", "GET", path, until=until)
        except PortNotFoundError:
            return None
        return Entity.from_answer(blueprint, answer.get("entity") or {})

    def delete_entity(
        self, blueprint: str, identifier: str, *, delete_dependents: bool, run_id: str | None, until: float
    ) -> None:
        """Delete the entity. An entity that does not exist counts as deleted."""
        with suppress(PortNotFoundError):
            self.http.request(
                "delete the entity",
                "DELETE",
                _path("blueprints", blueprint, "entities", identifier),
                query={"delete_dependents": delete_dependents, "run_id": run_id},
                until=until,
            )


def with_identifier(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an entity with an identifier.

    Port would generate a missing one, but another at each request: a repeated request would make a second entity.
    """
    if content.get("identifier") is not None:
        return content
    return {**content, "identifier": f"e_{uuid.uuid4().hex[:16]}"}


def _path(*segments: str) -> str:
    """Return the path of *segments*. Each is percent-encoded: identifiers may hold ``/``, ``+``, ``:`` and ``@``."""
    for segment in segments:
        if segment in ("", ".", ".."):  # they would change the path
            raise ValueError(f"{segment!r} cannot be an identifier in Port")
    return "".join("/" + quote(segment, safe="") for segment in segments)
