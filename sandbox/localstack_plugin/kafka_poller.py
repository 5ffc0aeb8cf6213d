"""A poller of Kafka for self-managed event source mappings, which LocalStack itself only stores.

It works as AWS documents its own poller. It reads all its settings from the mapping and the mapping's secrets.
https://docs.aws.amazon.com/lambda/latest/dg/with-kafka-configure.html
https://docs.aws.amazon.com/lambda/latest/dg/kafka-retry-configurations.html

Each mapping has one invocation at a time. A batch that waits for its next attempt blocks only its own partitions.
"""

import json
import logging
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from localstack.services.lambda_.event_source_mapping.event_processor import EventProcessor
from localstack.services.lambda_.event_source_mapping.pipe_utils import get_internal_client
from localstack.services.lambda_.event_source_mapping.pollers.poller import Poller
from localstack.services.lambda_.invocation.models import lambda_stores
from localstack.services.lambda_.provider_utils import get_function_version_from_arn
from localstack.utils.aws.arns import parse_arn
from localstack.utils.aws.client_types import ServicePrincipal

from localstack_plugin.kafka_records import Record, make_event, name_partition, passes, to_event_record

LOG = logging.getLogger(__name__)

SESSION_TIMEOUT_MS = int(os.environ.get("LOCAL_LAMBDA_KAFKA_SESSION_TIMEOUT_MS", "45000"))
MAX_RETRY_DELAY_SECONDS = float(os.environ.get("LOCAL_LAMBDA_MAX_RETRY_DELAY_SECONDS", "60"))
FIRST_RETRY_DELAY_SECONDS = 0.1
RECONNECT_SECONDS = 0.5
# LocalStack can stop a poller only between two calls, so no call may take long.
POLL_SECONDS = 0.1
DEFAULT_WINDOW_SECONDS = 0.5
MAX_EVENT_BYTES = 6 * 1024 * 1024
RETRIES_WITH_DESTINATION = 10
MECHANISMS = {
    "SASL_SCRAM_512_AUTH": "SCRAM-SHA-512",
    "SASL_SCRAM_256_AUTH": "SCRAM-SHA-256",
    "BASIC_AUTH": "PLAIN",
}
FAULTS = {
    KafkaError._AUTHENTICATION: "SASL authentication failed",
    KafkaError._SSL: "Lambda failed to authenticate server",
    KafkaError._RESOLVE: "Connection error. Please check your event source connection configuration",
    KafkaError._ALL_BROKERS_DOWN: "Connection error. Please check your event source connection configuration",
}

type Partition = tuple[str, int]


def mapping_defaults(uuid: str) -> dict[str, Any]:
    """Return the values that AWS adds to a self-managed Kafka mapping."""
    return {
        "BatchSize": 100,
        "BisectBatchOnFunctionError": False,
        "DestinationConfig": {"OnFailure": {}},
        "FunctionResponseTypes": [],
        "LastProcessingResult": "No records processed",
        "MaximumRecordAgeInSeconds": -1,
        "MaximumRetryAttempts": -1,
        "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": uuid},
    }


class SourceFault(Exception):
    """The cluster or a secret cannot be used. The text goes to `LastProcessingResult`."""


@dataclass
class Batch:
    """The records of one event.

    `due` is a monotonic time: when the batch closes, and after that, when its next attempt starts.
    """

    records: list[Record] = field(default_factory=list)
    size: int = 0
    attempts: int = 0
    due: float = 0.0

    def add(self, record: Record) -> None:
        self.records.append(record)
        self.size += size_of(record)

    @property
    def partitions(self) -> set[Partition]:
        return {partition_of(record) for record in self.records}

    def part(self, records: list[Record], attempts: int) -> "Batch":
        return Batch(records, sum(map(size_of, records)), attempts, self.due)


def size_of(record: Record) -> int:
    return len(json.dumps(record))


def partition_of(record: Record) -> Partition:
    return record["topic"], record["partition"]


class KafkaPoller(Poller):
    """The poller of one mapping. LocalStack calls `poll_events` repeatedly until the mapping is stopped."""

    def __init__(self, mapping: dict[str, Any], processor: EventProcessor) -> None:
        super().__init__(processor=processor)
        self._mapping = mapping
        self._servers: list[str] = mapping["SelfManagedEventSource"]["Endpoints"]["KAFKA_BOOTSTRAP_SERVERS"]
        filters = mapping.get("FilterCriteria", {}).get("Filters", [])
        self._patterns = [json.loads(filter["Pattern"]) for filter in filters]
        function = get_function_version_from_arn(mapping["FunctionArn"])
        self._role: str = function.config.role
        self._store = lambda_stores[function.id.account][function.id.region]
        self._lambda = get_internal_client(
            mapping["FunctionArn"],
            # A retry after a late answer would invoke the function twice.
            Config(retries={"total_max_attempts": 1}, read_timeout=905, tcp_keepalive=True),
        )
        self._consumer: Consumer | None = None
        self._fault: str | None = None
        self._reported_fault = False
        self._open = Batch()
        self._closed: list[Batch] = []
        self._paused: set[Partition] = set()
        self._read_to: dict[Partition, int] = {}
        self._committed: dict[Partition, int] = {}

    def event_source(self) -> str:
        return "SelfManagedKafka"

    def poll_events(self) -> None:
        # Catch every error: one from a source without an ARN would end LocalStack's loop.
        try:
            self._consumer = self._consumer or self._connect()
            if not self._deliver_one():
                self._read_one(self._consumer)
            self._settle(self._consumer)
        except Exception as error:
            text = _problem(error)
            self._report(f"PROBLEM: {text}")
            self._reported_fault = True
            LOG.warning("Event source mapping %s: %s", self._mapping["UUID"], text)
            self.close()
            time.sleep(RECONNECT_SECONDS)

    def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer:
            consumer.close()
        self._forget()

    # The source
    def _connect(self) -> Consumer:
        self._fault = None
        settings: dict[str, Any] = {
            "bootstrap.servers": ",".join(self._servers),
            # localhost may have an IPv6 address, but the cluster listens on IPv4 only.
            "broker.address.family": "v4",
            "group.id": self._mapping["SelfManagedKafkaEventSourceConfig"]["ConsumerGroupId"],
            "auto.offset.reset": "latest" if self._mapping["StartingPosition"] == "LATEST" else "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": SESSION_TIMEOUT_MS // 5,
            # An invocation may take long, and the group has no other members.
            "max.poll.interval.ms": 86_400_000,
            # The broker looks for new records only twice in this time.
            "fetch.wait.max.ms": 50,
            "log_level": 2,
            "error_cb": self._note_fault,
            **self._access(),
        }
        try:
            consumer = Consumer(settings)
        except KafkaException as error:
            raise SourceFault(f"Provided certificate or private key is invalid: {error.args[0].str()}") from error
        consumer.subscribe(self._mapping["Topics"], on_assign=self._assign, on_revoke=self._revoke)
        return consumer

    def _access(self) -> dict[str, str]:
        settings = {"security.protocol": "SSL"}
        for access in self._mapping["SourceAccessConfigurations"]:
            if access["Type"] == "SERVER_ROOT_CA_CERTIFICATE":
                settings["ssl.ca.pem"] = self._secret(access["URI"], "certificate")["certificate"]
            elif mechanism := MECHANISMS.get(access["Type"]):
                user = self._secret(access["URI"], "username", "password")
                settings |= {
                    "security.protocol": "SASL_SSL",
                    "sasl.mechanism": mechanism,
                    "sasl.username": user["username"],
                    "sasl.password": user["password"],
                }
        return settings

    def _secret(self, arn: str, *keys: str) -> dict[str, str]:
        """Read a secret with the function's role, as AWS does."""
        secrets = get_internal_client(arn, role_arn=self._role, service_principal=ServicePrincipal.lambda_)
        try:
            text = secrets.get_secret_value(SecretId=arn)["SecretString"]
        except ClientError as error:
            raise SourceFault(f"The secret {arn} cannot be read: {error.response['Error']['Code']}") from error
        try:
            secret = json.loads(text)
            return {key: secret[key] for key in keys}
        except (ValueError, TypeError, KeyError):
            # Leave out the cause: its text could show the secret.
            raise SourceFault(f"The secret {arn} must be a JSON object with {' and '.join(keys)}") from None

    def _note_fault(self, error: KafkaError) -> None:
        LOG.info("Event source mapping %s: %s", self._mapping["UUID"], error.str())
        # The first error is the cause. "All brokers are down" only follows from it.
        if error.code() in FAULTS and not self._fault:
            self._fault = f"{FAULTS[error.code()]}: {error.str()}"

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Start at the group's offset, or where this poller was, or at the mapping's starting position."""
        self._forget()
        for partition in consumer.committed(partitions, timeout=10):
            if partition.offset >= 0:
                self._committed[partition.topic, partition.partition] = partition.offset
        places = [(partition.topic, partition.partition) for partition in partitions]
        known = [TopicPartition(*place, self._committed[place]) for place in places if place in self._committed]
        fresh = [TopicPartition(*place) for place in places if place not in self._committed]
        consumer.assign([*known, *self._starting_positions(consumer, fresh)])
        if self._reported_fault:
            self._reported_fault = False
            self._report("OK")

    def _starting_positions(self, consumer: Consumer, fresh: list[TopicPartition]) -> list[TopicPartition]:
        if not fresh or self._mapping["StartingPosition"] != "AT_TIMESTAMP":
            return fresh
        start = int(self._mapping["StartingPositionTimestamp"].timestamp() * 1000)
        times = [TopicPartition(partition.topic, partition.partition, start) for partition in fresh]
        return consumer.offsets_for_times(times, timeout=10)

    def _revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._forget()

    def _forget(self) -> None:
        """Drop the records that were read but not committed. They are read again."""
        self._open = Batch()
        self._closed = []
        self._paused = set()
        self._read_to = {}

    def _read_one(self, consumer: Consumer) -> None:
        message = consumer.poll(POLL_SECONDS)
        if self._fault:
            raise SourceFault(self._fault)
        # Compare with None: a message without a value is false.
        if message is not None:
            if message.error():
                raise KafkaException(message.error())
            self._take(to_event_record(message))
        if self._open.records and time.monotonic() >= self._open.due:
            self._close_batch()

    def _take(self, record: Record) -> None:
        place = partition_of(record)
        self._committed.setdefault(place, record["offset"])
        self._read_to[place] = record["offset"] + 1
        if not passes(record, self._patterns):
            return
        if self._open.records and self._open.size + size_of(record) > MAX_EVENT_BYTES:
            self._close_batch()
        if not self._open.records:
            window = self._mapping.get("MaximumBatchingWindowInSeconds", DEFAULT_WINDOW_SECONDS)
            self._open.due = time.monotonic() + window
        self._open.add(record)
        if len(self._open.records) >= self._mapping["BatchSize"]:
            self._close_batch()

    def _close_batch(self) -> None:
        self._open.due = 0
        self._closed.append(self._open)
        self._open = Batch()

    def _settle(self, consumer: Consumer) -> None:
        """Commit everything that is done, and pause partitions in which a batch waits."""
        waiting: dict[Partition, int] = {}
        for batch in [*self._closed, self._open]:
            for record in batch.records:
                place = partition_of(record)
                waiting[place] = min(record["offset"], waiting.get(place, record["offset"]))
        done = {
            place: offset
            for place, read_to in self._read_to.items()
            if (offset := waiting.get(place, read_to)) > self._committed[place]
        }
        if done:
            offsets = [TopicPartition(*place, offset) for place, offset in done.items()]
            consumer.commit(offsets=offsets, asynchronous=False)
            self._committed |= done
        held = {place for batch in self._closed for place in batch.partitions}
        if held - self._paused:
            consumer.pause([TopicPartition(*place) for place in held - self._paused])
        if self._paused - held:
            consumer.resume([TopicPartition(*place) for place in self._paused - held])
        self._paused = held

    # The function
    def _deliver_one(self) -> bool:
        """Deliver the first batch that is due and has no earlier batch in its partitions. Return False without one."""
        held: set[Partition] = set()
        for batch in self._closed:
            if time.monotonic() >= batch.due and not batch.partitions & held:
                position = self._closed.index(batch)
                self._closed[position : position + 1] = self._deliver(batch)
                return True
            held |= batch.partitions
        return False

    def _deliver(self, batch: Batch) -> list[Batch]:
        """Invoke the function with a batch. Return the batches that are left to deliver in its place."""
        batch = self._without_expired(batch)
        if not batch.records:
            return []
        event = json.dumps(make_event(self._servers, batch.records))
        if len(event) > MAX_EVENT_BYTES:
            self._discard(batch, "MaximumPayloadSizeExceeded")
            return []
        batch.attempts += 1
        try:
            response = self._lambda.invoke(FunctionName=self._mapping["FunctionArn"], Payload=event)
            answer = response["Payload"].read()
        except ClientError as error:
            # Throttled, or the function does not exist: not an error of the function, so not one of its attempts.
            batch.attempts -= 1
            self._report(f"PROBLEM: {error.response['Error']['Code']}: {error.response['Error']['Message']}")
            batch.due = time.monotonic() + RECONNECT_SECONDS
            return [batch]
        failed = batch.records if "FunctionError" in response else self._reported_failures(batch, answer)
        if not failed:
            self._report("OK")
            return []
        self._report("PROBLEM: Function call failed")
        batch = batch.part(failed, batch.attempts)
        if batch.attempts > self._retries():
            self._discard(batch, "RetryAttemptsExhausted", response)
            return []
        delay = FIRST_RETRY_DELAY_SECONDS * 2 ** min(batch.attempts - 1, 10)
        batch.due = time.monotonic() + min(delay, MAX_RETRY_DELAY_SECONDS)
        if "FunctionError" in response and self._mapping["BisectBatchOnFunctionError"] and len(failed) > 1:
            middle = len(failed) // 2
            # Splitting does not count as a retry.
            return [batch.part(half, batch.attempts - 1) for half in (failed[:middle], failed[middle:])]
        return [batch]

    def _reported_failures(self, batch: Batch, answer: bytes) -> list[Record]:
        """Return the records that the function named as failed, or all of them if it named one that it did not get."""
        if "ReportBatchItemFailures" not in self._mapping["FunctionResponseTypes"]:
            return []
        given = {(name_partition(record), record["offset"]): record for record in batch.records}
        try:
            items = (json.loads(answer) or {}).get("batchItemFailures") or []
            named = [(item["itemIdentifier"]["partition"], item["itemIdentifier"]["offset"]) for item in items]
            return [given[key] for key in dict.fromkeys(named)]
        except (ValueError, AttributeError, TypeError, KeyError):
            return batch.records

    def _retries(self) -> float:
        limit: int = self._mapping["MaximumRetryAttempts"]
        if limit >= 0:
            return limit
        return RETRIES_WITH_DESTINATION if self._destination() else float("inf")

    def _without_expired(self, batch: Batch) -> Batch:
        limit = self._mapping["MaximumRecordAgeInSeconds"]
        if limit < 0:
            return batch
        oldest = (time.time() - limit) * 1000
        expired = [record for record in batch.records if record["timestamp"] < oldest]
        if not expired:
            return batch
        self._discard(batch.part(expired, batch.attempts), "RecordAgeExceeded")
        return batch.part([record for record in batch.records if record["timestamp"] >= oldest], batch.attempts)

    # Batches that are given up
    def _destination(self) -> str | None:
        return self._mapping["DestinationConfig"].get("OnFailure", {}).get("Destination")

    def _discard(self, batch: Batch, condition: str, response: dict[str, Any] | None = None) -> None:
        """Give up a batch, and report it to the on-failure queue, if there is one.

        https://docs.aws.amazon.com/lambda/latest/dg/kafka-on-failure.html
        """
        arn = self._destination()
        uuid, number = self._mapping["UUID"], len(batch.records)
        LOG.warning("Event source mapping %s gives up %d records: %s", uuid, number, condition)
        if not arn:
            return
        if parse_arn(arn)["service"] != "sqs":
            self._report(f"PROBLEM: Only queues can be on-failure destinations here, not {arn}")
            return
        queue = get_internal_client(arn, role_arn=self._role, service_principal=ServicePrincipal.lambda_)
        try:
            url = queue.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"]
            body = json.dumps(self._invocation_record(batch, condition, response))
            queue.send_message(QueueUrl=url, MessageBody=body)
        except ClientError as error:
            self._report(f"PROBLEM: The on-failure destination {arn} failed: {error.response['Error']['Code']}")

    def _invocation_record(self, batch: Batch, condition: str, response: dict[str, Any] | None) -> dict[str, Any]:
        event = make_event(self._servers, batch.records)
        return {
            "requestContext": {
                "requestId": response["ResponseMetadata"]["RequestId"] if response else None,
                "functionArn": self._mapping["FunctionArn"],
                "condition": condition,
                "approximateInvokeCount": batch.attempts,
            },
            "responseContext": response
            and {
                "statusCode": response["StatusCode"],
                "executedVersion": response.get("ExecutedVersion", "$LATEST"),
                "functionError": response.get("FunctionError"),
            },
            "version": "1.0",
            "timestamp": _iso(time.time() * 1000),
            "KafkaBatchInfo": {
                "batchSize": len(batch.records),
                "bootstrapServers": event["bootstrapServers"],
                "payloadSize": len(json.dumps(event)),
                "recordsInfo": {
                    key: {
                        "firstRecordOffset": str(records[0]["offset"]),
                        "lastRecordOffset": str(records[-1]["offset"]),
                        "firstRecordTimestamp": _iso(records[0]["timestamp"]),
                        "lastRecordTimestamp": _iso(records[-1]["timestamp"]),
                    }
                    for key, records in event["records"].items()
                },
            },
        }

    def _report(self, result: str) -> None:
        mapping = self._store.event_source_mappings.get(self._mapping["UUID"])
        if mapping is not None:
            mapping["LastProcessingResult"] = result


def _problem(error: Exception) -> str:
    match error:
        case SourceFault():
            return str(error)
        case KafkaException(args=[KafkaError() as cause, *_]):
            return cause.str()
        case _:
            return f"{type(error).__name__}: {error}"


def _iso(milliseconds: float) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
