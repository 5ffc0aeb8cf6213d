"""A record's JSON becomes a run request, a reason to leave it to others, or a MessageError."""

import json
import traceback
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from port_runner import MessageError, MessagePaths
from port_runner.kafka import Record, records_from_event
from port_runner.messages import ForOthers, RunRequest, read_message
from port_runner.testing import kafka_event
from tests.support.function_under_test import event_file

ENTITY = {"identifier": "orders", "blueprint": "service", "title": "Orders", "properties": {"tier": 1}}
# The names that are looked for, so that what hypothesis makes of them is nearly a message.
NAMES = st.sampled_from(
    sorted({name for paths in vars(MessagePaths()).values() for path in paths for name in path.split(".")})
) | st.sampled_from(["resourceType", "changelogDestination", "invocationMethod", "agent", "type", "nodeRunId"])
TEXTS = st.sampled_from(["r_1", "wfnr_1", "run", "KAFKA", "WEBHOOK", "CREATE", ""]) | st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(), inner, max_size=5),
    max_leaves=15,
)


def make_record(message: Any) -> Record:
    (record,) = records_from_event(kafka_event(message))
    return record


def read(message: Any, **paths: Any) -> RunRequest | ForOthers:
    return read_message(make_record(message), MessagePaths(**paths))


def run_ids(message: Any, **paths: Any) -> list[str]:
    """Return the ids that may be the run's, in order."""
    run_request = invocation_of(message, **paths)
    return [run_request.run_id, *run_request.other_run_ids()]


def invocation_of(message: Any, **paths: Any) -> RunRequest:
    reading = read(message, **paths)
    assert isinstance(reading, RunRequest), reading
    return reading


def with_method(**method: Any) -> dict[str, Any]:
    message: dict[str, Any] = event_file("create_vm_v2_template")
    message["payload"]["action"]["invocationMethod"] = method
    return message


# Messages of Port's own shapes


@pytest.mark.parametrize(
    ("name", "run_id"), [("create_vm_v1", "run_q2mGf9ZYkFRnZJjB"), ("create_vm_v2_template", "r_QOz6WoOB1Q2lmhZZ")]
)
def test_create_messages_are_read_whole(name: str, run_id: str) -> None:
    """Both envelopes of a CREATE run give the same invocation: no entity, the inputs, who ran it."""
    message = event_file(name)

    invocation = invocation_of(message)

    assert invocation.run_id == run_id
    assert (invocation.action, invocation.operation, invocation.blueprint) == ("create_vm", "CREATE", "vm")
    assert (invocation.entity, invocation.entity_identifier) == (None, None)
    assert invocation.inputs == {"cpu": 2, "memory": 4, "storage": 50, "region": "eu-west-1"}
    assert invocation.user_email == "test@test.com"
    assert invocation.message == message


@pytest.mark.parametrize("operation", ["DAY-2", "DELETE"])
def test_runs_of_an_entity_name_it(operation: str) -> None:
    """A DAY-2 or DELETE run has its entity, whole and by identifier; a DELETE has no inputs, which is not None."""
    message = event_file("create_vm_v2_template")
    message["context"] |= {"entity": "orders", "blueprint": "service"}
    message["payload"] |= {"entity": ENTITY, "properties": {}}
    message["payload"]["action"]["trigger"] = operation

    invocation = invocation_of(message)

    assert invocation.operation == operation
    assert (invocation.entity, invocation.entity_identifier) == (ENTITY, "orders")
    assert invocation.inputs == {}


def test_what_older_samples_lack_is_none() -> None:
    """Messages of 2022 hold neither the user nor the censored inputs."""
    message = event_file("create_vm_v1")
    del message["trigger"]["by"]["user"]

    assert invocation_of(message).user_email is None


@pytest.mark.parametrize("message", [{"runId": "r_1"}, {"run": {"id": "r_1"}}, {"payload": {"runId": "r_1"}}])
def test_a_run_id_is_enough(message: Any) -> None:
    """An author's payload may hold the run alone; the rest is None, for the run itself to say."""
    invocation = invocation_of(message)

    assert invocation.run_id == "r_1"
    assert (invocation.action, invocation.operation, invocation.blueprint, invocation.user_email) == (None,) * 4
    assert (invocation.entity, invocation.entity_identifier, invocation.inputs) == (None,) * 3


def test_action_as_an_object() -> None:
    """A payload with the complete action, inputs and entity is understood."""
    invocation = invocation_of(
        {
            "context": {"runId": "r_1", "blueprintIdentifier": "service", "by": {"email": "a@example.com"}},
            "action": {"identifier": "restart", "trigger": {"operation": "DAY-2"}},
            "properties": {"graceful": True},
            "entity": ENTITY,
        }
    )

    assert (invocation.action, invocation.operation, invocation.blueprint) == ("restart", "DAY-2", "service")
    assert (invocation.entity, invocation.entity_identifier) == (ENTITY, "orders")
    assert invocation.inputs == {"graceful": True}
    assert invocation.user_email == "a@example.com"


@pytest.mark.parametrize(
    "message",
    [
        {"runId": "r_1", "actionIdentifier": "restart"},
        {"runId": "r_1", "payload": {"action": {"identifier": "restart"}}},
        {"runId": "r_1", "action": "", "payload": {"action": {"identifier": "restart"}}},
        {"runId": "r_1", "action": None, "actionIdentifier": "restart"},
        {"runId": "r_1", "action": 5, "actionIdentifier": "restart"},
    ],
)
def test_action_is_the_first_place_that_holds_a_text(message: Any) -> None:
    """A place that is empty, null or of another type is passed over."""
    assert invocation_of(message).action == "restart"


def test_the_top_level_action_wins() -> None:
    """The envelope's own action decides, not that of the definition within it, which may be another's name."""
    message = event_file("create_vm_v1")
    message["payload"]["action"]["identifier"] = "vm_create_vm"

    assert invocation_of(message).action == "create_vm"


@pytest.mark.parametrize("noise", [[], [None, 1, "r_2"], [{"runId": None}, [{"runId": "r_2"}]]])
def test_arrays_at_the_top_are_searched(noise: list[Any]) -> None:
    """A payload may be an array: its objects are searched one after another, and what else it holds is passed over."""
    invocation = invocation_of([*noise, {"action": "restart"}, {"runId": "r_1", "inputs": {"graceful": True}}])

    assert (invocation.run_id, invocation.action, invocation.inputs) == ("r_1", "restart", {"graceful": True})


# Who else is on the topic


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (event_file("agent_webhook_day2"), "it is for Port's own agent"),
        (with_method(type="KAFKA", agent=True), "it is for Port's own agent"),
        (with_method(type="GITLAB", agent=True), "it is for Port's own agent"),
        ([{"runId": "r_1"}, event_file("agent_webhook_day2")], "it is for Port's own agent"),
        ({"resourceType": "entity", "context": {"entity": "e"}}, "it is a change of an entity"),
        (
            {"resourceType": "run", "context": {"runId": "r_1"}, "changelogDestination": {"type": "KAFKA"}},
            "it is an entry of the change log",
        ),
    ],
)
def test_messages_for_other_consumers_are_left_to_them(message: Any, reason: str) -> None:
    """Port's agent and the change log share the topic; the reason says which."""
    assert read(message) == ForOthers(reason)


@pytest.mark.parametrize(
    "method", [{"type": "KAFKA"}, {"type": "KAFKA", "agent": False}, {"agent": None}, {}, {"type": "WEBHOOK"}]
)
def test_kafka_invocations_are_ours(method: Any) -> None:
    """Only a message that clearly names another consumer is left to it."""
    assert invocation_of(with_method(**method)).action == "create_vm"


@pytest.mark.parametrize(
    "message",
    [
        {"context": {"runId": "wfnr_0123456789abcdef"}},
        {"context": {"runId": "wfr_1", "nodeRunId": "wfnr_0123456789abcdef"}},
        {"context": {"workflowRunId": "wfr_1", "nodeRunIdentifier": "wfnr_0123456789abcdef"}},
    ],
)
def test_the_run_of_a_workflows_node_is_told_apart(message: Any) -> None:
    """A workflow node's run has calls of its own in Port, so it must never pass for an action's run."""
    invocation = invocation_of(message)

    assert invocation.run_id == "wfnr_0123456789abcdef"
    assert invocation.is_workflow_node
    assert not invocation_of({"runId": "r_1"}).is_workflow_node


# Unreadable records


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"secret",
        b"{'runId': 'secret'}",
        b'{"runId": "secret"',
        b'{"runId": "r_1", "inputs": {"cpu": NaN}}',
        b'{"runId": "r_1", "inputs": {"cpu": Infinity}}',
        b'{"runId": "r_1", "inputs": {"cpu": -Infinity}}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"runId": "r_1", "cpu": ' + b"1" * 5000 + b"}",
        b'\xef\xbb\xbf{"runId": "r_1"}',
        b'{"runId": "r_1"} {"runId": "r_2"}',
    ],
    ids=lambda value: repr(value[:24]),
)
def test_what_is_no_json_is_said_without_its_content(value: bytes) -> None:
    """Broken, cut off or absurd JSON is a MessageError that holds the record's place and nothing of its value."""
    with pytest.raises(MessageError) as caught:
        read(value)

    assert caught.value.reason == "its value is not JSON"
    assert str(caught.value) == "org_test.runs-0@0: its value is not JSON"
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "message",
    [
        {},
        [],
        5,
        "r_1",
        None,
        [["r_1"]],
        {"action": "create_vm"},
        {"runId": 5},
        {"runId": ""},
        {"runId": {"id": "r_1"}},
        {"context": "r_1"},
        {"runId": "../../organization"},
        {"runId": "r_1/logs"},
        {"runId": "r_1?x=1"},
        {"runId": "r 1"},
        {"runId": "r_1\n"},
        {"runId": "ř_1"},
        {"runId": "r" * 101},
    ],
    ids=repr,
)
def test_a_message_without_a_run_cannot_be_told_to_port(message: Any) -> None:
    """A missing run id, or one that would lead to another path of Port's API, is a MessageError."""
    with pytest.raises(MessageError) as caught:
        read(json.dumps(message).encode())

    assert caught.value.reason == "it names no run"


# Payloads of other forms


def test_paths_are_the_users_to_choose() -> None:
    """A payload of any shape can be read, arrays of paths in the order they are given in."""
    message = {"port": {"run": "r_1", "what": "restart", "op": "DAY-2", "where": "eu", "on": ENTITY, "with": {"a": 1}}}

    invocation = invocation_of(
        message,
        run_id=["nowhere", "port.run"],
        action=["port.what"],
        operation=["port.op"],
        blueprint=["port.on.blueprint"],
        entity=["port.on"],
        entity_identifier=["port.on.identifier"],
        inputs=["port.with"],
    )

    assert (invocation.run_id, invocation.action, invocation.operation) == ("r_1", "restart", "DAY-2")
    assert (invocation.blueprint, invocation.entity, invocation.entity_identifier) == ("service", ENTITY, "orders")
    assert invocation.inputs == {"a": 1}


def test_the_given_paths_are_looked_at_first() -> None:
    """Paths that are given come before Port's own names, which are searched after them."""
    message = {"runId": "r_1", "port": {"run": "r_2"}}

    assert run_ids(message, run_id=["port.run"]) == ["r_2", "r_1"]
    assert run_ids({"runId": "r_1"}, run_id=["port.run"]) == ["r_1"]


REAL, OLD, NODE = "r_abcdefgh12345678", "run_q2mGf9ZYkFRnZJjB", "wfnr_abcdefgh12345678"


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ({"name": "x", "port_context": {"runId": "r_1", "blueprint": "service", "entity": {}}}, ["r_1"]),
        ({"name": "x", "port_context": {"run_id": "r_1"}}, ["r_1"]),
        ({"name": "x", "run_id": "r_1"}, ["r_1"]),
        ({"RUN_ID": "r_1"}, ["r_1"]),
        ({"inputs": {"runID": "r_1"}}, ["r_1"]),
        ({"port_payload": {"inputs": {"name": "x"}, "run": {"id": "r_1"}, "action": {"identifier": "act"}}}, ["r_1"]),
        ({"a": [{"b": [{"port-context": {"run-id": "r_1"}}]}]}, ["r_1"]),
        ({"variables": {"PORT_RUN_ID": {"value": REAL}}}, [REAL]),
        ({"event": {"routing_key": OLD}}, [OLD]),
        ([["x", {"labels": [REAL]}]], [REAL]),
        ({"action": "deploy", "context": {"runId": "r_2"}, "runId": "r_1"}, ["r_2", "r_1"]),
        ({"key": REAL, "runId": "r_1"}, ["r_1", REAL]),
        ({"runId": "r_1", "deep": {"port_context": {"runId": "r_2"}}, "run_id": "r_3"}, ["r_1", "r_2", "r_3"]),
        ({"runId": "r_1", "run": {"id": "r_1"}, "x": "r_1"}, ["r_1"]),
        ({"workflowNodeRun": {"identifier": NODE}, "workflowRun": {"identifier": "wfr_abcdefgh12345678"}}, [NODE]),
        ({"context": {"runId": "wfr_abcdefgh12345678", "nodeRunId": NODE}}, [NODE]),
    ],
    ids=repr,
)
def test_a_runs_id_is_found_at_any_place(message: Any, found: list[str]) -> None:
    """The configured places come first, then Port's own names at any depth, then every value that is exactly an id."""
    assert run_ids(message) == found


@pytest.mark.parametrize(
    ("message", "operation"),
    [
        ({"runId": "r_1", "operation": "DELETE"}, "DELETE"),
        ({"runId": "r_1", "operation": "scale up", "port_context": {"trigger": {"operation": "DAY-2"}}}, "DAY-2"),
        ({"runId": "r_1", "operation": "DELETE", "port_context": {"trigger": {"operation": "DAY-2"}}}, "DAY-2"),
        ({"runId": "r_1", "trigger": "CREATE"}, "CREATE"),
        ({"runId": "r_1", "operation": "scale up"}, None),
        ({"runId": "r_1"}, None),
    ],
    ids=repr,
)
def test_only_ports_words_are_an_operation(message: Any, operation: str | None) -> None:
    """An input can be called operation too, so the value must be Port's, and that of a trigger comes first."""
    assert invocation_of(message).operation == operation


@pytest.mark.parametrize("name", ["action", "operation", "resourceType", "properties", "inputs", "context", "trigger"])
@pytest.mark.parametrize("value", ["x", "UPDATE", 5, None, {"a": 1}, ["x"]], ids=repr)
def test_an_input_can_have_every_name(name: str, value: Any) -> None:
    """An author who spreads the inputs at the root can have any names there, and the run is found."""
    assert invocation_of({name: value, "port_context": {"runId": "r_1"}}).run_id == "r_1"


@settings(deadline=None)
@given(JSON, st.sampled_from(["runId", "run_id", "RUN_ID", "x"]), st.lists(st.sampled_from("abc"), max_size=4))
def test_a_runs_id_is_found_within_any_json(around: Any, name: str, path: list[str]) -> None:
    """A message with an id somewhere, and any JSON around it, leads to that id."""
    message: Any = {name: REAL}
    for each in path:
        message = {each: message, "around": around}
    assume(json.loads(json.dumps(message), parse_constant=lambda _: None) == message)  # JSON has no infinity

    assert REAL in run_ids(message)


def test_large_and_odd_numbers_survive() -> None:
    """Numbers beyond what a float can hold come through as they were written."""
    invocation = invocation_of(b'{"runId": "r_1", "inputs": {"a": 123456789012345678901234567890, "b": 1e999}}')

    assert invocation.inputs == {"a": 123456789012345678901234567890, "b": float("inf")}


def test_runs_of_one_entity_concern_the_same() -> None:
    """Runs may not overtake each other on an entity; runs without one concern nothing but themselves."""

    def concerns(run_id: str, blueprint: str | None, entity: str | None) -> str:
        return invocation_of({"context": {"runId": run_id, "blueprint": blueprint, "entity": entity}}).ordering_key

    assert concerns("r_1", "service", "orders") == concerns("r_2", "service", "orders")
    assert concerns("r_1", "service", "orders") != concerns("r_1", "service", "payments")
    assert concerns("r_1", "service", "orders") != concerns("r_1", "team", "orders")
    assert concerns("r_1", 'a", "b', "c") != concerns("r_1", "a", 'b", "c')
    assert concerns("r_1", "service", None) != concerns("r_2", "service", None)
    assert concerns("r_1", None, "orders") != concerns("r_2", None, "orders")


def test_repr_holds_nothing_of_what_was_sent() -> None:
    """An invocation in a traceback shows neither inputs nor message, and not who ran it."""
    message = event_file("create_vm_v1")
    message["payload"]["properties"]["region"] = "s3cret"

    shown = repr(invocation_of(message))

    assert "s3cret" not in shown
    assert "test@test.com" not in shown


@settings(deadline=None)
@given(JSON)
def test_any_json_is_read_or_refused(message: Any) -> None:
    """Any JSON is a run request, for others, or a MessageError with one of a few fixed texts."""
    try:
        reading = read(json.dumps(message).encode())
    except MessageError as error:
        said = error.reason
    else:
        said = reading.reason if isinstance(reading, ForOthers) else ""
        assert isinstance(reading, ForOthers) or isinstance(reading.ordering_key, str)
    assert said in {
        "",
        "its value is not JSON",
        "it names no run",
        "it is for Port's own agent",
        "it is not about a run",
        "it is an entry of the change log",
        "its action is not invoked over Kafka",
    }


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    """A text that is not JSON is a MessageError, and never another exception."""
    try:
        read(value)
    except MessageError as error:
        said = error.reason
    assert said in {"its value is not UTF-8", "its value is not JSON", "it names no run"}
