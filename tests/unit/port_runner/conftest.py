"""Fixtures of the library's tests."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from port_runner.port_api import PortClient
from port_runner_sandbox.fake_port import FakePort
from tests.support.port_client import make_client


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


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy or certificate of the machine that the tests run on."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def client(port: FakePort) -> PortClient:
    """A client without a token yet, of a Port that has the run r_1."""
    port.add_run("r_1")
    return make_client(port)
