"""Lambda's Kafka event becomes records, even with missing parts, and no error contains a record's value."""

import base64
import copy
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from port_runner import MessageError, PortRunnerError
from port_runner.kafka import Record, records_from_event

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)
NAMES = st.sampled_from(["topic", "partition", "offset", "timestamp", "value", "key", "headers"])


def as_delivered(
    value: bytes | None = b"{}", *, topic: str = "org_1.runs", partition: int = 0, offset: int = 15
) -> dict[str, Any]:
    """One record with everything that AWS documents."""
    return {
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "timestamp": 1545084650987,
        "timestampType": "CREATE_TIME",
        "key": base64.b64encode(b"key").decode(),
        "value": None if value is None else base64.b64encode(value).decode(),
        "headers": [{"trace": [104, 101, 97, -61, -68, 255]}, {"trace": [0, -128]}],
    }


def event_with(**groups: list[Any] | None) -> dict[str, Any]:
    return {
        "eventSource": "SelfManagedKafka",
        "bootstrapServers": "b-2.example.com:9092,b-1.example.com:9092",
        "records": groups,
    }


def one_record(content: Any) -> Record:
    (record,) = records_from_event(event_with(**{"org_1.runs-0": [content]}))
    return record


def test_record_holds_what_lambda_delivered() -> None:
    """A record has its place, its time and its text; its JSON, signed header bytes and all, stays as it came."""
    content = as_delivered(b'{"runId": "r_1"}')
    before = copy.deepcopy(content)

    record = one_record(content)

    assert (record.topic, record.partition, record.offset) == ("org_1.runs", 0, 15)
    assert record.place == "org_1.runs-0@15"
    assert record.timestamp == 1545084650987
    assert record.text() == '{"runId": "r_1"}'
    assert record.content == before


def test_every_partition_is_read_in_order() -> None:
    """One event mixes several partitions; each keeps its order, and a group may be empty or null."""
    records = records_from_event(
        event_with(
            **{
                "t-0": [as_delivered(topic="t", offset=1), as_delivered(topic="t", offset=2)],
                "t-1": [],
                "t-2": None,
                "t-11": [as_delivered(topic="t", partition=11, offset=1)],
            }
        )
    )

    assert [record.place for record in records] == ["t-0@1", "t-0@2", "t-11@1"]


@pytest.mark.parametrize("topic", ["org_1.runs", "a-b-1.runs-2", "-", "plain"])
def test_topic_is_the_records_own(topic: str) -> None:
    """Topic and partition come from the record, never from the group's name: topics hold dashes and dots too."""
    (record,) = records_from_event(event_with(**{f"{topic}-3": [as_delivered(topic=topic, partition=3)]}))

    assert (record.topic, record.partition) == (topic, 3)
    assert record.identifier == {"partition": f"{topic}-3", "offset": 15}


def test_msk_events_are_read_alike() -> None:
    """An event of Amazon MSK differs in its source alone, which is not looked at."""
    event = event_with(**{"org_1.runs-0": [as_delivered(b"text")]})
    event |= {"eventSource": "aws:kafka", "eventSourceArn": "arn:aws:kafka:eu-west-1:123456789012:cluster/c/1"}

    assert [record.text() for record in records_from_event(event)] == ["text"]


@pytest.mark.parametrize("missing", ["key", "headers", "timestamp", "timestampType", "value"])
def test_a_record_needs_its_place_alone(missing: str) -> None:
    """Fields that an unkeyed record, a tombstone or an older poller leaves out do not fail the event."""
    content = as_delivered()
    del content[missing]

    assert one_record(content).place == "org_1.runs-0@15"


@pytest.mark.parametrize("key", [None, "", "bm90IHJlYWQ="])
def test_keys_are_not_looked_at(key: str | None) -> None:
    """Port says nothing of keys, so a record is the same with any, and with none."""
    assert one_record({**as_delivered(), "key": key}).text() == "{}"


def test_a_tombstone_cannot_be_read() -> None:
    """A null value comes as null and as a missing key; both are a tombstone."""
    missing = as_delivered()
    del missing["value"]

    for content in (as_delivered(None), missing):
        with pytest.raises(MessageError, match="tombstone") as caught:
            one_record(content).text()
        error = caught.value
        assert (error.topic, error.partition, error.offset) == ("org_1.runs", 0, 15)
        assert str(error) == f"org_1.runs-0@15: {error.reason}"


@pytest.mark.parametrize("value", ["secret!", "secre", "c2VjcmV0\n", "sécret", "\ud800", 5, True, ["c2VjcmV0"], {}])
def test_what_is_no_base64_is_said_without_its_content(value: Any) -> None:
    """A value that is not base64 is named as that, and not repeated."""
    with pytest.raises(MessageError) as caught:
        one_record({**as_delivered(), "value": value}).text()

    assert caught.value.reason == "its value is not base64"


@pytest.mark.parametrize("value", [b"\xff\xfesecret", b"\xc3", "žluťoučký".encode("iso8859-2"), b"\xed\xa0\x80"])
def test_what_is_no_utf8_is_said_without_its_content(value: bytes) -> None:
    """A value that is not UTF-8 is named as that, and not repeated."""
    with pytest.raises(MessageError) as caught:
        one_record(as_delivered(value)).text()

    assert caught.value.reason == "its value is not UTF-8"


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_every_value_is_read_as_it_was_written(value: bytes) -> None:
    """For any bytes in a record, its text is theirs, or a MessageError says why there is no text."""
    try:
        text = one_record(as_delivered(value)).text()
    except MessageError:
        with pytest.raises(UnicodeDecodeError):
            value.decode()
    else:
        assert text.encode() == value


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        "records",
        {},
        {"records": None},
        {"records": [as_delivered()]},
        {"Records": [{"eventSource": "aws:sqs"}]},
        {"records": {"t-0": 5}},
        {"records": {"t-0": "text"}},
        {"records": {"t-0": as_delivered()}},
        {"records": {"t-0": [None]}},
        {"records": {"t-0": ["text"]}},
        {"records": {"t-0": [{"topic": "t", "partition": 0}]}},
        {"records": {"t-0": [{"topic": "t", "partition": "zero", "offset": 1}]}},
        {"records": {"t-0": [{"topic": "t", "partition": 0, "offset": float("inf")}]}},
        {"records": {"t-0": [{"topic": "t", "partition": 0, "offset": None}]}},
    ],
)
def test_what_is_no_kafka_event_is_said(event: Any) -> None:
    """An event of another kind raises PortRunnerError: nothing of it can be consumed."""
    with pytest.raises(PortRunnerError, match="this is no Kafka event"):
        records_from_event(event)


def test_an_event_without_records_has_none() -> None:
    """No records are no error."""
    assert records_from_event(event_with()) == []


@settings(deadline=None)
@given(JSON | st.fixed_dictionaries({"records": st.dictionaries(st.text(), JSON, max_size=3)}))
def test_no_json_raises_anything_but_our_error(event: Any) -> None:
    """records_from_event takes any JSON: it gives records or raises PortRunnerError."""
    try:
        records = records_from_event(event)
    except PortRunnerError:
        return
    assert all(isinstance(record, Record) for record in records)


@settings(deadline=None)
@given(st.dictionaries(NAMES, JSON))
def test_no_record_raises_anything_but_our_errors(changes: dict[str, Any]) -> None:
    """A record with odd parts can be asked everything, or raises PortRunnerError, of which MessageError is one."""
    try:
        record = one_record({**as_delivered(), **changes})
        record.text()
    except PortRunnerError:
        return
    assert record.age is None or isinstance(record.age, float)
    assert json.loads(json.dumps(record.identifier)) == record.identifier


def test_age_is_seconds_since_the_record_was_written() -> None:
    """The timestamp is in milliseconds, the age in seconds; without a timestamp no age is known."""
    minute_ago = int((time.time() - 60) * 1000)

    age = one_record({**as_delivered(), "timestamp": minute_ago}).age

    assert age is not None
    assert 59.9 < age < 65
    for timestamp in (None, "1545084650987", True, 10**400):
        assert one_record({**as_delivered(), "timestamp": timestamp}).age is None


def test_repr_holds_no_content() -> None:
    """A record that ends up in a traceback or a debugger's log shows its place and nothing of its value."""
    assert base64.b64encode(b"secret").decode() not in repr(one_record(as_delivered(b"secret")))
