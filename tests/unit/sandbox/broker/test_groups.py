"""Consumer groups: who is in them, who leads, who reads what, and what they have committed."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from port_runner_sandbox.broker import groups
from port_runner_sandbox.broker.wire import VERSIONS, Api
from tests.support.cluster_under_test import GROUP, OWNER, TOPIC, ClusterUnderTest, until

SHORT = timedelta(seconds=0.2)

type Scene = Callable[[ClusterUnderTest], Awaitable[None]]


@pytest.fixture
def play() -> Callable[[Scene], None]:
    """A function that plays a scene with a new cluster."""

    def play(scene: Scene) -> None:
        async def run() -> None:
            async with asyncio.timeout(60):
                await scene(ClusterUnderTest())

        asyncio.run(run())

    return play


@pytest.fixture
def short_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions may be shorter than a broker allows, so that no test waits long."""
    monkeypatch.setattr(groups, "MIN_SESSION_SECONDS", 0)


async def alone(cluster: ClusterUnderTest, **changes: Any) -> Any:
    """Return the only member of a settled group."""
    member = await cluster.join(**changes)
    assert (await cluster.sync(member, {member.member_id: b"both"})).assignment == b"both"
    return member


async def two(cluster: ClusterUnderTest) -> tuple[Any, Any]:
    """Return leader and follower of a settled group, each with a partition."""
    first = await alone(cluster)
    coming = asyncio.create_task(cluster.join())
    await until(lambda: heartbeat_is(cluster, first, "rebalance_in_progress"))
    first, second = await asyncio.gather(cluster.join(first.member_id), coming)
    waiting = asyncio.create_task(cluster.sync(second))
    given = {first.member_id: b"0", second.member_id: b"1"}
    assert (await cluster.sync(first, given)).assignment == b"0"
    assert (await waiting).assignment == b"1"
    return first, second


async def heartbeat_is(cluster: ClusterUnderTest, member: Any, code: str) -> bool:
    return await cluster.heartbeat(member) == code


async def members_are(cluster: ClusterUnderTest, count: int) -> bool:
    content = {"groups": [GROUP], "include_authorized_operations": False}
    return len((await cluster.ask(Api.DESCRIBE_GROUPS, content)).groups[0].members) == count


def test_the_first_member_leads(play: Callable[[Scene], None]) -> None:
    """A member alone leads at once, gets what it gives itself, and its heartbeats are taken."""

    async def scene(cluster: ClusterUnderTest) -> None:
        assert await cluster.state() == "Dead"
        member = await cluster.join()
        assert await cluster.state() == "CompletingRebalance"
        assert (member.leader, member.generation_id, member.protocol_name) == (member.member_id, 1, "range")
        assert [(each.member_id, each.metadata) for each in member.members] == [(member.member_id, b"topics")]
        assert (await cluster.sync(member, {member.member_id: b"all"})).assignment == b"all"
        assert await cluster.state() == "Stable"
        assert await cluster.heartbeat(member) == "none"

    play(scene)


def test_a_second_member_shares(play: Callable[[Scene], None]) -> None:
    """The others join again if a member comes. The leader sees all and distributes; the group describes all."""

    async def scene(cluster: ClusterUnderTest) -> None:
        first, second = await two(cluster)
        assert first.generation_id == second.generation_id == 2
        assert first.leader == second.leader == first.member_id
        assert ({each.member_id for each in first.members}, second.members) == (
            {first.member_id, second.member_id},
            (),
        )
        content = {"groups": [GROUP], "include_authorized_operations": False}
        [described] = (await cluster.ask(Api.DESCRIBE_GROUPS, content)).groups
        shown = {(each.member_assignment, each.client_id, each.client_host) for each in described.members}
        assert shown == {(b"0", "a-client", "/10.0.0.1"), (b"1", "a-client", "/10.0.0.1")}
        assert (described.group_state, described.protocol_type, described.protocol_data) == (
            "Stable",
            "consumer",
            "range",
        )

    play(scene)


def test_a_member_leaves(play: Callable[[Scene], None]) -> None:
    """The other one joins again if a member leaves, and can have everything. Without members, the group is empty."""

    async def scene(cluster: ClusterUnderTest) -> None:
        first, second = await two(cluster)
        await cluster.commit(5, first)
        leave = {"group_id": GROUP, "members": [{"member_id": first.member_id}]}
        assert (await cluster.ask(Api.LEAVE_GROUP, leave)).members[0].error_code.name == "none"
        assert await cluster.heartbeat(second) == "rebalance_in_progress"
        assert await cluster.heartbeat(first) == "unknown_member_id"
        second = await cluster.join(second.member_id)
        assert (second.leader, second.generation_id) == (second.member_id, 3)
        leave = {"group_id": GROUP, "members": [{"member_id": second.member_id}]}
        await cluster.ask(Api.LEAVE_GROUP, leave)
        assert await cluster.state() == "Empty"

    play(scene)


@pytest.mark.usefixtures("short_sessions")
def test_a_lost_member_is_removed(play: Callable[[Scene], None]) -> None:
    """A member without heartbeats is removed at the end of its session. A new member waits no longer than that."""

    async def scene(cluster: ClusterUnderTest) -> None:
        lost = await alone(cluster, session_timeout=SHORT)
        successor = await cluster.join()
        assert successor.leader == successor.member_id
        assert await cluster.heartbeat(lost) == "unknown_member_id"

    play(scene)


@pytest.mark.usefixtures("short_sessions")
def test_a_leader_lost_before_it_distributes(play: Callable[[Scene], None]) -> None:
    """A follower that waits for its partitions is told to join again if the leader is lost."""

    async def scene(cluster: ClusterUnderTest) -> None:
        first = await alone(cluster)
        coming = asyncio.create_task(cluster.join())
        await until(lambda: heartbeat_is(cluster, first, "rebalance_in_progress"))
        _, second = await asyncio.gather(cluster.join(first.member_id, session_timeout=SHORT), coming)
        assert (await cluster.sync(second)).error_code.name == "rebalance_in_progress"
        assert (await cluster.join(second.member_id)).leader == second.member_id

    play(scene)


def test_a_member_that_does_not_join_again_in_time(play: Callable[[Scene], None]) -> None:
    """A rebalance waits for all members, but no longer than the longest of them allows."""

    async def scene(cluster: ClusterUnderTest) -> None:
        slow = await alone(cluster, rebalance_timeout=SHORT, session_timeout=timedelta(minutes=10))
        fast = await cluster.join(rebalance_timeout=SHORT)
        assert fast.leader == fast.member_id
        assert await cluster.heartbeat(slow) == "unknown_member_id"

    play(scene)


def test_wrong_members(play: Callable[[Scene], None]) -> None:
    """Requests of unknown members, and of another generation, are refused each with its code."""

    async def scene(cluster: ClusterUnderTest) -> None:
        member = await alone(cluster)
        assert await cluster.heartbeat(member, generation_id=7) == "illegal_generation"
        assert await cluster.heartbeat(member, member_id="unknown") == "unknown_member_id"
        assert (await cluster.sync(member, generation_id=7)).error_code.name == "illegal_generation"
        assert (await cluster.sync(member, protocol_name="other")).error_code.name == "inconsistent_group_protocol"
        assert (await cluster.join("unknown")).error_code.name == "unknown_member_id"

    play(scene)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"session_timeout": timedelta(seconds=5)}, "invalid_session_timeout"),
        ({"session_timeout": timedelta(hours=1)}, "invalid_session_timeout"),
        ({"group_id": ""}, "group_authorization_failed"),
        ({"protocols": []}, "inconsistent_group_protocol"),
        ({"protocols": [{"name": "sticky", "metadata": b""}]}, "inconsistent_group_protocol"),
        ({"protocol_type": "connect"}, "inconsistent_group_protocol"),
    ],
)
def test_a_member_that_does_not_fit(play: Callable[[Scene], None], changes: dict[str, Any], code: str) -> None:
    """A member needs a session as long as Kafka allows, and a protocol that all members have."""

    async def scene(cluster: ClusterUnderTest) -> None:
        await alone(cluster)
        assert (await cluster.join(**changes)).error_code.name == code

    play(scene)


def test_the_protocol_that_most_prefer(play: Callable[[Scene], None]) -> None:
    """The group uses a protocol that all members have: the one that most of them name first."""

    async def scene(cluster: ClusterUnderTest) -> None:
        sticky, plain = {"name": "sticky", "metadata": b"s"}, {"name": "range", "metadata": b"r"}
        only_here = {"name": "of my own", "metadata": b"o"}
        first = await alone(cluster, protocols=[only_here, sticky, plain])
        assert first.protocol_name == "of my own"
        coming = [asyncio.create_task(cluster.join(protocols=[plain, sticky])) for _ in range(2)]
        await until(lambda: heartbeat_is(cluster, first, "rebalance_in_progress"))
        await until(lambda: members_are(cluster, 3))
        again = cluster.join(first.member_id, protocols=[only_here, sticky, plain])
        members = await asyncio.gather(again, *coming)
        assert [member.protocol_name for member in members] == ["range"] * 3

    play(scene)


def test_a_member_that_changes_its_topics(play: Callable[[Scene], None]) -> None:
    """A member that joins again with other topics makes the group share again. With the same, only the leader can."""

    async def scene(cluster: ClusterUnderTest) -> None:
        first, second = await two(cluster)
        assert (await cluster.join(second.member_id)).generation_id == second.generation_id
        other = [{"name": "range", "metadata": b"other topics"}]
        joining = asyncio.create_task(cluster.join(second.member_id, protocols=other))
        await until(lambda: heartbeat_is(cluster, first, "rebalance_in_progress"))
        first = await cluster.join(first.member_id)
        assert (await joining).generation_id == first.generation_id == 3
        assert b"other topics" in {each.metadata for each in first.members}

    play(scene)


def test_a_static_member(play: Callable[[Scene], None]) -> None:
    """A member with a fixed name continues after a restart without a new generation. Its former process is fenced."""

    async def scene(cluster: ClusterUnderTest) -> None:
        former = await alone(cluster, group_instance_id="one")
        again = await cluster.join(group_instance_id="one")
        assert (again.generation_id, again.skip_assignment) == (former.generation_id, True)
        assert again.member_id != former.member_id
        assert (await cluster.sync(again, group_instance_id="one")).assignment == b"both"
        assert await cluster.heartbeat(former, group_instance_id="one") == "fenced_instance_id"
        assert await cluster.heartbeat(again, group_instance_id="one") == "none"
        leave = {"group_id": GROUP, "members": [{"member_id": "", "group_instance_id": "one"}]}
        assert (await cluster.ask(Api.LEAVE_GROUP, leave)).members[0].error_code.name == "none"

    play(scene)


@pytest.mark.parametrize("version", range(4))
def test_older_clients_join_without_being_told_an_id(play: Callable[[Scene], None], version: int) -> None:
    """Before version 4 of JoinGroup, a new member joins with its first request."""

    async def scene(cluster: ClusterUnderTest) -> None:
        content = {
            "group_id": GROUP,
            "session_timeout": timedelta(seconds=10),
            "member_id": "",
            "protocol_type": "consumer",
            "protocols": [{"name": "range", "metadata": b"topics"}],
        }
        assert (await cluster.ask(Api.JOIN_GROUP, content, version=version)).leader

    assert VERSIONS[Api.JOIN_GROUP][0] == 0
    play(scene)


def test_commits(play: Callable[[Scene], None]) -> None:
    """Members of the generation commit. Who is no member commits only while the group has none."""

    async def scene(cluster: ClusterUnderTest) -> None:
        assert await cluster.commit(3) == "none"
        member = await alone(cluster)
        assert await cluster.commit(4) == "unknown_member_id"
        assert await cluster.commit(5, member) == "none"
        assert await cluster.commit(6, member, generation_id_or_member_epoch=9) == "illegal_generation"
        assert cluster.cluster.groups[GROUP].commits[TOPIC, 0].offset == 5
        for topics in (None, [{"name": TOPIC, "partition_indexes": [0]}]):
            content = {"groups": [{"group_id": GROUP, "topics": topics}]}
            [group] = (await cluster.ask(Api.OFFSET_FETCH, content)).groups
            assert [each.committed_offset for topic in group.topics for each in topic.partitions] == [5]
        content = {"groups": [{"group_id": GROUP, "topics": [{"name": TOPIC, "partition_indexes": [1]}]}]}
        [group] = (await cluster.ask(Api.OFFSET_FETCH, content)).groups
        assert [each.committed_offset for topic in group.topics for each in topic.partitions] == [-1]

    play(scene)


def test_a_commit_during_a_rebalance(play: Callable[[Scene], None]) -> None:
    """While members join, the former generation may still commit. Before it has its partitions, the new one may not."""

    async def scene(cluster: ClusterUnderTest) -> None:
        first = await alone(cluster)
        coming = asyncio.create_task(cluster.join())
        await until(lambda: heartbeat_is(cluster, first, "rebalance_in_progress"))
        assert await cluster.commit(1, first) == "none"
        first, _ = await asyncio.gather(cluster.join(first.member_id), coming)
        assert await cluster.commit(2, first) == "rebalance_in_progress"

    play(scene)


def test_the_groups_that_are_listed(play: Callable[[Scene], None]) -> None:
    """A list of groups has those that exist and that the user may use."""

    async def scene(cluster: ClusterUnderTest) -> None:
        await alone(cluster)
        await cluster.commit(1, client=OWNER, group_id="foreign")
        await cluster.ask(Api.FIND_COORDINATOR, {"coordinator_keys": ["org_a.never-used"]})
        listed = {each.group_id: each.group_state for each in (await cluster.ask(Api.LIST_GROUPS, {})).groups}
        assert listed == {GROUP: "Stable"}
        assert (await cluster.ask(Api.LIST_GROUPS, {"states_filter": ["Empty"]})).groups == ()

    play(scene)
