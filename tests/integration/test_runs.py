"""Runs of the deployed function: through Kafka, its mapping and Secrets Manager, and back to Port."""

import base64
import json
from typing import Any
from urllib.parse import unquote

import pytest

from port_runner.testing import run_message
from port_runner_sandbox.fake_port import FakePort
from tests.support.deployment import ENDED, INPUTS, PATIENCE_SECONDS, WORK_SECONDS, Deployment, new_run_id
from tests.support.function_under_test import event_file
from tests.support.run_logs import lines_of_handlers

# Asks a client to wait longer than an invocation lasts, so the client gives up at once.
COME_BACK_LATER: dict[str, Any] = {"status": 503, "headers": {"Retry-After": "600"}}


@pytest.fixture
def port(deployment: Deployment) -> FakePort:
    return deployment.sandbox.port


def wait_for_start(deployment: Deployment, run_id: str) -> None:
    deployment.sandbox.port.wait_until(lambda: deployment.starts(run_id) == 1, PATIENCE_SECONDS)


def test_a_run_goes_all_the_way(deployment: Deployment, port: FakePort) -> None:
    """A run that Port executes is published, delivered, handled and reported: entity, log line, SUCCESS and commit."""
    run_id = deployment.execute("create_vm", {**INPUTS, "title": "First"})
    run = deployment.ended(run_id)

    assert run["status"] == "SUCCESS"
    vm = port.entities["vm", f"vm-{run_id}"]
    assert (vm["title"], vm["properties"]["cpu_cores"], vm["properties"]["deployed"]) == ("First", 2, "Deploying")
    assert lines_of_handlers(port, run_id) == ["Creating a VM in eu-west-1"]
    assert deployment.starts(run_id) == len(deployment.ends(run_id)) == 1
    deployment.until(deployment.consumed)
    assert deployment.result() == "OK"


def test_the_log_of_a_run_is_found_from_port(deployment: Deployment) -> None:
    """Every log line is one JSON object. The lines of a run have its id, and the run's link leads to their stream."""
    run_id = deployment.start("create_vm", INPUTS)
    [link] = deployment.ended(run_id)["link"]
    [(request_id, lines)] = deployment.until(lambda: deployment.invocations(run_id))

    read = [json.loads(line) for line in lines]
    own = [line for line in read if line.get("run_id") == run_id]
    assert own
    assert {(line["request_id"], line["action"]) for line in own} == {(request_id, "create_vm")}
    stream = unquote(unquote(link.replace("$", "%"))).partition("/log-events/")[2]
    assert request_id in deployment.log(stream)


@pytest.mark.parametrize("name", ["create_vm_v1", "create_vm_v2_template"])
def test_recorded_messages_succeed(deployment: Deployment, port: FakePort, name: str) -> None:
    """Messages from Port's guide, in both envelopes, end in SUCCESS with an entity each."""
    message = event_file(name)
    run_id = message["context"]["runId"]
    port.add_run(run_id)

    deployment.publish(message)

    assert deployment.ended(run_id)["status"] == "SUCCESS"
    assert port.entities["vm", f"vm-{run_id}"]["properties"]["region"] == "eu-west-1"


def test_messages_for_others_are_skipped(deployment: Deployment, port: FakePort) -> None:
    """A message for another consumer is skipped without a request to Port, and the next run is handled.

    The first message is for Port's agent, although the action has a handler here. The second has an unknown action.
    """
    agents = event_file("agent_webhook_day2") | {"action": "create_vm"}
    foreign = agents["context"]["runId"]
    port.add_run(foreign)
    deployment.publish(agents)
    unknown = deployment.start("resize_vm")

    assert deployment.ended(deployment.start("create_vm", INPUTS))["status"] == "SUCCESS"

    deployment.until(deployment.consumed)
    assert deployment.requests(foreign) == deployment.requests(unknown) == []
    [line] = deployment.until(lambda: deployment.logged(unknown))
    assert line["level"] == "WARNING"
    assert '@router.action("resize_vm")' in line["stub"]


def test_unreadable_records_are_kept_whole(deployment: Deployment) -> None:
    """A record without a run's id goes to the failure queue unchanged, with the reason, and is committed."""
    values = [b'{"action": "create_vm", ', b"\xff\xfe", None]
    first = deployment.published()
    for value in values:
        deployment.sandbox.kafka.produce(value, key=b"a key", headers=[("origin", b"test")])

    kept: dict[int, Any] = {}
    while len(kept) < len(values):
        kept |= {each["offset"]: each for each in deployment.until(deployment.kept)}

    assert sorted(kept) == [first, first + 1, first + 2]
    for value, body in zip(values, [kept[offset] for offset in sorted(kept)], strict=True):
        record = body["record"]
        assert body["reason"]
        assert (record["topic"], record["offset"]) == (deployment.sandbox.kafka.topic, body["offset"])
        assert base64.b64decode(record["key"]) == b"a key"
        assert record["headers"] == [{"origin": list(b"test")}]
        assert (None if value is None else base64.b64decode(record["value"])) == value
    assert record.get("value") is None
    deployment.until(deployment.consumed)


def test_inputs_that_do_not_fit_end_the_run(deployment: Deployment) -> None:
    """The run's summary names the wrong input, the handler is not started, and the log does not show the value."""
    run_id = deployment.start("create_vm", {**INPUTS, "cpu": "as many as there are"})
    run = deployment.ended(run_id)

    assert run["status"] == "FAILURE"
    assert "cpu" in run["summary"]
    assert deployment.starts(run_id) == 0
    assert deployment.until(lambda: deployment.logged(run_id))
    assert "as many as there are" not in deployment.log()


def test_a_failure_has_the_text_of_the_handler(deployment: Deployment, port: FakePort) -> None:
    """ActionFailed ends the run as FAILURE with its text. Earlier log lines are in Port, and no error is logged."""
    run_id = deployment.start("refuse")
    run = deployment.ended(run_id)

    assert (run["status"], run["summary"]) == ("FAILURE", "There is no room left in eu-west-1.")
    assert lines_of_handlers(port, run_id) == ["Looking for room"]
    lines = deployment.until(lambda: deployment.logged(run_id))
    assert "ERROR" not in {line["level"] for line in lines}


def test_an_unexpected_error_is_told_without_its_text(deployment: Deployment) -> None:
    """The run names the invocation, whose log has the place in the code. Neither has the error's text."""
    text = "postgres://admin:private@db"
    run_id = deployment.start("break", {"text": text})
    run = deployment.ended(run_id)
    [(request_id, _)] = deployment.until(lambda: deployment.invocations(run_id))

    assert run["status"] == "FAILURE"
    assert request_id in run["summary"]
    [line] = [line for line in deployment.logged(run_id) if line["level"] == "ERROR"]
    assert line["error"]["type"] == "ConnectionError"
    assert "failing_handlers.py" in line["error"]["frames"][-1]
    assert text not in json.dumps(run)
    assert text not in deployment.log()


@pytest.mark.parametrize("fault", [{"drop": "before"}, COME_BACK_LATER], ids=["hangs up", "503"])
def test_a_run_waits_for_port(deployment: Deployment, port: FakePort, fault: dict[str, Any]) -> None:
    """While Port is down no handler is started and no record is committed. Afterward the run is done once."""
    deployment.until(deployment.consumed)
    before = deployment.committed()
    with port.fail("/v1/actions/runs/", times=None, **fault) as down:
        run_id = deployment.start("create_vm", INPUTS)
        port.wait_until(lambda: down.used >= 3, PATIENCE_SECONDS)
        assert deployment.starts(run_id) == 0
        assert deployment.committed() == before
        if "status" in fault:
            assert deployment.result() == "PROBLEM: Function call failed"

    assert deployment.ended(run_id)["status"] == "SUCCESS"
    assert deployment.starts(run_id) == len(deployment.ends(run_id)) == 1
    deployment.until(deployment.consumed)


def test_a_report_is_sent_until_port_has_it(deployment: Deployment, port: FakePort) -> None:
    """If Port does not accept an outcome, the next delivery reports it without starting the handler again."""
    run_id = deployment.start("wait")
    wait_for_start(deployment, run_id)
    with port.fail(f"/v1/actions/runs/{run_id}", method="PATCH", times=None, **COME_BACK_LATER) as down:
        deployment.let_go_on(run_id)
        port.wait_until(lambda: down.used >= 3, PATIENCE_SECONDS)
        assert port.runs[run_id]["status"] == "IN_PROGRESS"

    assert deployment.ended(run_id)["status"] == "SUCCESS"
    assert deployment.starts(run_id) == 1
    assert "CRITICAL" in {line["level"] for line in deployment.until(lambda: deployment.logged(run_id))}
    deployment.until(deployment.consumed)


def test_a_redelivered_record_starts_nothing(deployment: Deployment, port: FakePort) -> None:
    """A message that is published twice, and once more after the run's end, gives one start and one end."""
    run_id = new_run_id()
    port.add_run(run_id)
    message = run_message("create_vm", INPUTS, run_id=run_id)

    deployment.publish(message)
    deployment.publish(message)
    assert deployment.ended(run_id)["status"] == "SUCCESS"
    deployment.publish(message)

    deployment.until(deployment.consumed)
    assert deployment.starts(run_id) == len(deployment.ends(run_id)) == 1


def test_killed_processes_leave_no_run_behind(deployment: Deployment) -> None:
    """Every run ends even if the process dies. Only an idempotent handler is started again.

    The runs that kill the process have one entity, so they run one after the other, each in its own process. The other
    runs are in the same event, and may be interrupted too.
    """
    deployment.ended(deployment.start("create_vm", INPUTS))
    deployment.until(deployment.consumed)
    before = deployment.processes()
    entity = f"vm-{new_run_id()}"
    dying = [deployment.start("die", entity=entity) for _ in range(2)]
    again = deployment.start("die_twice", entity=entity)
    others = [deployment.start("create_vm", INPUTS) for _ in range(3)]
    deployment.ended(*dying, again, *others)

    for run_id in dying:
        run = deployment.ended(run_id)
        assert (run["status"], deployment.starts(run_id)) == ("FAILURE", 1)
        assert "interrupted" in run["summary"]
    assert (deployment.ended(again)["status"], deployment.starts(again)) == ("SUCCESS", 2)
    for run_id in others:
        assert deployment.ended(run_id)["status"] in ENDED
        assert deployment.starts(run_id) <= 1
    deployment.until(deployment.consumed)
    deployment.until(lambda: deployment.processes() == before + 4)


def test_runs_of_one_event(deployment: Deployment, port: FakePort) -> None:
    """Runs of one event do not wait for each other, but runs of one entity keep their order.

    While the first run waits, the next ones collect in the topic and arrive in one event. The second run then waits
    while the others end. Without the order, each run of the entity would end before the one ahead of it.
    """
    first = deployment.start("wait")
    wait_for_start(deployment, first)
    waiting = deployment.start("wait")
    vms = [deployment.start("create_vm", INPUTS) for _ in range(3)]
    entity = f"vm-{first}"
    changes = [deployment.start("append", {"seconds": seconds}, entity=entity) for seconds in (0.4, 0.2, 0)]
    deployment.let_go_on(first)

    for run_id in [*vms, *changes]:
        assert deployment.ended(run_id)["status"] == "SUCCESS"
    assert port.runs[waiting]["status"] == "IN_PROGRESS"
    deployment.let_go_on(waiting)
    assert deployment.ended(waiting)["status"] == "SUCCESS"

    assert [each.query["run_id"] for each in port.requests if each.query.get("run_id") in changes] == changes
    deployment.until(deployment.consumed)
    deployment.until(lambda: deployment.invocations(waiting))
    events = {request_id for run_id in [waiting, *vms, *changes] for request_id, _ in deployment.invocations(run_id)}
    assert len(events) == 1


def test_a_handler_that_takes_too_long_is_ended_in_time(deployment: Deployment, port: FakePort) -> None:
    """The run ends as timed out before Lambda ends the process, and the same process handles the next run."""
    deployment.ended(deployment.start("create_vm", INPUTS))
    deployment.until(deployment.consumed)
    before = deployment.processes()
    run_id = deployment.start("hang")
    run = deployment.ended(run_id)

    assert run["status"] == "FAILURE"
    assert f"Timed out after {WORK_SECONDS} s" in run["summary"]
    following = deployment.start("create_vm", INPUTS)
    assert deployment.ended(following)["status"] == "SUCCESS"
    deployment.until(lambda: deployment.invocations(following))
    assert deployment.processes() == before


def test_a_wrong_password_shows_in_the_mapping(deployment: Deployment) -> None:
    """While the cluster refuses the password, the mapping says so. With the right password no run is lost."""
    kafka = deployment.sandbox.kafka
    password = kafka.password
    kafka.change_password("what-the-cluster-takes-now")
    try:
        run_id = deployment.start("create_vm", INPUTS)
        deployment.until(lambda: deployment.result().startswith("PROBLEM: SASL authentication failed"))
        assert password not in deployment.result()
        assert deployment.requests(run_id) == []
    finally:
        kafka.change_password(password)

    assert deployment.ended(run_id)["status"] == "SUCCESS"
    deployment.until(lambda: deployment.result() == "OK")
