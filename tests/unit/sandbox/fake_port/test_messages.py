"""Messages about runs are made and signed as Port makes and signs them."""

import base64
import hmac
import json
import time
from typing import Any

import pytest

from port_runner.signature import Verdict, verify
from port_runner_sandbox.fake_port.messages import signed
from tests.unit.port_runner.test_signature import AGENT_MESSAGE, AGENT_SIGNATURES, SECRET, TIMESTAMP
from tests.unit.sandbox.fake_port.client import ENTITIES, Client, action

WEBHOOK = {"type": "WEBHOOK", "url": "https://{{ .inputs.host }}/hook", "agent": True, "headers": {"X-Team": "blue"}}
HOST = {"properties": {"host": {"type": "string"}}}


def create(client: Client, invocation: dict[str, Any], inputs: dict[str, Any], **trigger: Any) -> None:
    body = action("made", "CREATE", invocationMethod=invocation)
    client.ok("POST", "/actions", {**body, "trigger": {**body["trigger"], "userInputs": inputs, **trigger}})


def messages(published: list[tuple[str, Any]], topic: str = "runs") -> list[Any]:
    return [message for name, message in published if name.endswith(f".{topic}")]


def test_entity_inputs_are_whole_entities_in_templates(client: Client, published: list[tuple[str, Any]]) -> None:
    """A template finds the entity that an input names, or the entities of a list. The run keeps their identifiers."""
    one = client.ok("POST", ENTITIES, {"identifier": "one", "title": "One"})["entity"]
    two = client.ok("POST", ENTITIES, {"identifier": "two"})["entity"]
    inputs = {
        "single": {"type": "string", "format": "entity", "blueprint": "vm"},
        "many": {"type": "array", "items": {"type": "string", "format": "entity", "blueprint": "vm"}},
        "others": {"type": "array", "items": {"type": "string", "format": "entity"}, "blueprint": "vm"},
    }
    payload = {"all": "{{ .inputs }}", "title": "{{ .inputs.single.title }}"}
    create(client, {"type": "KAFKA", "payload": payload}, {"properties": inputs})
    values = {"single": "one", "many": ["one", "two"], "others": []}
    run = client.ok("POST", "/actions/made/runs", {"properties": values})["run"]
    assert messages(published) == [{"all": {"single": one, "many": [one, two], "others": []}, "title": "One"}]
    assert run["properties"] == values
    for wrong in ({"single": "none"}, {"many": ["one", "none"]}):
        assert client.refused("POST", "/actions/made/runs", {"properties": wrong}) == (404, "not_found")


def test_entity_inputs_may_be_left_out(client: Client, published: list[tuple[str, Any]]) -> None:
    """An entity input that is not given is absent in the template."""
    inputs = {"properties": {"single": {"type": "string", "format": "entity", "blueprint": "vm"}}}
    create(client, {"type": "KAFKA", "payload": {"all": "{{ .inputs }}"}}, inputs)
    client.ok("POST", "/actions/made/runs", {"properties": {}})
    assert messages(published) == [{"all": {}}]


def signature(message: Any, timestamp: int, client: Client) -> str:
    """Return Port's signature of the message by the rule, written out a second time."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    digest = hmac.digest(client.port.client_secret.encode(), f"{timestamp}.{text}".encode(), "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize("agent", [True, "{{ true }}"])
def test_agents_actions_are_published_and_signed(
    client: Client, published: list[tuple[str, Any]], agent: bool | str
) -> None:
    """An action for Port's agent arrives on the topic of all runs, in the older format, with the agent's signature."""
    create(client, {**WEBHOOK, "agent": agent}, HOST)
    run = client.ok("POST", "/actions/made/runs", {"properties": {"host": "žluť.example"}})["run"]
    [message] = messages(published)
    assert (message["action"], message["context"]["runId"]) == ("made", run["id"])
    assert message["payload"]["properties"] == {"host": "žluť.example"}
    assert message["payload"]["censoredProperties"] == []
    called = {**WEBHOOK, "url": "https://žluť.example/hook"}
    assert message["payload"]["action"] == {"trigger": "CREATE", "invocationMethod": called}
    headers = message["headers"]
    assert headers.keys() == {"X-Team", "X-Port-Signature", "X-Port-Timestamp"}
    expected = signature({**message, "headers": {"X-Team": "blue"}}, headers["X-Port-Timestamp"], client)
    assert headers["X-Port-Signature"] == expected


@pytest.mark.parametrize(
    ("form", "headers"), [("headers left empty", {"headers": {}}), ("headers left out", {})], ids=["empty", "out"]
)
def test_signature_is_that_of_ports_agent(monkeypatch: pytest.MonkeyPatch, form: str, headers: dict[str, Any]) -> None:
    """The message of the agent's own tests gets the agent's signature."""
    monkeypatch.setattr(time, "time", lambda: TIMESTAMP + 0.5)
    message = signed({**json.loads(AGENT_MESSAGE), **headers}, SECRET)
    assert message["headers"] == {"X-Port-Signature": AGENT_SIGNATURES[form], "X-Port-Timestamp": TIMESTAMP}


def test_gitlab_is_signed_without_headers(client: Client, published: list[tuple[str, Any]]) -> None:
    """An action for GitLab is the agent's too. Its message has no other headers, and none were signed."""
    create(client, {"type": "GITLAB", "projectName": "p", "groupName": "g"}, HOST)
    client.ok("POST", "/actions/made/runs", {"properties": {}})
    [message] = messages(published)
    headers = message.pop("headers")
    assert headers.keys() == {"X-Port-Signature", "X-Port-Timestamp"}
    assert headers["X-Port-Signature"] == signature(message, headers["X-Port-Timestamp"], client)


@pytest.mark.parametrize("agent", [{}, {"agent": False}, {"agent": "{{ false }}"}])
def test_a_webhook_without_the_agent_is_not_published(
    client: Client, published: list[tuple[str, Any]], agent: dict[str, Any]
) -> None:
    """A webhook that Port calls itself sends nothing to Kafka."""
    create(client, {"type": "WEBHOOK", "url": "https://a.example", **agent}, HOST)
    client.ok("POST", "/actions/made/runs", {"properties": {}})
    assert messages(published) == []


@pytest.mark.parametrize("payload", [{"a": "{{ .run.id }}"}, {"headers": {"X-Team": "blue"}, "n": 1.0}])
def test_signature_of_kafka_actions_is_a_choice(
    client: Client, published: list[tuple[str, Any]], payload: dict[str, Any]
) -> None:
    """The message of a KAFKA action is as its payload says. A test may have it signed as the runner verifies it."""
    create(client, {"type": "KAFKA", "payload": payload}, HOST)
    client.ok("POST", "/actions/made/runs", {"properties": {}})
    client.port.sign_kafka = True
    client.ok("POST", "/actions/made/runs", {"properties": {}})
    without, with_signature = (json.dumps(message) for message in messages(published))
    secret = client.port.client_secret
    assert (verify(without, secret), verify(with_signature, secret)) == (Verdict.ABSENT, Verdict.VALID)
    assert verify(with_signature, secret + "x") is Verdict.INVALID


@pytest.mark.parametrize("payload", [["{{ .run.id }}"], {"headers": "none"}])
def test_payload_without_a_place_for_headers_stays_unsigned(
    client: Client, published: list[tuple[str, Any]], payload: Any
) -> None:
    """A list, and a payload whose headers are no object, cannot be signed."""
    client.port.sign_kafka = True
    create(client, {"type": "KAFKA", "payload": payload}, HOST)
    client.ok("POST", "/actions/made/runs", {"properties": {}})
    assert "X-Port-Signature" not in json.dumps(messages(published))


def test_run_shows_how_its_backend_was_called(client: Client) -> None:
    """A run carries its evaluated invocation. A run that was not executed here has none."""
    create(client, WEBHOOK, HOST)
    run = client.ok("POST", "/actions/made/runs", {"properties": {"host": "a.example"}})["run"]
    assert client.ok("GET", f"/actions/runs/{run['id']}")["run"]["payload"] == {
        **WEBHOOK,
        "url": "https://a.example/hook",
    }
    client.port.add_run("r_0000000000000000")
    assert "payload" not in client.ok("GET", "/actions/runs/r_0000000000000000")["run"]


def test_condition_decides_about_the_execution(client: Client, published: list[tuple[str, Any]]) -> None:
    """An action on an entity that does not pass its condition gets 422, and there is no run."""
    rules = [{"property": "region", "operator": "=", "value": "eu"}]
    condition = {"type": "SEARCH", "combinator": "and", "rules": rules}
    create(client, {"type": "KAFKA", "payload": {}}, HOST, operation="DAY-2", condition=condition)
    client.ok("POST", ENTITIES, {"identifier": "eu", "properties": {"region": "eu"}})
    client.ok("POST", ENTITIES, {"identifier": "us", "properties": {"region": "us"}})
    body = {"properties": {}, "entity": "us"}
    assert client.refused("POST", "/actions/made/runs", body) == (422, "entity_does_not_pass_condition")
    assert (client.port.runs, messages(published)) == ({}, [])
    client.ok("POST", "/actions/made/runs", {**body, "entity": "eu"})


def test_creation_of_a_run_is_in_the_change_log(client: Client, published: list[tuple[str, Any]]) -> None:
    """A blueprint's change log has the creation of runs too, which is no invocation."""
    client.ok("PATCH", "/blueprints/vm", {"changelogDestination": {"type": "KAFKA"}})
    run_id = client.execute()
    client.ok("PATCH", f"/actions/runs/{run_id}", {"status": "SUCCESS"})
    [message] = messages(published, "change.log")
    assert (message["action"], message["resourceType"], message["status"]) == ("CREATE", "run", "TRIGGERED")
    assert message["context"] == {"entity": None, "blueprint": "vm", "runId": run_id}
    assert (message["diff"]["before"], message["diff"]["after"]["status"]) == (None, "IN_PROGRESS")


def test_change_log_for_the_agent(client: Client, published: list[tuple[str, Any]]) -> None:
    """Changes for Port's agent travel on the same topic, unsigned. Those for another webhook do not."""
    destination = {"type": "WEBHOOK", "url": "https://a.example", "agent": True}
    client.ok("PATCH", "/blueprints/vm", {"changelogDestination": destination})
    client.ok("POST", ENTITIES, {"identifier": "box"})
    [message] = messages(published, "change.log")
    assert (message["changelogDestination"], message["context"]["entity"]) == (destination, "box")
    assert "headers" not in message
    client.ok("PATCH", "/blueprints/vm", {"changelogDestination": {**destination, "agent": False}})
    client.ok("DELETE", f"{ENTITIES}/box")
    assert len(published) == 1
