"""The starts of runs: duplicates, processes that were killed, time that is too short."""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

from port_runner import ActionFailed, ActionRun, InProgress, RecordsNotConsumed, RegistrationError, Success
from port_runner.journal import GivenBack, HandedOver, Started, entry_of
from port_runner.testing import kafka_event, run_message
from tests.support.function_under_test import UNTIL_LATER, Function

LOGS = "/v1/actions/runs/r_1/logs"


def another_process(function: Function) -> Function:
    """Return a second process of the same function."""
    return Function(function.port, function.router)


def entries(function: Function, run_id: str = "r_1") -> list[Any]:
    """Return the journal of a run."""
    found = [entry_of(line["message"]) for line in function.port.run_logs[run_id]]
    return [entry for entry in found if entry is not None]


def count_starts(function: Function, **options: Any) -> list[str]:
    """Register a handler of resize, and return the list of its starts."""
    starts: list[str] = []

    @function.router.action("resize", **options)
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        starts.append(run.id)

    return starts


# Two invocations


def test_a_duplicate_waits_for_the_first_delivery(function: Function) -> None:
    """A second delivery while the first is at work ends nothing and starts nothing, and is consumed after it."""
    second = another_process(function)
    answers: list[Any] = []
    starts: list[str] = []

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> Success:
        starts.append(run.id)
        duplicate.start()
        function.port.wait_until(lambda: len(function.requests("GET", "/runs/r_1/logs")) > 0)
        run.upsert_entity("vm", identifier="vm-1")
        return Success(summary="Resized.")

    duplicate = threading.Thread(target=lambda: answers.append(second.run("resize")))
    assert function.run("resize") is None
    duplicate.join()

    assert (starts, answers) == (["r_1"], [None])
    assert [end["status"] for end in function.ends()] == ["SUCCESS"]
    assert ("vm", "vm-1") in function.port.entities


def test_a_duplicate_of_a_long_run_is_redelivered(function: Function) -> None:
    """If the other invocation can live longer than this one, the record is redelivered, and the run stays as it is."""
    starts = count_starts(function, idempotent=True)
    function.note_start("r_1", seconds=3600)

    with pytest.raises(RecordsNotConsumed, match="another invocation may be at work"):
        function.run("resize", seconds=2)

    assert starts == []
    assert function.port.runs["r_1"]["status"] == "IN_PROGRESS"


def test_a_killed_process_is_waited_for(function: Function) -> None:
    """A delivery whose time is long enough waits until the other invocation's time is over, then ends the run."""
    starts = count_starts(function)
    function.note_start("r_1", seconds=0.5)

    assert function.run("resize", seconds=20) is None

    assert starts == []
    assert "interrupted" in function.ends()[0]["summary"]


def test_one_run_in_two_forms_in_one_event(function: Function) -> None:
    """Two records of one event that name the same run start it once."""
    both = threading.Barrier(2)
    starts: list[str] = []

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        starts.append(run.id)
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)

    function.port.add_run("r_1", "resize")
    event = kafka_event(run_message("resize", run_id="r_1", blueprint="vm", entity="vm-1"), {"run_id": "r_1"})

    assert function.handle(event) is None

    assert starts == ["r_1"]
    assert function.port.runs["r_1"]["status"] == "SUCCESS"


@pytest.mark.parametrize("label", ["Approved by the bot", "", "Running", "Started (by hand)"])
def test_a_label_of_another_system_does_no_harm(function: Function, label: str) -> None:
    """An automation may label a run before the function gets it: the run was not started, so it starts."""
    starts = count_starts(function)
    function.port.add_run("r_1", "resize")["statusLabel"] = label
    function.note("r_1", "Started: the bot has approved.")

    assert function.run("resize") is None

    assert starts == ["r_1"]
    assert function.port.runs["r_1"]["status"] == "SUCCESS"


def test_a_label_of_the_handler_does_no_harm(function: Function) -> None:
    """A handler may set any label and links: the next delivery knows that the run was started."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        run.label("Almost")
        run.link("https://example.com")
        function.port.fail("/v1/actions/runs/r_1", method="PATCH", status=503, headers=UNTIL_LATER, times=None)

    with pytest.raises(RecordsNotConsumed):
        function.run("resize", seconds=1)
    for fault in function.port._faults:
        fault.remove()

    assert another_process(function).run("resize", seconds=20) is None

    [end] = [end for end in function.ends() if end["status"] == "FAILURE"]
    assert "interrupted" in end["summary"]


# Several starts


@pytest.mark.parametrize(("options", "allowed"), [({}, 3), ({"max_starts": 1}, 1), ({"max_starts": 5}, 5)])
def test_starts_are_bounded(function: Function, options: Any, allowed: int) -> None:
    """A handler that kills its process each time is started max_starts times, then the run ends as FAILURE."""
    starts = count_starts(function, idempotent=True, **options)
    function.note_start("r_1", number=allowed)

    assert function.run("resize") is None

    assert starts == []
    assert "interrupted" in function.ends()[0]["summary"]
    assert function.port.runs["r_1"]["status"] == "FAILURE"


def test_a_start_has_a_number(function: Function) -> None:
    """An idempotent handler whose process was killed starts again, and the journal counts it."""
    starts = count_starts(function, idempotent=True)
    function.note_start("r_1", number=2)

    assert function.run("resize") is None

    assert starts == ["r_1"]
    assert [entry.number for entry in entries(function)] == [2, 3]
    assert function.port.runs["r_1"]["status"] == "SUCCESS"


def test_a_start_whose_answer_was_lost(function: Function) -> None:
    """If Port's answers to the mark are lost, the handler did not run, and a delivery elsewhere runs it at once."""
    starts = count_starts(function)

    with function.port.fail(LOGS, method="POST", drop="after", times=None), pytest.raises(RecordsNotConsumed):
        function.run("resize", seconds=1.5)
    assert starts == []
    assert isinstance(entries(function)[-1], GivenBack)

    assert another_process(function).run("resize") is None

    assert starts == ["r_1"]
    assert function.port.runs["r_1"]["status"] == "SUCCESS"


def test_an_idempotent_handler_starts_again_when_port_was_away(function: Function) -> None:
    """If Port did not take an entity, an idempotent handler does not fail: it starts again."""
    starts: list[str] = []

    @function.router.action("resize", idempotent=True)
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        starts.append(run.id)
        run.upsert_entity("vm", identifier="vm-1")

    with (
        function.port.fail("/v1/blueprints/vm/entities", status=503, headers=UNTIL_LATER, times=None),
        pytest.raises(RecordsNotConsumed, match="did not save the entity"),
    ):
        function.run("resize")
    assert function.port.runs["r_1"]["status"] == "IN_PROGRESS"

    assert another_process(function).run("resize") is None

    assert starts == ["r_1", "r_1"]
    assert function.port.runs["r_1"]["status"] == "SUCCESS"
    assert entries(function)[1] == GivenBack(1)


def test_starts_after_port_was_away_are_bounded(function: Function) -> None:
    """A Port that never takes the entity ends the run after max_starts starts."""
    starts: list[str] = []

    @function.router.action("resize", idempotent=True, max_starts=2)
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        starts.append(run.id)
        run.upsert_entity("vm", identifier="vm-1")

    function.port.fail("/v1/blueprints/vm/entities", status=503, headers=UNTIL_LATER, times=None)
    with pytest.raises(RecordsNotConsumed):
        function.run("resize")
    assert function.run("resize") is None

    assert len(starts) == 2
    assert "did not save the entity" in function.ends()[0]["summary"]


def test_another_handler_fails_when_port_was_away(function: Function) -> None:
    """A handler that may not start twice ends as FAILURE if Port did not take its entity."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        run.upsert_entity("vm", identifier="vm-1")

    function.port.fail("/v1/blueprints/vm/entities", status=503, headers=UNTIL_LATER, times=None)

    assert function.run("resize") is None

    assert function.port.runs["r_1"]["status"] == "FAILURE"


# Time


def test_no_run_starts_with_too_little_time(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a batch that is too long for one invocation are redelivered, and none of them times out."""
    monkeypatch.setenv("MAX_CONCURRENCY", "4")
    function.router.action("resize")(lambda run: time.sleep(0.8))
    for number in range(12):
        function.port.add_run(f"r_{number}", "resize")
    event = kafka_event(*(run_message("resize", run_id=f"r_{number}") for number in range(12)))

    for _ in range(12):
        try:
            function.handle(event, seconds=4)
        except RecordsNotConsumed:
            continue
        break

    assert {run["status"] for run in function.port.runs.values()} == {"SUCCESS"}


def test_a_timeout_ends_the_handler_in_its_time(function: Function) -> None:
    """A handler that says how long it may take is ended then, although the invocation has more time."""
    left: list[float] = []

    @function.router.action("resize", timeout=0.5)
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        left.append(run.seconds_left)
        time.sleep(3)

    began = time.monotonic()
    assert function.run("resize", seconds=60) is None

    assert time.monotonic() - began < 3
    assert 0 < left[0] <= 0.5
    assert "Timed out" in function.ends()[0]["summary"]


def test_a_run_starts_only_with_the_time_that_it_needs(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that needs most of an invocation starts at the beginning of one."""
    monkeypatch.setenv("MAX_CONCURRENCY", "1")
    starts: list[str] = []
    function.router.action("resize", timeout=600)(lambda run: starts.append(run.id))
    function.router.action("wait")(lambda run: time.sleep(1.5))
    for run_id, action in (("r_0", "wait"), ("r_1", "resize")):
        function.port.add_run(run_id, action)
    event = kafka_event(run_message("wait", run_id="r_0"), run_message("resize", run_id="r_1"))

    with pytest.raises(RecordsNotConsumed, match="too little of the invocation's time"):
        function.handle(event, seconds=5)
    assert starts == []

    assert function.handle(event, seconds=5) is None
    assert starts == ["r_1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": "60"}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"max_starts": 3}, "idempotent"),
        ({"max_starts": 0, "idempotent": True}, "max_starts"),
        ({"max_starts": 2.5, "idempotent": True}, "max_starts"),
        ({"max_starts": True, "idempotent": True}, "max_starts"),
    ],
)
def test_options_that_make_no_sense(function: Function, options: Any, message: str) -> None:
    """A wrong option fails at registration, with its name."""
    with pytest.raises(RegistrationError, match=message):
        function.router.action("resize", **options)


# Reports


def test_an_end_whose_answer_was_lost_is_counted(function: Function) -> None:
    """A run that ended in Port as reported counts as ended, also if Port's answer did not arrive."""
    function.router.action("resize")(lambda run: Success(summary="Resized."))
    function.port.fail("/v1/actions/runs/r_1", method="PATCH", drop="after")

    assert function.run("resize") is None

    assert len([metric for metric in function.metrics if "RunsEnded" in metric]) == 1
    assert function.logged("run.reported")


def test_an_end_by_another_system_is_not_counted(function: Function) -> None:
    """A run that another system has ended is not counted as ended here."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> Success:
        function.port.runs["r_1"].update(status="SUCCESS", statusLabel="Done", summary="By hand.")
        return Success(summary="Resized.")

    assert function.run("resize") is None

    assert not [metric for metric in function.metrics if "RunsEnded" in metric]
    assert function.logged("run.not_in_progress")


@pytest.mark.parametrize("outcome", [Success(summary="Resized.", link=[7]), ActionFailed("No quota.")])  # type: ignore[list-item]
def test_a_link_that_port_refuses_does_not_cost_the_summary(function: Function, outcome: Any) -> None:
    """The run ends with its summary, without its links."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> Any:
        run._links.append(7)  # type: ignore[arg-type]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert function.run("resize") is None

    assert function.port.runs["r_1"]["summary"] in ("Resized.", "No quota.")


def test_a_hand_over_whose_rest_is_lost(function: Function) -> None:
    """If only the first request of a hand-over reaches Port, the run is left to its pipeline all the same."""

    @function.router.action("deploy")
    def deploy(run: ActionRun[Mapping[str, Any]]) -> InProgress:
        function.port.fail("/v1/actions/runs/r_1", method="PATCH", drop="before", times=None)
        return InProgress(external_run_id="7")

    with pytest.raises(RecordsNotConsumed):
        function.run("deploy", seconds=2)

    assert another_process(function).run("deploy") is None

    assert function.port.runs["r_1"]["status"] == "IN_PROGRESS"
    assert isinstance(entries(function)[0], Started)
    assert HandedOver() in entries(function)


def test_a_fast_pipeline_keeps_what_it_has_set(function: Function) -> None:
    """A pipeline's label is kept if it came before the handler returned, and so are its links."""

    @function.router.action("deploy")
    def deploy(run: ActionRun[Mapping[str, Any]]) -> InProgress:
        function.port.runs["r_1"].update(statusLabel="Building", link=["https://ci.example.com/8"])
        return InProgress(link="https://ci.example.com/7", external_run_id="7")

    assert function.run("deploy") is None

    run = function.port.runs["r_1"]
    assert (run["statusLabel"], run["externalRunId"]) == ("Building", "7")
    assert run["link"] == ["https://ci.example.com/8", "https://ci.example.com/7"]


def test_a_pipeline_that_is_faster_than_its_handler(function: Function) -> None:
    """A run that its pipeline has ended already stays as it is, and the record is consumed."""

    @function.router.action("deploy")
    def deploy(run: ActionRun[Mapping[str, Any]]) -> InProgress:
        function.port.runs["r_1"].update(status="SUCCESS", summary="Deployed.")
        return InProgress(external_run_id="7")

    assert function.run("deploy") is None

    assert function.port.runs["r_1"]["summary"] == "Deployed."


def test_the_label_of_a_hand_over_replaces_the_handlers(function: Function) -> None:
    """The label of InProgress is shown, also if the handler has labeled the run before."""

    @function.router.action("deploy")
    def deploy(run: ActionRun[Mapping[str, Any]]) -> InProgress:
        run.label("Submitting")
        return InProgress(label="Deploying")

    assert function.run("deploy") is None

    assert function.port.runs["r_1"]["statusLabel"] == "Deploying"


@pytest.mark.parametrize("seconds", [60.0, 2.0])
def test_a_rate_limit_is_waited_for(function: Function, seconds: float) -> None:
    """The function waits as long as Port asks while there is time. Otherwise the record is redelivered at once."""
    starts = count_starts(function)
    function.port.fail("/v1/actions/runs/r_1", method="GET", status=429, headers={"Retry-After": "3"})

    if seconds > 3:
        assert function.run("resize", seconds=seconds) is None
        assert starts == ["r_1"]
    else:
        with pytest.raises(RecordsNotConsumed, match="429"):
            function.run("resize", seconds=seconds)
        assert starts == []
