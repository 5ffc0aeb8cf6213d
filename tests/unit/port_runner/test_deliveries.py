"""A model of deliveries: any sequence of duplicates, kills, lost answers, refusals and time, in two processes.

In the model, no time passes by itself. A killed process sends nothing more, and forgets everything.
"""

import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import port_runner.deadline
import port_runner.journal
import port_runner.lifecycle
import port_runner.port_http
import port_runner.reporting
import port_runner.run_log
import port_runner.starts
from port_runner import ActionFailed, ActionRouter, ActionRun, InProgress, RecordsNotConsumed, Success
from port_runner.errors import PortUnavailableError
from port_runner.journal import HandedOver, entry_of
from port_runner.port_http import PortHttp
from port_runner.testing import kafka_event, run_message
from port_runner_sandbox.fake_port import FakePort
from tests.support.function_under_test import UNTIL_LATER, Function

INVOCATION_SECONDS = 30.0
# More than an invocation can live, and more than Port asks to wait.
LONG_SECONDS = 1000.0
MAX_STARTS = 3
ACTIONS = {"once": 1, "again": MAX_STARTS}

# How Port misbehaves during one invocation: the request, and what happens to it.
REQUESTS = st.sampled_from(
    [
        ("GET", "/v1/actions/runs/{}$"),
        ("GET", "/v1/actions/runs/{}/logs"),
        ("POST", "/v1/actions/runs/{}/logs"),
        ("PATCH", "/v1/actions/runs/{}$"),
        ("POST", "/v1/blueprints/vm/entities"),
        ("POST", "/v1/auth/access_token"),
    ]
)
MISBEHAVIOR = st.sampled_from(
    [
        {"status": 503},
        {"status": 503, "headers": UNTIL_LATER},
        {"status": 503, "headers": UNTIL_LATER, "times": None},
        {"status": 429, "headers": UNTIL_LATER},
        {"status": 401},
        {"status": 403},
        {"status": 422},
        {"status": 422, "times": None},
        {"html": True},
        {"drop": "before"},
        {"drop": "after"},
    ]
)
FAULTS = st.one_of(st.none(), st.none(), st.tuples(REQUESTS, MISBEHAVIOR))
STEPS = st.lists(st.sampled_from(["log", "label", "entity", "duplicate", "die"]), max_size=3)
ENDS = st.one_of(
    st.just("die"), st.sampled_from(["success", "success with a bad link", "failure", "defect", "hand over"])
)

CLOCKS = (
    port_runner.deadline,
    port_runner.journal,
    port_runner.lifecycle,
    port_runner.port_http,
    port_runner.reporting,
    port_runner.run_log,
)

in_process: ContextVar["Process"] = ContextVar("in_process")


class Process(Function):
    """A process of the function, which can be killed."""

    dead = False

    def deliver(self, run: "Run") -> bool:
        """Give the run's record to this process, and return whether it was consumed."""
        self.dead = False
        token = in_process.set(self)
        try:
            self.handle(run.event, seconds=INVOCATION_SECONDS)
            return not self.dead
        except RecordsNotConsumed:
            return False
        finally:
            in_process.reset(token)
            if self.dead:
                self.restart()


@dataclass
class Run:
    """A run with what has happened to it."""

    id: str
    action: str
    starts: int = 0
    in_handler: int = 0
    consumed: bool = False
    holder: Process | None = None
    """The process that has started the run, and could not report its outcome yet."""
    disturbed: bool = False
    """The outcome is lost: its process died, or another process got the record."""
    end: tuple[Any, Any] | None = None
    plan: tuple[list[str], str] = ([], "success")
    event: Any = field(default=None, repr=False)


class Deliveries(RuleBasedStateMachine):
    """Each run ends once, and each handler starts as often as it may, in any sequence of events."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.port = FakePort()
        self.port.__enter__()
        self.port.blueprints["vm"] = BLUEPRINT
        for name, value in {
            "PORT_API_URL": self.port.url,
            "PORT_CLIENT_ID": self.port.client_id,
            "PORT_CLIENT_SECRET": self.port.client_secret,
            "LOG_LEVEL": "CRITICAL",
        }.items():
            self.patch.setenv(name, value)
        self.passed = 0.0
        clock = {"time": lambda: time.time() + self.passed, "monotonic": lambda: time.monotonic() + self.passed}
        for module in CLOCKS:
            self.patch.setattr(module, "time", SimpleNamespace(**clock, sleep=time.sleep))
        self.patch.setattr(port_runner.starts, "time", SimpleNamespace(**clock, sleep=self._pass))
        self.patch.setattr(port_runner.starts, "PATIENCE_SECONDS", 0.0)
        self.patch.setattr(PortHttp, "_send", _send_unless_dead)
        self.all: dict[str, Run] = {}
        router = ActionRouter()
        router.action("once")(self._handle)
        router.action("again", idempotent=True, max_starts=MAX_STARTS)(self._handle)
        self.processes = [Process(self.port, router) for _ in range(2)]

    def _pass(self, seconds: float) -> None:
        self.passed += seconds

    # The handler

    def _handle(self, action_run: ActionRun[Mapping[str, Any]]) -> Success | InProgress:
        run = self.all[action_run.id]
        process = in_process.get()
        run.starts += 1
        assert self.port.runs[run.id]["status"] == "IN_PROGRESS"
        assert run.in_handler == 0
        run.in_handler += 1
        try:
            return self._carry_out(run, action_run, process)
        finally:
            run.in_handler -= 1

    def _carry_out(self, run: Run, action_run: ActionRun[Mapping[str, Any]], process: Process) -> Success | InProgress:
        steps, end = run.plan
        for step in [*steps, end]:
            match step:
                case "log":
                    action_run.log("a line")
                case "label":
                    action_run.label("Busy")
                case "entity":
                    action_run.upsert_entity("vm", identifier=f"vm-{run.id}")
                case "duplicate":
                    other = next(each for each in self.processes if each is not process)
                    run.consumed |= other.deliver(run)
                case "die":
                    process.dead = run.disturbed = True
                    raise SystemExit
                case "failure":
                    raise ActionFailed("No quota.")
                case "defect":
                    raise ValueError("a defect")
                case "hand over":
                    return InProgress(link="https://ci.example.com", external_run_id=run.id)
                case "success with a bad link":
                    return Success(link=[7])  # type: ignore[list-item]
        return Success(summary="Done.")

    # What happens

    @initialize(labeled=st.sets(st.sampled_from(sorted(ACTIONS))))
    def execute(self, labeled: set[str]) -> None:
        """A developer executes two actions. Perhaps an automation labels their runs."""
        for action in ACTIONS:
            run = Run(f"r_{action}", action)
            self.port.add_run(run.id, action)
            if action in labeled:
                self.port.runs[run.id]["statusLabel"] = "Approved by the bot"
            run.event = kafka_event(run_message(action, run_id=run.id), offset=len(self.all))
            self.all[run.id] = run

    @rule(
        action=st.sampled_from(sorted(ACTIONS)),
        number=st.integers(0, 1),
        events=st.sets(st.sampled_from(["time passes", "another environment", "another label"])),
        fault=FAULTS,
        steps=STEPS,
        end=ENDS,
    )
    def deliver(self, action: str, number: int, events: set[str], fault: Any, steps: list[str], end: str) -> None:
        """A record is delivered, for the first time or again, consumed before or not, after what else happens."""
        run, process = self.all[f"r_{action}"], self.processes[number]
        self._happen(run, process, events)
        run.plan = steps, end
        if fault is not None:
            (method, path), misbehavior = fault
            self.port.fail(path.format(run.id), method=method, **misbehavior)
        is_over = self.port.runs[run.id]["status"] != "IN_PROGRESS" or self._was_handed_over(run)
        starts = run.starts
        run.disturbed |= run.holder is not None and run.holder is not process  # two processes are equal
        consumed = process.deliver(run)
        self.mend()
        run.consumed |= consumed
        if run.starts > starts or consumed:
            run.holder = None if consumed else process
        assert not is_over or run.starts == starts, run
        # A process keeps to a rate limit that Port has told it before.
        assert not is_over or fault is not None or "time passes" not in events or consumed, run

    def _happen(self, run: Run, process: Process, events: set[str]) -> None:
        if "time passes" in events:  # more than any invocation can live
            self.passed += LONG_SECONDS
        if "another environment" in events:
            process.restart()
            for each in self.all.values():
                each.disturbed |= each.holder is process
        if "another label" in events and self.port.runs[run.id]["status"] == "IN_PROGRESS":
            self.port.runs[run.id].update(statusLabel="Pretty", link=["https://portal.example.com"])

    def mend(self) -> None:
        for fault in list(self.port._faults):
            fault.remove()

    # What must hold

    @invariant()
    def starts_are_bounded(self) -> None:
        for run in self.all.values():
            assert run.starts <= ACTIONS[run.action], run

    @invariant()
    def runs_end_once_and_for_a_reason(self) -> None:
        for run in self.all.values():
            state = self.port.runs[run.id]
            end = state["status"], state.get("summary")
            if state["status"] != "IN_PROGRESS":
                run.end = run.end or end
                assert end == run.end, run
            if "interrupted" in (state.get("summary") or ""):
                assert run.disturbed, run

    def teardown(self) -> None:
        """No run is left over when all is well again and every record was delivered until it was consumed."""
        try:
            self.mend()
            for run in self.all.values():
                run.plan = [], "success"
                for _ in range(5):
                    if run.consumed:
                        break
                    self.passed += LONG_SECONDS
                    run.disturbed |= run.holder is not None
                    run.consumed = self.processes[0].deliver(run)
                assert run.consumed, run
                assert self.port.runs[run.id]["status"] != "IN_PROGRESS" or self._was_handed_over(run), run
            self.starts_are_bounded()
            self.runs_end_once_and_for_a_reason()
        finally:
            self.patch.undo()
            self.port.__exit__(None, None, None)

    def _was_handed_over(self, run: Run) -> bool:
        return any(isinstance(entry_of(line["message"]), HandedOver) for line in self.port.run_logs[run.id])


def _send_unless_dead(http: PortHttp, *arguments: Any, **options: Any) -> Any:
    if in_process.get().dead:
        raise PortUnavailableError("reach anyone", reason="the process is dead")
    return SEND(http, *arguments, **options)


SEND = PortHttp._send
BLUEPRINT = {
    "identifier": "vm",
    "title": "VM",
    "schema": {"properties": {}, "required": []},
    "relations": {},
    "createdAt": "2026-01-31T12:00:00.000Z",
    "createdBy": "test",
}

TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings(
    max_examples=40, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
