"""Fixtures of the library's tests."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws


@pytest.fixture
def failure_queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The messages of the failure queue, as its consumer reads them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="failures")["QueueUrl"]
        monkeypatch.setenv("FAILURE_QUEUE_URL", url)
        yield lambda: [
            json.loads(message["Body"])
            for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        ]
