"""Metrics in CloudWatch's embedded format."""

import time
from collections.abc import Mapping
from typing import Any

import pytest

from port_runner import ActionFailed, ActionRun
from port_runner.testing import kafka_event, run_message
from tests.support.function_under_test import Function


def test_runs_are_counted_by_action_and_outcome(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run counts once as started and once as ended, by function and by action, at every LOG_LEVEL."""
    monkeypatch.setenv("LOG_LEVEL", "CRITICAL")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "my-runner")

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        time.sleep(0.05)
        if run.id == "r_2":
            raise ActionFailed("No.")

    for run_id in ("r_1", "r_2"):
        function.port.add_run(run_id, "resize")
    second_ago = int(time.time() * 1000) - 1000
    function.handle(
        kafka_event(*[run_message("resize", run_id=run_id) for run_id in ("r_1", "r_2")], timestamp=second_ago)
    )

    assert len([line for line in function.metrics if line.get("RunsStarted") == 1]) == 2
    ended = [line for line in function.metrics if line.get("RunsEnded") == 1]
    assert sorted(line["Outcome"] for line in ended) == ["FAILURE", "SUCCESS"]
    for line in ended:
        assert (line["FunctionName"], line["Action"]) == ("my-runner", "resize")
        assert 50 <= line["HandlerTime"] < 1000
        assert 1000 <= line["DeliveryLag"] < 3000
        [directive] = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "PortRunner"
        assert directive["Dimensions"] == [["FunctionName"], ["FunctionName", "Action", "Outcome"]]
        assert {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]} == {
            "RunsEnded": "Count",
            "HandlerTime": "Milliseconds",
            "DeliveryLag": "Milliseconds",
        }
        assert abs(line["_aws"]["Timestamp"] / 1000 - time.time()) < 10


def test_given_up_records_are_counted(function: Function) -> None:
    """Every record that is given up counts."""
    function.handle(kafka_event(None, b"{"))

    assert [line["FailuresKept"] for line in function.metrics] == [1, 1]
