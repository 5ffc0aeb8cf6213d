"""Metrics, as log lines in CloudWatch's embedded format: no call, no permission, no dependency.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from . import logs

NAMESPACE = "PortRunner"


class Metrics:
    """Counts what becomes of runs, by function, and by action and outcome too."""

    def __init__(self, function_name: str) -> None:
        self._function_name = function_name

    def run_started(self, action: str) -> None:
        """A handler was called."""
        self._emit({"RunsStarted": (1, "Count")}, {"Action": action})

    def run_ended(
        self, action: str, outcome: str, *, handler_seconds: float | None, delivery_seconds: float | None
    ) -> None:
        """A run was reported; *delivery_seconds* is how long its record was on its way to the function."""
        values: dict[str, tuple[float, str]] = {"RunsEnded": (1, "Count")}
        if handler_seconds is not None:
            values["HandlerTime"] = (round(handler_seconds * 1000), "Milliseconds")
        if delivery_seconds is not None:
            values["DeliveryLag"] = (round(delivery_seconds * 1000), "Milliseconds")
        self._emit(values, {"Action": action, "Outcome": outcome})

    def failure_kept(self) -> None:
        """A record was given up."""
        self._emit({"FailuresKept": (1, "Count")}, {})

    def _emit(self, values: Mapping[str, tuple[float, str]], dimensions: Mapping[str, str]) -> None:
        names = ["FunctionName", *dimensions]
        line: dict[str, Any] = {
            "_aws": {
                "Timestamp": int(time.time() * 1000),
                "CloudWatchMetrics": [
                    {
                        "Namespace": NAMESPACE,
                        # by function alone as well: an alarm cannot add up what it does not know the names of
                        "Dimensions": [["FunctionName"], *([names] if dimensions else [])],
                        "Metrics": [{"Name": name, "Unit": unit} for name, (_, unit) in values.items()],
                    }
                ],
            },
            "FunctionName": self._function_name,
            **dimensions,
            **{name: value for name, (value, _) in values.items()},
        }
        logs.write(json.dumps(line))
