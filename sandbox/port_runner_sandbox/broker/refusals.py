"""The answers to requests for which Port gives no user a right: they change topics, settings, groups and rights.

Port makes the topics, and here the sandbox does, without a request. So no client may send these.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kio.schema.errors import ErrorCode

from port_runner_sandbox.broker.wire import Api, Content

TOPIC, GROUP, CLUSTER = (
    {"error_code": code, "error_message": "Authorization failed."}
    for code in (
        ErrorCode.topic_authorization_failed,
        ErrorCode.group_authorization_failed,
        ErrorCode.cluster_authorization_failed,
    )
)
# Kafka's codes of what settings belong to.
BY_RESOURCE = {2: TOPIC, 32: GROUP}


def _create_topics(body: Any) -> Content:
    nothing = {"topic_id": None, "configs": None}
    return {"topics": [{"name": each.name, **nothing, **TOPIC} for each in body.topics]}


def _delete_topics(body: Any) -> Content:
    asked = [(each.name, each.topic_id) for each in getattr(body, "topics", [])]
    asked += [(name, None) for name in getattr(body, "topic_names", [])]
    return {"responses": [{"name": name, "topic_id": id, **TOPIC} for name, id in asked]}


def _create_partitions(body: Any) -> Content:
    return {"results": [{"name": each.name, **TOPIC} for each in body.topics]}


def _delete_records(body: Any) -> Content:
    def refuse(partition: Any) -> Content:
        return {"partition_index": partition.partition_index, "low_watermark": -1, **TOPIC}

    topics = [{"name": each.name, "partitions": [refuse(one) for one in each.partitions]} for each in body.topics]
    return {"topics": topics}


def _settings(body: Any) -> Content:
    """Refuse settings, which are under another name in each of the three responses."""
    refused = [
        {
            "resource_type": each.resource_type,
            "resource_name": each.resource_name,
            "configs": [],
            **BY_RESOURCE.get(each.resource_type, CLUSTER),
        }
        for each in body.resources
    ]
    return {"responses": refused, "results": refused}


def _delete_groups(body: Any) -> Content:
    return {"results": [{"group_id": name, **GROUP} for name in body.groups_names]}


def _delete_offsets(body: Any) -> Content:
    return {"topics": [], **GROUP}


def _describe_acls(body: Any) -> Content:
    return {"resources": [], **CLUSTER}


def _create_acls(body: Any) -> Content:
    return {"results": [CLUSTER for _ in body.creations]}


def _delete_acls(body: Any) -> Content:
    return {"filter_results": [{"matching_acls": [], **CLUSTER} for _ in body.filters]}


REFUSALS: Mapping[Api, Callable[[Any], Content]] = {
    Api.CREATE_TOPICS: _create_topics,
    Api.DELETE_TOPICS: _delete_topics,
    Api.CREATE_PARTITIONS: _create_partitions,
    Api.DELETE_RECORDS: _delete_records,
    Api.DESCRIBE_CONFIGS: _settings,
    Api.ALTER_CONFIGS: _settings,
    Api.INCREMENTAL_ALTER_CONFIGS: _settings,
    Api.DELETE_GROUPS: _delete_groups,
    Api.OFFSET_DELETE: _delete_offsets,
    Api.DESCRIBE_ACLS: _describe_acls,
    Api.CREATE_ACLS: _create_acls,
    Api.DELETE_ACLS: _delete_acls,
}
