"""Kafka messages as records of a self-managed Kafka event, and the mapping's filters for them.

https://docs.aws.amazon.com/lambda/latest/dg/with-kafka.html
https://docs.aws.amazon.com/lambda/latest/dg/kafka-filtering.html
"""

import base64
import binascii
import json
from typing import Any

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message
from localstack.utils.event_matcher import matches_event

type Record = dict[str, Any]


def to_event_record(message: Message) -> Record:
    """Return a message as Lambda's event holds it. Without a key or value, the record has no such property."""
    kind, timestamp = message.timestamp()
    record: Record = {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": timestamp,
        "timestampType": "LOG_APPEND_TIME" if kind == TIMESTAMP_LOG_APPEND_TIME else "CREATE_TIME",
    }
    for field, content in (("key", message.key()), ("value", message.value())):
        if content is not None:
            record[field] = base64.b64encode(content).decode()
    headers: Any = message.headers() or []
    record["headers"] = [{name: _signed_bytes(value)} for name, value in headers]
    return record


def name_partition(record: Record) -> str:
    """Return `TOPIC-PARTITION`, the key of the record's list in the event."""
    return f"{record['topic']}-{record['partition']}"


def make_event(bootstrap_servers: list[str], records: list[Record]) -> dict[str, Any]:
    """Return the event with these records, grouped by partition."""
    by_partition: dict[str, list[Record]] = {}
    for record in records:
        by_partition.setdefault(name_partition(record), []).append(record)
    return {
        "eventSource": "SelfManagedKafka",
        "bootstrapServers": ",".join(bootstrap_servers),
        "records": by_partition,
    }


def passes(record: Record, patterns: list[dict[str, Any]]) -> bool:
    """Return whether any of the patterns passes the record. Without patterns, every record passes.

    A JSON pattern judges only JSON values, and a pattern of strings judges only text. A record that the pattern does
    not judge passes.
    """
    return not patterns or any(_passes(record, pattern.get("value")) for pattern in patterns)


def _passes(record: Record, pattern: Any) -> bool:
    try:
        text = base64.b64decode(record["value"]).decode()
    except (KeyError, UnicodeDecodeError, binascii.Error):
        return True
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return not isinstance(pattern, list) or matches_event({"value": pattern}, {"value": text})
    return not isinstance(pattern, dict) or matches_event({"value": pattern}, {"value": value})


def _signed_bytes(value: bytes | None) -> list[int]:
    return [byte - 256 if byte > 127 else byte for byte in value or b""]
