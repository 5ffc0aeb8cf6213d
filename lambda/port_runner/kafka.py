"""The event that Lambda's Kafka event source mapping sends, as records.

Its shape: https://docs.aws.amazon.com/lambda/latest/dg/with-kafka.html. Both self-managed Kafka and MSK are read;
the name under ``eventSource`` is not looked at, since AWS's own pages spell it in two ways.
"""

import base64
import binascii
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

    *group* is the key of the event's ``records`` under which it came (``topic-partition``), *timestamp* epoch
    milliseconds, *content* the record's own JSON object, untouched.
    """

    topic: str
    partition: int
    offset: int
    group: str
    timestamp: int | None = None
    content: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def place(self) -> str:
        """Where the record lies in Kafka, for people: ``topic-partition@offset``."""
        return f"{self.topic}-{self.partition}@{self.offset}"

    @property
    def identifier(self) -> dict[str, Any]:
        """The record as a partial batch response names it.

        https://docs.aws.amazon.com/lambda/latest/dg/kafka-retry-configurations.html
        """
        return {"partition": self.group, "offset": self.offset}

    @property
    def age(self) -> float | None:
        """Seconds since the record was written; ``None`` where that is not known."""
        return None if self.timestamp is None else time.time() - self.timestamp / 1000

    def error(self, reason: str) -> MessageError:
        """A ``MessageError`` about this record."""
        return MessageError(reason, topic=self.topic, partition=self.partition, offset=self.offset)

    def text(self) -> str:
        """The record's value as text; raises ``MessageError`` for a tombstone and for what is no base64 or UTF-8."""
        value = self.content.get("value")  # a tombstone comes as null and also as a missing key
        if value is None:
            raise self.error("it has no value (a tombstone)")
        try:
            return base64.b64decode(value, validate=True).decode("utf-8")
        except UnicodeDecodeError:
            raise self.error("its value is not UTF-8") from None
        except (binascii.Error, ValueError, TypeError):
            raise self.error("its value is not base64") from None


def records_from_event(event: Any) -> list[Record]:
    """Every record of *event*, all partitions, each partition in its order.

    Raises ``PortRunnerError`` for what is no Kafka event at all.
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
