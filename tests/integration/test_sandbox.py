"""The sandbox behaves like Lambda, Lambda's Kafka event source and Port's brokers."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from port_runner_sandbox import NoSandbox, ProcessFailed, Sandbox, start_sandbox
from port_runner_sandbox.broker import MAX_MESSAGE_BYTES
from port_runner_sandbox.certificates import make_certificates
from port_runner_sandbox.processes import Process, free_port

ROLE = "arn:aws:iam::000000000000:role/sandbox-tests"

# Records every event by topic, then follows the topic's instructions.
RECORDER = """
import json, os, signal, time
from pathlib import Path

def report(topic, *offsets):
    return {"batchItemFailures": [{"itemIdentifier": {"partition": f"{topic}-0", "offset": o}} for o in offsets]}

def handler(event, context):
    topic = next(iter(event["records"].values()))[0]["topic"]
    folder = Path(os.environ["FOLDER"])
    with open(folder / f"{topic}.received", "a") as received:
        received.write(json.dumps({"event": event, "pid": os.getpid()}) + "\\n")
    print("received", topic)
    records = [record for records in event["records"].values() for record in records]
    offsets = [record["offset"] for record in records]
    told = {"records": records, "offsets": offsets, "topic": topic, "folder": folder, "answer": None}
    instructions = folder / f"{topic}.py"
    if instructions.exists():
        exec(instructions.read_text(), globals(), told)
    return told["answer"]
"""


def zipped(files: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def until[T](found: Callable[[], T], *, seconds: float = 15) -> T:
    deadline = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < deadline, f"not so after {seconds} seconds"
        time.sleep(0.02)
    return result


def create_function(sandbox: Sandbox, name: str, code: str, **options: Any) -> str:
    functions = sandbox.aws("lambda")
    functions.create_function(
        **{
            "FunctionName": name,
            "Runtime": "python3.13",
            "Handler": "app.handler",
            "Role": ROLE,
            "Code": {"ZipFile": zipped({"app.py": code})},
            "Timeout": 10,
        }
        | options
    )
    functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 400})
    return name


def create_secret(sandbox: Sandbox, content: dict[str, str]) -> str:
    secret = sandbox.aws("secretsmanager").create_secret(
        Name=f"sandbox-tests-{uuid.uuid4()}", SecretString=json.dumps(content)
    )
    arn: str = secret["ARN"]
    return arn


def records_of(event: dict[str, Any]) -> list[dict[str, Any]]:
    return [record for records in event["records"].values() for record in records]


@dataclass(frozen=True)
class Common:
    """The parts that tests share: the recording function, its folder, and the right secrets."""

    function: str
    folder: Path
    login: str
    authority: str


@dataclass
class Mapping:
    """A topic with its event source mapping, and the records that the function got."""

    sandbox: Sandbox
    common: Common
    topic: str
    options: dict[str, Any]
    uuid: str = ""

    def create(self) -> None:
        created = self.sandbox.aws("lambda").create_event_source_mapping(
            **{
                "FunctionName": self.common.function,
                "Topics": [self.topic],
                "BatchSize": 1,
                "StartingPosition": "TRIM_HORIZON",
                "SelfManagedEventSource": {
                    "Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": self.sandbox.kafka.bootstrap_servers}
                },
                "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": self.topic},
                "SourceAccessConfigurations": [
                    {"Type": "SASL_SCRAM_512_AUTH", "URI": self.common.login},
                    {"Type": "SERVER_ROOT_CA_CERTIFICATE", "URI": self.common.authority},
                ],
            }
            | self.options
        )
        self.uuid = created["UUID"]

    def delete(self) -> None:
        functions = self.sandbox.aws("lambda")
        functions.delete_event_source_mapping(UUID=self.uuid)
        mappings = functions.get_paginator("list_event_source_mappings")
        until(lambda: self.uuid not in {m["UUID"] for p in mappings.paginate() for m in p["EventSourceMappings"]})
        self.uuid = ""

    def set_enabled(self, enabled: bool) -> None:
        functions = self.sandbox.aws("lambda")
        functions.update_event_source_mapping(UUID=self.uuid, Enabled=enabled)
        until(lambda: self.state()["State"] == ("Enabled" if enabled else "Disabled"))

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.sandbox.aws("lambda").get_event_source_mapping(UUID=self.uuid)
        return state

    def result(self) -> str:
        result: str = self.state()["LastProcessingResult"]
        return result

    def produce(self, *values: str | bytes | None, **options: Any) -> None:
        for value in values:
            content = value.encode() if isinstance(value, str) else value
            self.sandbox.kafka.produce(content, topic=self.topic, **options)

    def committed(self, partitions: int = 1) -> list[int | None]:
        return self.sandbox.kafka.committed(self.topic, self.topic, partitions)

    def instruct(self, code: str) -> None:
        instructions = self.common.folder / f"{self.topic}.py"
        instructions.with_suffix(".new").write_text(code)
        instructions.with_suffix(".new").rename(instructions)

    def received(self) -> list[dict[str, Any]]:
        """Return `{"event", "pid"}` of every invocation, in order."""
        file = self.common.folder / f"{self.topic}.received"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def events(self) -> list[dict[str, Any]]:
        return [invocation["event"] for invocation in self.received()]

    def batches(self) -> list[list[str]]:
        """Return the values of every invocation's records, in order."""
        return [[base64.b64decode(record.get("value", "")).decode() for record in records_of(e)] for e in self.events()]


@pytest.fixture(scope="module")
def common(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Common]:
    folder = tmp_path_factory.mktemp("recorder")
    function = create_function(
        sandbox, f"recorder-{uuid.uuid4()}", RECORDER, Environment={"Variables": {"FOLDER": str(folder)}}, Timeout=1
    )
    kafka = sandbox.kafka
    login = create_secret(sandbox, {"username": kafka.username, "password": kafka.password})
    authority = create_secret(sandbox, {"certificate": kafka.ca_certificate})
    yield Common(function, folder, login, authority)
    sandbox.aws("lambda").delete_function(FunctionName=function)


@pytest.fixture
def prepare(sandbox: Sandbox, common: Common) -> Iterator[Callable[..., Mapping]]:
    """A function that makes a topic and a mapping that is not created yet.

    Its options are those of CreateEventSourceMapping.
    """
    prepared: list[Mapping] = []

    def prepare(*, partitions: int = 1, max_message_bytes: int = MAX_MESSAGE_BYTES, **options: Any) -> Mapping:
        mapping = Mapping(sandbox, common, f"{sandbox.kafka.group_prefix}{uuid.uuid4()}", options)
        sandbox.kafka.create_topic(mapping.topic, partitions, max_message_bytes=max_message_bytes)
        prepared.append(mapping)
        return mapping

    yield prepare
    for mapping in prepared:
        if mapping.uuid:
            sandbox.aws("lambda").delete_event_source_mapping(UUID=mapping.uuid)


@pytest.fixture
def mapped(prepare: Callable[..., Mapping]) -> Callable[..., Mapping]:
    """A function that makes a topic and its mapping."""

    def mapped(**options: Any) -> Mapping:
        mapping = prepare(**options)
        mapping.create()
        return mapping

    return mapped


def test_an_event_has_lambdas_shape(prepare: Callable[..., Mapping]) -> None:
    """One event has records of several partitions: base64, signed header bytes, and no value for a tombstone."""
    mapping = prepare(partitions=2, BatchSize=10)
    mapping.produce('{"n": 1}', partition=0, key=b"one", headers=[("trace", b"\x01\xff")])
    mapping.produce(None, partition=1, key=b"gone")
    before = time.time() * 1000
    mapping.create()
    event = until(mapping.events)[0]

    assert event["eventSource"] == "SelfManagedKafka"
    assert event["bootstrapServers"] == ",".join(mapping.sandbox.kafka.bootstrap_servers)
    assert set(event["records"]) == {f"{mapping.topic}-0", f"{mapping.topic}-1"}
    [first], [second] = event["records"][f"{mapping.topic}-0"], event["records"][f"{mapping.topic}-1"]
    assert before - 60_000 < first.pop("timestamp") < before
    second.pop("timestamp")
    assert first == {
        "topic": mapping.topic,
        "partition": 0,
        "offset": 0,
        "timestampType": "CREATE_TIME",
        "key": base64.b64encode(b"one").decode(),
        "value": base64.b64encode(b'{"n": 1}').decode(),
        "headers": [{"trace": [1, -1]}],
    }
    assert second == {
        "topic": mapping.topic,
        "partition": 1,
        "offset": 0,
        "timestampType": "CREATE_TIME",
        "key": base64.b64encode(b"gone").decode(),
        "headers": [],
    }
    until(lambda: mapping.committed(2) == [1, 1])
    assert mapping.result() == "OK"


def test_filters_drop_what_does_not_match_and_pass_what_they_cannot_judge(prepare: Callable[..., Mapping]) -> None:
    """A record passes if any filter matches. JSON patterns do not judge text or tombstones. All are committed."""
    patterns = [{"value": {"run": {"action": ["create_vm"]}}}, {"value": {"count": [{"numeric": [">", 1]}]}}]
    mapping = prepare(BatchSize=10, FilterCriteria={"Filters": [{"Pattern": json.dumps(p)} for p in patterns]})
    matching = ['{"run": {"action": "create_vm"}}', '{"count": 2}']
    mapping.produce(*matching, '{"run": {"action": "delete_vm"}}', '{"count": 1}', "[]", "text", None)
    mapping.create()
    until(lambda: mapping.committed() == [7])
    assert mapping.batches() == [[*matching, "text", ""]]


def test_text_filters_judge_text_only(prepare: Callable[..., Mapping]) -> None:
    """A pattern of plain strings drops text that does not match, and passes JSON."""
    pattern = {"value": [{"prefix": "run"}]}
    mapping = prepare(BatchSize=10, FilterCriteria={"Filters": [{"Pattern": json.dumps(pattern)}]})
    mapping.produce("run 1", "other", "{}")
    mapping.create()
    until(lambda: mapping.committed() == [3])
    assert mapping.batches() == [["run 1", "{}"]]


def test_a_batch_closes_when_full_or_when_its_window_ends(prepare: Callable[..., Mapping]) -> None:
    """An event has at most BatchSize records. A smaller batch waits for the end of its window."""
    mapping = prepare(BatchSize=10, MaximumBatchingWindowInSeconds=1)
    values = [str(n) for n in range(25)]
    mapping.produce(*values)
    mapping.create()
    until(lambda: mapping.committed() == [25])
    assert mapping.batches() == [values[:10], values[10:20], values[20:]]


def test_no_event_is_larger_than_six_megabytes(prepare: Callable[..., Mapping], sandbox: Sandbox) -> None:
    """A batch stays below 6 MB. A record that is too large alone goes to the on-failure queue without an attempt."""
    queue, queue_arn = create_queue(sandbox)
    # Port's topics have a lower limit.
    mapping = prepare(
        max_message_bytes=10_000_000, BatchSize=10, DestinationConfig={"OnFailure": {"Destination": queue_arn}}
    )
    producer = Producer(sandbox.kafka.owner_config() | {"message.max.bytes": 10_000_000, "batch.num.messages": 1})
    for size in (2_500_000, 2_500_000, 5_000_000, 10):
        producer.produce(mapping.topic, b"x" * size)
    assert producer.flush(10) == 0
    mapping.create()
    until(lambda: mapping.committed() == [4])
    assert [[len(value) for value in batch] for batch in mapping.batches()] == [[2_500_000], [2_500_000], [10]]
    told = receive(sandbox, queue)
    assert told["requestContext"]["condition"] == "MaximumPayloadSizeExceeded"
    assert told["responseContext"] is None
    assert told["KafkaBatchInfo"]["recordsInfo"][f"{mapping.topic}-0"]["firstRecordOffset"] == "2"


def test_a_failed_batch_is_retried_until_it_succeeds(prepare: Callable[..., Mapping]) -> None:
    """After a function error, the whole batch is redelivered. Nothing is committed, and no later record is read."""
    mapping = prepare(BatchSize=2)
    mapping.instruct('raise RuntimeError("as told")')
    mapping.produce("a", "b")
    mapping.create()
    until(lambda: len(mapping.batches()) >= 3)
    assert mapping.committed() == [None]
    assert mapping.result() == "PROBLEM: Function call failed"
    mapping.produce("c")
    # Wait longer than the window of half a second. If "c" had been read, it would be delivered alone.
    time.sleep(0.8)
    mapping.produce("d")
    mapping.instruct("")
    until(lambda: mapping.committed() == [4])
    *tries, rest = mapping.batches()
    assert {tuple(batch) for batch in tries} == {("a", "b")}
    assert rest == ["c", "d"]
    assert mapping.result() == "OK"


def test_a_failing_partition_does_not_hold_up_the_others(prepare: Callable[..., Mapping]) -> None:
    """Only the partitions of a failed batch wait for its next attempt."""
    mapping = prepare(partitions=2)
    mapping.instruct('assert records[0]["partition"] != 0')
    mapping.produce("bad", "behind bad", partition=0)
    mapping.produce("good", "better", partition=1)
    mapping.create()
    until(lambda: mapping.committed(2) == [None, 2])
    assert ["behind bad"] not in mapping.batches()
    mapping.instruct("")
    until(lambda: mapping.committed(2) == [2, 2])


def test_only_reported_records_come_again(mapped: Callable[..., Mapping]) -> None:
    """With ReportBatchItemFailures, only the named records are redelivered, and commits stop before them."""
    mapping = mapped(BatchSize=4, MaximumBatchingWindowInSeconds=5, FunctionResponseTypes=["ReportBatchItemFailures"])
    mapping.instruct("answer = report(topic, 1, 2)")
    mapping.produce("a", "b", "c", "d")
    until(lambda: len(mapping.batches()) >= 2)
    assert mapping.batches()[:2] == [["a", "b", "c", "d"], ["b", "c"]]
    until(lambda: mapping.committed() == [1])
    mapping.instruct("answer = report(topic)")
    until(lambda: mapping.committed() == [4])
    assert {tuple(batch) for batch in mapping.batches()[1:]} == {("b", "c")}


def test_a_report_that_names_an_unknown_record_fails_the_whole_batch(mapped: Callable[..., Mapping]) -> None:
    """A failure that names no record of the event redelivers all of them. An empty report is a success."""
    mapping = mapped(BatchSize=2, MaximumBatchingWindowInSeconds=5, FunctionResponseTypes=["ReportBatchItemFailures"])
    mapping.instruct("""
answers = [
    report(topic, 7),
    report("elsewhere", 0),
    {"batchItemFailures": [{"itemIdentifier": "0"}]},
    {"batchItemFailures": [{}]},
    "failed",
    {},
]
seen = folder / f"{topic}.received"
answer = answers[len(seen.read_text().splitlines()) - 1]
""")
    mapping.produce("a", "b")
    until(lambda: mapping.committed() == [2])
    assert mapping.batches() == [["a", "b"]] * 6


def test_an_answer_counts_only_where_the_mapping_asks_for_it(mapped: Callable[..., Mapping]) -> None:
    """Without ReportBatchItemFailures, a report of failures counts as success."""
    mapping = mapped()
    mapping.instruct("answer = report(topic, 0)")
    mapping.produce("a")
    until(lambda: mapping.committed() == [1])
    assert mapping.batches() == [["a"]]


def create_queue(sandbox: Sandbox) -> tuple[str, str]:
    queues = sandbox.aws("sqs")
    url = queues.create_queue(QueueName=f"on-failure-{uuid.uuid4()}")["QueueUrl"]
    attributes = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return url, attributes["Attributes"]["QueueArn"]


def receive(sandbox: Sandbox, queue: str) -> dict[str, Any]:
    [message] = until(lambda: sandbox.aws("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages"))
    told: dict[str, Any] = json.loads(message["Body"])
    return told


def test_a_batch_that_is_given_up_goes_to_the_on_failure_queue(
    mapped: Callable[..., Mapping], sandbox: Sandbox
) -> None:
    """After MaximumRetryAttempts retries, the queue gets the records' positions, and the next records are delivered."""
    queue, queue_arn = create_queue(sandbox)
    mapping = mapped(
        BatchSize=2,
        MaximumBatchingWindowInSeconds=5,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": queue_arn}},
    )
    mapping.instruct("assert 0 not in offsets")
    mapping.produce("a", "b", "c", "d")
    told = receive(sandbox, queue)
    until(lambda: mapping.committed() == [4])
    assert mapping.batches() == [["a", "b"], ["a", "b"], ["c", "d"]]

    event = mapping.events()[0]
    assert told["requestContext"].pop("requestId")
    assert told["requestContext"] == {
        "functionArn": mapping.state()["FunctionArn"],
        "condition": "RetryAttemptsExhausted",
        "approximateInvokeCount": 2,
    }
    assert told["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    assert told["version"] == "1.0"
    info = told["KafkaBatchInfo"]
    assert (info["batchSize"], info["bootstrapServers"]) == (2, event["bootstrapServers"])
    assert info["payloadSize"] == len(json.dumps(event))
    [(partition, records)] = info["recordsInfo"].items()
    assert partition == f"{mapping.topic}-0"
    assert (records["firstRecordOffset"], records["lastRecordOffset"]) == ("0", "1")
    assert records["firstRecordTimestamp"] <= records["lastRecordTimestamp"] <= told["timestamp"]


def test_endless_retries_end_where_there_is_an_on_failure_queue(
    mapped: Callable[..., Mapping], sandbox: Sandbox
) -> None:
    """With an on-failure destination, infinite retries end after ten retries."""
    queue, queue_arn = create_queue(sandbox)
    mapping = mapped(DestinationConfig={"OnFailure": {"Destination": queue_arn}})
    mapping.instruct('raise RuntimeError("as told")')
    mapping.produce("a")
    assert receive(sandbox, queue)["requestContext"]["approximateInvokeCount"] == 11
    assert len(mapping.batches()) == 11
    until(lambda: mapping.committed() == [1])


def test_a_failing_batch_is_split_where_the_mapping_says_so(mapped: Callable[..., Mapping]) -> None:
    """With BisectBatchOnFunctionError, a bad record is isolated and the other records succeed."""
    mapping = mapped(
        BatchSize=4, MaximumBatchingWindowInSeconds=5, BisectBatchOnFunctionError=True, MaximumRetryAttempts=1
    )
    mapping.instruct("assert 1 not in offsets")
    mapping.produce("a", "bad", "c", "d")
    until(lambda: mapping.committed() == [4])
    assert mapping.batches() == [["a", "bad", "c", "d"], ["a", "bad"], ["a"], ["bad"], ["bad"], ["c", "d"]]


def test_records_that_are_too_old_are_given_up(prepare: Callable[..., Mapping], sandbox: Sandbox) -> None:
    """A record older than MaximumRecordAgeInSeconds goes to the queue instead of the function."""
    queue, queue_arn = create_queue(sandbox)
    mapping = prepare(
        BatchSize=10, MaximumRecordAgeInSeconds=60, DestinationConfig={"OnFailure": {"Destination": queue_arn}}
    )
    producer = Producer(sandbox.kafka.owner_config())
    producer.produce(mapping.topic, b"old", timestamp=int(time.time() * 1000) - 61_000)
    assert producer.flush(10) == 0
    mapping.produce("new")
    mapping.create()
    until(lambda: mapping.committed() == [2])
    assert mapping.batches() == [["new"]]
    assert receive(sandbox, queue)["KafkaBatchInfo"]["recordsInfo"][f"{mapping.topic}-0"]["lastRecordOffset"] == "0"


def test_a_mapping_resumes_where_its_group_stands(mapped: Callable[..., Mapping]) -> None:
    """A disabled mapping delivers nothing.

    Enabled, or deleted and created again, it continues after the last commit.
    """
    mapping = mapped()
    mapping.produce("1")
    until(lambda: mapping.committed() == [1])
    mapping.set_enabled(False)
    time.sleep(0.3)
    mapping.produce("2")
    time.sleep(0.6)
    assert mapping.batches() == [["1"]]
    mapping.set_enabled(True)
    until(lambda: mapping.committed() == [2])
    mapping.delete()
    mapping.produce("3")
    mapping.create()
    until(lambda: mapping.committed() == [3])
    assert mapping.batches() == [["1"], ["2"], ["3"]]


def test_a_new_group_starts_at_the_starting_position(prepare: Callable[..., Mapping]) -> None:
    """LATEST and AT_TIMESTAMP leave out earlier records. A lost connection does not change the position."""
    latest, at_timestamp = prepare(StartingPosition="LATEST"), prepare(StartingPosition="AT_TIMESTAMP")
    for mapping in (latest, at_timestamp):
        mapping.produce("before")
    # The API takes whole seconds.
    time.sleep(1.1)
    at_timestamp.options["StartingPositionTimestamp"] = time.time()
    latest.create()
    at_timestamp.create()
    at_timestamp.produce("after")
    latest.instruct("assert False")
    number, deadline = 0, time.monotonic() + 15
    while not latest.batches():
        assert time.monotonic() < deadline
        # No event tells when the poller has its position: only records produced later are surely delivered.
        number += 1
        latest.produce(f"after {number}")
        time.sleep(0.2)
    kafka = latest.sandbox.kafka
    kafka.change_password(kafka.password)
    until(lambda: latest.result().startswith("PROBLEM: Connection error"))
    failed = latest.batches()
    latest.instruct("")
    until(lambda: latest.committed() == [number + 1])
    assert ["before"] not in failed
    assert latest.batches()[len(failed)] == failed[0]
    until(lambda: at_timestamp.committed() == [2])
    assert at_timestamp.batches() == [["after"]]


def wrong_password(mapping: Mapping) -> tuple[str, str]:
    username = mapping.sandbox.kafka.username
    return "SASL_SCRAM_512_AUTH", create_secret(mapping.sandbox, {"username": username, "password": "wrong-password"})


def unknown_authority(mapping: Mapping) -> tuple[str, str]:
    other = make_certificates(mapping.common.folder / "other-authority").authority
    return "SERVER_ROOT_CA_CERTIFICATE", create_secret(mapping.sandbox, {"certificate": other})


def no_certificate(mapping: Mapping) -> tuple[str, str]:
    return "SERVER_ROOT_CA_CERTIFICATE", create_secret(mapping.sandbox, {"certificate": "none"})


def deleted_secret(mapping: Mapping) -> tuple[str, str]:
    arn = create_secret(mapping.sandbox, {"username": "someone", "password": "wrong-password"})
    mapping.sandbox.aws("secretsmanager").delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    return "SASL_SCRAM_512_AUTH", arn


def no_topic(mapping: Mapping) -> tuple[str, str]:
    mapping.options["Topics"] = ["nowhere"]
    return "SASL_SCRAM_512_AUTH", mapping.common.login


def secret_without_password(mapping: Mapping) -> tuple[str, str]:
    return "SASL_SCRAM_512_AUTH", create_secret(mapping.sandbox, {"user": "someone", "pass": "wrong-password"})


@pytest.mark.parametrize(
    ("fault", "result"),
    [
        (wrong_password, "PROBLEM: SASL authentication failed"),
        (unknown_authority, "PROBLEM: Lambda failed to authenticate server"),
        (no_certificate, "PROBLEM: Provided certificate or private key is invalid"),
        (deleted_secret, "PROBLEM: The secret {} cannot be read: ResourceNotFoundException"),
        (no_topic, "PROBLEM: Subscribed topic not available: nowhere"),
        (secret_without_password, "PROBLEM: The secret {} must be a JSON object with username and password"),
    ],
)
def test_a_source_that_cannot_be_used_shows_in_the_mapping(
    prepare: Callable[..., Mapping], fault: Callable[[Mapping], tuple[str, str]], result: str
) -> None:
    """The mapping stays enabled. Its LastProcessingResult says what is wrong, without any secret."""
    mapping = prepare()
    right = {"SASL_SCRAM_512_AUTH": mapping.common.login, "SERVER_ROOT_CA_CERTIFICATE": mapping.common.authority}
    kind, arn = fault(mapping)
    mapping.options["SourceAccessConfigurations"] = [
        {"Type": type, "URI": uri} for type, uri in (right | {kind: arn}).items()
    ]
    mapping.produce("a")
    mapping.create()
    shown: list[str] = []  # the client may first report that no broker is left, and then the cause

    def is_told() -> bool:
        shown.append(mapping.result())
        return shown[-1].startswith(result.format(arn))

    until(is_told)
    assert not any("wrong-password" in each for each in shown)
    assert mapping.state()["State"] == "Enabled"
    assert mapping.batches() == []


def test_a_changed_password_is_noticed_and_a_corrected_secret_taken_up(
    prepare: Callable[..., Mapping], sandbox: Sandbox
) -> None:
    """After a change of the broker's password, the mapping fails until its secret is changed too, and loses nothing."""
    kafka = sandbox.kafka
    former = kafka.password
    login = create_secret(sandbox, {"username": kafka.username, "password": former})
    mapping = prepare()
    mapping.options["SourceAccessConfigurations"] = [
        {"Type": "SASL_SCRAM_512_AUTH", "URI": login},
        {"Type": "SERVER_ROOT_CA_CERTIFICATE", "URI": mapping.common.authority},
    ]
    mapping.create()
    mapping.produce("a")
    until(lambda: mapping.committed() == [1])
    kafka.change_password("the-next-password")
    try:
        mapping.produce("b")
        until(lambda: mapping.result().startswith("PROBLEM: SASL authentication failed"))
        assert mapping.batches() == [["a"]]
        secret = json.dumps({"username": kafka.username, "password": kafka.password})
        sandbox.aws("secretsmanager").put_secret_value(SecretId=login, SecretString=secret)
        until(lambda: mapping.committed() == [2])
        assert mapping.result() == "OK"
        assert mapping.batches() == [["a"], ["b"]]
    finally:
        kafka.change_password(former)


def test_a_function_that_is_killed_or_takes_too_long_gets_its_batch_again(
    mapped: Callable[..., Mapping], sandbox: Sandbox
) -> None:
    """After a kill or a timeout, the process has ended and a new process gets the same batch."""
    mapping = mapped()
    mapping.instruct("time.sleep(60)")
    mapping.produce("a")
    until(mapping.received)
    os.kill(mapping.received()[0]["pid"], signal.SIGKILL)
    until(lambda: len(mapping.received()) > 1 and not running(mapping.received()[1]["pid"]))
    mapping.instruct("")
    until(lambda: mapping.committed() == [1])
    killed, timed_out, *_, succeeded = mapping.received()  # it may have timed out once more
    assert killed["event"] == timed_out["event"] == succeeded["event"]
    assert len({killed["pid"], timed_out["pid"], succeeded["pid"]}) == 3
    until(lambda: "Task timed out after 1.00 seconds" in log_of(sandbox, mapping.common.function))


def running(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return not state.stdout.startswith("Z") and bool(state.stdout.strip())


def log_of(sandbox: Sandbox, function: str) -> str:
    events = sandbox.aws("logs").filter_log_events(logGroupName=f"/aws/lambda/{function}")["events"]
    return "".join(event["message"] for event in events)


def test_a_function_has_its_layers_its_environment_and_aws(sandbox: Sandbox) -> None:
    """Files of the last layer win, the environment is the function's, and boto3 reaches LocalStack as the role."""
    code = """
import os, boto3, first, both

def handler(event, context):
    secrets = boto3.client("secretsmanager")
    return {
        "layers": [first.NAME, both.NAME],
        "secret": secrets.get_secret_value(SecretId=os.environ["SECRET"])["SecretString"],
        "left": context.get_remaining_time_in_millis(),
        "environment": dict(os.environ),
        "event": event,
    }
"""
    functions = sandbox.aws("lambda")
    layers = [
        functions.publish_layer_version(LayerName=name, Content={"ZipFile": zipped(files)})["LayerVersionArn"]
        for name, files in (
            ("first", {"python/first.py": "NAME = 'first'", "python/both.py": "NAME = 'first'"}),
            ("second", {"python/both.py": "NAME = 'second'"}),
        )
    ]
    environment = {"SECRET": create_secret(sandbox, {"some": "thing"}), "OWN": "value"}
    name = create_function(
        sandbox, f"layers-{uuid.uuid4()}", code, Layers=layers, Environment={"Variables": environment}, Timeout=30
    )
    answer = json.load(functions.invoke(FunctionName=name, Payload=b'{"asked": "this"}')["Payload"])
    assert answer["event"] == {"asked": "this"}
    assert answer["layers"] == ["first", "second"]
    assert json.loads(answer["secret"]) == {"some": "thing"}
    assert 25_000 < answer["left"] <= 30_000
    assert environment.items() <= answer["environment"].items()
    assert answer["environment"]["AWS_LAMBDA_FUNCTION_NAME"] == name
    assert answer["environment"]["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.13"
    # Nothing from the environment of the person who runs the tests.
    assert "PYTEST_CURRENT_TEST" not in answer["environment"]
    assert answer["environment"]["HOME"] != os.environ.get("HOME")


def test_a_function_that_cannot_be_imported_says_so(sandbox: Sandbox) -> None:
    """After an error at import, every invocation gets that error, and the log has it."""
    name = create_function(sandbox, f"unimportable-{uuid.uuid4()}", "import nowhere")
    for _ in range(2):
        answer = sandbox.aws("lambda").invoke(FunctionName=name)
        assert answer["FunctionError"] == "Unhandled"
        assert json.load(answer["Payload"])["errorType"] == "Runtime.ImportModuleError"
    until(lambda: "No module named 'nowhere'" in log_of(sandbox, name))


def test_a_function_that_dies_gets_a_new_process(sandbox: Sandbox) -> None:
    """A process that dies during an invocation fails it. A process that dies between invocations is replaced."""
    code = """
import os, signal, sys

def handler(event, context):
    if event == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if event == "exit":
        sys.exit(3)
    return os.getpid()
"""
    name = create_function(sandbox, f"dying-{uuid.uuid4()}", code)

    def invoke(event: str) -> Any:
        return json.load(sandbox.aws("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode())["Payload"])

    for event, how in (("kill", "signal: SIGKILL"), ("exit", "exit status 3")):
        answer = invoke(event)
        assert answer["errorType"] == "Runtime.ExitError"
        assert answer["errorMessage"].endswith(how)
    pid = invoke("live")
    assert invoke("live") == pid
    os.kill(pid, signal.SIGKILL)
    # The end of the process is noticed a moment later.
    time.sleep(0.5)
    replaced = invoke("live")
    assert isinstance(replaced, int)
    assert replaced != pid


def test_a_runtime_that_is_not_here_fails_the_function(sandbox: Sandbox) -> None:
    """A function of a runtime that is not installed gets the state Failed when it is created."""
    functions = sandbox.aws("lambda")
    name = f"other-runtime-{uuid.uuid4()}"
    functions.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Handler="app.handler",
        Role=ROLE,
        Code={"ZipFile": zipped({"app.py": ""})},
    )
    until(lambda: functions.get_function(FunctionName=name)["Configuration"]["State"] == "Failed")


def test_an_invocation_has_its_own_log_lines(sandbox: Sandbox) -> None:
    """The tail of the log has only the lines of this invocation. With JSON logging, each line is JSON."""
    code = """
import logging

def handler(event, context):
    logging.getLogger().info("number %s", event["number"])
"""
    name = create_function(sandbox, f"logging-{uuid.uuid4()}", code, LoggingConfig={"LogFormat": "JSON"})
    for number in (1, 2):
        answer = sandbox.aws("lambda").invoke(
            FunctionName=name, Payload=json.dumps({"number": number}).encode(), LogType="Tail"
        )
        lines = [json.loads(line) for line in base64.b64decode(answer["LogResult"]).decode().splitlines()]
        assert [line.get("message", line.get("type")) for line in lines] == [
            "platform.start",
            f"number {number}",
            "platform.report",
        ]


def test_a_developers_own_localstack_is_used(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With AWS_ENDPOINT_URL set, no other LocalStack is started, and the named one keeps running afterward."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", sandbox.aws_endpoint_url)
    with start_sandbox(tmp_path) as other:
        assert other.aws_endpoint_url == sandbox.aws_endpoint_url
        assert other.aws("lambda").list_functions()["Functions"]
        assert not (tmp_path / "localstack.log").exists()
    assert sandbox.aws("sts").get_caller_identity()


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "LOCALSTACK_HOST"])
def test_what_is_no_localstack_is_refused(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    """An endpoint that does not answer as a LocalStack gets no other request, because it could be AWS."""
    monkeypatch.setenv(variable, sandbox.port.url if variable == "AWS_ENDPOINT_URL" else f"127.0.0.1:{free_port()}")
    requests = len(sandbox.port.requests)
    with pytest.raises(NoSandbox, match="Start it, or unset the variable"), start_sandbox(tmp_path):
        pass
    assert {request.path for request in sandbox.port.requests[requests:]} <= {"/_localstack/health"}
    assert list(tmp_path.iterdir()) == []


def descendants(pid: int) -> set[int]:
    table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in map(str.split, table.splitlines())}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def start_script(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def test_a_killed_sandbox_leaves_no_process(tmp_path: Path) -> None:
    """If the process that holds the sandbox is killed, its processes end, even functions during an invocation."""
    script = """
import io, sys, time, zipfile
from pathlib import Path
from port_runner_sandbox import start_sandbox

CODE = "import pathlib, time\\ndef handler(event, context): pathlib.Path(event).touch(), time.sleep(100)"

with start_sandbox(Path(sys.argv[1])) as sandbox:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("app.py", CODE)
    functions = sandbox.aws("lambda")
    functions.create_function(
        FunctionName="sleeper", Runtime="python3.13", Handler="app.handler", Timeout=100,
        Role="arn:aws:iam::000000000000:role/sandbox-tests", Code={"ZipFile": content.getvalue()},
    )
    functions.get_waiter("function_active_v2").wait(FunctionName="sleeper", WaiterConfig={"Delay": 0.05})
    invoked = Path(sys.argv[1], "invoked")
    functions.invoke(FunctionName="sleeper", Payload=f'"{invoked}"'.encode(), InvocationType="Event")
    while not invoked.exists():
        time.sleep(0.02)
    print("running", flush=True)
    time.sleep(100)
"""
    with start_script(script, str(tmp_path)) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "running\n"
        family = descendants(holder.pid)
        # The holder; LocalStack and function, each with its watcher.
        assert len(family) == 5
        holder.kill()
    until(lambda: not any(map(running, family)))


@pytest.mark.parametrize("ending", ["interrupt", "terminate", "kill", "exception"])
def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path, ending: str) -> None:
    """The end of the starting process, for any reason, also ends its child and the child's own children."""
    script = """
import sys, time
from pathlib import Path
from port_runner_sandbox.processes import Process

command = ["sh", "-c", "trap '' INT TERM HUP; sleep 100 & echo started; wait"]
with Process("Two", command, log=Path(sys.argv[1]), environment={"PATH": "/usr/bin:/bin"}) as process:
    process.wait_until(lambda: "started" in process.log.read_text(), seconds=10)
    print("running", flush=True)
    sys.stdin.readline()
    raise ValueError("as told")
"""
    with start_script(script, str(tmp_path / "log")) as holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == "running\n"
        family = descendants(holder.pid)
        assert len(family) == 4
        match ending:
            case "interrupt":
                holder.send_signal(signal.SIGINT)
            case "terminate":
                holder.terminate()
            case "kill":
                holder.kill()
            case "exception":
                holder.stdin.write("\n")
                holder.stdin.flush()
        until(lambda: not any(map(running, family - {holder.pid})))


def test_a_part_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    """If a part ends while it starts, the error shows the end of its log, without a wait."""
    command = ["sh", "-c", "echo no such listener; exit 3"]
    log = tmp_path / "log"
    with (
        Process("The broker", command, log=log, environment={"PATH": "/usr/bin:/bin"}) as process,
        pytest.raises(ProcessFailed, match=r"(?s)The broker ended while it started.*no such listener"),
    ):
        process.wait_until(lambda: False, seconds=10)
