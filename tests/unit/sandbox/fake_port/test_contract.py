"""The fake Port keeps Port's published contract, also for requests that no test names."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
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
EXAMPLES = settings(max_examples=12, deadline=None, derandomize=True, database=None)


@dataclass(frozen=True)
class Caller:
    """A client, and the contents of its Port before the first request."""

    client: Client
    contents: list[tuple[dict[Any, Any], dict[Any, Any]]]

    def prepare(self) -> None:
        """Make what the paths name as if nothing had been done to it yet."""
        with self.client.port.changed:
            for now, before in self.contents:
                now.clear()
                now.update(copy.deepcopy(before))
            self.client.port.add_run(KNOWN["run"])


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    with FakePort() as port:
        client = Client(port)
        client.ok("POST", "/blueprints", definition("vm_blueprint"))
        client.ok("POST", "/actions", definition("create_vm_action"))
        client.ok("POST", "/blueprints/vm/entities", {"identifier": KNOWN["entity"]})
        contents: list[dict[Any, Any]] = [port.blueprints, port.actions, port.entities]
        yield Caller(client, [(now, copy.deepcopy(now)) for now in contents])
        client.session.close()


@SCHEMA.parametrize()
@EXAMPLES
def test_contract(case: Case[Any], caller: Caller) -> None:
    """Every request gets a documented answer: one that breaks the contract is refused, one that keeps it is not."""
    caller.prepare()
    token = {"Authorization": str(caller.client.session.headers["Authorization"])}
    response = case.call_and_validate(base_url=caller.client.port.url, headers=token, checks=CHECKS)
    if case.meta and case.meta.generation.mode is GenerationMode.POSITIVE and response.status_code == 422:
        refusal = response.json()
        # More keywords may stand in a definition, and random ones need not make a JSON Schema.
        assert refusal["error"] != "invalid_request" or "'json-schema'" in refusal["message"], response.text
