"""The records of an event that Lambda's Kafka event source mapping sends.

Format: https://docs.aws.amazon.com/lambda/latest/dg/with-kafka.html. Events of self-managed Kafka and MSK are read.
``eventSource`` is not examined, because AWS's own pages spell its value in two ways.
"""

import base64
import binascii
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import MessageError, PortRunnerError

# Kafka's timestamps are signed numbers of 64 bits.
LARGEST_TIMESTAMP = 2**63


@dataclass(frozen=True)
class Record:
    """One Kafka record as Lambda delivered it.

    *group* is the record's key in the event's ``records`` (``topic-partition``), *timestamp* is in milliseconds of the
    epoch, *content* is the record's own JSON object, unchanged.
    """

    topic: str
    partition: int
    offset: int
    group: str
    timestamp: int | None = None
    content: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def place(self) -> str:
        """The record's place in Kafka, for people: ``topic-partition@offset``."""
        return f"{self.topic}-{self.partition}@{self.offset}"

    @property
    def identity(self) -> str:
        """A text that no other record has. The place is not enough: a topic can be deleted and created again."""
        content = json.dumps(self.content, sort_keys=True, default=str)
        return f"{self.place} {hashlib.sha256(content.encode()).hexdigest()}"

    @property
    def identifier(self) -> dict[str, Any]:
        """The record's identifier in a partial batch response.

        https://docs.aws.amazon.com/lambda/latest/dg/kafka-retry-configurations.html
        """
        return {"partition": self.group, "offset": self.offset}

    @property
    def age(self) -> float | None:
        """The seconds since the record was written, or ``None`` if that is not known.

        Kafka writes -1 for an unknown time, and some producers write a date long before the epoch.
        """
        if self.timestamp is None or self.timestamp < 0:
            return None
        return time.time() - self.timestamp / 1000

    def error(self, reason: str) -> MessageError:
        """Return a ``MessageError`` about this record."""
        return MessageError(reason, topic=self.topic, partition=self.partition, offset=self.offset)

    def text(self) -> str:
        """Return the record's value as text. Raises ``MessageError`` for a tombstone, bad base64 or bad UTF-8."""
        value = self.content.get("value")  # for a tombstone, the value is null or the key is missing
        if value is None:
            raise self.error("it has no value (a tombstone)")
        try:
            return base64.b64decode(value, validate=True).decode("utf-8")
        except UnicodeDecodeError:
            raise self.error("its value is not UTF-8") from None
        except (binascii.Error, ValueError, TypeError):
            raise self.error("its value is not base64") from None


def records_from_event(event: Any) -> list[Record]:
    """Return the records of all partitions of *event*, in order within each partition.

    Raises ``PortRunnerError`` if *event* is not a Kafka event.
    """
    groups = event.get("records") if isinstance(event, Mapping) else None
    if not isinstance(groups, Mapping):
        raise PortRunnerError("this is no Kafka event: it has no `records`; is the function invoked by hand?")
    return [_record(group, content) for group, contents in groups.items() for content in _listed(group, contents)]


def _listed(group: str, contents: Any) -> list[Any]:
    if not isinstance(contents, list | None):
        raise PortRunnerError(f"this is no Kafka event: under {group!r} is no list of records")
    return contents or []


def _record(group: str, content: Any) -> Record:
    try:
        timestamp = content.get("timestamp")
        return Record(
            topic=str(content["topic"]),
            partition=int(content["partition"]),
            offset=int(content["offset"]),
            group=group,
            timestamp=timestamp if type(timestamp) is int and timestamp < LARGEST_TIMESTAMP else None,
            content=content,
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise PortRunnerError(f"this is no Kafka event: a record under {group!r} has no place") from None
