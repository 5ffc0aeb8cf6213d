"""Consumer groups: their members, who of them reads what, and their offsets.

This is Kafka's classic protocol: members join, their leader distributes the partitions, and members that send no
heartbeat are removed. https://cwiki.apache.org/confluence/x/mYIJAg
"""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kio.schema.errors import ErrorCode

from port_runner_sandbox.broker.wire import Content

# Kafka's defaults.
MIN_SESSION_SECONDS, MAX_SESSION_SECONDS = 6, 1800
# From this version of JoinGroup on, a new member is first told its id, and joins with it.
TELLS_MEMBER_ID_FIRST = 4


class State(StrEnum):
    """The states that Kafka shows of a group."""

    EMPTY = "Empty"
    JOINING = "PreparingRebalance"
    SYNCING = "CompletingRebalance"
    STABLE = "Stable"


@dataclass(eq=False)
class Member:
    """A consumer in a group."""

    id: str
    instance: str | None
    client: str
    host: str
    session_seconds: float
    rebalance_seconds: float
    protocols: dict[str, bytes]
    assignment: bytes = b""
    joining: asyncio.Future[Content] | None = None
    syncing: asyncio.Future[Content] | None = None
    timer: asyncio.TimerHandle | None = None


@dataclass(frozen=True)
class Commit:
    """An offset that a group has committed."""

    offset: int
    leader_epoch: int
    metadata: str


def failed(code: ErrorCode) -> Content:
    """Return the fields of a response that is only an error."""
    return {"error_code": code}


class Group:
    """One consumer group. All methods run in the broker's event loop."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = State.EMPTY
        self.generation = 0
        self.protocol_type = ""
        self.protocol = ""
        self.members: dict[str, Member] = {}
        self.commits: dict[tuple[str, int], Commit] = {}
        self._leader = ""
        self._announced: set[str] = set()
        self._rebalance: asyncio.TimerHandle | None = None

    # Join

    async def join(self, body: Any, version: int, client: str, host: str) -> Content:
        """Let a member join, and answer when all members have joined."""
        session = body.session_timeout.total_seconds()
        protocols = {each.name: each.metadata for each in body.protocols}
        instance = getattr(body, "group_instance_id", None)
        if not MIN_SESSION_SECONDS <= session <= MAX_SESSION_SECONDS:
            return _not_joined(ErrorCode.invalid_session_timeout, body.member_id)
        if not self._takes(body.protocol_type, protocols, except_for=body.member_id):
            return _not_joined(ErrorCode.inconsistent_group_protocol, body.member_id)
        rebalance = getattr(body, "rebalance_timeout", body.session_timeout).total_seconds()
        new = Member("", instance, client, host, session, rebalance, protocols)
        if not body.member_id:
            return await self._join_first(new, body.protocol_type, announced=version >= TELLS_MEMBER_ID_FIRST)
        if body.member_id in self._announced:
            self._announced.remove(body.member_id)
            new.id = body.member_id
            return await self._add(new, body.protocol_type)
        if code := self._unknown(body.member_id, instance):
            return _not_joined(code, body.member_id)
        return await self._join_again(self.members[body.member_id], new)

    def _takes(self, protocol_type: str, protocols: dict[str, bytes], *, except_for: str) -> bool:
        if not protocol_type or not protocols:
            return False
        others = [member for member in self.members.values() if member.id != except_for]
        return not others or (protocol_type == self.protocol_type and bool(_shared(others) & protocols.keys()))

    async def _join_first(self, new: Member, protocol_type: str, *, announced: bool) -> Content:
        new.id = f"{new.instance or new.client}-{uuid.uuid4()}"
        former = self._static(new.instance)
        if former:
            return await self._replace(former, new)
        if announced and new.instance is None:
            self._announced.add(new.id)
            _later(new.session_seconds, self._forget, new.id)
            return _not_joined(ErrorCode.member_id_required, new.id)
        return await self._add(new, protocol_type)

    def _forget(self, announced: str) -> None:
        if announced in self._announced:
            self._announced.remove(announced)
            self._complete_join_if_all_joined()

    async def _add(self, new: Member, protocol_type: str) -> Content:
        if not self.members:
            self.protocol_type = protocol_type
        self.members[new.id] = new
        return await self._wait_for_others(new)

    async def _join_again(self, member: Member, new: Member) -> Content:
        changed = member.protocols != new.protocols
        member.protocols = new.protocols
        member.session_seconds, member.rebalance_seconds = new.session_seconds, new.rebalance_seconds
        unchanged = self.state == State.SYNCING or (self.state == State.STABLE and member.id != self._leader)
        if unchanged and not changed:
            self._keep(member)
            return self._joined(member)
        return await self._wait_for_others(member)

    async def _replace(self, former: Member, new: Member) -> Content:
        """Let a static member continue where the former one with its name stopped, without a rebalance."""
        self._drop(former, ErrorCode.fenced_instance_id)
        new.assignment = former.assignment
        self.members[new.id] = new
        led = self._leader == former.id
        if led:
            self._leader = new.id
        if self.state == State.STABLE and former.protocols == new.protocols:
            self._keep(new)
            return self._joined(new) | {"skip_assignment": led}
        return await self._wait_for_others(new)

    async def _wait_for_others(self, member: Member) -> Content:
        if member.timer:
            member.timer.cancel()
        if member.joining:
            _answer(member.joining, _not_joined(ErrorCode.unknown_member_id, member.id))
        answer: asyncio.Future[Content] = asyncio.get_running_loop().create_future()
        member.joining = answer
        self._prepare()
        return await answer

    def _prepare(self) -> None:
        """Make all members join again."""
        if self.state == State.SYNCING:
            for member in self.members.values():
                self._end_sync(member, failed(ErrorCode.rebalance_in_progress))
        if self.state != State.JOINING:
            self.state = State.JOINING
            seconds = max(member.rebalance_seconds for member in self.members.values())
            self._rebalance = _later(seconds, self._complete_join)
        self._complete_join_if_all_joined()

    def _complete_join_if_all_joined(self) -> None:
        if self.state == State.JOINING and not self._announced and all(m.joining for m in self.members.values()):
            self._complete_join()

    def _complete_join(self) -> None:
        """Begin the next generation, without the members that have not joined in time."""
        if self._rebalance:
            self._rebalance.cancel()
        for member in [each for each in self.members.values() if not each.joining and each.instance is None]:
            self._drop(member, ErrorCode.unknown_member_id)
        self.generation += 1
        if not self.members:
            self.state = State.EMPTY
            return
        joined = [member for member in self.members.values() if member.joining]
        if self._leader not in {member.id for member in joined}:
            self._leader = next(iter(joined or self.members.values())).id
        self.protocol = self._elect()
        self.state = State.SYNCING
        for member in self.members.values():
            if member.joining:
                _answer(member.joining, self._joined(member))
                member.joining = None
            self._keep(member)

    def _elect(self) -> str:
        """Return the protocol that most members prefer, of those that all of them have."""
        shared = _shared(self.members.values())
        votes = [next(name for name in member.protocols if name in shared) for member in self.members.values()]
        return max(votes, key=votes.count)

    def _joined(self, member: Member) -> Content:
        shown = self.members.values() if member.id == self._leader else []
        return {
            "generation_id": self.generation,
            "protocol_type": self.protocol_type,
            "protocol_name": self.protocol,
            "leader": self._leader,
            "member_id": member.id,
            "members": [
                {
                    "member_id": each.id,
                    "group_instance_id": each.instance,
                    "metadata": each.protocols.get(self.protocol, b""),
                }
                for each in shown
            ],
        }

    # Sync

    async def sync(self, body: Any) -> Content:
        """Answer with the member's assignment when the leader has made it."""
        if code := self._unknown(body.member_id, getattr(body, "group_instance_id", None), body.generation_id):
            return failed(code)
        named = (getattr(body, "protocol_type", None), getattr(body, "protocol_name", None))
        if any(n not in (None, is_) for n, is_ in zip(named, (self.protocol_type, self.protocol), strict=True)):
            return failed(ErrorCode.inconsistent_group_protocol)
        member = self.members[body.member_id]
        if self.state == State.JOINING:
            return failed(ErrorCode.rebalance_in_progress)
        self._keep(member)
        if self.state == State.STABLE:
            return self._assigned(member)
        self._end_sync(member, failed(ErrorCode.rebalance_in_progress))
        answer: asyncio.Future[Content] = asyncio.get_running_loop().create_future()
        member.syncing = answer
        if member.id == self._leader:
            given = {each.member_id: each.assignment for each in body.assignments}
            self.state = State.STABLE
            for each in self.members.values():
                each.assignment = given.get(each.id, b"")
                self._end_sync(each, self._assigned(each))
        return await answer

    def _assigned(self, member: Member) -> Content:
        names = {"protocol_type": self.protocol_type, "protocol_name": self.protocol}
        return {"assignment": member.assignment, **names}

    def _end_sync(self, member: Member, content: Content) -> None:
        if member.syncing:
            _answer(member.syncing, content)
            member.syncing = None
            self._keep(member)

    # Stay and leave

    def heartbeat(self, body: Any) -> ErrorCode:
        """Note that a member lives."""
        if code := self._unknown(body.member_id, getattr(body, "group_instance_id", None), body.generation_id):
            return code
        self._keep(self.members[body.member_id])
        return ErrorCode.rebalance_in_progress if self.state == State.JOINING else ErrorCode.none

    def leave(self, member_id: str, instance: str | None) -> ErrorCode:
        """Remove a member. The others share its partitions."""
        if member_id in self._announced:
            self._forget(member_id)
            return ErrorCode.none
        static = self._static(instance)
        if static and not member_id:
            member_id = static.id
        if code := self._unknown(member_id, instance):
            return code
        self._remove(self.members[member_id])
        return ErrorCode.none

    def _keep(self, member: Member) -> None:
        """Remove the member if it does not show itself again within its session."""
        if member.timer:
            member.timer.cancel()
        member.timer = _later(member.session_seconds, self._expire, member)

    def _expire(self, member: Member) -> None:
        if member.joining or member.syncing:
            self._keep(member)  # it waits for an answer
        elif self.members.get(member.id) is member:
            self._remove(member)

    def _remove(self, member: Member) -> None:
        self._drop(member, ErrorCode.unknown_member_id)
        if self.members:
            self._prepare()
        else:
            self._complete_join()

    def _drop(self, member: Member, code: ErrorCode) -> None:
        del self.members[member.id]
        if member.timer:
            member.timer.cancel()
        if member.joining:
            _answer(member.joining, _not_joined(code, member.id))
        if member.syncing:
            _answer(member.syncing, failed(code))

    def _unknown(self, member_id: str, instance: str | None, generation: int | None = None) -> ErrorCode | None:
        """Return why a member's request is refused, or None."""
        static = self._static(instance)
        if instance is not None and static is None:
            return ErrorCode.unknown_member_id
        if static and static.id != member_id:
            return ErrorCode.fenced_instance_id
        if member_id not in self.members:
            return ErrorCode.unknown_member_id
        return ErrorCode.illegal_generation if generation not in (None, self.generation) else None

    def _static(self, instance: str | None) -> Member | None:
        named = (member for member in self.members.values() if instance is not None and member.instance == instance)
        return next(named, None)

    # Offsets

    def refuses_commit(self, body: Any) -> ErrorCode | None:
        """Return why nothing may be committed, or None. Without members, the group takes any commit."""
        generation, instance = body.generation_id_or_member_epoch, getattr(body, "group_instance_id", None)
        if generation < 0 and not self.members:
            return None
        if code := self._unknown(body.member_id, instance, generation):
            return code
        self._keep(self.members[body.member_id])
        return ErrorCode.rebalance_in_progress if self.state == State.SYNCING else None

    def commit(self, topic: str, partition: Any) -> None:
        """Note the offset of a partition."""
        epoch = getattr(partition, "committed_leader_epoch", -1)
        kept = Commit(partition.committed_offset, epoch, partition.committed_metadata or "")
        self.commits[topic, partition.partition_index] = kept

    # Descriptions

    @property
    def exists(self) -> bool:
        """Return whether Kafka knows this group: it has members or offsets."""
        return bool(self.members or self.commits)

    def describe(self) -> Content:
        """Return what Kafka shows of this group."""
        settled = self.state == State.STABLE
        return {
            "group_id": self.name,
            "group_state": self.state.value if self.exists else "Dead",
            "protocol_type": self.protocol_type,
            "protocol_data": self.protocol if settled else "",
            "members": [
                {
                    "member_id": member.id,
                    "group_instance_id": member.instance,
                    "client_id": member.client,
                    "client_host": f"/{member.host}",
                    "member_metadata": member.protocols.get(self.protocol, b"") if settled else b"",
                    "member_assignment": member.assignment if settled else b"",
                }
                for member in self.members.values()
            ],
        }


def _shared(members: Any) -> set[str]:
    return set.intersection(*(set(member.protocols) for member in members))


def _not_joined(code: ErrorCode, member_id: str) -> Content:
    names = {"protocol_type": None, "protocol_name": "", "leader": "", "member_id": member_id}
    return {"error_code": code, **names, "members": []}


def _answer(future: asyncio.Future[Content], content: Content) -> None:
    if not future.done():  # the connection of who waits may be gone
        future.set_result(content)


def _later[*Arguments](
    seconds: float, call: Callable[[*Arguments], None], *arguments: *Arguments
) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(seconds, call, *arguments)
