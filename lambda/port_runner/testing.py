"""What tests of handlers need: a run that records what its handler did, and events as Lambda sends them.

run = make_run("create_vm", CreateVm(cpu=2, memory=4, storage=50, region="eu-west-1"))
assert create_vm(run) == Success(...)
assert run.entities["vm", "vm-r_test"].properties["deployed"] == "Deploying"
"""

import base64
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from .catalog import Catalog
from .changes import Change, EntityChange
from .errors import PortApiError
from .kafka import Record
from .messages import RunRequest
from .port_api import Entity
from .run import ActionRun

TOPIC = "org_test.runs"
SECONDS = 60.0


class RecordedCatalog(Catalog):
    """A catalog that is kept in *entities*; what a handler is to find there is put in before."""

    entities: dict[tuple[str, str], Entity]

    def _open(self) -> None:
        self._until = time.monotonic() + SECONDS
        self._ended = False
        self.entities = {}

    def upsert_entity(
        self,
        blueprint: str,
        *,
        identifier: str | None = None,
        title: str | None = None,
        properties: Mapping[str, Any] | None = None,
        relations: Mapping[str, Any] | None = None,
        team: str | Sequence[str] | None = None,  # noqa: ARG002
        icon: str | None = None,  # noqa: ARG002
        merge: bool = True,
    ) -> Entity:
        identifier = identifier or f"e_{uuid.uuid4().hex[:16]}"
        before = self.entities.get((blueprint, identifier)) if merge else None
        return self._keep(blueprint, identifier, before, title, properties, relations)

    def upsert_entities(self, blueprint: str, entities: Sequence[Mapping[str, Any]], *, merge: bool = True) -> None:
        for entity in entities:
            self.upsert_entity(blueprint, merge=merge, **entity)

    def update_entity(
        self,
        blueprint: str,
        identifier: str,
        *,
        title: str | None = None,
        properties: Mapping[str, Any] | None = None,
        relations: Mapping[str, Any] | None = None,
        team: str | Sequence[str] | None = None,  # noqa: ARG002
        icon: str | None = None,  # noqa: ARG002
    ) -> Entity:
        before = self.entities.get((blueprint, identifier))
        if before is None:
            raise PortApiError("update the entity", status=404, code="not_found")
        return self._keep(blueprint, identifier, before, title, properties, relations)

    def get_entity(self, blueprint: str, identifier: str) -> Entity | None:
        return self.entities.get((blueprint, identifier))

    def delete_entity(self, blueprint: str, identifier: str, *, delete_dependents: bool = False) -> None:  # noqa: ARG002
        self.entities.pop((blueprint, identifier), None)

    def _keep(
        self,
        blueprint: str,
        identifier: str,
        before: Entity | None,
        title: str | None,
        properties: Mapping[str, Any] | None,
        relations: Mapping[str, Any] | None,
    ) -> Entity:
        entity = Entity(
            blueprint=blueprint,
            identifier=identifier,
            title=title if title is not None or before is None else before.title,
            properties=_without_nulls({**(before.properties if before else {}), **(properties or {})}),
            relations=_without_nulls({**(before.relations if before else {}), **(relations or {})}),
        )
        self.entities[blueprint, identifier] = entity
        return entity


class RecordedRun[I](RecordedCatalog, ActionRun[I]):
    """A run that keeps what its handler did, instead of telling Port: *entities*, *lines*, *labels*, *links*."""

    def __init__(self, run_request: RunRequest, inputs: I) -> None:
        self._open()
        self._run_request = run_request
        self.inputs = inputs
        self.lines: list[str] = []
        self.labels: list[str] = []
        self.links: list[str] = []
        self.external_run_ids: list[str] = []

    def log(self, text: str) -> None:
        self.lines.append(str(text))

    def label(self, text: str) -> None:
        self.labels.append(text)

    def link(self, *links: str) -> None:
        self.links += [link for link in links if link not in self.links]

    def external_run_id(self, identifier: str) -> None:
        self.external_run_ids.append(identifier)


class RecordedChange(RecordedCatalog, EntityChange):
    """A change that keeps what its listener did in *entities*."""

    def __init__(self, change: Change) -> None:
        self._open()
        self._describe(change)


def make_run[I](
    action: str,
    inputs: I,
    *,
    run_id: str = "r_test",
    operation: str = "CREATE",
    blueprint: str | None = None,
    entity: Mapping[str, Any] | None = None,
    message: Any = None,
) -> RecordedRun[I]:
    """A run of *action* with *inputs*, to call its handler with."""
    run_request = RunRequest(
        record=Record(topic=TOPIC, partition=0, offset=0, group=f"{TOPIC}-0"),
        run_id=run_id,
        action=action,
        operation=operation,
        blueprint=blueprint,
        entity=entity,
        entity_identifier=None if entity is None else str(entity.get("identifier")),
        inputs={},
        user_email="developer@example.com",
        message=message,
    )
    return RecordedRun(run_request, inputs)


def make_change(
    action: str,
    blueprint: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> RecordedChange:
    """A change of an entity of *blueprint*, to call its listener with; *before* and *after* are Port's entities."""
    identifier = str((after or before or {}).get("identifier", "e_test"))
    change = Change(
        record=Record(topic="org_test.change.log", partition=0, offset=0, group="org_test.change.log-0"),
        action=action,
        blueprint=blueprint,
        identifier=identifier,
        before=before,
        after=after,
        author=None,
    )
    recorded = RecordedChange(change)
    if after is not None:
        recorded.entities[blueprint, identifier] = Entity.from_answer(blueprint, after)
    return recorded


def kafka_event(
    *messages: Any, topic: str = TOPIC, partition: int = 0, offset: int = 0, timestamp: int | None = None
) -> dict[str, Any]:
    """The event that Lambda sends for *messages*, in one partition.

    A message is anything that JSON can carry, ``bytes`` as they are, or ``None`` for a tombstone. *timestamp* is in
    milliseconds of the epoch, now without it.
    """
    records = [
        {
            "topic": topic,
            "partition": partition,
            "offset": offset + position,
            "timestamp": int(time.time() * 1000) if timestamp is None else timestamp,
            "timestampType": "CREATE_TIME",
            **({} if message is None else {"value": base64.b64encode(_bytes(message)).decode()}),
            "headers": [],
        }
        for position, message in enumerate(messages)
    ]
    return {
        "eventSource": "SelfManagedKafka",
        "bootstrapServers": "localhost:9196",
        "records": {f"{topic}-{partition}": records},
    }


def run_message(
    action: str,
    inputs: Mapping[str, Any] | None = None,
    *,
    run_id: str = "r_test",
    operation: str = "CREATE",
    blueprint: str | None = None,
    entity: str | None = None,
) -> dict[str, Any]:
    """A message as Port publishes it for a run of *action*."""
    return {
        "action": action,
        "resourceType": "run",
        "status": "TRIGGERED",
        "context": {"entity": entity, "blueprint": blueprint, "runId": run_id},
        "payload": {
            "entity": None,
            "action": {"invocationMethod": {"type": "KAFKA"}, "trigger": operation},
            "properties": dict(inputs or {}),
            "censoredProperties": [],
        },
    }


class LambdaContext:
    """What of Lambda's context the runner reads, with *seconds* left from now on."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._end - time.monotonic()) * 1000))


def _without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _bytes(message: Any) -> bytes:
    return message if isinstance(message, bytes) else json.dumps(message).encode()
