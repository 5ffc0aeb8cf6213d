"""The fake Port gives tokens, routes requests, publishes messages and waits."""

import base64
import json
import re
import threading
import time
from typing import Any

import pytest
import requests

from port_runner_sandbox.fake_port import FakePort
from tests.unit.sandbox.fake_port.client import ENTITIES, INPUTS, Client, definition


def test_token_is_the_same_until_it_expires_and_its_remaining_life_shrinks() -> None:
    """Each pair of credentials has one token. A second request returns the same token, with its remaining life."""
    with FakePort(token_life_seconds=2.5) as port:
        credentials = {"clientId": port.client_id, "clientSecret": port.client_secret}

        def ask() -> Any:
            return requests.post(f"{port.url}/v1/auth/access_token", json=credentials, timeout=5).json()

        def status_with(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return requests.get(f"{port.url}/v1/organization", headers=headers, timeout=5).status_code

        first = ask()
        assert status_with(first["accessToken"]) == 200
        assert first["tokenType"] == "Bearer"
        assert first["expiresIn"] == 2
        time.sleep(1)
        second = ask()
        assert (second["accessToken"], second["expiresIn"]) == (first["accessToken"], 1)
        time.sleep(1.6)
        assert status_with(first["accessToken"]) == 401
        assert ask()["accessToken"] != first["accessToken"]


def test_wrong_credentials_are_401(port: FakePort) -> None:
    """Wrong credentials get 401."""
    body = {"clientId": port.client_id, "clientSecret": "wrong"}
    answer = requests.post(f"{port.url}/v1/auth/access_token", json=body, timeout=5)
    assert answer.status_code == 401
    assert answer.json()["ok"] is False


@pytest.mark.parametrize("body", [{"clientId": "x"}, {"clientId": "x", "clientSecret": "y", "scope": "z"}, [], 1])
def test_access_token_takes_two_keys_only(port: FakePort, body: Any) -> None:
    """A missing or an unknown key in the request for a token gets 422."""
    answer = requests.post(f"{port.url}/v1/auth/access_token", json=body, timeout=5)
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/organization"),
        ("GET", "/kafka-credentials"),
        ("GET", "/blueprints/vm"),
        ("POST", "/actions"),
        ("PATCH", "/actions/runs/r_0000000000000000"),
        ("POST", "/blueprints/vm/entities"),
        ("PATCH", "/workflows/nodes/runs/wfnr_0000000000000000"),
    ],
)
def test_no_call_works_without_a_valid_token(client: Client, method: str, path: str) -> None:
    """A token that is missing, wrong, of another scheme or expired gets 401 from every route."""
    token = client.session.headers["Authorization"]
    for header in ("", "Bearer wrong", str(token).replace("Bearer", "Basic")):
        client.session.headers["Authorization"] = header
        assert client.call(method, path, {}).status_code == 401
    client.session.headers["Authorization"] = token
    client.port.expire_token()
    assert client.call(method, path, {}).status_code == 401
    client.login()
    assert client.call(method, path, {}).status_code != 401


def test_organization_and_kafka_credentials(port: FakePort, bare: Client) -> None:
    """The organization's id can be read, and Kafka's credentials too if the organization has topics."""
    assert bare.ok("GET", "/organization")["organization"]["id"] == port.organization_id
    assert re.fullmatch("org_[A-Za-z0-9]{16}", port.organization_id)
    assert bare.refused("GET", "/kafka-credentials") == (404, "not_found")
    port.kafka_credentials = {"brokers": ["localhost:1"], "username": "u", "password": "p"}
    assert bare.ok("GET", "/kafka-credentials")["credentials"] == port.kafka_credentials


def test_unknown_route_is_404(bare: Client) -> None:
    """A path that Port does not have gets 404, with Port's error object."""
    assert bare.refused("GET", "/nothing") == (404, "not_found")
    assert bare.refused("PATCH", "/organization", {}) == (404, "not_found")


def test_every_answer_has_a_trace_id_of_its_own(client: Client) -> None:
    """Every answer has an X-Trace-Id of its own, which is kept with the request."""
    answers = [client.call("GET", path) for path in ("/organization", "/actions/none", "/none")]
    ids = [answer.headers["X-Trace-Id"] for answer in answers]
    assert len(set(ids)) == 3
    assert ids == [request.trace_id for request in client.port.requests[-3:]]


def test_run_is_there_before_its_message_is() -> None:
    """A consumer can read the run even before the execution is answered."""
    statuses: list[int] = []

    def publish(topic: str, value: bytes) -> None:
        run_id = json.loads(value)["context"]["runId"]
        statuses.append(Client(fake_port).call("GET", f"/actions/runs/{run_id}").status_code)

    with FakePort(publish=publish) as fake_port:
        client = Client(fake_port)
        client.ok("POST", "/blueprints", definition("vm_blueprint"))
        client.ok("POST", "/actions", definition("create_vm_action"))
        client.execute()
    assert statuses == [200]


def test_failure_to_publish_is_500(client: Client) -> None:
    """If a message cannot be published, the execution gets 500."""

    def publish(topic: str, value: bytes) -> None:
        raise RuntimeError("no broker")

    client.port.publish = publish
    answer = client.refused("POST", "/actions/create_vm/runs", {"properties": INPUTS})
    assert answer == (500, "internal_error")


def test_unencoded_slash_is_another_route(client: Client) -> None:
    """A slash that is not encoded ends the segment, so the path is not found."""
    client.ok("POST", ENTITIES, {"identifier": "a/b"})
    assert client.refused("GET", f"{ENTITIES}/a/b") == (404, "not_found")


def test_refusals_side_by_side_lose_no_message() -> None:
    """The messages of one request do not depend on another request's refusal."""
    published: list[bytes] = []
    with FakePort(publish=lambda topic, value: published.append(value)) as port:
        client = Client(port)
        client.ok("POST", "/blueprints", definition("vm_blueprint"))
        client.ok("POST", "/actions", definition("create_vm_action"))

        def work(inputs: dict[str, Any]) -> None:
            mine = Client(port)
            for _ in range(30):
                mine.call("POST", "/actions/create_vm/runs", {"properties": inputs})

        threads = [threading.Thread(target=work, args=(inputs,)) for inputs in (INPUTS, {}, INPUTS, {})]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(published) == 60


def test_wait_until(client: Client) -> None:
    """`wait_until` returns when a request makes its condition true, with the condition's value."""
    run_id = client.execute()
    other = Client(client.port)
    timer = threading.Timer(0.1, other.call, ("POST", f"/actions/runs/{run_id}/logs", {"message": "now"}))
    timer.start()
    logs = client.port.wait_until(lambda: client.port.run_logs[run_id], timeout=5)
    assert logs[0]["message"] == "now"
    timer.join()
    with pytest.raises(TimeoutError, match=r"within 0\.1 s"):
        client.port.wait_until(lambda: False, timeout=0.1)


def test_token_is_a_jwt(port: FakePort) -> None:
    """The token has the form of a JWT with the organization and its life. Clients must not rely on its signature."""
    credentials = {"clientId": port.client_id, "clientSecret": port.client_secret}
    token = requests.post(f"{port.url}/v1/auth/access_token", json=credentials, timeout=5).json()["accessToken"]
    head, claims, _ = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
    assert json.loads(head)["typ"] == "JWT"
    assert json.loads(claims)["orgId"] == port.organization_id
    assert json.loads(claims)["exp"] - json.loads(claims)["iat"] == 10800
