"""Listeners to the change log."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from handlers import storage
from port_runner import ActionRouter, EntityChange, RecordsNotConsumed, RegistrationError
from port_runner.testing import kafka_event, make_change
from tests.support.function_under_test import UNTIL_LATER, Function

TOPIC = "org_test.change.log"


def entity(**properties: Any) -> dict[str, Any]:
    return {"identifier": "vm-1", "title": "One", "blueprint": "vm", "properties": properties, "relations": {}}


def change(
    action: str = "UPDATE", before: Any = None, after: Any = None, *, by: str = "developer", **more: Any
) -> dict[str, Any]:
    """A message of the change log, as Port publishes it."""
    return {
        "action": action,
        "resourceType": "entity",
        "status": "SUCCESS",
        "trigger": {"by": {"orgId": "org_test", "userId": by}, "at": "2022-07-15T16:44:56.288Z", "origin": "API"},
        "context": {"entity": "vm-1", "blueprint": "vm"},
        "diff": {"before": before, "after": after},
        **more,
    }


@pytest.fixture
def deliver(function: Function) -> Callable[..., Any]:
    def deliver(*messages: Any, seconds: float = 30.0) -> Any:
        return function.handle(kafka_event(*messages, topic=TOPIC), seconds=seconds)

    return deliver


@pytest.mark.parametrize(
    ("action", "before", "after", "changed"),
    [
        ("CREATE", None, entity(free=10), {"free": (None, 10)}),
        ("UPDATE", entity(free=10, size=50), entity(free=2, size=50), {"free": (10, 2)}),
        ("UPDATE", entity(free=10), entity(), {"free": (10, None)}),
        ("DELETE", entity(free=10), None, {"free": (10, None)}),
    ],
)
def test_listener_sees_what_changed(
    function: Function, deliver: Callable[..., Any], action: str, before: Any, after: Any, changed: Any
) -> None:
    """A listener gets the entity before and after, and the properties that differ."""
    seen: list[Any] = []

    @function.router.change("vm")
    def listen(change: EntityChange) -> None:
        seen.append((change.action, change.identifier, change.before, change.after, change.changed))

    assert deliver(change(action, before, after)) is None

    assert seen == [(action, "vm-1", before, after, changed)]


def test_timer_has_no_diff(function: Function, deliver: Callable[..., Any]) -> None:
    """A timer that ran out is a change without before and after."""
    seen: list[Any] = []

    @function.router.change("vm", actions=["TIMER_EXPIRED"])
    def listen(change: EntityChange) -> None:
        seen.append((change.action, change.changed))

    message = change("TIMER_EXPIRED")
    del message["diff"]
    message["trigger"]["by"] = {"byPort": True, "orgId": "org_test"}

    deliver(message)

    assert seen == [("TIMER_EXPIRED", {})]


@pytest.mark.parametrize(
    "message",
    [
        change(after=entity(free=1), status="FAILURE"),
        change(after=entity(free=1), resourceType="run", context={"blueprint": "vm", "entity": "x", "runId": "r_1"}),
        change(after=entity(free=1), changelogDestination={"type": "WEBHOOK", "agent": True}),
        change(before=entity(free=1), after=entity(free=1) | {"updatedAt": "2026-01-01T00:00:00.000Z"}),
        change("DELETE", before=entity(free=1)),
        change(after=entity(free=1), context={"entity": "a", "blueprint": "service"}),
    ],
    ids=["failure", "run", "agent", "nothing changed", "action", "blueprint"],
)
def test_what_a_listener_does_not_ask_for_is_skipped(
    function: Function, deliver: Callable[..., Any], message: Any
) -> None:
    """Changes that failed, are for others, change nothing or were not asked for reach no listener and no request."""

    @function.router.change("vm", actions=["UPDATE"])
    def listen(change: EntityChange) -> None:
        raise AssertionError

    @function.router.action("UPDATE")
    def misled(run: Any) -> None:
        raise AssertionError

    assert deliver(message) is None

    assert function.port.requests == []
    assert function.logged("record.skipped")


def test_own_changes_do_not_come_back(function: Function, deliver: Callable[..., Any]) -> None:
    """A listener is not called for what was changed with its own credentials, unless it asks for that."""
    seen: list[str] = []

    @function.router.change("vm", actions=["UPDATE"])
    def listen(change: EntityChange) -> None:
        seen.append("others'")

    @function.router.change("vm", actions=["CREATE"], own_changes=True)
    def listen_to_all(change: EntityChange) -> None:
        seen.append("all")

    own = f"{function.port.client_id}@clients"
    deliver(
        change("UPDATE", entity(a=1), entity(a=2), by=own),
        change("CREATE", None, entity(a=2), by=own),
        change("UPDATE", entity(a=1), entity(a=2)),
    )

    assert sorted(seen) == ["all", "others'"]


def test_listener_writes_to_the_catalog(function: Function, deliver: Callable[..., Any]) -> None:
    """A listener can change entities; there is no run to tie them to."""

    @function.router.change("vm")
    def listen(change: EntityChange) -> None:
        change.upsert_entity("vm", identifier="vm-1", properties={"free_storage": 50})

    deliver(change("UPDATE", entity(free_storage=3), entity(free_storage=1)))

    assert function.port.entities["vm", "vm-1"]["properties"]["free_storage"] == 50
    [request] = function.requests("POST", "/entities")
    assert "run_id" not in request.query


@pytest.mark.parametrize(
    ("before", "after", "stored"),
    [
        ({"free_storage": 9, "storage_size": 50}, {"free_storage": 4, "storage_size": 50}, (54, 100)),
        ({"free_storage": 9, "storage_size": 50}, {"free_storage": 5, "storage_size": 50}, None),
        ({"region": "a", "free_storage": 4, "storage_size": 50}, {"free_storage": 4, "storage_size": 50}, None),
        ({"region": "a"}, {"region": "b"}, None),
    ],
    ids=["low", "enough", "another property", "no storage"],
)
def test_shipped_listener_grows_storage_that_runs_low(
    function: Function, deliver: Callable[..., Any], before: Any, after: Any, stored: Any
) -> None:
    """The VM whose free storage falls below a tenth gets twice as much; no other change writes anything."""
    function.router = storage.router

    with function.port.fail("/v1/blueprints/vm/entities/vm-1", method="PATCH", status=200, body={"ok": True}):
        assert deliver(change("UPDATE", entity(**before), entity(**after))) is None

    written = [each.body["properties"] for each in function.requests("PATCH", "/entities/vm-1")]
    expected = [] if stored is None else [{"free_storage": stored[0], "storage_size": stored[1]}]
    assert written == expected


def test_listener_is_tested_by_calling_it() -> None:
    """A recorded change keeps the entities that its listener saved, without any Port."""
    after = entity(free_storage=4, storage_size=50)
    change = make_change("UPDATE", "vm", before=entity(free_storage=9, storage_size=50), after=after)

    storage.grow_low_storage(change)

    assert change.entities["vm", "vm-1"].properties == {"free_storage": 54, "storage_size": 100}


@pytest.mark.parametrize("fault", ["raises", "hangs"])
def test_failing_listener_is_kept_and_consumed(function: Function, deliver: Callable[..., Any], fault: str) -> None:
    """A failed listener's record is kept for a person, and does not hold up later changes."""
    seen: list[str] = []

    @function.router.change("vm")
    def listen(change: EntityChange) -> None:
        seen.append(change.action)
        if change.action == "CREATE":
            if fault == "raises":
                raise ValueError("canary")
            time.sleep(2)

    other = change("UPDATE", entity(a=1), entity(a=2))
    other["context"]["entity"] = "vm-2"
    assert deliver(change("CREATE", None, entity(a=1)), other, seconds=1.0) is None

    assert sorted(seen) == ["CREATE", "UPDATE"]
    assert function.logged("record.given_up")
    assert "canary" not in function.output


def test_change_comes_again_when_port_was_away(function: Function, deliver: Callable[..., Any]) -> None:
    """A listener that Port was not there for is called again with the same change."""
    seen: list[str] = []

    @function.router.change("vm")
    def listen(change: EntityChange) -> None:
        seen.append(change.identifier)
        change.get_entity("vm", "vm-1")

    message = change("UPDATE", entity(a=1), entity(a=2))
    down = function.port.fail("/v1/blueprints", status=503, headers=UNTIL_LATER, times=None)
    with down, pytest.raises(RecordsNotConsumed):
        deliver(message)
    assert deliver(message) is None

    assert seen == ["vm-1", "vm-1"]


def test_changes_of_one_entity_keep_their_order(function: Function, deliver: Callable[..., Any]) -> None:
    """A later change of an entity is not seen before an earlier one."""
    seen: list[int] = []

    @function.router.change("vm")
    def listen(change: EntityChange) -> None:
        _, new = change.changed["a"]
        time.sleep(0.02 if new == 1 else 0)
        seen.append(new)

    deliver(*[change("UPDATE", entity(a=number), entity(a=number + 1)) for number in range(5)])

    assert seen == [1, 2, 3, 4, 5]


def test_unreadable_change_is_given_up(function: Function, deliver: Callable[..., Any]) -> None:
    """A record of the change log that names no entity is consumed and kept."""
    assert deliver({"action": "UPDATE"}, b"[", None) is None

    assert len(function.logged("record.given_up")) == 3


def test_two_listeners_for_the_same_changes_clash() -> None:
    """Two listeners for one kind of change are refused at registration, and both are named."""
    router = ActionRouter()

    @router.change("vm", actions=["CREATE", "UPDATE"])
    def first(change: EntityChange) -> None: ...

    with pytest.raises(RegistrationError, match=r"UPDATE of vm: .*first and .*second"):

        @router.change("vm", actions=["UPDATE", "DELETE"])
        def second(change: EntityChange) -> None: ...


@pytest.mark.parametrize("actions", [["CHANGED"], []])
def test_listener_for_an_unknown_action(actions: list[str]) -> None:
    """A listener for something that never happens is refused at registration."""
    router = ActionRouter()

    with pytest.raises(RegistrationError, match="there are CREATE, UPDATE, DELETE, TIMER_EXPIRED"):

        @router.change("vm", actions=actions)
        def listen(change: EntityChange) -> None: ...


def test_a_failing_neighbor_repeats_no_listener(function: Function) -> None:
    """A batch that is redelivered for one record does not call the listeners of the others again."""
    called: list[str] = []

    @function.router.change("vm")
    def listen(change: EntityChange) -> None:
        called.append(change.identifier)
        if change.identifier == "vm-2":
            change.update_entity("vm", "vm-2", title="Two")

    function.port.fail("/v1/blueprints/vm/entities/vm-2", status=503, headers=UNTIL_LATER, times=None)
    messages = [change("CREATE", None, {**entity(), "identifier": f"vm-{number}"}) for number in (1, 2, 3)]
    for number, message in enumerate(messages):
        message["context"]["entity"] = f"vm-{number + 1}"

    event = kafka_event(*messages, topic=TOPIC)
    for _ in range(3):
        with pytest.raises(RecordsNotConsumed):
            function.handle(event)

    assert sorted(called) == ["vm-1", "vm-2", "vm-2", "vm-2", "vm-3"]


def test_a_listener_starts_only_with_enough_time(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that comes late in a batch is redelivered: its listener does not time out for want of time."""
    monkeypatch.setenv("MAX_CONCURRENCY", "1")
    called: list[str] = []

    @function.router.change("vm")
    def listen(change: EntityChange) -> None:
        called.append(change.identifier)
        time.sleep(1.2)

    messages = [change("CREATE", None, {**entity(), "identifier": f"vm-{number}"}) for number in (1, 2)]
    messages[1]["context"]["entity"] = "vm-2"

    event = kafka_event(*messages, topic=TOPIC)
    with pytest.raises(RecordsNotConsumed, match="too little"):
        function.handle(event, seconds=4)
    assert function.handle(event, seconds=4) is None

    assert called == ["vm-1", "vm-2"]
    assert not function.logged("change.timed_out")
