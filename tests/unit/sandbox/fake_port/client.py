"""A client of the fake Port's API, and definitions for it."""

import json
from typing import Any

import requests

from port_runner_sandbox.fake_port import FakePort
from tests.support.project import DEFINITIONS

INPUTS = {"cpu": 2, "memory": 4, "storage": 50, "region": "eu-west-1"}
ENTITIES = "/blueprints/vm/entities"


class Client:
    """Requests to the fake Port with a token, over one kept-alive session."""

    def __init__(self, port: FakePort) -> None:
        self.port = port
        self.session = requests.Session()
        self.login()

    def login(self) -> None:
        credentials = {"clientId": self.port.client_id, "clientSecret": self.port.client_secret}
        answer = self.call("POST", "/auth/access_token", credentials)
        self.session.headers["Authorization"] = f"Bearer {answer.json()['accessToken']}"

    def call(self, method: str, path: str, body: Any = None, **query: str | list[str]) -> requests.Response:
        return self.session.request(method, f"{self.port.url}/v1{path}", json=body, params=query or None, timeout=10)

    def ok(self, method: str, path: str, body: Any = None, **query: str | list[str]) -> Any:
        answer = self.call(method, path, body, **query)
        assert answer.ok, answer.text
        return answer.json()

    def refused(self, method: str, path: str, body: Any = None, **query: str | list[str]) -> tuple[int, str]:
        answer = self.call(method, path, body, **query)
        assert answer.json()["ok"] is False, answer.text
        return answer.status_code, answer.json()["error"]

    def execute(self, action: str = "create_vm", **body: Any) -> str:
        run = self.ok("POST", f"/actions/{action}/runs", {"properties": INPUTS, **body})["run"]
        return str(run["id"])


def definition(name: str) -> Any:
    return json.loads((DEFINITIONS / f"{name}.json").read_text())


def action(identifier: str = "resize_vm", operation: str = "DAY-2", **changes: Any) -> dict[str, Any]:
    """A small self-service action."""
    trigger = {
        "type": "self-service",
        "operation": operation,
        "blueprintIdentifier": "vm",
        "userInputs": {"properties": {"cpu": {"type": "number"}}},
    }
    return {
        "identifier": identifier,
        "trigger": trigger,
        "invocationMethod": {"type": "KAFKA", "payload": {"runId": "{{ .run.id }}"}},
        **changes,
    }
