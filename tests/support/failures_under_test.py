"""A failure queue for `failures`, and answers of the function that it belongs to."""

import json
import time
from typing import Any

import boto3
from click.testing import CliRunner, Result

from port_runner.testing import kafka_event
from port_runner_cli.__main__ import main

NAME = "runs-under-test"


class Queue:
    """The failure queue, and what is in it."""

    def __init__(self) -> None:
        self.client = boto3.client("sqs")
        self.url: str = self.client.create_queue(QueueName=f"{NAME}-failures")["QueueUrl"]

    def put(self, body: Any) -> str:
        text = body if isinstance(body, str) else json.dumps(body)
        sent = self.client.send_message(QueueUrl=self.url, MessageBody=text)
        return str(sent["MessageId"])

    def keep(self, message: Any, *, offset: int = 0, reason: str = "Port does not know its run", **more: Any) -> str:
        """Put a record in as the function does: some minutes old."""
        minutes_ago = int(time.time() * 1000) - 300_000
        [records] = kafka_event(message, offset=offset, timestamp=minutes_ago)["records"].values()
        record = records[0]
        return self.put(
            {
                "reason": reason,
                **{name: record[name] for name in ("topic", "partition", "offset", "timestamp")},
                "record": record,
                **more,
            }
        )

    def ids(self) -> list[str]:
        """The messages that any reader could receive now."""
        found: list[Any] = []
        while messages := self.client.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            found += messages
        for message in found:
            self.client.change_message_visibility(
                QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
        return [message["MessageId"] for message in found]


def took(event: Any) -> tuple[Any, str]:
    """The answer and the log of a function that reported the run of each record."""
    return None, logged(event, "run.reported", status="SUCCESS", run_id="r_1")


def logged(event: Any, name: str, **fields: Any) -> str:
    """A line of the log for each record of an event."""
    records = [record for records in event["records"].values() for record in records]
    return "".join(
        json.dumps({"event": name, **{key: record[key] for key in ("topic", "partition", "offset")}, **fields}) + "\n"
        for record in records
    )


def run(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, ["failures", *arguments, "--function", NAME], input=answer)


def batch(*, topic: str = "org_test.runs", first: int = 3, last: int = 4) -> dict[str, Any]:
    """The message that Lambda puts into a queue for a batch that it gave up."""
    places = {"firstRecordOffset": str(first), "lastRecordOffset": str(last)}
    return {
        "requestContext": {"requestId": "r", "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 11},
        "version": "1.0",
        "KafkaBatchInfo": {"batchSize": last - first + 1, "recordsInfo": {f"{topic}-0": places}},
    }
