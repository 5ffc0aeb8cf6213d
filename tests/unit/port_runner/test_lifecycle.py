"""The life of one run, from its record to its end in Port: the README's table, row by row."""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from handlers import vm
from port_runner import (
    ActionFailed,
    ActionRun,
    InProgress,
    RecordsNotConsumed,
    RegistrationError,
    Success,
)
from port_runner.journal import Started, entry_of
from port_runner.testing import kafka_event, run_message
from port_runner_sandbox.fake_port import FakePort
from tests.support.function_under_test import UNTIL_LATER, Function

HOURS = 3600 * 1000


@dataclass(frozen=True)
class Size:
    cpu: int


def test_two_vms_of_one_title_are_two_entities(function: Function) -> None:
    """A title is no identifier: the second VM does not overwrite the first."""
    function.router = vm.router
    inputs = {"cpu": 1, "memory": 1, "storage": 1, "region": "eu-west-1", "title": "Same (title), twice"}

    function.run("create_vm", inputs, run_id="r_1")
    function.run("create_vm", inputs, run_id="r_2")

    assert len(function.port.entities) == 2


def test_one_run_takes_these_requests_in_this_order(function: Function) -> None:
    """One token, then: read the run, mark it as started, the handler's own, one end; all on one connection."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> Success:
        run.upsert_entity("vm", identifier="vm-1")
        return Success(summary="Done.", link="https://example.com/1")

    function.run("resize", run_id="r_1")
    function.run("resize", run_id="r_2")

    asked = [(each.method, each.path.removeprefix("/v1")) for each in function.port.requests]
    for_one_run = [
        ("GET", "/actions/runs/{}"),
        ("POST", "/actions/runs/{}/logs"),
        ("POST", "/blueprints/vm/entities"),
        ("PATCH", "/actions/runs/{}"),
    ]
    expected = [("POST", "/auth/access_token")]
    expected += [(method, path.format(run_id)) for run_id in ("r_1", "r_2") for method, path in for_one_run]
    assert asked == expected
    assert len({each.connection for each in function.port.requests}) == 1
    assert function.ends() == [
        {"status": "SUCCESS", "statusLabel": "Done", "link": ["https://example.com/1"], "summary": "Done."}
    ]


def test_unknown_action_is_logged_with_the_handler_to_paste(function: Function) -> None:
    """A run without a handler is left alone: Port is not asked, and a WARNING holds code that works."""
    assert function.run("scale-up", run_id="r_1") is None

    assert function.port.requests == []
    [line] = function.logged("action.unknown")
    assert line["level"] == "WARNING"
    scope: dict[str, Any] = {"router": function.router, "ActionRun": ActionRun, "Mapping": Mapping, "Any": Any}
    exec(line["stub"], {**scope, "Success": Success})
    function.restart()
    function.run("scale-up", run_id="r_1")
    assert function.port.runs["r_1"]["status"] == "SUCCESS"


def test_unknown_action_fails_where_the_topic_is_ours(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """With UNKNOWN_ACTIONS=fail a run that no handler takes ends as FAILURE that says so."""
    monkeypatch.setenv("UNKNOWN_ACTIONS", "fail")

    assert function.run("scale-up") is None

    [end] = function.ends()
    assert end["status"] == "FAILURE"
    assert "scale-up" in end["summary"]


def test_ended_run_is_left_alone(function: Function) -> None:
    """A redelivered record whose run has ended starts nothing and reports nothing."""
    started: list[str] = []

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        started.append(run.id)

    function.run("resize")
    function.restart()
    assert function.run("resize") is None

    assert started == ["r_1"]
    assert len(function.ends()) == 1
    assert function.logged("run.not_in_progress")[0]["level"] == "INFO"


@pytest.mark.parametrize(("idempotent", "starts", "status"), [(False, 0, "FAILURE"), (True, 1, "SUCCESS")])
def test_interrupted_run(function: Function, idempotent: bool, starts: int, status: str) -> None:
    """A run that was started and did not end is failed as interrupted, unless its handler says it may run again."""
    started: list[str] = []

    @function.router.action("resize", idempotent=idempotent)
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        started.append(run.id)

    function.note_start("r_1")

    assert function.run("resize") is None

    assert len(started) == starts
    [end] = function.ends()
    assert end["status"] == status
    assert "interrupted" in end.get("summary", "interrupted")


def test_inputs_that_do_not_fit(function: Function) -> None:
    """Inputs that do not fit end the run as FAILURE that names them, before it is marked as started."""

    @function.router.action("resize", inputs=Size)
    def resize(run: ActionRun[Size]) -> None:
        raise AssertionError

    assert function.run("resize", {"cpu": "many"}) is None

    [patch] = function.requests("PATCH", "/runs/r_1")
    assert patch.body["status"] == "FAILURE"
    assert "cpu must be a whole number" in patch.body["summary"]
    assert function.logged("run.inputs_do_not_fit")[0]["level"] == "WARNING"


def test_action_failed(function: Function) -> None:
    """The sentence of ActionFailed is shown in Port, and stands in no log."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        raise ActionFailed("The quota of eu-west-1 is used up.")

    assert function.run("resize") is None

    [end] = function.ends()
    assert (end["status"], end["summary"]) == ("FAILURE", "The quota of eu-west-1 is used up.")
    [line] = function.logged("run.action_failed")
    assert line["level"] == "WARNING"
    assert "error" not in line
    assert "quota" not in function.output


@pytest.mark.parametrize("error", [ValueError("canary"), SystemExit("canary"), KeyboardInterrupt("canary")])
def test_handler_that_raises(function: Function, error: BaseException) -> None:
    """For any exception of a handler, Port shows a general sentence and the log its frames, neither shows its text."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        raise error

    assert function.run("resize") is None

    [end] = function.ends()
    [line] = function.logged("run.failed_unexpectedly")
    assert end["status"] == "FAILURE"
    assert line["request_id"] in end["summary"]
    assert line["level"] == "ERROR"
    assert line["error"]["type"] == type(error).__name__
    assert any("test_lifecycle.py" in frame and frame.endswith(" resize") for frame in line["error"]["frames"])
    assert "canary" not in function.output + json.dumps(end)


def test_outcome_of_another_type_is_a_defect(function: Function) -> None:
    """A handler that returns something else than an outcome fails its run, rather than to succeed by chance."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> Any:
        return False

    function.run("resize")

    assert function.ends()[0]["status"] == "FAILURE"
    assert function.logged("run.outcome_unknown")


def _spin() -> None:
    while True:
        pass


def _sleep() -> None:
    time.sleep(3)


def _hold_exceptions() -> None:
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            continue


@pytest.mark.parametrize("hang", [_spin, _sleep, _hold_exceptions])
def test_handler_whose_time_is_up(function: Function, hang: Any) -> None:
    """A handler that hangs ends as timed out while there is time to say so, and the next event is handled as ever."""

    @function.router.action("hang")
    def never(run: ActionRun[Mapping[str, Any]]) -> None:
        hang()
        run.upsert_entity("vm", identifier="too-late")

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None: ...

    began = time.monotonic()
    assert function.run("hang", seconds=2.0) is None
    assert time.monotonic() - began < 2.0

    assert function.ends()[0]["status"] == "FAILURE"
    assert "Timed out" in function.ends()[0]["summary"]
    assert function.logged("run.timed_out")[0]["level"] == "ERROR"
    assert function.run("resize", run_id="r_2") is None
    assert function.port.runs["r_2"]["status"] == "SUCCESS"
    for thread in [each for each in threading.enumerate() if each.name == "handler"]:
        thread.join(5)
        assert not thread.is_alive()
    assert ("vm", "too-late") not in function.port.entities


def test_port_down_before_the_handler(function: Function) -> None:
    """While Port cannot be reached nothing runs, the record is raised, and when Port is back the run succeeds."""
    started: list[str] = []

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        started.append(run.id)

    down = function.port.fail("/v1/actions/runs", status=503, headers=UNTIL_LATER, times=None)
    with down, pytest.raises(RecordsNotConsumed) as raised:
        function.run("resize")

    assert started == []
    assert raised.value.records[0].startswith("org_test.runs-0@0 (Port did not read the run: 503")
    function.run("resize")
    assert started == ["r_1"]
    assert [end["status"] for end in function.ends()] == ["SUCCESS"]


def test_report_that_was_lost_is_sent_at_redelivery(function: Function) -> None:
    """An outcome that Port was not there for is remembered: the handler runs once, no log line is lost."""
    started: list[str] = []

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> Success:
        started.append(run.id)
        run.log("resized")
        down.append(function.port.fail("/v1/actions/runs/r_1", status=503, headers=UNTIL_LATER, times=None))
        return Success(summary="Resized.")

    down: list[Any] = []
    with pytest.raises(RecordsNotConsumed):
        function.run("resize")
    [line] = function.logged("run.not_reported")
    assert (line["level"], line["outcome"]) == ("CRITICAL", "SUCCESS")

    down[0].remove()
    assert function.run("resize") is None

    assert started == ["r_1"]
    assert function.port.runs["r_1"]["summary"] == "Resized."
    assert function.run_log() == ["resized"]


def test_run_that_port_does_not_know(function: Function, failure_queue: Any) -> None:
    """A message whose run is not in this Port starts nothing: it is kept for a person."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        raise AssertionError

    message = run_message("resize", run_id="r_of_another_organization")
    assert function.handle(kafka_event(message, timestamp=int(time.time() * 1000) - 60_000)) is None

    assert "does not know" in failure_queue()[0]["reason"]
    assert function.ends("r_of_another_organization") == []


def test_run_that_port_does_not_know_yet(function: Function) -> None:
    """A new record can arrive before Port shows its run, so it is redelivered, and then runs."""
    started: list[str] = []
    function.router.action("resize")(lambda run: started.append(run.id))
    event = kafka_event(run_message("resize", run_id="r_1"))

    with pytest.raises(RecordsNotConsumed, match="does not know its run yet"):
        function.handle(event)
    function.port.add_run("r_1", "resize")

    assert function.handle(event) is None
    assert started == ["r_1"]


@pytest.mark.parametrize("status", ["WAITING_FOR_APPROVAL", "QUEUED"])
def test_run_that_is_not_in_progress_yet(function: Function, status: str) -> None:
    """A run that has neither ended nor started is redelivered, and runs when it is in progress."""
    started: list[str] = []
    function.router.action("resize")(lambda run: started.append(run.id))
    function.port.add_run("r_1", "resize")
    function.port.runs["r_1"]["status"] = status
    event = kafka_event(run_message("resize", run_id="r_1"))

    with pytest.raises(RecordsNotConsumed, match=status):
        function.handle(event)
    assert started == []
    function.port.runs["r_1"]["status"] = "IN_PROGRESS"

    assert function.handle(event) is None
    assert started == ["r_1"]


@pytest.mark.parametrize("status", [400, 410, 422])
def test_run_whose_reading_port_refuses_for_good(function: Function, failure_queue: Any, status: int) -> None:
    """A refusal that would be repeated does not block the partition: the record is kept."""
    function.router.action("resize")(lambda run: None)
    function.port.add_run("r_1", "resize")
    hour_ago = int(time.time() * 1000) - HOURS

    with function.port.fail("/v1/actions/runs/r_1", status=status, times=None):
        assert function.handle(kafka_event(run_message("resize", run_id="r_1"), timestamp=hour_ago)) is None

    assert "does not know" in failure_queue()[0]["reason"]


def test_in_progress_leaves_the_run_to_its_pipeline(function: Function) -> None:
    """A run that was handed over is not ended here, even if its record is redelivered and a pipeline relabeled it."""

    @function.router.action("deploy")
    def deploy(run: ActionRun[Mapping[str, Any]]) -> InProgress:
        return InProgress(link="https://ci.example.com/7", external_run_id="7")

    function.run("deploy")
    state = function.port.runs["r_1"]
    assert (state["status"], state["statusLabel"], state["externalRunId"]) == ("IN_PROGRESS", "In progress", "7")
    assert state["link"] == ["https://ci.example.com/7"]
    state.update(statusLabel="Building", link=["https://ci.example.com/8"])
    function.restart()

    assert function.run("deploy") is None

    assert function.ends() == []
    assert function.logged("run.handed_over_before")


def test_outcome_that_port_refuses_ends_the_run_all_the_same(function: Function) -> None:
    """A run whose texts Port refuses ends without them."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> Success:
        return Success(link=[7])  # type: ignore[list-item]

    assert function.run("resize") is None

    assert function.port.runs["r_1"]["status"] == "SUCCESS"
    assert function.logged("run.outcome_refused")


def test_run_that_another_client_ended_meanwhile(function: Function) -> None:
    """A run that was ended while its handler worked is left as it is; its record is done."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> Success:
        function.port.runs["r_1"]["status"] = "FAILURE"
        return Success()

    assert function.run("resize") is None

    assert function.port.runs["r_1"]["status"] == "FAILURE"


def test_minimal_payload_is_completed_from_the_run(function: Function) -> None:
    """A payload of just the run's id suffices: action and inputs are Port's."""
    seen: list[Any] = []

    @function.router.action("resize", inputs=Size)
    def resize(run: ActionRun[Size]) -> None:
        seen.append((run.action, run.inputs))

    function.port.add_run("r_1", "resize", properties={"cpu": 4})

    assert function.handle(kafka_event({"runId": "r_1"})) is None

    assert seen == [("resize", Size(cpu=4))]


def test_log_lines_arrive_in_order_and_while_the_handler_runs(function: Function) -> None:
    """Lines come before the end, in their order, and those of a long handler while it works; lost ones fail nothing."""
    during: list[str] = []

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        function.port.fail("/v1/actions/runs/r_1/logs", drop="before")
        run.log("one")
        run.log("two")
        time.sleep(1.3)
        during.append("\n".join(function.run_log()))
        run.log("three")

    function.run("resize")

    assert "\n".join(function.run_log()).splitlines() == ["one", "two", "three"]
    assert during == ["one\ntwo"]
    assert function.port.requests[-1].body["status"] == "SUCCESS"


def test_log_lines_that_port_refuses_fail_no_action(function: Function) -> None:
    """Without its log lines an action still succeeds."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        function.port.fail("/v1/actions/runs/r_1/logs", status=422, times=None)
        run.log("lost")

    function.run("resize")

    assert function.ends()[0]["status"] == "SUCCESS"


def test_started_run_says_so_in_port(port: FakePort, function: Function) -> None:
    """While a handler runs, its run in Port is labeled, and the log names the request and its end."""
    labels: list[Any] = []

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        labels.append(port.runs["r_1"]["statusLabel"])

    function.run("resize", seconds=30)

    assert labels == ["Running"]
    [line] = port.run_logs["r_1"]
    started = entry_of(line["message"])
    assert isinstance(started, Started)
    assert (started.number, started.request) == (1, function.lines[-1]["request_id"])
    assert started.until == pytest.approx(time.time() + 30, abs=10)


def test_inputs_that_check_themselves(function: Function) -> None:
    """A dataclass whose own check raises ends the run, and the record is not redelivered."""

    @dataclass(frozen=True)
    class Even:
        cpu: int

        def __post_init__(self) -> None:
            if self.cpu % 2:
                raise ValueError("canary")

    @function.router.action("resize", inputs=Even)
    def resize(run: ActionRun[Even]) -> None: ...

    assert function.run("resize", {"cpu": 3}) is None

    assert function.ends()[0]["status"] == "FAILURE"
    assert "canary" not in function.output


def test_inputs_whose_check_never_ends(function: Function) -> None:
    """A dataclass whose own check hangs ends the run as timed out, within the invocation, and is not started."""

    @dataclass(frozen=True)
    class Endless:
        cpu: int

        def __post_init__(self) -> None:
            while True:
                time.sleep(0.01)

    function.router.action("resize", inputs=Endless)(lambda run: None)

    assert function.run("resize", {"cpu": 3}, seconds=2.0) is None

    assert function.ends()[0]["status"] == "FAILURE"
    assert "Timed out" in function.ends()[0]["summary"]
    assert not function.logged("run.started")


class Mute(ActionFailed):
    """An error of the handler's author whose own text cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_action_failed_whose_text_cannot_be_made(function: Function) -> None:
    """The run ends with the general sentence, and the record is consumed."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        raise Mute

    assert function.run("resize") is None

    assert function.ends()[0]["summary"] == "The action failed."


def test_action_failed_with_an_endless_text(function: Function) -> None:
    """A text that is longer than Port takes is cut, and its beginning is shown."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        raise ActionFailed("No such disk. " + "名" * 1_200_000)

    assert function.run("resize") is None

    [end] = function.ends()
    assert end["summary"].startswith("No such disk. 名")
    assert len(json.dumps(end)) < 1024 * 1024


def test_action_failed_in_a_group_of_errors(function: Function) -> None:
    """A handler that does several things at once may fail in several ways: Port shows all that are for people."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        raise ExceptionGroup(
            "tasks",
            [ActionFailed("No such disk."), ExceptionGroup("inner", [ActionFailed("No such vm."), KeyError("x")])],
        )

    assert function.run("resize") is None

    assert function.ends()[0]["summary"] == "No such disk.\nNo such vm."
    assert "KeyError" in json.dumps(function.logged("run.failed_unexpectedly"))
    assert "No such disk" not in function.output


def test_inputs_that_fail_the_action(function: Function) -> None:
    """ActionFailed from a dataclass's own check ends the run with its sentence, and the record is consumed."""

    @dataclass(frozen=True)
    class Even:
        cpu: int

        def __post_init__(self) -> None:
            if self.cpu % 2:
                raise ActionFailed("The number of cores must be even.")

    function.router.action("resize", inputs=Even)(lambda run: None)

    assert function.run("resize", {"cpu": 3}) is None

    assert function.ends()[0]["summary"] == "The number of cores must be even."


@pytest.mark.parametrize("outcome", [Success(summary=object()), InProgress(external_run_id=object())])  # type: ignore[arg-type]
def test_outcome_that_cannot_be_written(function: Function, outcome: Any) -> None:
    """An outcome that holds what JSON cannot carry is reported without it."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> Any:
        return outcome

    assert function.run("resize") is None

    run = function.port.runs["r_1"]
    assert (run["status"], run["statusLabel"]) == (outcome.status, outcome.label)


def test_handover_that_port_refuses(function: Function) -> None:
    """A run is handed over also when Port refuses the link that was to go with it."""

    @function.router.action("deploy")
    def deploy(run: ActionRun[Mapping[str, Any]]) -> InProgress:
        return InProgress(link=[7])  # type: ignore[list-item]

    assert function.run("deploy") is None
    function.restart()
    assert function.run("deploy") is None

    assert function.port.runs["r_1"]["statusLabel"] == "In progress"
    assert function.ends() == []


def test_log_that_port_does_not_take_does_not_hold_up_the_end(function: Function) -> None:
    """While Port refuses log lines, a handler that has finished is reported within seconds."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        function.port.fail("/v1/actions/runs/r_1/logs", status=503, times=None)
        run.log("lost")
        time.sleep(1.2)

    began = time.monotonic()
    assert function.run("resize", seconds=60.0) is None

    assert time.monotonic() - began < 12
    assert function.ends()[0]["status"] == "SUCCESS"


def test_long_log_lines_arrive_whole(function: Function) -> None:
    """A text that is too long for one request is sent in several."""
    text = "ž😀" * 100_000

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        run.log(text)

    assert function.run("resize") is None

    assert "".join(function.run_log()) == text


def test_minimal_payload_has_its_blueprint_from_the_run(function: Function) -> None:
    """A handler of one blueprint takes a run whose message names only the run."""
    seen: list[Any] = []

    @function.router.action("resize", blueprint="vm")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        seen.append(run.blueprint)

    function.port.add_run("r_1", "resize", blueprint="vm")

    function.handle(kafka_event({"runId": "r_1"}))

    assert seen == ["vm"]


@pytest.mark.parametrize(
    ("registered", "sent"), [("resize", "resize"), ("vm_resize", "resize"), ("resize", "vm_resize")]
)
def test_message_without_blueprint(function: Function, registered: str, sent: str) -> None:
    """A message that names the action and not its blueprint is completed from the run before it is left to others."""

    @function.router.action(registered, blueprint="vm")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None: ...

    function.port.add_run("r_1", sent, blueprint="vm")

    function.handle(kafka_event({"runId": "r_1", "action": sent}))

    assert function.port.runs["r_1"]["status"] == "SUCCESS"


@pytest.mark.parametrize("action", ['quote"d', "1st", "class", "scale-up"])
def test_stub_of_any_action_is_python(function: Function, action: str) -> None:
    """The handler to paste is valid Python for every action name."""
    function.run(action)

    compile(function.logged("action.unknown")[0]["stub"], "stub", "exec")


def test_coroutines_are_refused(function: Function) -> None:
    """An `async def` handler fails at registration: nothing here would await it."""
    with pytest.raises(RegistrationError, match="async def"):

        @function.router.action("resize")  # type: ignore[arg-type]
        async def resize(run: ActionRun[Mapping[str, Any]]) -> None: ...


def test_a_handler_whose_thread_cannot_start_runs_later(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can start after the mark, the handler certainly did not run, and a redelivery runs it."""
    started: list[str] = []
    function.router.action("resize")(lambda run: started.append(run.id))

    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr("port_runner.lifecycle.Call", refuse)
        with pytest.raises(RecordsNotConsumed):
            function.run("resize")
    assert started == []

    assert function.run("resize") is None

    assert started == ["r_1"]
    assert function.port.runs["r_1"]["status"] == "SUCCESS"
