"""Every request that a run makes, broken in every way: the run ends once, and no handler starts twice."""

from collections.abc import Mapping
from typing import Any

import pytest

from port_runner import ActionRun, RecordsNotConsumed, Success
from port_runner_sandbox.fake_port import Fault, Received
from tests.support.function_under_test import Function

RUN = "/v1/actions/runs/r_1"
# What a run asks of Port, in its order: method and path. The mark and the log look alike, so the faults for the log and
# the end are put in by the handler, when the mark is through.
STEPS = {
    "token": ("POST", "/v1/auth/access_token"),
    "read": ("GET", f"{RUN}$"),
    "mark": ("POST", f"{RUN}/logs"),
    "entity": ("POST", "/v1/blueprints/vm/entities"),
    "log": ("POST", f"{RUN}/logs"),
    "end": ("PATCH", f"{RUN}$"),
}
BREAKS = {
    "refused once": {"status": 503},
    "refused until the invocation ends": {"status": 503, "times": None},
    "lost once": {"drop": "before"},
    "lost until the invocation ends": {"drop": "before", "times": None},
    "answer lost once": {"drop": "after"},
    "answer lost until the invocation ends": {"drop": "after", "times": None},
    "process killed before": {"drop": "before"},
    "process killed after": {"drop": "after"},
}


class Silence(Fault):
    """The requests of a process that is killed at the request that *death* meets: nothing arrives after it."""

    death: Fault

    def takes(self, request: Received) -> bool:
        return self.death.used > 0 and super().takes(request)


def break_request(function: Function, step: str, how: str) -> None:
    method, path = STEPS[step]
    fault = function.port.fail(path, method=method, **BREAKS[how])  # type: ignore[arg-type]
    if how.startswith("process killed"):
        silence = Silence("", drop="before", times=None)
        silence.death = fault
        with function.port.changed:
            function.port._faults.append(silence)


def mend(function: Function) -> None:
    for fault in function.port._faults:
        fault.remove()


def expected(step: str, how: str, idempotent: bool) -> tuple[str, int]:
    """Return how the run ends, and how often its handler starts.

    A process that is killed right after the mark leaves the same traces as one that is killed in its handler's first
    instruction. So the run counts as started, and is not started again unless it is idempotent.
    """
    killed, until_the_end = how.startswith("process killed"), how.endswith("until the invocation ends")
    if killed and step in ("entity", "log", "end") and not (step == "end" and how.endswith("after")):
        return ("SUCCESS", 2) if idempotent else ("FAILURE", 1)
    if killed and step == "mark" and how.endswith("after"):
        return ("SUCCESS", 1) if idempotent else ("FAILURE", 0)
    if step == "entity" and until_the_end:  # the handler itself could not do what it wanted
        return ("SUCCESS", 2) if idempotent else ("FAILURE", 1)
    return "SUCCESS", 1


@pytest.mark.parametrize("idempotent", [False, True], ids=["once", "idempotent"])
@pytest.mark.parametrize("how", BREAKS)
@pytest.mark.parametrize("step", STEPS)
def test_broken_request(function: Function, step: str, how: str, idempotent: bool) -> None:
    """Delivered again until it is consumed, the record's run ends once, and what had not started succeeds."""
    starts: list[str] = []

    @function.router.action("resize", idempotent=idempotent)
    def resize(run: ActionRun[Mapping[str, Any]]) -> Success:
        starts.append(run.id)
        if step == "log" and len(starts) == 1:
            break_request(function, step, how)
        run.log("resizing")
        if step == "log" and how.startswith("process killed") and len(starts) == 1:
            function.port.wait_until(lambda: function.port._faults[0].used > 0)
        run.upsert_entity("vm", identifier="vm-1")
        if step == "end" and len(starts) == 1:
            break_request(function, step, how)
        return Success()

    if step not in ("log", "end"):
        break_request(function, step, how)
    consumed = False
    # Retries that last until the invocation's end should be short, and so should the time in which a process that was
    # killed may be at work. Everything else has time, also on a busy machine.
    short = 2.0 if step in ("entity", "log", "end") else 1.0
    for seconds in (20.0 if how.endswith("once") else short, 20.0, 20.0):
        try:
            function.run("resize", seconds=seconds)
            consumed = True
        except RecordsNotConsumed:
            pass
        mend(function)
        if how.startswith("process killed") and not consumed:
            function.restart()
        if consumed:
            break

    assert consumed
    accepted = [
        each for each in function.requests("PATCH", "/runs/r_1") if "status" in each.body and each.status == 200
    ]
    assert len(accepted) == 1
    assert (function.port.runs["r_1"]["status"], len(starts)) == expected(step, how, idempotent)
