"""`doctor` runs every check, says what to do, and shows no secret."""

import json
from pathlib import Path
from typing import Any

import pytest

from port_runner_cli.commands.doctor.command import CHECKS
from tests.support.doctor_under_test import (
    TOPIC,
    Deployed,
    findings,
    of_state,
    run,
)


def test_all_is_well(deployed: Deployed) -> None:
    """If nothing is broken, every check is made and is good: exit code 0, and nothing was changed."""
    before = json.dumps(deployed.port.actions)
    deployed.port.requests.clear()
    result = run()
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    count = sum(len(checks) for checks in CHECKS.values()) + 1  # the action's own
    assert lines[-1] == f"0 bad, 0 not checkable, {count} good"
    assert [line for line in lines if line.startswith("  ") and not line.startswith("  good ")] == []
    assert f"  good    topic: {TOPIC} has 1 partition" in lines
    assert json.dumps(deployed.port.actions) == before
    asked = [request for request in deployed.port.requests if "access_token" not in request.path]
    assert {request.method for request in asked} == {"GET"}
    assert deployed.function.events == []


def test_a_finding_says_what_to_do(deployed: Deployed) -> None:
    """A bad line is followed by advice, and the exit code is 1."""
    deployed.mapping["State"] = "Disabled"
    result = run()
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    position = lines.index("  bad     state: it is Disabled")
    assert lines[position + 1].strip() == "→ Set event_source_mapping_enabled = true in Terraform."


def test_no_secret_is_shown(deployed: Deployed) -> None:
    """Neither passwords nor the client's secret are in any output, good or bad."""
    deployed.put(deployed.login, {"username": "user", "password": "canary-of-the-password"})
    output = run().output + run("--json").output
    assert "canary-of-the-password" not in output
    assert deployed.port.client_secret not in output


def test_a_recorded_message_that_is_none(tmp_path: Path) -> None:
    """A file that holds no JSON is a mistake in usage, said before anything is looked at: exit code 2."""
    file = tmp_path / "message.json"
    file.write_text("{")
    result = run("--message", str(file))
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{file} is not JSON" in result.stderr


def test_what_one_may_not_see_is_not_bad(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing permission of this user makes no check bad."""
    from botocore.client import BaseClient
    from botocore.exceptions import ClientError

    allowed = BaseClient._make_api_call

    def call(self: Any, operation: str, parameters: Any) -> Any:
        if operation in ("GetSecretValue", "GetRole", "GetQueueAttributes", "FilterLogEvents"):
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, operation)
        return allowed(self, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    found = findings(kafka=True)
    assert of_state(found, "bad") == []
    assert found["Port: credentials"].state == found["Kafka: secrets"].state == "unknown"
