"""Payloads as the authors of actions write them: the run in Port decides, and the message only leads to it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import port_runner.lifecycle
from port_runner import ActionRun, Secret
from port_runner.testing import kafka_event
from tests.support.function_under_test import Function

REAL = "r_abcdefgh12345678"


@pytest.fixture
def seen(function: Function) -> list[ActionRun[Any]]:
    """The runs that the handler of the action `act` got."""
    runs: list[ActionRun[Any]] = []

    @function.router.action("act")
    def act(run: ActionRun[Mapping[str, Any]]) -> None:
        runs.append(run)

    return runs


CHANGE = {
    "action": "UPDATE",
    "resourceType": "entity",
    "context": {"blueprintIdentifier": "vm"},
    "diff": {"before": {}},
}
COPIED = {"payload": {"action": {"invocationMethod": {"type": "WEBHOOK", "url": "https://x"}}}}


@pytest.mark.parametrize(
    ("message", "run_id"),
    [
        ({"name": "x", "port_context": {"runId": "r_1", "blueprint": "service", "entity": {}}}, "r_1"),
        ({"name": "x", "port_context": {"run_id": "r_1"}}, "r_1"),
        ({"name": "x", "run_id": "r_1"}, "r_1"),
        ({"RUN_ID": "r_1"}, "r_1"),
        ({"port_payload": {"inputs": {"name": "x"}, "run": {"id": "r_1"}, "action": {"identifier": "act"}}}, "r_1"),
        ({"variables": {"PORT_RUN_ID": {"value": REAL}}}, REAL),
        ({"action": "merge", "runId": "r_1"}, "r_1"),
        ({"resourceType": "s3_bucket", "name": "x", "runId": "r_1"}, "r_1"),
        ({"properties": {"size": 1}, "title": "t", "runId": "r_1"}, "r_1"),
        ({**CHANGE, "runId": "r_1"}, "r_1"),
        ({**COPIED, "runId": "r_1"}, "r_1"),
        ([{"x": 1}, {"port_context": {"runId": "r_1"}}], "r_1"),
    ],
    ids=repr,
)
def test_any_payload_runs(function: Function, seen: list[ActionRun[Any]], message: Any, run_id: str) -> None:
    """A payload of any form runs, with the action, the blueprint and the inputs that Port has."""
    function.port.add_run(run_id, "act", blueprint="service", properties={"name": "y", "size": 2})

    assert function.handle(kafka_event(message)) is None

    [run] = seen
    assert (run.id, run.action, run.blueprint) == (run_id, "act", "service")
    assert dict(run.inputs) == {"name": "y", "size": 2}
    assert function.port.runs[run_id]["status"] == "SUCCESS"


@pytest.mark.parametrize("name", ["action", "operation", "resourceType", "properties", "inputs", "entity", "blueprint"])
def test_an_input_can_have_any_name(function: Function, seen: list[ActionRun[Any]], name: str) -> None:
    """Inputs that are spread at the root do not hide the run's action, entity or inputs."""
    function.port.add_run("r_1", "act", properties={name: "x"})

    function.handle(kafka_event({name: "x", "runId": "r_1"}))

    assert [dict(run.inputs) for run in seen] == [{name: "x"}]


def test_a_handler_is_never_called_on_another_actions_run(function: Function, seen: list[ActionRun[Any]]) -> None:
    """Of several runs that a message names, only the one whose action has a handler is touched."""
    function.port.add_run("r_1", "act")
    function.port.add_run("r_2", "deploy")

    function.handle(kafka_event({"action": "act", "context": {"runId": "r_2"}, "runId": "r_1"}))

    assert [run.id for run in seen] == ["r_1"]
    assert (function.port.runs["r_1"]["status"], function.port.runs["r_2"]["status"]) == ("SUCCESS", "IN_PROGRESS")


def test_a_message_cannot_lend_its_action_to_a_run(function: Function, seen: list[ActionRun[Any]]) -> None:
    """A complete envelope of our action with the run of another action calls no handler."""
    function.port.add_run("r_2", "deploy")
    message = {"resourceType": "run", "action": "act", "context": {"runId": "r_2"}, "payload": {"properties": {}}}

    assert function.handle(kafka_event(message)) is None

    assert seen == []
    assert function.port.runs["r_2"]["status"] == "IN_PROGRESS"


def test_another_consumers_envelope_costs_no_request(function: Function, seen: list[ActionRun[Any]]) -> None:
    """A complete envelope of another action is put aside without a request."""
    message = {"resourceType": "run", "action": "deploy", "context": {"runId": "r_2", "blueprint": "vm"}}

    function.handle(kafka_event(message))

    assert function.port.requests == []


def test_the_only_handler_takes_a_run_of_unknown_operation(function: Function) -> None:
    """An action has one operation in Port, so its only handler is the right one."""
    started: list[str] = []
    function.router.action("resize", operation="DAY-2")(lambda run: started.append(run.id))
    function.port.add_run("r_1", "resize")

    function.handle(kafka_event({"runId": "r_1"}))

    assert started == ["r_1"]


def test_an_operation_that_would_decide_is_asked_for(function: Function) -> None:
    """With handlers for several operations, a message without it ends the run, and says what to add."""
    function.router.action("resize", operation="DAY-2")(lambda run: None)
    function.router.action("resize", operation="CREATE")(lambda run: None)
    function.port.add_run("r_1", "resize")

    function.handle(kafka_event({"runId": "r_1"}))

    run = function.port.runs["r_1"]
    assert run["status"] == "FAILURE"
    assert "{{ .trigger.operation }}" in run["summary"]


def test_a_configured_place_of_inputs_comes_before_ports(function: Function) -> None:
    """`MessagePaths(inputs=…)` is for payloads whose inputs differ from those that Port shows."""
    from port_runner import MessagePaths, Runner
    from port_runner.testing import LambdaContext

    seen: list[Any] = []
    runner = Runner(message_paths=MessagePaths(inputs=["with"]))
    function.router.action("act")(lambda run: seen.append(dict(run.inputs)))
    runner.include(function.router)
    function.port.add_run("r_1", "act", properties={"a": 1})

    runner.lambda_handler(kafka_event({"runId": "r_1", "with": {"a": 2}}), LambdaContext())

    assert seen == [{"a": 2}]


@dataclass(frozen=True)
class Login:
    user: str
    password: Secret[str]


def test_a_masked_secret_never_reaches_a_handler(function: Function) -> None:
    """If neither Port nor the message has the secret, the run ends, and names the missing input."""
    function.router.action("login", inputs=Login)(lambda run: None)
    function.port.add_run("r_1", "login", properties={"user": "u", "password": "*****"})

    function.handle(kafka_event({"runId": "r_1", "password": "*****"}))

    run = function.port.runs["r_1"]
    assert (run["status"], run["summary"]) == ("FAILURE", "The inputs do not fit: password is missing.")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-10, 10)
    | st.text(max_size=5)
    | st.sampled_from(["r_9", "r_2", "act", "UPDATE"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["action", "context", "runId", "run", "id", "resourceType", "payload", "inputs", "operation", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(around=JSON, name=st.sampled_from(["runId", "run_id", "port_run_id", "x"]), depth=st.integers(0, 3))
def test_the_right_run_and_no_other(
    function: Function, seen: list[ActionRun[Any]], around: Any, name: str, depth: int
) -> None:
    """A message with the run's id somewhere, and any JSON around it, runs that run, and touches no other."""
    seen.clear()
    function.restart()
    function.port.runs.clear()
    function.port.add_run(REAL, "act", properties={"name": "y"})
    function.port.add_run("r_2", "deploy")
    message: Any = {name: REAL}
    for _ in range(depth):
        message = {"deep": message, "around": around}
    if isinstance(around, dict):
        message = {**around, **message}

    function.handle(kafka_event(message))

    assert function.port.runs["r_2"]["status"] == "IN_PROGRESS"
    assert [run.id for run in seen] == [REAL]


# The message names only the run


def test_runs_of_one_entity_keep_their_order(function: Function) -> None:
    """Runs of one entity are processed one after the other, also if their messages do not name it."""
    order: list[str] = []

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        order.append(f"{run.id} begins")
        time.sleep(0.05)
        order.append(f"{run.id} ends")

    for number in range(4):
        run = function.port.add_run(f"r_{number}", "resize")
        run["entity"] = {"identifier": "vm-1", "title": None, "icon": None, "deleted": False}

    assert function.handle(kafka_event(*({"runId": f"r_{number}"} for number in range(4)))) is None

    assert order == [f"r_{number} {what}" for number in range(4) for what in ("begins", "ends")]


def test_a_batch_takes_no_request_more(function: Function) -> None:
    """A run whose message does not name its entity is read once, as any other."""
    function.router.action("resize")(lambda run: None)
    for number in range(3):
        function.port.add_run(f"r_{number}", "resize")

    function.handle(kafka_event(*({"runId": f"r_{number}"} for number in range(3))))

    assert [len(function.requests("GET", f"/runs/r_{number}")) for number in range(3)] == [1, 1, 1]


def test_a_run_that_waited_long_is_read_again(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was ended while it waited for the one before it is not started."""
    monkeypatch.setattr(port_runner.lifecycle, "FRESH_SECONDS", 0.2)
    starts: list[str] = []

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        starts.append(run.id)
        function.port.runs["r_1"].update(status="FAILURE", summary="Canceled by hand.")
        time.sleep(0.3)

    for number in range(2):
        run = function.port.add_run(f"r_{number}", "resize")
        run["entity"] = {"identifier": "vm-1", "title": None, "icon": None, "deleted": False}

    assert function.handle(kafka_event({"runId": "r_0"}, {"runId": "r_1"})) is None

    assert starts == ["r_0"]


def self_service(identifier: str, operation: str) -> dict[str, Any]:
    """Return an action as Port has it."""
    user_inputs: dict[str, Any] = {"properties": {}, "required": []}
    trigger = {"type": "self-service", "operation": operation, "userInputs": user_inputs}
    return {"identifier": identifier, "trigger": trigger, "invocationMethod": {"type": "KAFKA"}}


@pytest.mark.parametrize("operation", ["CREATE", "DELETE"])
def test_the_operation_is_found_in_port(function: Function, operation: str) -> None:
    """Of several handlers, the one for the operation of the run's action is called, once Port has told it."""
    called: list[str] = []

    @function.router.action("change", operation="CREATE")
    def create(run: ActionRun[Mapping[str, Any]]) -> None:
        called.append(f"CREATE {run.operation}")

    @function.router.action("change", operation="DELETE")
    def delete(run: ActionRun[Mapping[str, Any]]) -> None:
        called.append(f"DELETE {run.operation}")

    function.port.actions["change"] = self_service("change", operation)
    for run_id in ("r_1", "r_2"):
        function.port.add_run(run_id, "change")
        assert function.handle(kafka_event({"runId": run_id})) is None

    assert called == [f"{operation} {operation}"] * 2
    assert len(function.requests("GET", "/actions/change")) == 1


def test_a_handler_of_another_operation_is_not_called(function: Function) -> None:
    """A run whose action has another operation in Port is left alone, if the message names none."""
    called: list[str] = []
    function.router.action("change", operation="DELETE")(lambda run: called.append(run.id))
    function.port.actions["change"] = self_service("change", "CREATE")
    function.port.add_run("r_1", "change")

    assert function.handle(kafka_event({"runId": "r_1"})) is None

    assert called == []
    assert function.logged("action.unknown")


def test_an_operation_that_cannot_be_read(function: Function) -> None:
    """Credentials that may not read actions do not keep the only handler from its runs."""
    called: list[str] = []
    function.router.action("change", operation="DELETE")(lambda run: called.append(run.id))
    function.port.fail("/v1/actions/change", status=403, times=None)
    function.port.add_run("r_1", "change")

    assert function.handle(kafka_event({"runId": "r_1"})) is None

    assert called == ["r_1"]
