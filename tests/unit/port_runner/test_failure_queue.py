"""A record that can neither be handled nor be tried again is kept whole, or an ERROR says that it is lost."""

import io
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from port_runner import logs
from port_runner.failure_queue import LARGEST_MESSAGE, FailureQueue
from port_runner.kafka import Record, records_from_event
from port_runner.metrics import Metrics
from port_runner.testing import kafka_event


class Queue:
    """An SQS queue, and what it was sent."""

    def __init__(self) -> None:
        self._sqs = boto3.client("sqs")
        self.url = self._sqs.create_queue(QueueName="failures")["QueueUrl"]

    @property
    def bodies(self) -> list[Any]:
        answer = self._sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)
        return [json.loads(message["Body"]) for message in answer.get("Messages", [])]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield Queue()


class Output(io.StringIO):
    """The log, as its events and as what was counted."""

    @property
    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    @property
    def events(self) -> list[tuple[str, str, str]]:
        return [(line["level"], line["event"], line["reason"]) for line in self._lines if "event" in line]

    @property
    def counted(self) -> int:
        return sum(line.get("FailuresKept", 0) for line in self._lines)


@pytest.fixture
def output() -> Output:
    output = Output()
    logs.configure("INFO", output)
    return output


def failures_of(url: str | None) -> FailureQueue:
    return FailureQueue(url, Metrics("port-runner"))


def make_record(message: Any) -> Record:
    (record,) = records_from_event(kafka_event(message, partition=3, offset=17, timestamp=1545084650987))
    return record


def test_a_record_is_kept_whole(queue: Queue, output: Output) -> None:
    """The body holds why, the place in Kafka, and the record as Lambda delivered it, so that it can be sent again."""
    record = make_record(b"\xff not UTF-8")

    failures_of(queue.url).keep(record, "its value is not UTF-8")

    assert queue.bodies == [
        {
            "reason": "its value is not UTF-8",
            "topic": "org_test.runs",
            "partition": 3,
            "offset": 17,
            "timestamp": 1545084650987,
            "record": record.content,
        }
    ]
    assert output.events == [("ERROR", "record.kept", "its value is not UTF-8")]
    assert output.counted == 1
    assert record.content["value"] not in output.getvalue()


def test_a_tombstone_is_kept(queue: Queue) -> None:
    """A record without a value is kept like any other."""
    failures_of(queue.url).keep(make_record(None), "it has no value (a tombstone)")

    assert queue.bodies[0]["record"]["offset"] == 17


def test_an_outcome_that_was_not_reported_is_kept_with_its_record(queue: Queue) -> None:
    """A person can report by hand what the handler had done."""
    failures_of(queue.url).keep(make_record({}), "given up", outcome={"status": "SUCCESS", "summary": "Done"})

    assert queue.bodies[0]["outcome"] == {"status": "SUCCESS", "summary": "Done"}


@pytest.mark.parametrize("text", ["x", "ž", "\U0001f512"])
def test_a_record_too_large_for_sqs_is_kept_by_its_place(queue: Queue, text: str) -> None:
    """A content that SQS would refuse is left out: topic, partition and offset still lead to it."""
    failures_of(queue.url).keep(make_record({"text": text * LARGEST_MESSAGE}), "not ours to read", outcome={"a": 1})

    (body,) = queue.bodies
    assert (body["topic"], body["partition"], body["offset"]) == ("org_test.runs", 3, 17)
    assert (body["record"], body["outcome"]) == (None, {"a": 1})


def test_an_outcome_too_large_for_sqs_is_left_out_last(queue: Queue) -> None:
    """A summary that is too large for SQS does not prevent keeping its record."""
    failures_of(queue.url).keep(make_record({}), "given up", outcome={"summary": "x" * LARGEST_MESSAGE})

    (body,) = queue.bodies
    assert (body["record"], body["outcome"], body["offset"]) == (None, None, 17)


def test_the_largest_record_that_fits_is_kept_whole(queue: Queue) -> None:
    """The limit is that of the body that is sent, to the byte."""
    record = make_record({})
    body = {"reason": "", "topic": record.topic, "partition": 3, "offset": 17, "timestamp": record.timestamp}
    rest = LARGEST_MESSAGE - len(json.dumps({**body, "record": record.content}))

    failures_of(queue.url).keep(record, "r" * rest)
    failures_of(queue.url).keep(record, "r" * (rest + 1))

    assert [body["record"] is None for body in queue.bodies] == [False, True]


def test_without_a_queue_the_log_says_what_is_lost(output: Output) -> None:
    """No queue is a choice: nothing is raised, and an ERROR is all that is left of the record."""
    failures_of(None).keep(make_record(b"secret"), "its value is not JSON")

    assert output.events == [("ERROR", "record.given_up", "its value is not JSON")]
    assert output.counted == 1


def test_a_queue_that_does_not_take_it_raises(queue: Queue, output: Output) -> None:
    """A record that could not be kept is redelivered, and neither log nor metric says that it was kept."""
    failures = failures_of(queue.url + "-of-another-account")

    with pytest.raises(ClientError):
        failures.keep(make_record({}), "its value is not JSON")

    assert (output.events, output.counted) == ([], 0)
