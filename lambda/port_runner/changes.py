"""The change log: changes of entities in Port, and the handlers that listen for them.

The topic ``ORG_ID.change.log`` carries the changes of every blueprint whose ``changelogDestination`` is Kafka. Its
records can also name runs, so a record is recognized by its topic, never by its content.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .bounded import BoundedDict
from .catalog import Catalog
from .deadline import Call, Deadline
from .errors import PortRunnerError, PortUnavailableError, RegistrationError
from .failure_queue import FailureQueue
from .kafka import Record
from .logs import log
from .messages import ForOthers, MessageParts, entity_key, parsed
from .port_api import PortClient

CHANGE_LOG = ".change.log"
ACTIONS = ("CREATE", "UPDATE", "DELETE", "TIMER_EXPIRED")

REMEMBERED_RECORDS = 10_000
# The share of the invocation's time that must be left for a listener. A later delivery has all of it.
SHARE_OF_TIME = 0.5

type ChangeHandler = Callable[["EntityChange"], None]


@dataclass(frozen=True)
class Change:
    """A change of an entity, as in the message. *before* is ``None`` for a new entity, *after* for a deleted one."""

    record: Record
    action: str
    blueprint: str
    identifier: str
    before: Mapping[str, Any] | None = field(repr=False)
    after: Mapping[str, Any] | None = field(repr=False)
    author: str | None = field(repr=False)

    @property
    def ordering_key(self) -> str:
        """The key of changes that are processed in order: the entity."""
        return entity_key(self.blueprint, self.identifier)

    @property
    def changed(self) -> dict[str, tuple[Any, Any]]:
        """The changed properties, each with its old and its new value."""
        before, after = ((entity or {}).get("properties") or {} for entity in (self.before, self.after))
        return {
            name: (before.get(name), after.get(name))
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        }


class EntityChange(Catalog):
    """The change that a listener gets, with the calls of ``Catalog``. It can be delivered more than once."""

    def __init__(self, change: Change, port: PortClient, *, until: float) -> None:
        super().__init__(port, until=until, run_id=None)
        self.action = change.action
        """``CREATE``, ``UPDATE``, ``DELETE`` or ``TIMER_EXPIRED``."""
        self.blueprint = change.blueprint
        self.identifier = change.identifier
        self.before = change.before
        """The complete entity before the change, ``None`` for a new one."""
        self.after = change.after
        """The complete entity after the change, ``None`` for a deleted one."""
        self.changed = change.changed
        """The changed properties, each with its old and its new value."""


@dataclass(frozen=True)
class ChangeRoute:
    """A listener with the changes that it listens for."""

    blueprint: str
    actions: Collection[str]
    own_changes: bool
    handler: ChangeHandler

    @property
    def name(self) -> str:
        """The listener's function, for people."""
        return f"{self.handler.__module__}.{getattr(self.handler, '__qualname__', repr(self.handler))}"


def add_change_route(routes: list[ChangeRoute], route: ChangeRoute) -> None:
    """Add *route* to *routes*. Raises ``RegistrationError`` if another one listens for the same changes."""
    unknown = [action for action in route.actions if action not in ACTIONS]
    if unknown or not route.actions:
        raise RegistrationError(f"{route.name} listens for {unknown or 'nothing'}; there are {', '.join(ACTIONS)}")
    for other in routes:
        both = sorted(set(other.actions) & set(route.actions))
        if other.blueprint == route.blueprint and both:
            raise RegistrationError(
                f"two listeners for {', '.join(both)} of {route.blueprint}: {other.name} and {route.name}"
            )
    routes.append(route)


def read_change(record: Record) -> Change | ForOthers:
    """Return the change in *record*. Raises ``MessageError`` for a record that cannot be read."""
    message = parsed(record)
    find = MessageParts([message] if isinstance(message, Mapping) else [])
    if find.text(("resourceType",)) not in (None, "entity"):
        return ForOthers("it is not about an entity")
    if find.text(("status",)) == "FAILURE":
        return ForOthers("the change did not happen")
    if find.text(("changelogDestination.type",)) not in (None, "KAFKA"):
        return ForOthers("it is for another destination")
    action = find.text(("action",))
    blueprint = find.text(("context.blueprint", "diff.after.blueprint", "diff.before.blueprint"))
    identifier = find.text(("context.entity", "diff.after.identifier", "diff.before.identifier"))
    if action is None or blueprint is None or identifier is None:
        raise record.error("it names no entity or no action")
    change = Change(
        record=record,
        action=action,
        blueprint=blueprint,
        identifier=identifier,
        before=find.mapping(("diff.before",)),
        after=find.mapping(("diff.after",)),
        author=find.text(("trigger.by.userId",)),
    )
    if action == "UPDATE" and _lasting(change.before) == _lasting(change.after):
        return ForOthers("nothing changed")
    return change


def _lasting(entity: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (entity or {}).items() if name not in ("updatedAt", "updatedBy")}


class ChangeLog:
    """Calls the listeners of changes."""

    def __init__(self, routes: Sequence[ChangeRoute], port: PortClient, failures: FailureQueue) -> None:
        self._routes = routes
        self._port = port
        self._failures = failures
        self._handled: BoundedDict[str, None] = BoundedDict(REMEMBERED_RECORDS)

    def process(self, change: Change, deadline: Deadline) -> None:
        """Call the listener of *change*. Nothing in Port waits for it, so a failed record goes to the failure queue.

        Raises ``PortUnavailableError`` if the listener could not reach Port. Lambda then redelivers the record.
        """
        route = self._route(change)
        if route is None:
            log.debug("record.skipped", reason="no listener takes it")
            return
        if not route.own_changes and self._is_own(change):
            # A listener that writes to the entities it listens for would call itself without end.
            log.debug("record.skipped", reason="this function made the change itself")
            return
        if change.record.identity in self._handled:  # redelivered because of another record in its batch
            log.info("change.handled_before", handler=route.name)
            return
        if deadline.work_seconds < deadline.all_work_seconds * SHARE_OF_TIME:
            raise PortRunnerError("too little of the invocation's time is left for its listener")
        entity_change = EntityChange(change, self._port, until=deadline.work)
        call = Call(lambda: route.handler(entity_change))
        finished = call.wait(deadline.work_seconds)
        entity_change._end()
        if not finished:
            call.abandon()
            log.error("change.timed_out", handler=route.name)
            self._failures.keep(change.record, "its listener timed out")
            return
        try:
            call.result()
        except PortUnavailableError:
            raise
        except BaseException as error:
            log.error("change.failed", error=error, handler=route.name)
            self._failures.keep(change.record, "its listener failed")
        else:
            log.info("change.handled", handler=route.name)
            self._handled[change.record.identity] = None

    def _route(self, change: Change) -> ChangeRoute | None:
        fitting = (
            route for route in self._routes if route.blueprint == change.blueprint and change.action in route.actions
        )
        return next(fitting, None)

    def _is_own(self, change: Change) -> bool:
        """Return whether this function made *change*: Port names a machine user ``CLIENT_ID@clients``."""
        return (
            change.author is not None
            and change.author.removesuffix("@clients") == self._port.http.credentials().client_id
        )
