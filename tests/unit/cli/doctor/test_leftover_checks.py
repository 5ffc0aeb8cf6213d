"""Failed records and errors in the log are found."""

import pytest

from port_runner_cli.commands.doctor import leftover_checks
from tests.support.doctor_under_test import (
    Deployed,
    expect,
    findings,
    of_state,
)


def test_a_failure_queue_with_something_in_it(deployed: Deployed) -> None:
    """Records that were given up are counted, also those that another reader holds."""
    for _ in range(2):
        deployed.sqs.send_message(QueueUrl=deployed.queue, MessageBody="{}")
    deployed.sqs.receive_message(QueueUrl=deployed.queue)
    found = findings()
    expect(found, "Left over: failure queue", says="2 messages")
    assert "failures resend" in found["Left over: failure queue"].advice


def test_a_function_without_a_queue(deployed: Deployed) -> None:
    """No queue is no mistake, but is said."""
    deployed.environment["FAILURE_QUEUE_URL"] = ""
    assert of_state(findings(), "unknown") == ["Role: failure queue", "Left over: failure queue"]


def test_errors_in_the_log(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last errors are shown with their runs; warnings, and what is older than a day, are not."""
    error = {"level": "ERROR", "event": "run.failed_unexpectedly", "run_id": "r_7", "error": {"type": "KeyError"}}
    deployed.log(
        {"level": "WARNING", "event": "run.action_failed"},
        "START RequestId: 1",
        error,
        "2026-11-22 q1 Task timed out after 10.00 seconds",
    )
    found = findings()
    expect(found, "Left over: errors", says="run.failed_unexpectedly r_7 KeyError")
    assert found["Left over: errors"].found.startswith("2 in the last 24 h")
    assert "Task timed out" in found["Left over: errors"].found
    monkeypatch.setattr(leftover_checks, "LOOK_BACK_SECONDS", -60)
    assert of_state(findings(), "bad") == []
