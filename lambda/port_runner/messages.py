"""Reads a record's JSON as a run request, or finds the reason why it is not for this function.

One topic carries all runs of the organization, for every executor. An action's author writes its payload,
so no place in a message is certain. ``MessagePaths`` lists the places to look at. Its first places are those of Port's
own envelope: ``action``, ``context``, ``payload``.
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
# The place of a workflow node run's id, in addition to the places of a run's id.
WORKFLOW_NODE_PATHS = ("context.nodeRunId", "context.nodeRunIdentifier")


@dataclass(frozen=True)
class MessagePaths:
    """The places of a message's parts: dotted paths. The first path to a value of the right type is used.

    The defaults are enough for an action with the payload ``{"runId": "{{ .run.id }}"}``: the run in Port supplies what
    the message leaves out (the action, the inputs). In an array at the top, each element is searched.
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
    """One run that this function may take. A part that the message leaves out is ``None``."""

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
        """Return whether this is the run of a workflow node, and not of an action."""
        return self.run_id.startswith(WORKFLOW_NODE_PREFIX)

    @property
    def ordering_key(self) -> str:
        """The key of runs that are processed in order: the entity, or else the run."""
        if self.blueprint is not None and self.entity_identifier is not None:
            return entity_key(self.blueprint, self.entity_identifier)
        return self.run_id


def entity_key(blueprint: str, identifier: str) -> str:
    """Return a text that is unique for an entity."""
    return json.dumps([blueprint, identifier])


@dataclass(frozen=True)
class ForOthers:
    """A message for another consumer. *reason* says why, and contains nothing of the message's content."""

    reason: str


def read_message(record: Record, paths: MessagePaths) -> RunRequest | ForOthers:
    """Return the run request in *record*. Raises ``MessageError`` for a record that cannot be read."""
    message = parsed(record)
    parts = [part for part in (message if isinstance(message, list) else [message]) if isinstance(part, Mapping)]
    find = MessageParts(parts)
    reason = _why_not_ours(find)
    if reason is not None:
        return ForOthers(reason)
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
    """Return the record's value, decoded from JSON. Raises ``MessageError`` if it is not JSON."""
    try:
        return json.loads(record.text(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # RecursionError: deeply nested arrays
        raise record.error("its value is not JSON") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _why_not_ours(find: "MessageParts") -> str | None:
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


class MessageParts:
    """Finds dotted paths in the objects of a message."""

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
                    value = value.get(name) if type(value) is dict else None  # json.loads makes dicts of objects
                yield value


@lru_cache(maxsize=256)  # there are few paths, and each message is searched for all of them
def _names_in(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))
