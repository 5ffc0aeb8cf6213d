"""Metrics in CloudWatch's embedded format."""

import io
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from port_runner import ActionFailed, ActionRun, logs
from port_runner.metrics import Metrics
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


@pytest.mark.parametrize("action", ["create_vm", "Create-VM@2=x", "a:b", "a" * 1024, "~!"])
def test_an_identifier_of_port_is_the_dimension(action: str) -> None:
    """Dashboards and alarms find an action by its own name."""
    assert dimension_of(action) == action


@pytest.mark.parametrize(
    ("action", "dimension"),
    [
        ("", "_"),
        (" ", "_"),
        ("\n", "_"),
        (":a", "_a"),
        ("žluť vm", "_lu__vm"),
        ("a\x00\x7f\u2028b", "a___b"),
        ("\U0001f512\ud800", "__"),
        ("a" * 1025, "a" * 1024),
        ("ž" * 2000, "_" * 1024),
    ],
)
def test_another_identifier_becomes_a_valid_dimension(action: str, dimension: str) -> None:
    """A character that CloudWatch refuses becomes an underscore: a refused dimension would lose the whole line."""
    assert dimension_of(action) == dimension


@given(st.text())
@example(":" * 2000)
def test_any_identifier_makes_a_valid_dimension(action: str) -> None:
    """CloudWatch takes 1 to 1,024 characters of printable ASCII, not white space alone, and no colon at the start."""
    dimension = dimension_of(action)

    assert 1 <= len(dimension) <= 1024
    assert dimension.isascii()
    assert dimension.isprintable()
    assert dimension.strip() == dimension
    assert not dimension.startswith(":")


def dimension_of(action: str) -> str:
    """Return the dimension under which both counts of a run of *action* are written."""
    stream = io.StringIO()
    logs.configure("INFO", stream)
    metrics = Metrics(action)
    metrics.run_started(action)
    metrics.run_ended(action, "SUCCESS", handler_seconds=1, delivery_seconds=1)
    started, ended = (json.loads(line) for line in stream.getvalue().splitlines())
    assert started["FunctionName"] == ended["FunctionName"] == started["Action"] == ended["Action"]
    return str(started["Action"])
