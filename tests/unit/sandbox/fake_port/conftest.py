"""A fake Port that keeps what it publishes, and clients of it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from port_runner_sandbox.fake_port import FakePort
from tests.unit.sandbox.fake_port.client import Client, definition


@pytest.fixture
def published() -> list[tuple[str, Any]]:
    return []


@pytest.fixture
def port(published: list[tuple[str, Any]]) -> Iterator[FakePort]:
    def publish(topic: str, value: bytes) -> None:
        published.append((topic, json.loads(value)))

    with FakePort(publish=publish) as port:
        yield port


@pytest.fixture
def bare(port: FakePort) -> Iterator[Client]:
    client = Client(port)
    yield client
    client.session.close()


@pytest.fixture
def client(bare: Client) -> Client:
    """A client of an organization that has the shipped blueprint and action."""
    bare.ok("POST", "/blueprints", definition("vm_blueprint"))
    bare.ok("POST", "/actions", definition("create_vm_action"))
    return bare
