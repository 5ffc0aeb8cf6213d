"""Checks for leftovers: records that were given up, and errors in the log."""

import time
from datetime import UTC, datetime

from port_runner_cli.clients.aws import asking_aws, aws_client
from port_runner_cli.clients.cloudwatch import FunctionLog
from port_runner_cli.commands.doctor.deployment import Deployment
from port_runner_cli.commands.doctor.finding import Finding, bad, good, unknown
from port_runner_cli.log_lines import LogLine
from port_runner_cli.output import COMMAND

LOOK_BACK_SECONDS = 24 * 3600
SHOWN_ERRORS = 3
DEPTHS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
# A line must have one of these terms for CloudWatch. The code here decides which of these lines are errors.
PATTERN = '?ERROR ?CRITICAL ?Traceback ?"Task timed out" ?"Runtime."'


def failure_queue(deployment: Deployment) -> Finding:
    """The failure queue is empty."""
    url = deployment.function.environment.get("FAILURE_QUEUE_URL")
    if not url:
        return unknown("the function has no failure queue: only the log tells what it gives up")
    with asking_aws(f"The queue {url} cannot be read"):
        found = aws_client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=list(DEPTHS))["Attributes"]
    depth = sum(int(found.get(name, 0)) for name in DEPTHS)
    if depth:
        return bad(
            f"it keeps {depth} message{'s' if depth > 1 else ''}",
            f"`{COMMAND} failures list` shows them, `{COMMAND} failures resend` sends them again.",
        )
    return good("it is empty")


def errors(deployment: Deployment) -> Finding:
    """The function logged no error recently."""
    log = FunctionLog(deployment.function)
    since = int((time.time() - LOOK_BACK_SECONDS) * 1000)
    found = log.find(PATTERN, since, lambda line: line.is_error)
    if not found:
        return good(f"{log.group} has none of the last {LOOK_BACK_SECONDS // 3600} h")
    last = "; ".join(_told(line) for line in found[-SHOWN_ERRORS:])
    return bad(
        f"{len(found)} in the last {LOOK_BACK_SECONDS // 3600} h. The last: {last}",
        f"`{COMMAND} tail RUN_ID` shows the log of one run. {log.group} has all lines.",
    )


def _told(line: LogLine) -> str:
    moment = datetime.fromtimestamp(line.at / 1000, UTC).strftime("%H:%M:%S")
    error = line.fields.get("error")
    parts = (
        line.event,
        line.fields.get("run_id"),
        line.fields.get("reason"),
        error.get("type") if isinstance(error, dict) else None,
    )
    return " ".join([moment, *(str(part) for part in parts if part)])
