"""A cluster without a network: a request goes in, and its response is read back as a client reads it."""

import asyncio
import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from kio.index import load_request_schema, load_response_schema
from kio.records.schema import NewRecordBatch, Record
from kio.records.writers import write_new_batch
from kio.serial import entity_reader
from kio.static.primitive import i8, i16

from port_runner_sandbox.broker.cluster import Client, Cluster
from port_runner_sandbox.broker.topics import MAX_MESSAGE_BYTES, Partition, Topic
from port_runner_sandbox.broker.users import User
from port_runner_sandbox.broker.wire import VERSIONS, Api, Content, Request, encode, make_entity

ORGANIZATION, TOPIC, GROUP = "org_a", "org_a.runs", "org_a.group"
USER = Client(User("the-user", ORGANIZATION), "10.0.0.1")
OWNER = Client(User("port", None), "127.0.0.1")
START = datetime(2026, 1, 1, tzinfo=UTC)


def make_records(
    values: Sequence[bytes], *, producer: int = -1, epoch: int = -1, sequence: int = -1, attributes: int = 0
) -> bytes:
    """Return a batch of records, one each second from START on."""
    fields: list[dict[str, Any]] = [
        {"timestamp": START + timedelta(seconds=number), "offset": number, "value": value}
        for number, value in enumerate(values)
    ]
    records: Any = tuple(Record(**each, attributes=i8(0), key=None, headers=()) for each in fields)
    ids: dict[str, Any] = {"producer_id": producer, "producer_epoch": epoch, "base_sequence": sequence}
    batch = NewRecordBatch(**ids, attributes=i16(attributes), records=records)
    buffer = io.BytesIO()
    write_new_batch(buffer, batch)
    return buffer.getvalue()


class ClusterUnderTest:
    """A cluster with a topic of two partitions, and one of another organization."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.cluster = Cluster("localhost", log=self.log.append)
        self.add_topic(TOPIC)
        self.add_topic("org_b.runs", organization="org_b")

    def add_topic(self, name: str, organization: str = ORGANIZATION, max_bytes: int = MAX_MESSAGE_BYTES) -> None:
        """Create a topic of two partitions."""
        self.cluster.topics[name] = Topic(name, organization, [Partition(), Partition()], max_bytes)

    async def ask(self, api: Api, content: Content, *, client: Client = USER, version: int | None = None) -> Any:
        """Send a request in a version, by default the newest, and return the response."""
        number = VERSIONS[api][1] if version is None else version
        body = make_entity(load_request_schema(api, number), content)
        request = Request(api, number, 7, "a-client", body)
        answer = await self.cluster.answer(request, client)
        return None if answer is None else read_response(request, encode(request, answer))

    async def produce(self, records: bytes, *, client: Client = OWNER, topic: str = TOPIC, **changes: Any) -> Any:
        """Produce to partition 0, and return the partition's part of the response."""
        data = {"name": topic, "partition_data": [{"index": 0, "records": records}]}
        content = {"acks": -1, "timeout": timedelta(seconds=1), "topic_data": [data], **changes}
        response = await self.ask(Api.PRODUCE, content, client=client)
        return response and response.responses[0].partition_responses[0]

    async def fetch(self, offset: int, *, client: Client = USER, topic: str = TOPIC, **changes: Any) -> Any:
        """Fetch from partition 0, and return the partition's part of the response."""
        partition = {"partition": 0, "fetch_offset": offset, "partition_max_bytes": 2**20}
        asked = {"topic": topic, "partitions": [partition | changes.pop("partition", {})]}
        content = {"max_wait": timedelta(0), "min_bytes": 1, "topics": [asked], "forgotten_topics_data": [], **changes}
        response = await self.ask(Api.FETCH, content, client=client, version=12)
        return response.responses[0].partitions[0]

    async def join(self, member: str = "", *, wait: bool = True, **changes: Any) -> Any:
        """Join the group. Without an id, take the one that the group tells first."""
        content = {
            "group_id": GROUP,
            "session_timeout": timedelta(seconds=10),
            "rebalance_timeout": timedelta(seconds=20),
            "member_id": member,
            "protocol_type": "consumer",
            "protocols": [{"name": "range", "metadata": b"topics"}],
            **changes,
        }
        response = await self.ask(Api.JOIN_GROUP, content)
        told = response.error_code.name == "member_id_required"
        return await self.join(response.member_id, **changes) if told else response

    async def sync(self, member: Any, assignments: dict[str, bytes] | None = None, **changes: Any) -> Any:
        """Fetch a joined member's assignment, with the assignments of all if it leads."""
        given = [{"member_id": id, "assignment": content} for id, content in (assignments or {}).items()]
        content = {"group_id": GROUP, "generation_id": member.generation_id, "member_id": member.member_id}
        return await self.ask(Api.SYNC_GROUP, {**content, "assignments": given, **changes})

    async def heartbeat(self, member: Any, **changes: Any) -> str:
        """Send a heartbeat, and return the error's name."""
        content = {"group_id": GROUP, "generation_id": member.generation_id, "member_id": member.member_id}
        return str((await self.ask(Api.HEARTBEAT, {**content, **changes})).error_code.name)

    async def commit(self, offset: int, member: Any = None, *, client: Client = USER, **changes: Any) -> str:
        """Commit an offset of partition 0, and return the error's name."""
        partition = {"partition_index": 0, "committed_offset": offset, "committed_metadata": None}
        content = {
            "group_id": GROUP,
            "generation_id_or_member_epoch": member.generation_id if member else -1,
            "member_id": member.member_id if member else "",
            "topics": [{"name": TOPIC, "partitions": [partition]}],
        }
        response = await self.ask(Api.OFFSET_COMMIT, {**content, **changes}, client=client)
        return str(response.topics[0].partitions[0].error_code.name)

    async def state(self) -> str:
        """Return the group's state."""
        [group] = (
            await self.ask(Api.DESCRIBE_GROUPS, {"groups": [GROUP], "include_authorized_operations": True})
        ).groups
        return str(group.group_state)


def read_response(request: Request, message: bytes) -> Any:
    """Read a response as a client does, to its last byte."""
    schema: Any = load_response_schema(request.api, request.version)
    header, size = entity_reader(schema.__header_schema__)(message, 4)
    body, length = entity_reader(schema)(message, 4 + size)
    assert header.correlation_id == request.correlation
    assert 4 + size + length == len(message) == 4 + int.from_bytes(message[:4])
    return body


async def until(condition: Any) -> None:
    """Wait until an asynchronous condition is true."""
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.01)
