"""The function's log in CloudWatch."""

from collections.abc import Callable, Iterator
from typing import Any

from port_runner_cli.clients.aws import asking_aws, aws_client
from port_runner_cli.clients.function import Function
from port_runner_cli.log_lines import LogLine, read_line

type Json = dict[str, Any]


class FunctionLog:
    """A function's log in CloudWatch, all streams together."""

    def __init__(self, function: Function) -> None:
        self.group = function.log_group
        self._client = aws_client("logs", function.arn)

    def find(self, pattern: str, since: int, fits: Callable[[LogLine], bool]) -> list[LogLine]:
        """Return the lines since a moment (milliseconds) that match CloudWatch's pattern and fit, oldest first.

        `fits` decides finally, because an emulator may ignore the pattern. Raises CommandFailed.
        https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
        """
        with asking_aws(f"The log group {self.group} cannot be read"):
            pages = self._client.get_paginator("filter_log_events").paginate(
                logGroupName=self.group, startTime=max(0, since), filterPattern=pattern
            )
            found = [line for page in pages for line in _lines(page)]
        return sorted((line for line in found if fits(line)), key=lambda line: line.at)


def _lines(page: Json) -> Iterator[LogLine]:
    for event in page["events"]:
        line = read_line(event["message"], event["timestamp"], id=event["eventId"], stream=event["logStreamName"])
        if line is not None:
            yield line
