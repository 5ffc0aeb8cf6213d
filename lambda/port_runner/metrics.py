"""Metrics as log lines in CloudWatch's embedded format, which needs no call, no permission and no dependency.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from . import logs

NAMESPACE = "PortRunner"
LONGEST_DIMENSION = 1024
# CloudWatch takes no empty dimension, none that begins with a colon, and only printable ASCII. White space alone is
# refused too, so it counts as not printable.
REFUSED = re.compile(r"\A:|\A\Z|[^!-~]")


class Metrics:
    """Counts runs by function, and also by action and outcome."""

    def __init__(self, function_name: str) -> None:
        self._function_name = function_name

    def run_started(self, action: str) -> None:
        """Count a call of a handler."""
        self._emit({"RunsStarted": (1, "Count")}, {"Action": action})

    def run_ended(
        self, action: str, outcome: str, *, handler_seconds: float | None, delivery_seconds: float | None
    ) -> None:
        """Count a reported run. *delivery_seconds* is the time from the record's timestamp to its processing."""
        values: dict[str, tuple[float, str]] = {"RunsEnded": (1, "Count")}
        if handler_seconds is not None:
            values["HandlerTime"] = (round(handler_seconds * 1000), "Milliseconds")
        if delivery_seconds is not None:
            values["DeliveryLag"] = (round(delivery_seconds * 1000), "Milliseconds")
        self._emit(values, {"Action": action, "Outcome": outcome})

    def failure_kept(self) -> None:
        """Count a record that was given up."""
        self._emit({"FailuresKept": (1, "Count")}, {})

    def _emit(self, values: Mapping[str, tuple[float, str]], dimensions: Mapping[str, str]) -> None:
        names = ["FunctionName", *dimensions]
        line: dict[str, Any] = {
            "_aws": {
                "Timestamp": int(time.time() * 1000),
                "CloudWatchMetrics": [
                    {
                        "Namespace": NAMESPACE,
                        # also by function alone: an alarm cannot add up dimensions that it does not know
                        "Dimensions": [["FunctionName"], *([names] if dimensions else [])],
                        "Metrics": [{"Name": name, "Unit": unit} for name, (_, unit) in values.items()],
                    }
                ],
            },
            **{name: _dimension(value) for name, value in {"FunctionName": self._function_name, **dimensions}.items()},
            **{name: value for name, (value, _) in values.items()},
        }
        logs.write(json.dumps(line))


def _dimension(value: str) -> str:
    """Return *value* as CloudWatch takes it: what is not printable ASCII becomes ``_``, and a long value is cut."""
    return REFUSED.sub("_", value)[:LONGEST_DIMENSION]
