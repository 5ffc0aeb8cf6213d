"""Every row of the README's table about records, against a fake Port."""

import os
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

import port_runner.runner
from handlers import vm
from port_runner import (
    ActionRun,
    ConfigurationError,
    PortRunnerError,
    RecordsNotConsumed,
    RegistrationError,
    Runner,
    Success,
)
from port_runner.testing import LambdaContext, kafka_event, run_message
from tests.support.function_under_test import UNTIL_LATER, Function, event_file

HOURS = 3600 * 1000


@pytest.mark.parametrize("name", ["create_vm_v1", "create_vm_v2_template"])
def test_sample_messages_succeed(function: Function, name: str) -> None:
    """The published sample, in both of its envelopes, makes an entity although it has no title, and ends as SUCCESS."""
    message = event_file(name)
    run_id = message["context"]["runId"]
    function.port.add_run(run_id)
    function.router = vm.router

    assert function.handle(kafka_event(message)) is None

    entity = function.port.entities["vm", f"vm-{run_id}"]
    assert entity["properties"] == {
        "cpu_cores": 2,
        "memory_size": 4,
        "storage_size": 50,
        "region": "eu-west-1",
        "deployed": "Deploying",
    }
    assert function.port.runs[run_id]["status"] == "SUCCESS"
    assert function.run_log(run_id) == ["Creating a VM in eu-west-1"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "tombstone"),
        (b"\xff\xfe", "UTF-8"),
        (b"{", "JSON"),
        ({"action": "create_vm", "context": {}}, "names no run"),
    ],
)
def test_unreadable_record_is_kept_and_consumed(
    function: Function, failure_queue: Any, value: Any, reason: str
) -> None:
    """A record without a run id cannot be reported: it is consumed, kept completely, and an ERROR tells its place."""
    event = kafka_event(value, offset=7)

    assert function.handle(event) is None

    [kept] = failure_queue()
    assert reason in kept["reason"]
    assert (kept["topic"], kept["partition"], kept["offset"]) == ("org_test.runs", 0, 7)
    assert kept["record"] == event["records"]["org_test.runs-0"][0]
    [line] = function.logged("record.kept")
    assert line["level"] == "ERROR"
    assert (line["topic"], line["partition"], line["offset"]) == ("org_test.runs", 0, 7)
    assert function.port.requests == []


def test_failing_failure_queue_raises(function: Function, failure_queue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that the queue does not accept is redelivered: nothing is lost silently."""
    monkeypatch.setenv("FAILURE_QUEUE_URL", os.environ["FAILURE_QUEUE_URL"] + "-of-another-account")

    with pytest.raises(RecordsNotConsumed):
        function.handle(kafka_event(None))


def test_foreign_messages_are_skipped_one_by_one(function: Function) -> None:
    """Messages for others cost no request, and do not keep the record behind them from being handled."""
    function.router = vm.router
    ours = event_file("create_vm_v1")
    function.port.add_run(ours["context"]["runId"])
    workflow = {"context": {"runId": "wfnr_abcdefghijklmnop"}, "payload": {}}

    assert function.handle(kafka_event(event_file("agent_webhook_day2"), workflow, ours)) is None

    assert function.port.runs[ours["context"]["runId"]]["status"] == "SUCCESS"
    assert [line["level"] for line in function.logged("record.skipped")] == ["DEBUG", "DEBUG"]
    assert not any("HardNz" in each.path for each in function.port.requests)


def test_old_record_is_given_up_with_its_outcome(
    function: Function, failure_queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record older than MAXIMUM_RECORD_AGE_SECONDS that keeps failing is kept with its run's outcome."""
    monkeypatch.setenv("MAXIMUM_RECORD_AGE_SECONDS", "3600")

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> Success:
        function.port.fail("/v1/actions/runs/r_1", status=503, headers=UNTIL_LATER, times=None)
        return Success(summary="Resized.")

    function.port.add_run("r_1", "resize")
    old = int(time.time() * 1000) - 2 * HOURS
    event = kafka_event(run_message("resize", run_id="r_1"), timestamp=old)

    with pytest.raises(RecordsNotConsumed):
        function.handle(event)
    monkeypatch.setattr(port_runner.runner, "FAILING_SECONDS", 0.0)
    assert function.handle(event) is None

    [kept] = failure_queue()
    assert "given up after 72" in kept["reason"]
    assert (kept["outcome"]["status"], kept["outcome"]["summary"]) == ("SUCCESS", "Resized.")
    assert kept["record"] == event["records"]["org_test.runs-0"][0]


@pytest.mark.parametrize("timestamp", [1000, -1, -62_135_596_800_000], ids=["old", "unknown", "zero date"])
def test_a_backlog_outlives_a_short_outage(function: Function, failure_queue: Any, timestamp: int) -> None:
    """An old record, or one of unknown age, is not given up at its first failure, and runs when Port answers."""
    started: list[str] = []
    function.router.action("resize")(lambda run: started.append(run.id))
    events = []
    for number in range(5):
        function.port.add_run(f"r_{number}", "resize")
        message = run_message("resize", run_id=f"r_{number}")
        events.append(kafka_event(message, offset=number, timestamp=timestamp))

    with function.port.fail("/v1/actions/runs", status=503, headers=UNTIL_LATER, times=None):
        for event in events:
            with pytest.raises(RecordsNotConsumed):
                function.handle(event)
    for event in events:
        assert function.handle(event) is None

    assert failure_queue() == []
    assert len(started) == 5
    assert {run["status"] for run in function.port.runs.values()} == {"SUCCESS"}


def test_a_run_whose_record_is_given_up_ends_in_port(
    function: Function, failure_queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Port answers when a record is given up, the run does not stay in progress."""
    monkeypatch.setattr(port_runner.runner, "FAILING_SECONDS", 0.0)
    function.router.action("resize")(lambda run: None)
    function.port.add_run("r_1", "resize")
    function.port.fail("/v1/actions/runs/r_1/logs", method="POST", status=503, headers=UNTIL_LATER)

    assert function.handle(kafka_event(run_message("resize", run_id="r_1"), timestamp=1000)) is None

    run = function.port.runs["r_1"]
    assert (run["status"], len(failure_queue())) == ("FAILURE", 1)
    assert run["summary"].startswith("The run was given up before it was started:")


def test_a_started_run_whose_record_is_given_up_is_left_alone(
    function: Function, failure_queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler elsewhere may still work on a run that was started, so it is not ended."""
    monkeypatch.setattr(port_runner.runner, "FAILING_SECONDS", 0.0)
    function.router.action("resize")(lambda run: None)
    function.note_start("r_1", seconds=60)
    function.port.fail("/v1/actions/runs/r_1/logs", status=503, headers=UNTIL_LATER, times=None)

    assert function.handle(kafka_event(run_message("resize", run_id="r_1"), timestamp=1000)) is None

    assert (function.port.runs["r_1"]["status"], len(failure_queue())) == ("IN_PROGRESS", 1)


def test_old_record_is_handled_when_port_answers(function: Function) -> None:
    """Age alone is no reason to give a record up: a backlog is worked off."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None: ...

    function.port.add_run("r_1", "resize")
    function.handle(kafka_event(run_message("resize", run_id="r_1"), timestamp=1000))

    assert function.ends()[0]["status"] == "SUCCESS"


# Several records


def test_every_record_of_every_partition_is_handled(function: Function) -> None:
    """One record's failure touches no other, in its own partition or in another."""
    done: list[str] = []

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        done.append(run.id)
        if run.id == "r_1":
            raise ValueError

    for number in range(6):
        function.port.add_run(f"r_{number}", "resize")
    messages = [run_message("resize", run_id=f"r_{number}") for number in range(6)]
    event = kafka_event(None, *messages[:3])
    event["records"] |= kafka_event(*messages[3:], b"{", partition=1)["records"]

    assert function.handle(event) is None

    assert sorted(done) == [f"r_{number}" for number in range(6)]
    assert [function.port.runs[f"r_{number}"]["status"] for number in (0, 1, 5)] == ["SUCCESS", "FAILURE", "SUCCESS"]


def test_runs_go_side_by_side_and_those_of_one_entity_in_order(function: Function) -> None:
    """Runs do not wait for each other, within a partition too, unless they concern the same entity."""
    barrier = threading.Barrier(3, timeout=5)
    order: list[str] = []

    @function.router.action("create")
    def create(run: ActionRun[Mapping[str, Any]]) -> None:
        barrier.wait()

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        time.sleep(0.05 if run.id == "r_a1" else 0)
        order.append(run.id)

    messages = [run_message("create", run_id=f"r_{number}") for number in range(3)]
    messages += [
        run_message("resize", run_id=f"r_a{number}", blueprint="vm", entity="vm-a", operation="DAY-2")
        for number in (1, 2, 3)
    ]
    for message in messages:
        function.port.add_run(message["context"]["runId"], message["action"])

    assert function.handle(kafka_event(*messages)) is None

    assert order == ["r_a1", "r_a2", "r_a3"]
    assert {run["status"] for run in function.port.runs.values()} == {"SUCCESS"}


def test_max_concurrency_bounds_what_runs_at_once(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than MAX_CONCURRENCY handlers run at the same time."""
    monkeypatch.setenv("MAX_CONCURRENCY", "3")
    running: set[str] = set()
    most: list[int] = []
    three = threading.Barrier(3, timeout=10)

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        running.add(run.id)
        three.wait()
        most.append(len(running))
        three.wait()
        running.discard(run.id)

    for number in range(9):
        function.port.add_run(f"r_{number}", "resize")
    function.handle(kafka_event(*[run_message("resize", run_id=f"r_{number}") for number in range(9)]))

    assert max(most) == 3


def test_runs_are_handled_by_the_threads_that_could_start(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the process has no room for another thread, those that run handle every record, and none is redelivered."""
    function.router.action("resize")(lambda run: None)
    for number in range(9):
        function.port.add_run(f"r_{number}", "resize")
    started: list[str] = []
    start = threading.Thread.start

    def start_two(thread: threading.Thread) -> None:
        if thread.name == "lane":
            if len(started) == 2:
                raise RuntimeError("can't start new thread")
            started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_two)
    answer = function.handle(kafka_event(*[run_message("resize", run_id=f"r_{number}") for number in range(9)]))

    assert answer is None
    assert {run["status"] for run in function.port.runs.values()} == {"SUCCESS"}


def test_exactly_the_records_for_redelivery_are_named(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ReportBatchItemFailures the answer names what is not done and what waits behind it on its entity."""
    monkeypatch.setenv("REPORT_BATCH_ITEM_FAILURES", "true")
    started: list[str] = []

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        started.append(run.id)

    messages = [
        run_message("resize", run_id=f"r_{number}", blueprint="vm", entity=entity)
        for number, entity in enumerate(["vm-a", "vm-b", "vm-a", None])
    ]
    for number in range(4):
        function.port.add_run(f"r_{number}", "resize")
    function.port.fail("/v1/actions/runs/r_0", status=503, headers=UNTIL_LATER, times=None)

    answer = function.handle(kafka_event(*messages, topic="org_1.a-topic.runs", partition=3, offset=40))

    assert answer == {
        "batchItemFailures": [
            {"itemIdentifier": {"partition": "org_1.a-topic.runs-3", "offset": 40}},
            {"itemIdentifier": {"partition": "org_1.a-topic.runs-3", "offset": 42}},
        ]
    }
    assert sorted(started) == ["r_1", "r_3"]


def test_runs_that_did_not_start_in_time_are_redelivered(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a batch that is too long for the invocation, a run that could not end in time is redelivered, not failed."""
    monkeypatch.setenv("REPORT_BATCH_ITEM_FAILURES", "true")
    monkeypatch.setenv("MAX_CONCURRENCY", "1")

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        time.sleep(0.8)

    for number in range(4):
        function.port.add_run(f"r_{number}", "resize")
    answer = function.handle(
        kafka_event(*[run_message("resize", run_id=f"r_{number}") for number in range(4)]), seconds=3
    )

    offsets = [each["itemIdentifier"]["offset"] for each in answer["batchItemFailures"]]
    assert offsets == [1, 2, 3]
    assert [function.port.runs[f"r_{number}"]["status"] for number in range(4)] == [
        "SUCCESS",
        "IN_PROGRESS",
        "IN_PROGRESS",
        "IN_PROGRESS",
    ]


# The function itself


def test_other_events_are_refused(function: Function) -> None:
    """An invocation by hand with something else is refused with a sentence."""
    with pytest.raises(PortRunnerError, match="no Kafka event"):
        function.handle({"hello": "world"})


def test_missing_environment_is_named_at_the_first_event(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that lacks a variable says which one, before anything is done."""
    monkeypatch.delenv("PORT_CLIENT_SECRET")

    with pytest.raises(ConfigurationError, match="PORT_CLIENT_SECRET"):
        function.run("resize")


def test_wrong_credentials_raise(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Port refuses the credentials, nothing runs, the record is redelivered, and no secret is shown."""
    monkeypatch.setenv("PORT_CLIENT_SECRET", "not-the-secret-of-this-port")

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        raise AssertionError

    with pytest.raises(RecordsNotConsumed, match="401") as raised:
        function.run("resize")

    assert "not-the-secret" not in str(raised.value) + function.output


def test_first_line_says_what_this_is(function: Function) -> None:
    """The first line of a cold start has the version and the actions."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None: ...

    function.run("resize")

    first = function.lines[0]
    assert (first["event"], first["actions"]) == ("function.started", ["resize"])
    assert first["version"]
    assert all(line["run_id"] == "r_1" for line in function.lines if line["event"].startswith("run."))


def test_two_routers_with_one_action_clash_at_include() -> None:
    """Two handlers for one action are refused when the second router is included, and both are named."""
    runner = Runner()
    runner.include(vm.router)

    with pytest.raises(RegistrationError, match=r"handlers\.vm\.create_vm and handlers\.vm\.create_vm"):
        runner.include(vm.router)


def test_entry_point_is_importable_without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the function needs no variable: they are read at the first event."""
    for name in list(os.environ):
        if name.startswith("PORT_"):
            monkeypatch.delenv(name)
    import lambda_function

    with pytest.raises(ConfigurationError):
        lambda_function.lambda_handler(kafka_event(None), LambdaContext())


def test_redelivered_record_is_kept_once(function: Function, failure_queue: Any) -> None:
    """An unreadable record that is redelivered because of another record is not kept a second time."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None: ...

    function.port.add_run("r_1", "resize")
    event = kafka_event(None, run_message("resize", run_id="r_1"))
    down = function.port.fail("/v1/actions", status=503, headers=UNTIL_LATER, times=None)
    with down, pytest.raises(RecordsNotConsumed):
        function.handle(event)
    assert function.handle(event) is None

    assert len(failure_queue()) == 1
