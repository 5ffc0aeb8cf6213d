"""A record's JSON as an invocation of an action, or the reason why it is not for this function.

One topic carries every run of the organisation, whoever executes it, and since the payload of an action is whatever
its author wrote, no place in a message is sure. What is looked for, and where, is in ``MessagePaths``; the places it
names first are those of Port's own envelope: ``action``, ``context``, ``payload``.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from .kafka import Record

RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
WORKFLOW_NODE_PREFIX = "wfnr_"
# Where a workflow puts the run of its node, beside the places of a run's identifier.
WORKFLOW_NODE_PATHS = ("context.nodeRunId", "context.nodeRunIdentifier")


@dataclass(frozen=True)
class MessagePaths:
    """Where in a message its parts may lie: dotted paths, the first that leads to something of the right type wins.

    For an action whose payload is ``{"runId": "{{ .run.id }}"}`` the defaults do: what a message does not hold (the
    action, the inputs) is taken from the run itself. An array at the top is searched element by element.
    """

    run_id: Sequence[str] = ("context.runId", "runId", "run.id", "payload.runId")
    action: Sequence[str] = (
        "action",
        "action.identifier",
        "actionIdentifier",
        "payload.action.identifier",
        "payload.action",
    )
    operation: Sequence[str] = (
        "payload.action.trigger",
        "payload.action.trigger.operation",
        "action.trigger",
        "action.trigger.operation",
        "trigger.operation",
        "operation",
    )
    blueprint: Sequence[str] = (
        "context.blueprint",
        "context.blueprintIdentifier",
        "payload.action.blueprint",
        "action.blueprint",
        "blueprint",
    )
    entity: Sequence[str] = ("payload.entity", "entity")
    entity_identifier: Sequence[str] = (
        "context.entity",
        "context.entityIdentifier",
        "payload.entity.identifier",
        "entity.identifier",
        "entity",
    )
    inputs: Sequence[str] = ("payload.properties", "properties", "inputs", "payload.inputs")


@dataclass(frozen=True)
class RunRequest:
    """One run that this function may take; what the message does not say is ``None``."""

    record: Record
    run_id: str
    action: str | None
    operation: str | None
    blueprint: str | None
    entity: Mapping[str, Any] | None = field(repr=False)
    entity_identifier: str | None
    inputs: Mapping[str, Any] | None = field(repr=False)
    user_email: str | None = field(repr=False)
    message: Any = field(repr=False)

    @property
    def is_workflow_node(self) -> bool:
        """Whether this is the run of a workflow's node, rather than that of an action."""
        return self.run_id.startswith(WORKFLOW_NODE_PREFIX)

    @property
    def ordering_key(self) -> str:
        """What runs may not overtake each other on: the entity, and where there is none the run itself."""
        if self.blueprint is not None and self.entity_identifier is not None:
            return entity_key(self.blueprint, self.entity_identifier)
        return self.run_id


def entity_key(blueprint: str, identifier: str) -> str:
    """One text for an entity, which no other entity has."""
    return json.dumps([blueprint, identifier])


@dataclass(frozen=True)
class NotOurs:
    """A message that somebody else takes, and why; *reason* holds nothing of its content."""

    reason: str


def read_message(record: Record, paths: MessagePaths) -> RunRequest | NotOurs:
    """What *record* asks for. Raises ``MessageError`` for a record that nobody can read."""
    message = parsed(record)
    parts = [part for part in (message if isinstance(message, list) else [message]) if isinstance(part, Mapping)]
    find = Finder(parts)
    reason = _why_not_ours(find)
    if reason is not None:
        return NotOurs(reason)
    run_id = find.text(WORKFLOW_NODE_PATHS) or find.text(paths.run_id)
    if run_id is None or not RUN_ID.fullmatch(run_id):
        raise record.error("it names no run")
    return RunRequest(
        record=record,
        run_id=run_id,
        action=find.text(paths.action),
        operation=find.text(paths.operation),
        blueprint=find.text(paths.blueprint),
        entity=find.mapping(paths.entity),
        entity_identifier=find.text(paths.entity_identifier),
        inputs=find.mapping(paths.inputs),
        user_email=find.text(("trigger.by.user.email", "context.by.email")),
        message=message,
    )


def parsed(record: Record) -> Any:
    """The record's value as JSON; raises ``MessageError`` for what is none."""
    try:
        return json.loads(record.text(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # the second for arrays within arrays within arrays
        raise record.error("its value is not JSON") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _why_not_ours(find: "Finder") -> str | None:
    if find.text(("resourceType",)) not in (None, "run"):
        return "it is not about a run"
    if find.mapping(("changelogDestination",)) is not None:
        return "it is an entry of the change log"
    method = find.mapping(("payload.action.invocationMethod", "action.invocationMethod"))
    if method is None:
        return None
    if method.get("agent") is True:
        return "it is for Port's own agent"
    if method.get("type") not in (None, "KAFKA"):
        return "its action is not invoked over Kafka"
    return None


class Finder:
    """Looks dotted paths up in the objects of a message."""

    def __init__(self, parts: Sequence[Mapping[str, Any]]) -> None:
        self._parts = parts

    def text(self, paths: Sequence[str]) -> str | None:
        return next((value for value in self._values(paths) if isinstance(value, str) and value), None)

    def mapping(self, paths: Sequence[str]) -> Mapping[str, Any] | None:
        return next((value for value in self._values(paths) if isinstance(value, Mapping)), None)

    def _values(self, paths: Sequence[str]) -> Iterator[Any]:
        for path in paths:
            for part in self._parts:
                value: Any = part
                for name in _names_in(path):
                    value = value.get(name) if type(value) is dict else None  # what json.loads makes of an object
                yield value


@lru_cache(maxsize=256)  # the paths are few, and looked up in every message
def _names_in(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))
