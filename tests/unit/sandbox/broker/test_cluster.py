"""The answers of the broker to single requests, in every version."""

import asyncio
import re
import struct
import uuid
from datetime import timedelta
from typing import Any

import pytest

from port_runner_sandbox.broker.refusals import REFUSALS
from port_runner_sandbox.broker.topics import MAX_MESSAGE_BYTES
from port_runner_sandbox.broker.wire import VERSIONS, Api, Content, ProtocolError
from tests.support.cluster_under_test import (
    GROUP,
    OWNER,
    START,
    TOPIC,
    USER,
    ClusterUnderTest,
    make_records,
)

ZERO = timedelta(0)
MINE = {"group_id": GROUP, "member_id": "unknown", "generation_id": 1}
SETTING = {"resource_type": 2, "resource_name": TOPIC, "configs": []}
RIGHT = {"host": "*", "operation": 3, "permission_type": 3}
FILTER = {
    "resource_type_filter": 2,
    "resource_name_filter": None,
    "principal_filter": None,
    "host_filter": None,
    **RIGHT,
}
# For each request, fields of all versions.
REQUESTS: dict[Api, Content] = {
    Api.PRODUCE: {
        "acks": -1,
        "timeout": ZERO,
        "topic_data": [{"name": TOPIC, "partition_data": [{"index": 0, "records": make_records([b"a"])}]}],
    },
    Api.FETCH: {
        "max_wait": ZERO,
        "min_bytes": 1,
        "topics": [
            {
                "topic": TOPIC,
                "topic_id": uuid.uuid4(),
                "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 100}],
            }
        ],
        "forgotten_topics_data": [],
    },
    Api.LIST_OFFSETS: {
        "replica_id": -1,
        "isolation_level": 0,
        "topics": [{"name": TOPIC, "partitions": [{"partition_index": 0, "timestamp": -1}]}],
    },
    Api.METADATA: {
        "topics": [{"name": TOPIC, "topic_id": None}, {"name": "unknown", "topic_id": None}],
        "include_cluster_authorized_operations": True,
        "include_topic_authorized_operations": True,
    },
    Api.OFFSET_COMMIT: {
        **MINE,
        "topics": [
            {
                "name": TOPIC,
                "partitions": [{"partition_index": 0, "committed_offset": 1, "committed_metadata": None}],
            }
        ],
    },
    Api.OFFSET_FETCH: {
        **MINE,
        "topics": [{"name": TOPIC, "partition_indexes": [0]}],
        "groups": [{"group_id": GROUP, "topics": [{"name": TOPIC, "partition_indexes": [0]}]}],
    },
    Api.FIND_COORDINATOR: {"key": GROUP, "coordinator_keys": [GROUP]},
    Api.JOIN_GROUP: {**MINE, "session_timeout": timedelta(seconds=10), "protocol_type": "consumer", "protocols": []},
    Api.HEARTBEAT: MINE,
    Api.LEAVE_GROUP: {**MINE, "members": [{"member_id": "unknown"}]},
    Api.SYNC_GROUP: {**MINE, "assignments": []},
    Api.DESCRIBE_GROUPS: {"groups": [GROUP, "foreign"], "include_authorized_operations": True},
    Api.LIST_GROUPS: {},
    Api.CREATE_TOPICS: {
        "topics": [{"name": "new", "num_partitions": 1, "replication_factor": 1, "assignments": [], "configs": []}]
    },
    Api.DELETE_TOPICS: {"topic_names": [TOPIC], "topics": [{"name": TOPIC, "topic_id": None}], "timeout": ZERO},
    Api.INIT_PRODUCER_ID: {"transactional_id": None, "transaction_timeout": ZERO},
    Api.OFFSET_FOR_LEADER_EPOCH: {"topics": [{"topic": TOPIC, "partitions": [{"partition": 0, "leader_epoch": 0}]}]},
    Api.DESCRIBE_CONFIGS: {"resources": [{"resource_type": 2, "resource_name": TOPIC, "configuration_keys": None}]},
    Api.DELETE_GROUPS: {"groups_names": [GROUP]},
    Api.DELETE_RECORDS: {
        "topics": [{"name": TOPIC, "partitions": [{"partition_index": 0, "offset": 0}]}],
        "timeout": ZERO,
    },
    Api.CREATE_PARTITIONS: {
        "topics": [{"name": TOPIC, "count": 9, "assignments": None}],
        "timeout": ZERO,
        "validate_only": False,
    },
    Api.ALTER_CONFIGS: {"resources": [SETTING], "validate_only": False},
    Api.INCREMENTAL_ALTER_CONFIGS: {"resources": [SETTING], "validate_only": False},
    Api.OFFSET_DELETE: {**MINE, "topics": []},
    Api.DESCRIBE_ACLS: FILTER,
    Api.CREATE_ACLS: {"creations": [{"resource_type": 2, "resource_name": TOPIC, "principal": "User:a", **RIGHT}]},
    Api.DELETE_ACLS: {"filters": [FILTER]},
    Api.DESCRIBE_CLUSTER: {"include_cluster_authorized_operations": True},
}
LOGIN = {Api.API_VERSIONS, Api.SASL_HANDSHAKE, Api.SASL_AUTHENTICATE}


@pytest.fixture
def cluster() -> ClusterUnderTest:
    return ClusterUnderTest()


@pytest.mark.parametrize("client", [USER, OWNER], ids=["user", "owner"])
@pytest.mark.parametrize("api", [api for api in Api if api not in LOGIN], ids=lambda api: api.name)
def test_every_version_that_is_claimed_is_answered(cluster: ClusterUnderTest, api: Api, client: Any) -> None:
    """Each request can be sent in each version that the broker claims, and its response has that version's fields."""

    async def ask_all() -> None:
        oldest, newest = VERSIONS[api]
        for version in range(oldest, newest + 1):
            assert await cluster.ask(api, REQUESTS[api], client=client, version=version) is not None

    asyncio.run(ask_all())


class TestRights:
    """The rights of an organization's user, by the codes of Kafka's errors."""

    def test_metadata_shows_the_users_topics_only(self, cluster: ClusterUnderTest) -> None:
        """All topics are the user's own. Others, unknown or not, are refused alike; the owner sees which is unknown."""
        names = [TOPIC, "org_b.runs", "unknown"]

        async def topics(content: Any, client: Any = USER) -> dict[str, str]:
            found = (
                await cluster.ask(Api.METADATA, {**REQUESTS[Api.METADATA], "topics": content}, client=client)
            ).topics
            return {topic.name: topic.error_code.name for topic in found}

        asked = [{"name": name, "topic_id": None} for name in names]
        assert asyncio.run(topics(None)) == {TOPIC: "none"}
        refused = "topic_authorization_failed"
        assert asyncio.run(topics(asked)) == dict(zip(names, ["none", refused, refused], strict=True))
        known = dict(zip(names, ["none", "none", "unknown_topic_or_partition"], strict=True))
        assert asyncio.run(topics(asked, OWNER)) == known
        assert set(cluster.cluster.topics) == {TOPIC, "org_b.runs"}

    def test_topics_by_id(self, cluster: ClusterUnderTest) -> None:
        """A topic's id leads to the topic, with the same rights."""

        async def code(id: uuid.UUID) -> str:
            content = {**REQUESTS[Api.METADATA], "topics": [{"name": None, "topic_id": id}]}
            return str((await cluster.ask(Api.METADATA, content)).topics[0].error_code.name)

        topics = cluster.cluster.topics
        assert asyncio.run(code(topics[TOPIC].id)) == "none"
        assert asyncio.run(code(topics["org_b.runs"].id)) == "topic_authorization_failed"
        assert asyncio.run(code(uuid.uuid4())) == "unknown_topic_id"

    @pytest.mark.parametrize(
        ("group", "allowed"),
        [
            (GROUP, True),
            ("the-user", True),
            ("org_a.", True),
            ("org_a", False),
            ("org_ab.group", False),
            ("the-user.x", False),
            ("ORG_A.group", False),
            ("other", False),
        ],
    )
    def test_groups(self, cluster: ClusterUnderTest, group: str, allowed: bool) -> None:
        """A group is the username, or begins with the organization and a period. All requests agree on this."""

        async def codes() -> set[str]:
            fields = {**MINE, "group_id": group}
            found = await cluster.ask(Api.FIND_COORDINATOR, {"coordinator_keys": [group]})
            described = await cluster.ask(
                Api.DESCRIBE_GROUPS, {"groups": [group], "include_authorized_operations": False}
            )
            offsets = await cluster.ask(Api.OFFSET_FETCH, {"groups": [{"group_id": group, "topics": None}]})
            join = {**REQUESTS[Api.JOIN_GROUP], **fields, "rebalance_timeout": timedelta(seconds=1)}
            return {
                found.coordinators[0].error_code.name,
                described.groups[0].error_code.name,
                offsets.groups[0].error_code.name,
                (await cluster.ask(Api.JOIN_GROUP, join)).error_code.name,
                (await cluster.ask(Api.SYNC_GROUP, {**fields, "assignments": []})).error_code.name,
                (await cluster.ask(Api.LEAVE_GROUP, {**fields, "members": []})).error_code.name,
                (await cluster.ask(Api.HEARTBEAT, fields)).error_code.name,
            }

        found = asyncio.run(codes())
        assert ("group_authorization_failed" in found) is not allowed
        assert allowed or found == {"group_authorization_failed"}

    def test_what_is_kept_with_an_offset_is_short(self, cluster: ClusterUnderTest) -> None:
        """A text that a client keeps with its offset has 4096 characters at most."""

        async def commit(size: int) -> str:
            partition = {"partition_index": 0, "committed_offset": 1, "committed_metadata": "x" * size}
            return await cluster.commit(1, topics=[{"name": TOPIC, "partitions": [partition]}])

        assert asyncio.run(commit(4096)) == "none"
        assert asyncio.run(commit(4097)) == "offset_metadata_too_large"

    def test_commits_of_foreign_topics(self, cluster: ClusterUnderTest) -> None:
        """An offset of a topic that the user may not read is not committed."""
        partition = {"partition_index": 0, "committed_offset": 1, "committed_metadata": None}
        topics = [{"name": "org_b.runs", "partitions": [partition]}]
        assert asyncio.run(cluster.commit(1, topics=topics)) == "topic_authorization_failed"
        assert cluster.cluster.groups[GROUP].commits == {}

    @pytest.mark.parametrize("client", [USER, OWNER], ids=["user", "owner"])
    @pytest.mark.parametrize("api", list(REFUSALS), ids=lambda api: api.name)
    def test_no_client_administrates(self, cluster: ClusterUnderTest, api: Api, client: Any) -> None:
        """No client changes topics, settings, groups or rights, or reads settings and rights."""
        response = asyncio.run(cluster.ask(api, REQUESTS[api], client=client))
        assert re.search("(topic|group|cluster)_authorization_failed", str(response))
        assert "ErrorCode.none" not in str(response)
        assert {name: len(topic.partitions) for name, topic in cluster.cluster.topics.items()} == {
            TOPIC: 2,
            "org_b.runs": 2,
        }

    def test_no_user_is_an_idempotent_or_transactional_producer(self, cluster: ClusterUnderTest) -> None:
        """A producer's id is only for who may produce. No one has transactions."""

        async def code(client: Any, transaction: str | None) -> str:
            content = {"transactional_id": transaction, "transaction_timeout": ZERO}
            return str((await cluster.ask(Api.INIT_PRODUCER_ID, content, client=client)).error_code.name)

        assert asyncio.run(code(USER, None)) == "cluster_authorization_failed"
        assert asyncio.run(code(OWNER, None)) == "none"
        assert asyncio.run(code(OWNER, "t")) == "transactional_id_authorization_failed"


class TestRecords:
    """The records of a partition: what may be written, and what is read."""

    def test_offsets_after_a_batch(self, cluster: ClusterUnderTest) -> None:
        """A batch counts as many records as are in it, in its own offset, the next one's, and the partition's end."""

        async def run() -> None:
            assert (await cluster.produce(make_records([b"a", b"b", b"c"]))).base_offset == 0
            assert (await cluster.produce(make_records([b"d"]))).base_offset == 3
            found = await cluster.fetch(0)
            assert (found.high_watermark, found.last_stable_offset, found.log_start_offset) == (4, 4, 0)
            assert struct.unpack_from(">q", found.records)[0] == 0
            # From the middle of a batch, the whole batch: the client leaves out what it has.
            assert (await cluster.fetch(2)).records == found.records
            assert struct.unpack_from(">q", (await cluster.fetch(3)).records)[0] == 3
            assert (await cluster.fetch(4)).records == b""
            assert (await cluster.fetch(5)).error_code.name == "offset_out_of_range"

        asyncio.run(run())

    @pytest.mark.parametrize(
        ("timestamp", "offset"), [(-2, 0), (-1, 4), (-3, 2), (0, 0), (1000, 1), (1500, 2), (2000, 2), (2001, -1)]
    )
    def test_offsets_by_time(self, cluster: ClusterUnderTest, timestamp: int, offset: int) -> None:
        """An offset is found by the time of its record, also within a batch, or by Kafka's codes."""
        moment = int(START.timestamp() * 1000) + timestamp if timestamp >= 0 else timestamp

        async def run() -> Any:
            await cluster.produce(make_records([b"a", b"b", b"c"]))
            await cluster.produce(make_records([b"d"]))
            topics = [{"name": TOPIC, "partitions": [{"partition_index": 0, "timestamp": moment}]}]
            return await cluster.ask(Api.LIST_OFFSETS, {**REQUESTS[Api.LIST_OFFSETS], "topics": topics})

        assert asyncio.run(run()).topics[0].partitions[0].offset == offset

    def test_a_fetch_waits_for_records(self, cluster: ClusterUnderTest) -> None:
        """A fetch at the end waits until a record arrives, or until its time is up."""

        async def run() -> None:
            fetch = asyncio.create_task(cluster.fetch(0, max_wait=timedelta(minutes=10)))
            await asyncio.sleep(0)
            assert not fetch.done()
            await cluster.produce(make_records([b"a"]))
            assert (await fetch).records
            assert (await cluster.fetch(1, max_wait=timedelta(milliseconds=1))).records == b""

        asyncio.run(run())

    def test_a_fetch_gives_at_least_one_batch(self, cluster: ClusterUnderTest) -> None:
        """A batch larger than the client's limit is given all the same, but only the first one."""

        async def run() -> None:
            for _ in range(2):
                await cluster.produce(make_records([b"x" * 1000]))
            small = {"partition_max_bytes": 10}
            size = len((await cluster.fetch(0, partition=small)).records)
            assert 1000 < size < 2000
            assert len((await cluster.fetch(0, max_bytes=size + 10)).records) == size
            assert len((await cluster.fetch(0)).records) == 2 * size
            # The limit is for all partitions together.
            cluster.cluster.topics[TOPIC].partitions[1] = cluster.cluster.topics[TOPIC].partitions[0]
            partitions = [{"partition": n, "fetch_offset": 0, "partition_max_bytes": 10} for n in range(2)]
            topics = [{"topic": TOPIC, "partitions": partitions}]
            content = {**REQUESTS[Api.FETCH], "topics": topics}
            [topic] = (await cluster.ask(Api.FETCH, content, version=12)).responses
            assert [len(each.records) for each in topic.partitions] == [size, 0]

        asyncio.run(run())

    def test_the_largest_batch(self, cluster: ClusterUnderTest) -> None:
        """A batch has 1 MiB at most, as Kafka counts it. A topic can have its own limit."""
        # A record's own length takes fewer bytes below 1 MiB.
        smaller = MAX_MESSAGE_BYTES - 100
        largest = b"x" * (smaller - (len(make_records([b"x" * smaller])) - MAX_MESSAGE_BYTES))
        assert len(make_records([largest])) == MAX_MESSAGE_BYTES
        cluster.add_topic("org_a.large", max_bytes=2 * MAX_MESSAGE_BYTES)

        async def run() -> list[str]:
            return [
                (await cluster.produce(make_records([largest]))).error_code.name,
                (await cluster.produce(make_records([largest + b"x"]))).error_code.name,
                (await cluster.produce(make_records([largest + b"x"]), topic="org_a.large")).error_code.name,
            ]

        assert asyncio.run(run()) == ["none", "message_too_large", "none"]

    @pytest.mark.parametrize(
        ("records", "error"),
        [
            (b"", "corrupt_message"),
            (make_records([b"a"])[:40], "corrupt_message"),
            (make_records([b"a"])[:-1] + b"x", "corrupt_message"),
            (make_records([b"a"]) * 2, "invalid_record"),
            (make_records([b"a"])[:16] + b"\x01" + make_records([b"a"])[17:], "invalid_record"),
            (make_records([b"a"], attributes=0b10000), "invalid_record"),
            (make_records([b"a"], attributes=0b100000), "invalid_record"),
        ],
        ids=["nothing", "cut off", "wrong checksum", "two batches", "old format", "transaction", "control"],
    )
    def test_what_is_no_batch_is_refused(self, cluster: ClusterUnderTest, records: bytes, error: str) -> None:
        """Only one whole batch with the right checksum is taken, outside of transactions."""
        assert asyncio.run(cluster.produce(records)).error_code.name == error
        assert asyncio.run(cluster.fetch(0)).high_watermark == 0

    def test_a_producer_that_wants_no_answer(self, cluster: ClusterUnderTest) -> None:
        """With acks=0 there is no answer; a refusal closes the connection."""
        assert asyncio.run(cluster.produce(make_records([b"a"]), acks=0)) is None
        with pytest.raises(ProtocolError):
            asyncio.run(cluster.produce(make_records([b"a"]), acks=0, client=USER))
        assert asyncio.run(cluster.produce(make_records([b"a"]), acks=2)).error_code.name == "invalid_required_acks"
        assert asyncio.run(cluster.fetch(0)).high_watermark == 1

    def test_an_idempotent_producer(self, cluster: ClusterUnderTest) -> None:
        """A repeated batch is not appended again. A gap in the sequence is refused, and so is a former epoch."""

        async def send(sequence: int, count: int = 1, epoch: int = 0) -> tuple[str, int]:
            records = make_records([b"x"] * count, producer=9, epoch=epoch, sequence=sequence)
            answer = await cluster.produce(records)
            return answer.error_code.name, answer.base_offset

        async def run() -> None:
            assert await send(0, 2) == ("none", 0)
            assert await send(2) == ("none", 2)
            assert await send(0, 2) == ("none", 0)
            assert await send(2) == ("none", 2)
            assert await send(4) == ("out_of_order_sequence_number", -1)
            assert await send(3) == ("none", 3)
            assert await send(1, epoch=1) == ("out_of_order_sequence_number", -1)
            assert await send(0, epoch=1) == ("none", 4)
            assert await send(4) == ("invalid_producer_epoch", -1)
            assert (await cluster.fetch(0)).high_watermark == 5

        asyncio.run(run())

    def test_another_leaders_epoch(self, cluster: ClusterUnderTest) -> None:
        """The one broker has led from the start: its epoch is 0."""

        async def run() -> list[str]:
            epochs = [{"current_leader_epoch": epoch} for epoch in (-1, 0, 1)]
            return [(await cluster.fetch(0, partition=epoch)).error_code.name for epoch in epochs]

        assert asyncio.run(run()) == ["none", "none", "unknown_leader_epoch"]
