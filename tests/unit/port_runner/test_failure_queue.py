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

    def accept(self, size: int) -> None:
        """Make the queue refuse messages of more than *size* bytes."""
        self._sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"MaximumMessageSize": str(size)})

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
    def left_out(self) -> Any:
        """The parts with their sizes, as the only line about a kept record says."""
        (line,) = [line for line in self._lines if line.get("event") == "record.kept"]
        return line.get("left_out")

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
def test_a_record_too_large_for_sqs_is_kept_by_its_place(queue: Queue, output: Output, text: str) -> None:
    """A content that SQS would refuse is left out, which the log says: topic, partition and offset still lead to it."""
    record = make_record({"text": text * LARGEST_MESSAGE})

    failures_of(queue.url).keep(record, "not ours to read", outcome={"a": 1})

    (body,) = queue.bodies
    assert (body["topic"], body["partition"], body["offset"]) == ("org_test.runs", 3, 17)
    assert (body["record"], body["outcome"]) == (None, {"a": 1})
    assert output.left_out == {"record": len(json.dumps(record.content))}


@pytest.mark.parametrize("text", ["x", "ž", "\U0001f512"])
def test_an_outcome_too_large_for_sqs_is_left_out_last(queue: Queue, output: Output, text: str) -> None:
    """A summary that is too large for SQS does not prevent keeping its record's place."""
    record, outcome = make_record({}), {"summary": text * LARGEST_MESSAGE}

    failures_of(queue.url).keep(record, "given up", outcome=outcome)

    (body,) = queue.bodies
    assert (body["record"], body["outcome"], body["offset"]) == (None, None, 17)
    sizes = {"record": len(json.dumps(record.content)), "outcome": len(json.dumps(outcome))}
    assert output.left_out == sizes
    assert sizes["outcome"] > LARGEST_MESSAGE


@pytest.mark.parametrize(
    ("accepted", "left_out"),
    [(256 * 1024, []), (16 * 1024, ["record"]), (1024, ["record", "outcome"])],
)
def test_a_queue_with_a_smaller_limit_gets_what_it_accepts(
    queue: Queue, output: Output, accepted: int, left_out: list[str]
) -> None:
    """A queue of before 2025, or an emulator, refuses a size that SQS accepts: it gets the message with fewer parts."""
    queue.accept(accepted)

    failures_of(queue.url).keep(make_record({"x": "x" * 50_000}), "given up", outcome={"summary": "x" * 8000})

    (body,) = queue.bodies
    assert body["offset"] == 17
    assert [name for name in ("record", "outcome") if body[name] is None] == left_out == list(output.left_out)
    assert output.counted == 1


def test_a_message_that_sqs_would_refuse_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that is left goes to a request that SQS can accept."""
    sent: list[str] = []

    class Sqs:
        def send_message(self, *, QueueUrl: str, MessageBody: str) -> None:
            sent.append(MessageBody)

    monkeypatch.setattr(boto3, "client", lambda *_, **__: Sqs())

    failures_of("https://sqs/1/q").keep(make_record({"x": "x" * LARGEST_MESSAGE}), "given up", outcome={"a": 1})

    (body,) = map(json.loads, sent)
    assert (body["record"], body["outcome"]) == (None, {"a": 1})


def test_a_message_that_is_too_large_without_its_parts_raises(queue: Queue, output: Output) -> None:
    """A queue that does not even accept the place refuses the record, which is then redelivered."""
    queue.accept(1024)

    with pytest.raises(ClientError, match="must be shorter"):
        failures_of(queue.url).keep(make_record({}), "r" * 2000)

    assert (queue.bodies, output.events, output.counted) == ([], [], 0)


def test_the_largest_record_that_fits_is_kept_whole(queue: Queue) -> None:
    """The limit is that of the body that is sent, to the byte."""
    record = make_record({})
    body = {"reason": "", "topic": record.topic, "partition": 3, "offset": 17, "timestamp": record.timestamp}
    rest = LARGEST_MESSAGE - len(json.dumps({**body, "record": record.content}))

    failures_of(queue.url).keep(record, "r" * rest)
    failures_of(queue.url).keep(record, "r" * (rest + 1))

    assert [body["record"] is None for body in queue.bodies] == [False, True]


def test_a_redelivered_record_is_kept_once(queue: Queue, output: Output) -> None:
    """A record that is redelivered because of another one in its batch is in the queue once."""
    failures = failures_of(queue.url)
    for _ in range(2):
        failures.keep(make_record(b"{"), "its value is not JSON")

    assert len(queue.bodies) == 1
    assert [event for _, event, _ in output.events] == ["record.kept", "record.kept_before"]


@pytest.mark.parametrize("with_queue", [True, False])
@pytest.mark.parametrize("other", [{"timestamp": 1545084650988}, {"key": "YQ=="}, {"value": "e30="}])
def test_another_record_at_the_same_place_is_kept_too(
    queue: Queue, output: Output, with_queue: bool, other: dict[str, Any]
) -> None:
    """Offsets begin again in a topic that was deleted and created: its records are not those that were kept before."""
    failures = failures_of(queue.url if with_queue else None)
    first = make_record(b"{")
    (second,) = records_from_event({"records": {first.group: [{**first.content, **other}]}})

    failures.keep(first, "its value is not JSON")
    failures.keep(second, "its value is not JSON")

    assert output.counted == 2
    assert len(queue.bodies) == (2 if with_queue else 0)


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
