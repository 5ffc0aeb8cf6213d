"""Handlers that fail, die, hang or wait: a module next to ``lambda_function.py``, as a user could write one.

The integration tests deploy it with the shipped handlers. Most handlers first save an entity in Port that is tied to
their run. The tests count these entities to see how often a handler was started.
"""

import os
import signal
import time
from collections.abc import Mapping
from typing import Any

from lambda_function import lambda_handler, runner
from port_runner import ActionFailed, ActionRouter, ActionRun, Success

__all__ = ["lambda_handler"]

router = ActionRouter()

type Run = ActionRun[Mapping[str, Any]]


def leave_trace(run: Run, **properties: Any) -> None:
    run.upsert_entity("vm", identifier=f"started-{run.id}", properties=properties)


@router.action("refuse")
def refuse(run: Run) -> Success:
    """Fail with a reason that is written for people."""
    leave_trace(run)
    run.log("Looking for room")
    raise ActionFailed("There is no room left in eu-west-1.")


@router.action("break")
def break_down(run: Run) -> Success:
    """Fail with an unexpected error."""
    leave_trace(run)
    raise ConnectionError(run.inputs["text"])


@router.action("die")
def die(run: Run) -> Success:
    """Kill the function's process."""
    leave_trace(run)
    os.kill(os.getpid(), signal.SIGKILL)
    return Success()


@router.action("die_twice", idempotent=True)
def die_twice(run: Run) -> Success:
    """Kill the function's process the first two times."""
    trace = run.get_entity("vm", f"started-{run.id}")
    deaths = trace.properties["cpu_cores"] if trace else 0
    if deaths < 2:
        leave_trace(run, cpu_cores=deaths + 1)
        os.kill(os.getpid(), signal.SIGKILL)
    return Success()


@router.action("wait")
def wait(run: Run) -> Success:
    """Wait until the test lets the run end."""
    leave_trace(run)
    while run.get_entity("vm", f"go-on-{run.id}") is None:
        time.sleep(0.05)
    return Success()


@router.action("hang")
def hang(run: Run) -> Success:
    """Never return."""
    leave_trace(run)
    while True:
        time.sleep(0.05)


@router.action("append")
def append(run: Run) -> Success:
    """Sleep for some seconds, then change the run's entity."""
    time.sleep(run.inputs["seconds"])
    run.upsert_entity("vm", identifier=run.entity_identifier, title=run.id)
    return Success()


runner.include(router)
