"""The messages of the failure queue: kept records, and batches that Lambda gave up."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from port_runner import MessageError, MessagePaths
from port_runner.kafka import Record
from port_runner.messages import RunRequest, read_message
from port_runner_cli.clients.kafka import KafkaMapping, read_records
from port_runner_cli.output import CommandFailed

type Json = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """The records of one partition, by their offsets."""

    topic: str
    partition: int
    first: int
    last: int

    def __str__(self) -> str:
        offsets = str(self.first) if self.first == self.last else f"{self.first} to {self.last}"
        return f"{self.topic}-{self.partition}@{offsets}"


@dataclass(frozen=True)
class KeptMessage:
    """A message of the queue: a record that the function kept, or Lambda's message about a batch that it gave up.

    `sent` is in seconds of the epoch.
    """

    id: str
    receipt: str
    sent: float
    body: Any

    @property
    def reason(self) -> str:
        if self.is_batch:
            condition = self.body.get("requestContext", {}).get("condition")
            return f"Lambda gave the batch up: {condition}"
        return str(self.body.get("reason")) if self.places else "this is no record of ours, nor one of Lambda's"

    @property
    def is_batch(self) -> bool:
        """Return whether the message is Lambda's own about a batch, with offsets and without content.

        https://docs.aws.amazon.com/lambda/latest/dg/kafka-on-failure-destination.html
        """
        return isinstance(self.body, dict) and isinstance(self.body.get("KafkaBatchInfo"), dict)

    @property
    def places(self) -> list[Place]:
        """The places of its records in Kafka. Empty for a message that neither the function nor Lambda wrote."""
        try:
            if not self.is_batch:
                offset = int(self.body["offset"])
                return [Place(str(self.body["topic"]), int(self.body["partition"]), offset, offset)]
            batches = self.body["KafkaBatchInfo"]["recordsInfo"].items()
            # In the key, `topic-partition`, the topic may contain dashes too.
            return [
                Place(
                    group.rpartition("-")[0],
                    int(group.rpartition("-")[2]),
                    int(batch["firstRecordOffset"]),
                    int(batch["lastRecordOffset"]),
                )
                for group, batch in batches
            ]
        except (AttributeError, KeyError, TypeError, ValueError):
            return []

    def records(self, mappings: Callable[[], Sequence[KafkaMapping]]) -> list[Json]:
        """Return its records in the format of a Kafka event, read from Kafka if it has only places.

        Raises CommandFailed.
        """
        if not self.places:
            raise CommandFailed(f"{self.id} is neither a record that the function kept nor one of Lambda's.")
        if not self.is_batch and isinstance(self.body.get("record"), dict):
            return [self.body["record"]]
        found: list[Json] = []
        for place in self.places:
            mapping = next((each for each in mappings() if each.topic == place.topic), None)
            if mapping is None:
                raise CommandFailed(
                    f"The function has no mapping for {place.topic}, so Kafka cannot be reached as that would. "
                    "Name the function with --function."
                )
            found += read_records(mapping, place.topic, place.partition, place.first, place.last)
        return found


def to_record(content: Json) -> Record:
    """Return a record of an event as the runner reads it."""
    topic, partition = str(content["topic"]), int(content["partition"])
    return Record(topic, partition, int(content["offset"]), f"{topic}-{partition}", content=content)


def read_run_and_action(content: Json, paths: MessagePaths) -> tuple[str | None, str | None]:
    """Return the run and the action that a record names."""
    with suppress(MessageError):
        read = read_message(to_record(content), paths)
        if isinstance(read, RunRequest):
            return read.run_id, read.action
    return None, None
