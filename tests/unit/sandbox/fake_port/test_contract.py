"""The fake Port keeps Port's published contract, also for requests that no test names."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from port_runner_sandbox.fake_port import FakePort
from tests.unit.sandbox.fake_port.client import Client, definition
from tests.unit.sandbox.fake_port.contract import KNOWN, OPENAPI

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
SCHEMA = schemathesis.openapi.from_dict(OPENAPI)
# The same requests each time. A larger number finds more, in more time.
EXAMPLES = settings(max_examples=15, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module")
def caller() -> Iterator[Client]:
    with FakePort() as port:
        client = Client(port)
        client.ok("POST", "/blueprints", definition("vm_blueprint"))
        client.ok("POST", "/actions", definition("create_vm_action"))
        yield client
        client.session.close()


def prepare(port: FakePort) -> None:
    """Make what the paths name as if nothing had been done to it yet."""
    with port.changed:
        port.add_run(KNOWN["run"])
        port.entities.clear()
        port.entities["vm", KNOWN["entity"]] = {
            "identifier": KNOWN["entity"],
            "blueprint": "vm",
            "properties": {},
            "relations": {},
            "createdAt": "2026-01-01T00:00:00.000Z",
            "createdBy": "test",
        }


@SCHEMA.parametrize()
@EXAMPLES
def test_contract(case: Case[Any], caller: Client) -> None:
    """Every request gets a documented answer: one that breaks the contract is refused, one that keeps it is not."""
    prepare(caller.port)
    token = {"Authorization": str(caller.session.headers["Authorization"])}
    response = case.call_and_validate(base_url=caller.port.url, headers=token, checks=CHECKS)
    if case.meta and case.meta.generation.mode is GenerationMode.POSITIVE:
        assert response.status_code != 422 or response.json()["error"] != "invalid_request", response.text
