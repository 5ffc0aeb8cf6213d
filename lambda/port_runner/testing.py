"""Runs that record what their handlers did, and events as Lambda sends them: for tests of handlers.

run = make_run("create_vm", CreateVm(cpu=2, memory=4, storage=50, region="eu-west-1"))
assert create_vm(run) == Success(...)
assert run.entities["vm", "vm-r_test"].properties["deployed"] == "Deploying"
"""

import base64
import dataclasses
import enum
import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .changes import Change, EntityChange
from .errors import InputError, PortNotFoundError
from .inputs import make_reader
from .kafka import Record
from .messages import RunRequest
from .port_api import Entity, PortClient, with_identifier
from .run import ActionRun
from .run_api import ActionRunApi
from .secret_inputs import Secret

TOPIC = "org_test.runs"
SECONDS = 60.0


class RecordingPort(PortClient):
    """A Port that keeps entities and the updates of runs, and has no address.

    It stands under the real ``ActionRun`` and ``EntityChange``, so that a handler meets the same checks as in Lambda.
    """

    def __init__(self) -> None:
        self.entities: dict[tuple[str, str], Entity] = {}
        self.updates: list[Mapping[str, Any]] = []

    def update_run(self, run_id: str, *, until: float, **changes: Any) -> None:  # noqa: ARG002
        self.updates.append(changes)

    def upsert_entity(
        self,
        blueprint: str,
        content: Mapping[str, Any],
        *,
        run_id: str | None,  # noqa: ARG002
        merge: bool,
        until: float,  # noqa: ARG002
    ) -> Entity:
        content = with_identifier(content)
        identifier = content["identifier"]
        before = self.entities.get((blueprint, identifier)) if merge else None
        return self._save(blueprint, identifier, before, content)

    def upsert_entities(
        self,
        blueprint: str,
        contents: Sequence[Mapping[str, Any]],
        *,
        run_id: str | None,
        merge: bool,
        until: float,
    ) -> list[tuple[int, int | None, str | None]]:
        for content in contents:
            self.upsert_entity(blueprint, content, run_id=run_id, merge=merge, until=until)
        return []

    def update_entity(
        self,
        blueprint: str,
        identifier: str,
        changes: Mapping[str, Any],
        *,
        run_id: str | None,  # noqa: ARG002
        until: float,  # noqa: ARG002
    ) -> Entity:
        before = self.entities.get((blueprint, identifier))
        if before is None:
            raise PortNotFoundError("update the entity", status=404, code="not_found")
        return self._save(blueprint, identifier, before, changes)

    def get_entity(self, blueprint: str, identifier: str, *, until: float) -> Entity | None:  # noqa: ARG002
        return self.entities.get((blueprint, identifier))

    def delete_entity(
        self,
        blueprint: str,
        identifier: str,
        *,
        delete_dependents: bool,  # noqa: ARG002
        run_id: str | None,  # noqa: ARG002
        until: float,  # noqa: ARG002
    ) -> None:
        self.entities.pop((blueprint, identifier), None)

    def _save(self, blueprint: str, identifier: str, before: Entity | None, content: Mapping[str, Any]) -> Entity:
        old_properties, old_relations = (before.properties, before.relations) if before else ({}, {})
        entity = Entity(
            blueprint=blueprint,
            identifier=identifier,
            title=content.get("title", before.title if before else None),
            properties=_without_nulls({**old_properties, **(content.get("properties") or {})}),
            relations=_without_nulls({**old_relations, **(content.get("relations") or {})}),
        )
        self.entities[blueprint, identifier] = entity
        return entity


class RecordedRun[I](ActionRun[I]):
    """A run that records what its handler did, instead of telling Port.

    *entities* holds the saved entities by blueprint and identifier. Put entities there for the handler to find.
    """

    def __init__(self, run_request: RunRequest, inputs: I) -> None:
        self._recording = RecordingPort()
        until = time.monotonic() + SECONDS
        super().__init__(run_request, self._recording, ActionRunApi(self._recording), until=until, log_url=None)
        self.inputs = inputs
        self.entities = self._recording.entities

    @property
    def lines(self) -> list[str]:
        """The lines of the run's log."""
        return self._log.waiting

    @property
    def labels(self) -> list[str]:
        """The labels of the run, in order."""
        return [update["statusLabel"] for update in self._recording.updates if "statusLabel" in update]

    @property
    def links(self) -> list[str]:
        """The links of the run."""
        return list(self._links)

    @property
    def external_run_ids(self) -> list[str]:
        """The names of the run in other systems, in order."""
        return [update["externalRunId"] for update in self._recording.updates if "externalRunId" in update]


class RecordedChange(EntityChange):
    """A change that records in *entities* what its listener saved."""

    def __init__(self, change: Change) -> None:
        port = RecordingPort()
        super().__init__(change, port, until=time.monotonic() + SECONDS)
        self.entities = port.entities


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
    """Return a run of *action* with *inputs*, to call its handler with.

    Raises ``InputError`` if the runner would never make this instance of the handler's dataclass.
    """
    if dataclasses.is_dataclass(inputs):
        _check(inputs)
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
    """Return a change of an entity of *blueprint*, to call its listener with.

    *before* and *after* are Port's entities.
    """
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
    """Return the event that Lambda sends for *messages* of one partition.

    A message is any JSON value, ``bytes`` that are sent unchanged, or ``None`` for a tombstone. *timestamp* is in
    milliseconds of the epoch, by default the current time.
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
    """Return a message as Port publishes it for a run of *action*."""
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
    """The parts of Lambda's context that the runner reads, with *seconds* left from now on."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._end - time.monotonic()) * 1000))


def _check(inputs: Any) -> None:
    """Raise ``InputError`` if the runner does not make such *inputs* of their JSON."""
    made = make_reader(type(inputs))(_as_sent(inputs))
    for path, kind in _differences(inputs, made):
        raise InputError(f"The inputs do not fit: {path} must be of the type {kind.__name__}.", input=path)


def _as_sent(value: Any) -> Any:
    """Return the decrypted JSON that the runner would read *value* from."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        given = {field: getattr(value, field.name) for field in _input_fields(value)}
        # A default is not read, so it can have a type that JSON does not have.
        return {_input_name(field): _as_sent(each) for field, each in given.items() if not _is_default(field, each)}
    if isinstance(value, Secret):
        content = value.reveal()
        return value if isinstance(content, str) else Secret(json.dumps(content))  # Port encrypts an object as JSON
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {name: _as_sent(each) for name, each in value.items()}
    return [_as_sent(each) for each in value] if isinstance(value, list) else value


def _differences(given: Any, made: Any, path: str = "") -> Iterator[tuple[str, type]]:
    """Return where the type of *given* is not that of *made*, which a reader of ordinary values does not mind."""
    if dataclasses.is_dataclass(made) and type(given) is type(made):
        for field in _input_fields(made):
            name = f"{path}.{_input_name(field)}".lstrip(".")
            yield from _differences(getattr(given, field.name), getattr(made, field.name), name)
    elif isinstance(made, list) and isinstance(given, list):
        for index, (one, other) in enumerate(zip(given, made, strict=False)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif isinstance(made, dict) and isinstance(given, dict):
        for name, each in made.items():
            yield from _differences(given.get(name), each, f"{path}.*")
    elif type(given) is not type(made) and not _are_numbers(given, made):
        yield path, type(made)


def _are_numbers(*values: Any) -> bool:
    return all(type(value) in (int, float) for value in values)


def _input_fields(inputs: Any) -> list[Any]:
    return [field for field in dataclasses.fields(inputs) if field.init]


def _input_name(field: Any) -> str:
    return str(field.metadata.get("input", field.name))


def _is_default(field: Any, value: Any) -> bool:
    made = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return type(value) is type(made) and bool(value == made)


def _without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _bytes(message: Any) -> bytes:
    return message if isinstance(message, bytes) else json.dumps(message).encode()
