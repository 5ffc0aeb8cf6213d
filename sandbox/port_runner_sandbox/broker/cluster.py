"""The answers to the requests of a user who is logged in, with the rights that Port's users have."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from kio.schema.errors import ErrorCode

from port_runner_sandbox.broker.groups import Group, failed
from port_runner_sandbox.broker.refusals import REFUSALS
from port_runner_sandbox.broker.topics import Refused, Topic, Topics, read_batch
from port_runner_sandbox.broker.users import User
from port_runner_sandbox.broker.wire import Api, Content, ProtocolError, Request

BROKER_ID = 1
# Kafka's codes of what may be done with a topic or group, as bits: read and describe; all of a topic's.
READER_OPERATIONS = 1 << 3 | 1 << 8
OWNER_OPERATIONS = READER_OPERATIONS | 1 << 4
GROUPS_KEY = 0
# Kafka's default (offset.metadata.max.bytes).
MAX_METADATA = 4096


@dataclass(frozen=True)
class Client:
    """A client that is logged in."""

    user: User
    host: str


class Cluster:
    """The topics and groups of the cluster, and the answers about them."""

    def __init__(self, host: str, *, log: Callable[[str], None]) -> None:
        self.topics = Topics()
        self.groups: dict[str, Group] = {}
        self.port = 0
        self.cluster_id = "sandbox-of-port-runner"
        self._host = host
        self._log = log
        self._producers = count(1)

    async def answer(self, request: Request, client: Client) -> Content | None:
        """Return the content of the response, or None if the client wants none. Raises ProtocolError."""
        if refuse := REFUSALS.get(request.api):
            self._log(f"refused: {client.user.name} may not send {request.api.name}")
            return refuse(request.body)
        handlers: dict[Api, Callable[[Request, Client], Awaitable[Content | None]]] = {
            Api.PRODUCE: self._produce,
            Api.FETCH: self._fetch,
            Api.LIST_OFFSETS: self._list_offsets,
            Api.METADATA: self._metadata,
            Api.OFFSET_COMMIT: self._offset_commit,
            Api.OFFSET_FETCH: self._offset_fetch,
            Api.FIND_COORDINATOR: self._find_coordinator,
            Api.JOIN_GROUP: self._join_group,
            Api.HEARTBEAT: self._heartbeat,
            Api.LEAVE_GROUP: self._leave_group,
            Api.SYNC_GROUP: self._sync_group,
            Api.DESCRIBE_GROUPS: self._describe_groups,
            Api.LIST_GROUPS: self._list_groups,
            Api.INIT_PRODUCER_ID: self._init_producer_id,
            Api.OFFSET_FOR_LEADER_EPOCH: self._offset_for_leader_epoch,
            Api.DESCRIBE_CLUSTER: self._describe_cluster,
        }
        return await handlers[request.api](request, client)

    # What a user may do

    def _readable(self, client: Client, name: str | None, *, id: Any = None) -> Topic:
        """Return a topic that the user may read. Raises Refused, for an unknown topic as Kafka does."""
        topic = self.topics.get(name) if name else self.topics.by_id(id)
        if topic is None and not name:
            raise Refused(ErrorCode.unknown_topic_id)
        if client.user.organization is not None and (topic is None or not client.user.may_read(topic.organization)):
            self._log(f"refused: {client.user.name} may not read the topic {name or id}")
            raise Refused(ErrorCode.topic_authorization_failed)
        if topic is None:
            raise Refused(ErrorCode.unknown_topic_or_partition)
        return topic

    def _group(self, client: Client, name: str) -> Group:
        """Return a group that the user may join. Raises Refused."""
        if not client.user.may_join(name):
            self._log(f"refused: {client.user.name} may not use the consumer group {name}")
            raise Refused(ErrorCode.group_authorization_failed)
        if not name:
            raise Refused(ErrorCode.invalid_group_id)
        return self.groups.setdefault(name, Group(name))

    # Cluster

    def _brokers(self) -> list[Content]:
        address = {"host": self._host, "port": self.port}
        return [{"node_id": BROKER_ID, "broker_id": BROKER_ID, **address}]

    async def _metadata(self, request: Request, client: Client) -> Content:
        asked = request.body.topics
        if asked is None or (request.version == 0 and not asked):
            readable = [topic for topic in self.topics.values() if client.user.may_read(topic.organization)]
            found = [self._describe(topic, request, client) for topic in readable]
        else:
            found = [self._describe_asked(each, request, client) for each in asked]
        return {
            "brokers": self._brokers(),
            "cluster_id": self.cluster_id,
            "controller_id": BROKER_ID,
            "topics": found,
            **self._cluster_operations(request),
        }

    def _describe_asked(self, asked: Any, request: Request, client: Client) -> Content:
        id = getattr(asked, "topic_id", None)
        try:
            return self._describe(self._readable(client, asked.name, id=id), request, client)
        except Refused as refused:
            nameless = None if request.version >= 12 else ""
            return {"error_code": refused.code, "name": asked.name or nameless, "topic_id": id, "partitions": []}

    def _describe(self, topic: Topic, request: Request, client: Client) -> Content:
        content: Content = {
            "error_code": ErrorCode.none,
            "name": topic.name,
            "topic_id": topic.id,
            "partitions": [
                {
                    "error_code": ErrorCode.none,
                    "partition_index": number,
                    "leader_id": BROKER_ID,
                    "leader_epoch": 0,
                    "replica_nodes": [BROKER_ID],
                    "isr_nodes": [BROKER_ID],
                }
                for number in range(len(topic.partitions))
            ],
        }
        if getattr(request.body, "include_topic_authorized_operations", False):
            operations = OWNER_OPERATIONS if client.user.may_write() else READER_OPERATIONS
            content["topic_authorized_operations"] = operations
        return content

    def _cluster_operations(self, request: Request) -> Content:
        asked = getattr(request.body, "include_cluster_authorized_operations", False)
        return {"cluster_authorized_operations": 0} if asked else {}

    async def _describe_cluster(self, request: Request, client: Client) -> Content:
        return {
            "cluster_id": self.cluster_id,
            "controller_id": BROKER_ID,
            "brokers": self._brokers(),
            **self._cluster_operations(request),
        }

    # Produce

    async def _init_producer_id(self, request: Request, client: Client) -> Content:
        if request.body.transactional_id is not None:
            code = ErrorCode.transactional_id_authorization_failed
        elif not client.user.may_write():
            code = ErrorCode.cluster_authorization_failed
        else:
            return {"producer_id": next(self._producers), "producer_epoch": 0}
        return {"error_code": code, "producer_id": -1, "producer_epoch": -1}

    async def _produce(self, request: Request, client: Client) -> Content | None:
        body = request.body
        if body.acks not in (-1, 0, 1):
            code: ErrorCode | None = ErrorCode.invalid_required_acks
        elif body.transactional_id is not None:
            code = ErrorCode.transactional_id_authorization_failed
        else:
            code = None
        answers = [
            {
                "name": topic.name,
                "partition_responses": [self._append(topic.name, each, client, code) for each in topic.partition_data],
            }
            for topic in body.topic_data
        ]
        self.topics.tell()
        if body.acks:
            return {"responses": answers}
        if any(each["error_code"] for topic in answers for each in topic["partition_responses"]):
            raise ProtocolError("a record that needs no answer is refused")
        return None

    def _append(self, topic_name: str, data: Any, client: Client, code: ErrorCode | None) -> Content:
        answer: Content = {"index": data.index, "record_errors": []}
        try:
            if code:
                raise Refused(code)
            if not client.user.may_write():
                self._log(f"refused: {client.user.name} may not write to the topic {topic_name}")
                raise Refused(ErrorCode.topic_authorization_failed)
            topic = self._readable(client, topic_name)
            partition = topic.partition(data.index)
            batch = read_batch(data.records or b"", max_bytes=topic.max_message_bytes)
            offset = partition.append(batch)
        except Refused as refused:
            return {**answer, "error_code": refused.code, "base_offset": -1}
        return {**answer, "error_code": ErrorCode.none, "base_offset": offset, "log_start_offset": 0}

    # Fetch

    async def _fetch(self, request: Request, client: Client) -> Content:
        body = request.body
        if getattr(body, "session_id", 0):
            # Sessions are an optimization that a broker need not offer.
            return {**failed(ErrorCode.fetch_session_id_not_found), "responses": []}
        deadline = time.monotonic() + body.max_wait.total_seconds()
        while True:
            appended = self.topics.appended
            answers, size, refused = self._read(body, client)
            seconds = deadline - time.monotonic()
            if refused or size >= body.min_bytes or seconds <= 0:
                return {"responses": answers}
            try:
                await asyncio.wait_for(appended.wait(), seconds)
            except TimeoutError:
                return {"responses": answers}

    def _read(self, body: Any, client: Client) -> tuple[list[Content], int, bool]:
        """Return the answer for each topic, the size of all records, and whether a partition was refused."""
        size, refused = 0, False
        answers: list[Content] = []
        for asked in body.topics:
            name, id = getattr(asked, "topic", None), getattr(asked, "topic_id", None)
            partitions: list[Content] = []
            for each in asked.partitions:
                answer: Content = {"partition_index": each.partition, "aborted_transactions": None}
                try:
                    partition = self._readable(client, name, id=id).partition(each.partition)
                    _check_epoch(getattr(each, "current_leader_epoch", -1))
                    limit = min(each.partition_max_bytes, body.max_bytes - size)
                    records = partition.read(each.fetch_offset, limit, at_least_one=not size)
                    size += len(records)
                    ends = {"high_watermark": partition.end, "last_stable_offset": partition.end, "log_start_offset": 0}
                    partitions.append({**answer, **ends, "error_code": ErrorCode.none, "records": records})
                except Refused as error:
                    refused = True
                    partitions.append({**answer, "high_watermark": -1, "error_code": error.code, "records": b""})
            answers.append({"topic": name, "topic_id": id, "partitions": partitions})
        return answers, size, refused

    async def _list_offsets(self, request: Request, client: Client) -> Content:
        def look_up(topic: Any, each: Any) -> Content:
            answer: Content = {"partition_index": each.partition_index}
            try:
                partition = self._readable(client, topic.name).partition(each.partition_index)
                _check_epoch(getattr(each, "current_leader_epoch", -1))
            except Refused as refused:
                return {**answer, "error_code": refused.code}
            offset, timestamp = partition.find(each.timestamp)
            epoch = -1 if offset < 0 else 0
            found = {"offset": offset, "timestamp": timestamp, "leader_epoch": epoch}
            return {**answer, "error_code": ErrorCode.none, **found}

        return {"topics": _each_partition(request.body.topics, look_up)}

    async def _offset_for_leader_epoch(self, request: Request, client: Client) -> Content:
        def look_up(topic: Any, each: Any) -> Content:
            answer: Content = {"partition": each.partition}
            try:
                partition = self._readable(client, topic.topic).partition(each.partition)
                _check_epoch(each.current_leader_epoch)
            except Refused as refused:
                return {**answer, "error_code": refused.code}
            known = {"leader_epoch": 0, "end_offset": partition.end} if each.leader_epoch == 0 else {}
            return {**answer, "error_code": ErrorCode.none, **known}

        topics = [
            {"topic": topic.topic, "partitions": [look_up(topic, each) for each in topic.partitions]}
            for topic in request.body.topics
        ]
        return {"topics": topics}

    # Groups

    async def _find_coordinator(self, request: Request, client: Client) -> Content:
        body = request.body
        kind = getattr(body, "key_type", GROUPS_KEY)
        keys = body.coordinator_keys if request.version >= 4 else [body.key]
        found = [{"key": key, **self._coordinator(key, kind, client)} for key in keys]
        return {"coordinators": found, **(found[0] if request.version < 4 else {})}

    def _coordinator(self, key: str, kind: int, client: Client) -> Content:
        nowhere = {"node_id": -1, "host": "", "port": -1}
        if kind != GROUPS_KEY:
            return {**nowhere, "error_code": ErrorCode.transactional_id_authorization_failed, "error_message": None}
        try:
            self._group(client, key)
        except Refused as refused:
            return {**nowhere, "error_code": refused.code, "error_message": None}
        return {**self._brokers()[0], "error_code": ErrorCode.none, "error_message": None}

    async def _join_group(self, request: Request, client: Client) -> Content:
        try:
            group = self._group(client, request.body.group_id)
        except Refused as refused:
            names = {"protocol_name": "", "leader": "", "member_id": request.body.member_id}
            return {**failed(refused.code), **names, "members": []}
        return await group.join(request.body, request.version, request.client, client.host)

    async def _sync_group(self, request: Request, client: Client) -> Content:
        try:
            answer = await self._group(client, request.body.group_id).sync(request.body)
        except Refused as refused:
            answer = failed(refused.code)
        return {"assignment": b"", **answer}

    async def _heartbeat(self, request: Request, client: Client) -> Content:
        try:
            return failed(self._group(client, request.body.group_id).heartbeat(request.body))
        except Refused as refused:
            return failed(refused.code)

    async def _leave_group(self, request: Request, client: Client) -> Content:
        body = request.body
        try:
            group = self._group(client, body.group_id)
        except Refused as refused:
            return {**failed(refused.code), "members": []}
        if request.version < 3:
            return failed(group.leave(body.member_id, None))
        left = [
            {
                "member_id": each.member_id,
                "group_instance_id": each.group_instance_id,
                "error_code": group.leave(each.member_id, each.group_instance_id),
            }
            for each in body.members
        ]
        return {"members": left}

    async def _offset_commit(self, request: Request, client: Client) -> Content:
        body = request.body
        group: Group | None = None
        code: ErrorCode | None
        try:
            group = self._group(client, body.group_id)
            code = group.refuses_commit(body)
        except Refused as refused:
            code = refused.code

        def commit(topic: Any, each: Any) -> Content:
            error = code
            if group and not error:
                try:
                    self._readable(client, topic.name).partition(each.partition_index)
                    if len(each.committed_metadata or "") > MAX_METADATA:
                        raise Refused(ErrorCode.offset_metadata_too_large)
                    group.commit(topic.name, each)
                except Refused as refused:
                    error = refused.code
            return {"partition_index": each.partition_index, "error_code": error or ErrorCode.none}

        return {"topics": _each_partition(body.topics, commit)}

    async def _offset_fetch(self, request: Request, client: Client) -> Content:
        body = request.body
        if request.version >= 8:
            return {"groups": [self._committed(each.group_id, each.topics, client) for each in body.groups]}
        return self._committed(body.group_id, body.topics, client)

    def _committed(self, name: str, topics: Any, client: Client) -> Content:
        """Return a group's offsets of these topics, or of all."""
        try:
            group = self._group(client, name)
        except Refused as refused:
            asked = [(topic.name, topic.partition_indexes) for topic in topics or []]
            nothing = {"committed_offset": -1, "metadata": "", "error_code": refused.code}
            return {
                "group_id": name,
                "error_code": refused.code,
                "topics": [
                    {"name": topic, "partitions": [{"partition_index": n, **nothing} for n in numbers]}
                    for topic, numbers in asked
                ],
            }
        if topics is None:
            found: dict[str, list[int]] = {}
            for topic, number in group.commits:
                if client.user.may_read(self.topics[topic].organization):
                    found.setdefault(topic, []).append(number)
            asked = list(found.items())
        else:
            asked = [(topic.name, topic.partition_indexes) for topic in topics]
        answers = [
            {"name": topic, "partitions": [self._commit_of(group, topic, number, client) for number in numbers]}
            for topic, numbers in asked
        ]
        return {"group_id": name, "topics": answers}

    def _commit_of(self, group: Group, topic: str, number: int, client: Client) -> Content:
        code, commit = ErrorCode.none, group.commits.get((topic, number))
        try:
            self._readable(client, topic)
        except Refused as refused:
            # An unknown topic is one without an offset.
            if refused.code != ErrorCode.unknown_topic_or_partition:
                code, commit = refused.code, None
        return {
            "partition_index": number,
            "committed_offset": commit.offset if commit else -1,
            "committed_leader_epoch": commit.leader_epoch if commit else -1,
            "metadata": commit.metadata if commit else "",
            "error_code": code,
        }

    async def _list_groups(self, request: Request, client: Client) -> Content:
        wanted = {state.lower() for state in getattr(request.body, "states_filter", ())}
        types = {kind.lower() for kind in getattr(request.body, "types_filter", ())}
        shown = [
            {
                "group_id": group.name,
                "protocol_type": group.protocol_type,
                "group_state": group.state.value,
                "group_type": "classic",
            }
            for group in self.groups.values()
            if group.exists and client.user.may_join(group.name)
            if not wanted or group.state.value.lower() in wanted
            if not types or "classic" in types
        ]
        return {"groups": shown}

    async def _describe_groups(self, request: Request, client: Client) -> Content:
        asked = getattr(request.body, "include_authorized_operations", False)
        operations = {"authorized_operations": READER_OPERATIONS} if asked else {}
        answers = []
        for name in request.body.groups:
            try:
                answers.append({"error_code": ErrorCode.none, **self._group(client, name).describe(), **operations})
            except Refused as refused:
                nothing = {"group_state": "", "protocol_type": "", "protocol_data": "", "members": []}
                answers.append({"error_code": refused.code, "group_id": name, **nothing})
        return {"groups": answers}


def _check_epoch(epoch: int) -> None:
    """Refuse a leader's epoch other than 0: there is only one broker, and it has led from the start."""
    if epoch > 0:
        raise Refused(ErrorCode.unknown_leader_epoch)


def _each_partition(topics: Any, answer: Callable[[Any, Any], Content]) -> list[Content]:
    return [{"name": topic.name, "partitions": [answer(topic, each) for each in topic.partitions]} for topic in topics]
