"""Reads a record's JSON as a run request, or finds the reason why it is not for this function.

One topic carries all runs of the organization, for every executor. An action's author writes its payload, so no place
in a message is certain, and any name can be that of an input. The message only leads to the run: its id, at one of
several places, and its secret inputs. The run in Port decides about the rest. What the message says of it is a hint.
"""

import json
import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from .kafka import Record

RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
# The ids that Port generates. Old runs begin with run_.
EXACT_RUN_ID = re.compile(r"(?:r|run|wfnr)_[A-Za-z0-9]{16}")
WORKFLOW_NODE_PREFIX = "wfnr_"
WORKFLOW_PREFIX = "wfr_"
# The place of a workflow node run's id, in addition to the places of a run's id.
WORKFLOW_NODE_PATHS = ("context.nodeRunId", "context.nodeRunIdentifier")
# Names of Port's own for a run's id, in lower case and without separators, and for the object around it.
RUN_ID_NAMES = frozenset({"runid", "portrunid", "actionrunid", "noderunid", "noderunidentifier"})
RUN_NAMES = frozenset({"run", "actionrun", "workflownoderun"})
CONTEXT_NAMES = frozenset({"context", "portcontext"})
OPERATIONS = frozenset({"CREATE", "DAY-2", "DELETE"})


@dataclass(frozen=True)
class MessagePaths:
    """The places of a message's parts that are looked at first: dotted paths.

    The first path to a value of the right type is used. In an array at the top, each element is searched. The defaults
    are enough for any payload that contains the run's id. Give *inputs* for a payload whose inputs differ from those
    that Port shows with the run.
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
    """One run that this function may take. A part that the message leaves out is ``None``.

    *is_envelope* tells that the message has Port's own form, which says for certain whose run it is.
    *has_certain_inputs* tells that the message's inputs are those of the run.
    """

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
    is_envelope: bool = False
    has_certain_inputs: bool = False
    other_run_ids: Callable[[], Iterator[str]] = field(default=lambda: iter(()), repr=False, compare=False)
    """Other ids in the message that may be the run's, in the order in which they are to be tried."""

    @property
    def is_workflow_node(self) -> bool:
        """Return whether this is the run of a workflow node, and not of an action."""
        return self.run_id.startswith(WORKFLOW_NODE_PREFIX)

    @property
    def names_no_entity(self) -> bool:
        """Return whether the run in Port may have an entity that the message does not name."""
        return not self.is_envelope and (self.blueprint is None or self.entity_identifier is None)

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
    find = MessageParts([part for part in _parts(message) if isinstance(part, Mapping)])
    reason = _why_for_others(find)
    if reason is not None:
        return ForOthers(reason)
    run_id = next(_run_ids(message, find, paths), None)
    if run_id is None:
        if find.text(("resourceType",)) == "entity":
            return ForOthers("it is a change of an entity")
        raise record.error("it names no run")
    is_envelope = find.is_envelope()
    return RunRequest(
        record=record,
        run_id=run_id,
        action=find.text(paths.action),
        operation=find.text(paths.operation, among=OPERATIONS) or _operation(message),
        blueprint=find.text(paths.blueprint),
        entity=find.mapping(paths.entity),
        entity_identifier=find.text(paths.entity_identifier),
        inputs=find.mapping(paths.inputs),
        user_email=find.text(("trigger.by.user.email", "context.by.email")),
        message=message,
        is_envelope=is_envelope,
        has_certain_inputs=is_envelope or tuple(paths.inputs) != tuple(MessagePaths.inputs),
        other_run_ids=lambda: (each for each in _run_ids(message, find, paths) if each != run_id),
    )


def walk(message: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield every value in a message with its own name and that of the object around it, the outermost first.

    The items of an array have the array's name.
    """
    waiting: deque[tuple[str, str, Any]] = deque([("", "", message)])
    while waiting:
        around, name, value = waiting.popleft()
        yield around, name, value
        if isinstance(value, dict):
            waiting.extend((name, each, value[each]) for each in value)
        elif isinstance(value, list):
            waiting.extend((around, name, each) for each in value)


def find_inputs(message: Any) -> Mapping[str, Any]:
    """Return the first object that is called inputs, as in Port's own trigger data, or an empty one."""
    return next((value for _, name, value in walk(message) if name == "inputs" and isinstance(value, Mapping)), {})


def _parts(message: Any) -> list[Any]:
    return message if isinstance(message, list) else [message]


def _run_ids(message: Any, find: "MessageParts", paths: MessagePaths) -> Iterator[str]:
    """Yield the ids that may be the run's, each once, the most likely first."""
    seen: set[str] = set()
    for run_id in _likely_run_ids(message, find, paths):
        if run_id not in seen and RUN_ID.fullmatch(run_id) and not run_id.startswith(WORKFLOW_PREFIX):
            seen.add(run_id)
            yield run_id


def _likely_run_ids(message: Any, find: "MessageParts", paths: MessagePaths) -> Iterator[str]:
    yield from find.texts((*WORKFLOW_NODE_PATHS, *paths.run_id))
    texts = [(around, name, value) for around, name, value in walk(message) if isinstance(value, str)]
    named = [(_plain(around), value) for around, name, value in texts if _names_a_run(_plain(around), _plain(name))]
    yield from (value for around, value in named if around in CONTEXT_NAMES)
    yield from (value for _, value in named)
    yield from (value for _, _, value in texts if EXACT_RUN_ID.fullmatch(value))


def _names_a_run(around: str, name: str) -> bool:
    return name in RUN_ID_NAMES or (around in RUN_NAMES and name in ("id", "identifier"))


@lru_cache(maxsize=1024)
def _plain(name: str) -> str:
    """Return a name in lower case and without separators: people write runId, run_id and RUN-ID."""
    return name.lower().replace("_", "").replace("-", "")


def _operation(message: Any) -> str | None:
    """Return the operation from any place. That of a trigger comes first: an input can be called operation too."""
    found = [
        (around, name, value) for around, name, value in walk(message) if isinstance(value, str) and value in OPERATIONS
    ]
    in_triggers = [value for around, name, value in found if name == "trigger" or around == "trigger"]
    return next(iter(in_triggers + [value for _, name, value in found if name == "operation"]), None)


def parsed(record: Record) -> Any:
    """Return the record's value, decoded from JSON. Raises ``MessageError`` if it is not JSON."""
    try:
        return json.loads(record.text(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # RecursionError: deeply nested arrays
        raise record.error("its value is not JSON") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _why_for_others(find: "MessageParts") -> str | None:
    if find.mapping(("changelogDestination",)) is not None:
        return "it is an entry of the change log"
    method = find.mapping(("payload.action.invocationMethod", "action.invocationMethod"))
    if method is not None and method.get("agent") is True:
        return "it is for Port's own agent"
    return None


class MessageParts:
    """Finds dotted paths in the objects of a message."""

    def __init__(self, parts: Sequence[Mapping[str, Any]]) -> None:
        self._parts = parts

    def texts(self, paths: Sequence[str]) -> Iterator[str]:
        return (value for value in self._values(paths) if isinstance(value, str) and value)

    def text(self, paths: Sequence[str], *, among: Collection[str] | None = None) -> str | None:
        return next((value for value in self.texts(paths) if among is None or value in among), None)

    def mapping(self, paths: Sequence[str]) -> Mapping[str, Any] | None:
        return next((value for value in self._values(paths) if isinstance(value, Mapping)), None)

    def is_envelope(self) -> bool:
        """Return whether the message has Port's own form: about a run, with its id and its action."""
        run = self.text(("resourceType",)) == "run"
        return run and None not in (self.text(("context.runId",)), self.text(("action",)))

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
