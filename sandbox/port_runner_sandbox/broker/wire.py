"""Requests and responses of the Kafka protocol (https://kafka.apache.org/protocol).

The package kio has a class for each version of each request and response, made from Kafka's own definitions. A response
is written once, as a dict with the fields of all versions: `encode` takes those that the request's version has.
"""

import dataclasses
import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from functools import cache
from typing import Any, get_args

from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer

type Content = dict[str, Any]

# Kafka's own limit (socket.request.max.bytes).
MAX_REQUEST_BYTES = 100 * 1024 * 1024


class Api(IntEnum):
    """The requests that the broker knows."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    DESCRIBE_GROUPS = 15
    LIST_GROUPS = 16
    SASL_HANDSHAKE = 17
    API_VERSIONS = 18
    CREATE_TOPICS = 19
    DELETE_TOPICS = 20
    DELETE_RECORDS = 21
    INIT_PRODUCER_ID = 22
    OFFSET_FOR_LEADER_EPOCH = 23
    DESCRIBE_ACLS = 29
    CREATE_ACLS = 30
    DELETE_ACLS = 31
    DESCRIBE_CONFIGS = 32
    ALTER_CONFIGS = 33
    SASL_AUTHENTICATE = 36
    CREATE_PARTITIONS = 37
    DELETE_GROUPS = 42
    INCREMENTAL_ALTER_CONFIGS = 44
    OFFSET_DELETE = 47
    DESCRIBE_CLUSTER = 60


# The newest versions are those of Kafka 3.9, and the oldest those that Kafka 4 still takes.
VERSIONS: Mapping[Api, tuple[int, int]] = {
    Api.PRODUCE: (3, 11),
    Api.FETCH: (4, 17),
    Api.LIST_OFFSETS: (1, 9),
    Api.METADATA: (0, 12),
    Api.OFFSET_COMMIT: (2, 9),
    Api.OFFSET_FETCH: (1, 9),
    Api.FIND_COORDINATOR: (0, 6),
    Api.JOIN_GROUP: (0, 9),
    Api.HEARTBEAT: (0, 4),
    Api.LEAVE_GROUP: (0, 5),
    Api.SYNC_GROUP: (0, 5),
    Api.DESCRIBE_GROUPS: (0, 5),
    Api.LIST_GROUPS: (0, 5),
    Api.SASL_HANDSHAKE: (0, 1),
    Api.API_VERSIONS: (0, 4),
    Api.CREATE_TOPICS: (2, 7),
    Api.DELETE_TOPICS: (1, 6),
    Api.DELETE_RECORDS: (0, 2),
    Api.INIT_PRODUCER_ID: (0, 5),
    Api.OFFSET_FOR_LEADER_EPOCH: (2, 4),
    Api.DESCRIBE_ACLS: (1, 3),
    Api.CREATE_ACLS: (1, 3),
    Api.DELETE_ACLS: (1, 3),
    Api.DESCRIBE_CONFIGS: (1, 4),
    Api.ALTER_CONFIGS: (0, 2),
    Api.SASL_AUTHENTICATE: (0, 2),
    Api.CREATE_PARTITIONS: (0, 3),
    Api.DELETE_GROUPS: (0, 2),
    Api.INCREMENTAL_ALTER_CONFIGS: (0, 1),
    Api.OFFSET_DELETE: (0, 0),
    Api.DESCRIBE_CLUSTER: (0, 1),
}
# librdkafka does not compress unless a broker claims this version. Kafka 4 claims it for that reason, too.
CLAIMED_PRODUCE_VERSION = 0


class ProtocolError(Exception):
    """A request that no broker answers: it closes the connection."""


@dataclass(frozen=True)
class Request:
    """A request. Its body has the fields of its version only."""

    api: Api
    version: int
    correlation: int
    client: str
    body: Any


def decode(message: bytes) -> Request:
    """Read a request, without the size before it. Raises ProtocolError."""
    try:
        key, version, correlation = struct.unpack_from(">hhi", message)
        api = Api(key)
        oldest, newest = VERSIONS[api]
        if api == Api.API_VERSIONS and version > newest:
            # A newer client asks which versions exist. It understands the answer to the oldest version.
            return Request(api, version, correlation, "", None)
        if not oldest <= version <= newest:
            raise ProtocolError(f"{api.name} has no version {version} here")
        schema: Any = load_request_schema(key, version)
        header, size = entity_reader(schema.__header_schema__)(message, 0)
        body, _ = entity_reader(schema)(message, size)
    except ProtocolError:
        raise
    except Exception as error:  # kio documents no common base of its errors
        raise ProtocolError(f"A request cannot be read: {error!r}") from error
    return Request(api, version, correlation, header.client_id or "", body)


def encode(request: Request, content: Content) -> bytes:
    """Return the response to a request, with the size before it."""
    version = request.version if request.body is not None else 0
    schema: Any = load_response_schema(request.api, version)
    body = io.BytesIO()
    header = schema.__header_schema__
    entity_writer(header)(body, header(correlation_id=request.correlation))
    complete = {"throttle_time": timedelta(0), "error_code": ErrorCode.none, **content}
    entity_writer(schema)(body, make_entity(schema, complete))
    return struct.pack(">i", body.tell()) + body.getvalue()


def make_entity(kind: Any, content: Content) -> Any:
    """Return an entity of this class with those values of `content` that it has a field for."""
    items = _items(kind)
    return kind(**{name: _value(items[name], content[name]) for name in items if name in content})


def _value(item: Any, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(item, each) for each in value)
    return make_entity(item, value) if isinstance(value, dict) else value


@cache
def _items(kind: Any) -> Mapping[str, Any]:
    """Return the names of a class's fields, each with the class of the entities in it, or None."""
    return {field.name: _entity_class(field.type) for field in dataclasses.fields(kind)}


def _entity_class(hint: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return hint
    return next((found for each in get_args(hint) if (found := _entity_class(each))), None)


def api_versions(request: Request) -> Content:
    """Return the versions that this broker takes."""
    ranges = {**VERSIONS, Api.PRODUCE: (CLAIMED_PRODUCE_VERSION, VERSIONS[Api.PRODUCE][1])}
    keys = [{"api_key": api, "min_version": low, "max_version": high} for api, (low, high) in ranges.items()]
    unknown = request.body is None
    return {"error_code": ErrorCode.unsupported_version if unknown else ErrorCode.none, "api_keys": keys}
