"""The fake Port refuses what Port refuses and keeps what it received."""

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from port_runner_sandbox.fake_port import FakePort
from port_runner_sandbox.fake_port.templates import TemplateError, render
from tests.support.project import DEFINITIONS

INPUTS = {"cpu": 2, "memory": 4, "storage": 50, "region": "eu-west-1"}


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

    def call(self, method: str, path: str, body: Any = None, **query: str) -> requests.Response:
        return self.session.request(method, f"{self.port.url}/v1{path}", json=body, params=query or None, timeout=10)

    def ok(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        answer = self.call(method, path, body, **query)
        assert answer.ok, answer.text
        return answer.json()

    def refused(self, method: str, path: str, body: Any = None, **query: str) -> tuple[int, str]:
        answer = self.call(method, path, body, **query)
        assert answer.json()["ok"] is False, answer.text
        return answer.status_code, answer.json()["error"]

    def execute(self, action: str = "create_vm", **body: Any) -> str:
        run = self.ok("POST", f"/actions/{action}/runs", {"properties": INPUTS, **body})["run"]
        return str(run["id"])


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


# Access


def test_token_is_the_same_until_it_expires_and_its_remaining_life_shrinks() -> None:
    """One token lives per credential pair: asking again returns it with what is left of its life."""
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
    """Bad credentials get 401."""
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
    """A token that is missing, wrong, of another scheme or expired gets 401 everywhere."""
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
    """The organization's id is told; Kafka's credentials are too once the organization has topics."""
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
    """Success and refusal alike have X-Trace-Id, and it is kept with the request."""
    answers = [client.call("GET", path) for path in ("/organization", "/actions/none", "/none")]
    ids = [answer.headers["X-Trace-Id"] for answer in answers]
    assert len(set(ids)) == 3
    assert ids == [request.trace_id for request in client.port.requests[-3:]]


def test_body_above_one_mebibyte_is_413(client: Client) -> None:
    """A body over 1 MiB gets 413, and the connection can be used again."""
    body = {"identifier": "big", "title": "x" * 1024 * 1024}
    assert client.refused("POST", "/blueprints/vm/entities", body)[0] == 413
    assert client.ok("GET", "/organization")
    assert len({request.connection for request in client.port.requests}) == 1


@pytest.mark.parametrize("text", [b"{", b"", b'{"properties": {"cpu_cores": NaN}}'])
def test_body_that_is_not_json_is_422(client: Client, text: bytes) -> None:
    """A body that is no JSON gets 422, NaN included, and is kept as None."""
    url = f"{client.port.url}/v1/blueprints/vm/entities"
    assert client.session.post(url, data=text, timeout=5).status_code == 422
    assert client.port.requests[-1].body is None


# Blueprints and actions


def test_blueprint_life(bare: Client) -> None:
    """A blueprint can be created once, read, replaced, patched and deleted; what is unknown is 404."""
    blueprint = definition("vm_blueprint")
    assert bare.call("POST", "/blueprints", blueprint).status_code == 201
    assert bare.refused("POST", "/blueprints", blueprint) == (409, "identifier_taken")
    stored = bare.ok("GET", "/blueprints/vm")["blueprint"]
    assert (stored["schema"], stored["relations"]) == (blueprint["schema"], {})
    bare.ok("PUT", "/blueprints/vm", {**blueprint, "title": "Machine"})
    bare.ok("PATCH", "/blueprints/vm", {"icon": "AWS"})
    stored = bare.ok("GET", "/blueprints/vm")["blueprint"]
    assert (stored["title"], stored["icon"]) == ("Machine", "AWS")
    bare.ok("DELETE", "/blueprints/vm")
    for method in ("GET", "DELETE"):
        assert bare.refused(method, "/blueprints/vm") == (404, "not_found")
    assert bare.refused("PUT", "/blueprints/vm", blueprint) == (404, "not_found")


@pytest.mark.parametrize(
    "changes",
    [
        {"identifier": "a b"},
        {"identifier": "a=b"},
        {"title": ""},
        {"schema": {"properties": {"bad name": {"type": "string"}}}},
        {"schema": {"properties": {"p": {"type": "text"}}}},
        {"description": "x" * 201},
        {"relations": {"r": {"target": "vm"}}},
        {"changelogDestination": {"type": "KAFKA", "topic": "mine"}},
    ],
)
def test_blueprint_out_of_schema_is_422(bare: Client, changes: dict[str, Any]) -> None:
    """Identifier, title, property names and types, relations and destination have Port's rules."""
    body = {**definition("vm_blueprint"), **changes}
    assert bare.refused("POST", "/blueprints", body) == (422, "invalid_request")


def test_action_life(client: Client) -> None:
    """An action can be created once, read, replaced and deleted; what is unknown is 404."""
    assert client.refused("POST", "/actions", definition("create_vm_action")) == (409, "identifier_taken")
    replaced = {**definition("create_vm_action"), "title": "Another"}
    assert client.ok("PUT", "/actions/create_vm", replaced)["action"]["title"] == "Another"
    assert client.ok("GET", "/actions/create_vm")["action"]["title"] == "Another"
    client.ok("DELETE", "/actions/create_vm")
    assert client.refused("GET", "/actions/create_vm") == (404, "not_found")
    assert client.refused("PUT", "/actions/create_vm", replaced) == (404, "not_found")
    assert client.refused("POST", "/actions/create_vm/runs", {"properties": {}}) == (404, "not_found")


def test_actions_are_listed(client: Client) -> None:
    """All actions are listed, as they are found one by one."""
    [action] = client.ok("GET", "/actions", version="v2")["actions"]
    assert action == client.ok("GET", "/actions/create_vm")["action"]
    assert client.refused("GET", "/actions", version="v3") == (422, "invalid_request")


def test_action_of_an_unknown_blueprint_is_404(client: Client) -> None:
    """An action's blueprint has to be there."""
    body = action()
    body["trigger"]["blueprintIdentifier"] = "host"
    assert client.refused("POST", "/actions", body) == (404, "not_found")


@pytest.mark.parametrize(
    "body",
    [
        action("a/b"),
        action(".."),
        action("a b"),
        action(createdAt="2026-01-01T00:00:00.000Z"),
        action(invocationMethod={"type": "KAFKA", "topic": "mine"}),
        action(invocationMethod={"type": "KAFKA", "payload": "{{ .inputs }}"}),
        action(invocationMethod={"type": "SQS"}),
        action(trigger="CREATE"),
        action(trigger={"type": "self-service", "operation": "CREATE"}),
        action(operation="UPDATE"),
        {"identifier": "a", "trigger": action()["trigger"]},
    ],
)
def test_action_out_of_schema_is_422(client: Client, body: dict[str, Any]) -> None:
    """An action has Port's second version's keys and no others, and an identifier without a slash."""
    assert client.refused("POST", "/actions", body) == (422, "invalid_request")


@pytest.mark.parametrize("identifier", ["výkon", "a.b", "vm+1@x:y=z", "机器"])
def test_action_identifier_may_hold_any_letter(client: Client, identifier: str) -> None:
    """Letters of every script are legal in identifiers."""
    client.ok("POST", "/actions", action(identifier))
    assert client.ok("GET", f"/actions/{quote(identifier, safe='')}")


# Executing


def test_executed_action_is_published_as_its_template_says(client: Client, published: list[tuple[str, Any]]) -> None:
    """The shipped action publishes the message that Port's older actions had, to ORG_ID.runs."""
    answer = client.call("POST", "/actions/create_vm/runs", {"properties": INPUTS})
    run = answer.json()["run"]
    assert answer.status_code == 202
    assert re.fullmatch("r_[A-Za-z0-9]{16}", run["id"])
    assert (run["status"], run["action"]["identifier"]) == ("IN_PROGRESS", "create_vm")
    [(topic, message)] = published
    assert topic == f"{client.port.organization_id}.runs"
    assert {key: message[key] for key in ("action", "resourceType", "status", "context", "payload")} == {
        "action": "create_vm",
        "resourceType": "run",
        "status": "TRIGGERED",
        "context": {"entity": None, "blueprint": "vm", "runId": run["id"]},
        "payload": {
            "entity": None,
            "action": {"invocationMethod": {"type": "KAFKA"}, "trigger": "CREATE"},
            "properties": INPUTS,
            "censoredProperties": [],
        },
    }
    assert message["trigger"].keys() == {"by", "origin", "at"}
    assert message["trigger"]["by"]["orgId"] == client.port.organization_id


def test_run_is_there_before_its_message_is() -> None:
    """A consumer that is quicker than the answer can ask for the run."""
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
    """A message that cannot be published is not passed over in silence."""

    def publish(topic: str, value: bytes) -> None:
        raise RuntimeError("no broker")

    client.port.publish = publish
    answer = client.refused("POST", "/actions/create_vm/runs", {"properties": INPUTS})
    assert answer == (500, "internal_error")


@pytest.mark.parametrize(
    "inputs",
    [
        {**INPUTS, "cpu": "2"},
        {**INPUTS, "cpu": True},
        {**INPUTS, "cpu": None},
        {**INPUTS, "region": "mars-north-1"},
        {**INPUTS, "disk": 1},
        {"cpu": 2},
    ],
)
def test_inputs_that_do_not_fit_are_422_and_make_no_run(client: Client, inputs: dict[str, Any]) -> None:
    """Inputs are held against the action's: type, enum, required, unknown."""
    answer = client.refused("POST", "/actions/create_vm/runs", {"properties": inputs})
    assert answer == (422, "user_inputs_schema_invalid")
    assert client.port.runs == {}


def test_execution_takes_properties_and_entity_only(client: Client) -> None:
    """The body of an execution has no other key, and must have properties."""
    for body in ({"properties": INPUTS, "run_as": "me"}, {}):
        assert client.refused("POST", "/actions/create_vm/runs", body) == (422, "invalid_request")


@pytest.mark.parametrize("operation", ["DAY-2", "DELETE"])
def test_day_2_and_delete_need_an_entity(client: Client, published: list[tuple[str, Any]], operation: str) -> None:
    """An action on an entity is refused without one, and gives the whole entity to its template."""
    payload = {"id": "{{ .entity.identifier }}", "all": "{{ .entity }}", "op": "{{ .trigger.operation }}"}
    method = {"type": "KAFKA", "payload": payload}
    client.ok("POST", "/actions", action("change", operation, invocationMethod=method))
    url = "/actions/change/runs"
    assert client.refused("POST", url, {"properties": {}}) == (422, "missing_self_service_action_entity")
    assert client.refused("POST", url, {"properties": {}, "entity": "none"}) == (404, "not_found")
    entity = client.ok("POST", "/blueprints/vm/entities", {"identifier": "box"})["entity"]
    run = client.ok("POST", url, {"properties": {}, "entity": "box"})["run"]
    assert run["entity"]["identifier"] == "box"
    assert published[-1][1] == {"id": "box", "all": entity, "op": operation}


def test_action_without_payload_publishes_a_message_with_run_and_inputs(
    client: Client, published: list[tuple[str, Any]]
) -> None:
    """Without a template there is still a message: its shape is a guess, its contents are not."""
    client.ok("POST", "/actions", action("plain", "CREATE", invocationMethod={"type": "KAFKA"}))
    run = client.ok("POST", "/actions/plain/runs", {"properties": {"cpu": 1}})["run"]
    message = published[-1][1]
    assert (message["action"], message["context"]["runId"]) == ("plain", run["id"])
    assert message["payload"]["properties"] == {"cpu": 1}


def test_payload_may_be_an_array(client: Client, published: list[tuple[str, Any]]) -> None:
    """A template may be a list; what CREATE has for an entity is an empty object."""
    method = {"type": "KAFKA", "payload": ["{{ .run.id }}", "{{ .inputs.cpu }}", "{{ .entity }}"]}
    client.ok("POST", "/actions", action("list", "CREATE", invocationMethod=method))
    run = client.ok("POST", "/actions/list/runs", {"properties": {"cpu": 1}})["run"]
    assert published[-1][1] == [run["id"], 1, {}]


def test_template_that_cannot_be_evaluated_is_422(client: Client) -> None:
    """JQ's errors refuse the execution, and no run is made."""
    method = {"type": "KAFKA", "payload": {"x": "{{ .inputs | fromjson }}"}}
    client.ok("POST", "/actions", action("broken", "CREATE", invocationMethod=method))
    answer = client.refused("POST", "/actions/broken/runs", {"properties": {}})
    assert answer == (422, "evaluate_invocation_method_error")
    assert client.port.runs == {}


def test_only_kafka_actions_are_published(client: Client, published: list[tuple[str, Any]]) -> None:
    """Executing an action with another backend makes a run and no message."""
    method = {"type": "WEBHOOK", "url": "https://example.com"}
    client.ok("POST", "/actions", action("hook", "CREATE", invocationMethod=method))
    assert client.ok("POST", "/actions/hook/runs", {"properties": {}})["run"]["status"] == "IN_PROGRESS"
    assert published == []


def test_automations_cannot_be_executed(client: Client) -> None:
    """Only self-service actions are executed by hand."""
    trigger = {"type": "automation", "event": {"type": "ENTITY_CREATED", "blueprintIdentifier": "vm"}}
    client.ok("POST", "/actions", action("auto", trigger=trigger))
    answer = client.refused("POST", "/actions/auto/runs", {"properties": {}})
    assert answer == (422, "run_non_self_service_error")


def test_approvals_are_refused_out_loud(client: Client) -> None:
    """An action that needs an approval is not executed as if it needed none."""
    client.ok("POST", "/actions", action("careful", "CREATE", requiredApproval=True))
    assert client.refused("POST", "/actions/careful/runs", {"properties": {}}) == (501, "not_in_the_fake")


def test_secret_inputs_are_encrypted(client: Client, published: list[tuple[str, Any]]) -> None:
    """Port encrypts secret inputs, with the client secret's first 32 bytes or with the user's public key."""
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    body = action("secretive", "CREATE")
    body["trigger"]["userInputs"]["properties"] = {
        "password": {"type": "string", "encryption": "aes256-gcm"},
        "config": {"type": "object", "encryption": {"algorithm": "client-side", "key": pem.decode()}},
    }
    body["invocationMethod"]["payload"] = {
        "in": "{{ .inputs }}",
        "secret": "{{ .action.encryptedProperties }}",
    }
    client.ok("POST", "/actions", body)
    client.ok("POST", "/actions/secretive/runs", {"properties": {}})
    assert published[-1][1]["in"] == {}
    client.ok("POST", "/actions/secretive/runs", {"properties": {"password": "žluť", "config": {"a": 1}}})
    message = published[-1][1]
    assert message["secret"] == ["password", "config"]
    password = base64.b64decode(message["in"]["password"])
    key = AESGCM(client.port.client_secret.encode()[:32])
    assert key.decrypt(password[:16], password[16:], None).decode() == "žluť"
    config = base64.b64decode(message["in"]["config"])
    wrapped = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    key = AESGCM(private_key.decrypt(config[12:268], wrapped))
    assert json.loads(key.decrypt(config[:12], config[268:], None)) == {"a": 1}


# Templates

DATA: dict[str, Any] = {
    "inputs": {"n": 2, "s": "x", "none": None},
    "entity": {},
    "action": {"identifier": "vm_create_vm"},
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ .inputs.n }}", 2),
        ("{{ .inputs }}", DATA["inputs"]),
        ("{{ .inputs.missing }}", None),
        ("{{ .inputs | {n, s} }}", {"n": 2, "s": "x"}),
        ("{{ {a: {b: .inputs.n}}}}", {"a": {"b": 2}}),
        ("{{ empty }}", None),
        ("n is {{ .inputs.n }}, {{ .inputs.s }}", "n is 2, x"),
        ("{{ .inputs.n }}{{ .inputs.n }}", "22"),
        ("{{ if .entity == {} then null else .entity end }}", None),
        ('{{ .action.identifier[("vm_" | length):] }}', "create_vm"),
        ("no template", "no template"),
        (" plain ", " plain "),
        (7, 7),
        (["{{ .inputs.n }}", {"k": "{{ .inputs.s }}"}], [2, {"k": "x"}]),
    ],
)
def test_template_values(template: Any, value: Any) -> None:
    """A string that is one expression becomes the typed value; within other text it becomes text."""
    assert render(template, DATA) == value


def test_template_key_that_is_null_drops_its_pair() -> None:
    """Keys are templates too, and a null key takes its value away."""
    template = {
        '{{ if (.inputs | has("n")) then "n" else null end }}': 1,
        '{{ if (.inputs | has("q")) then "q" else null end }}': 1,
    }
    assert render(template, DATA) == {"n": 1}


def test_template_spreads_pairs() -> None:
    """The key spreadValue() is replaced by its value's pairs, and only an object can be spread."""
    assert render({"{{ spreadValue() }}": "{{ .inputs }}", "more": 1}, DATA) == {**DATA["inputs"], "more": 1}
    with pytest.raises(TemplateError, match="needs an object"):
        render({"{{spreadValue()}}": "{{ .inputs.n }}"}, DATA)


@pytest.mark.parametrize("template", ["{{ .inputs", "{{ .inputs | }}", "{{ nosuchfunction }}", {"{{ 1 }}": 2}])
def test_invalid_template(template: Any) -> None:
    """Text that is not JQ, has no end, or makes a key that is not a string, is an error."""
    with pytest.raises(TemplateError):
        render(template, DATA)


# Runs


@pytest.mark.parametrize("version", ["v1", "v2", None])
def test_run_has_two_forms(client: Client, version: str | None) -> None:
    """v2 names action and blueprint with objects, v1 with strings; who asks for none gets v1."""
    query = {"version": version} if version else {}
    run = client.ok("GET", f"/actions/runs/{client.execute()}", **query)["run"]
    if version == "v2":
        assert (run["action"]["identifier"], run["blueprint"]["identifier"]) == ("create_vm", "vm")
    else:
        assert (run["action"], run["blueprint"], run["relatedBlueprintExists"]) == ("create_vm", "vm", True)


def test_run_is_updated_key_by_key(client: Client) -> None:
    """A patch overwrites the keys it has, and needs no status."""
    url = f"/actions/runs/{client.execute()}"
    client.ok("PATCH", url, {"statusLabel": "Starting", "link": "https://a"})
    run = client.ok("PATCH", url, {"link": ["https://b", "https://c"], "summary": "s"}, version="v2")["run"]
    assert (run["statusLabel"], run["link"], run["summary"]) == ("Starting", ["https://b", "https://c"], "s")
    assert run["status"] == "IN_PROGRESS"
    assert "endedAt" not in run


@pytest.mark.parametrize(
    "body",
    [
        {"status": "IN_PROGRESS"},
        {"status": "DONE"},
        {"label": "x"},
        {"message": "text"},
        {"link": 1},
        {"link": ["a", 1]},
        {"statusLabel": None},
    ],
)
def test_run_update_out_of_schema_is_422(client: Client, body: dict[str, Any]) -> None:
    """IN_PROGRESS must not be sent, unknown keys are refused, and values have types."""
    run_id = client.execute()
    assert client.refused("PATCH", f"/actions/runs/{run_id}", body) == (422, "invalid_request")
    assert client.port.runs[run_id]["status"] == "IN_PROGRESS"


@pytest.mark.parametrize("ending", [{"status": "SUCCESS"}, {"status": "FAILURE", "message": {"m": 1}}])
def test_ended_run_is_read_only(client: Client, ending: dict[str, Any]) -> None:
    """After SUCCESS or FAILURE every write to the run is 422 run_exhausted."""
    run_id = client.execute()
    url = f"/actions/runs/{run_id}"
    assert client.ok("PATCH", url, ending)["run"]["endedAt"]
    for body in ({"status": "SUCCESS"}, {"summary": "late"}):
        assert client.refused("PATCH", url, body) == (422, "run_exhausted")
    assert client.refused("POST", f"{url}/logs", {"message": "late"}) == (422, "run_exhausted")
    assert client.port.runs[run_id]["status"] == ending["status"]


def test_logs_are_kept_in_order_and_paged(client: Client) -> None:
    """A log answers 201 with its entry; reading gives at most 50 at a time, from an offset."""
    run_id = client.execute()
    url = f"/actions/runs/{run_id}/logs"
    answer = client.call("POST", url, {"message": "0", "statusLabel": "Working"})
    assert answer.status_code == 201
    assert answer.json()["runLog"].keys() == {"id", "runId", "message", "createdBy", "createdAt"}
    for number in range(1, 60):
        client.ok("POST", url, {"message": str(number)})
    messages = [log["message"] for log in client.ok("GET", url)["runLogs"]]
    assert messages == [str(number) for number in range(50)]
    page = client.ok("GET", url, limit="2", offset="58")["runLogs"]
    assert [log["message"] for log in page] == ["58", "59"]
    assert client.refused("GET", url, limit="51") == (422, "invalid_request")
    assert client.port.runs[run_id]["statusLabel"] == "Working"
    assert len(client.port.run_logs[run_id]) == 60


def test_log_can_end_the_run(client: Client) -> None:
    """terminationStatus ends the run; the last log belongs to it."""
    run_id = client.execute()
    url = f"/actions/runs/{run_id}/logs"
    client.ok("POST", url, {"message": "bye", "terminationStatus": "FAILURE"})
    assert client.port.runs[run_id]["status"] == "FAILURE"
    assert client.refused("POST", url, {"message": "late"}) == (422, "run_exhausted")


@pytest.mark.parametrize(
    "body",
    [{}, {"message": 1}, {"message": "m", "level": "INFO"}, {"message": "m", "terminationStatus": "OK"}],
)
def test_log_out_of_schema_is_422(client: Client, body: dict[str, Any]) -> None:
    """A log has a message, and no keys but Port's."""
    answer = client.refused("POST", f"/actions/runs/{client.execute()}/logs", body)
    assert answer == (422, "invalid_request")


def test_unknown_run_is_404(client: Client) -> None:
    """Nothing can be asked or written of a run that is not there."""
    url = "/actions/runs/r_0000000000000000"
    assert client.refused("GET", url) == (404, "not_found")
    assert client.refused("PATCH", url, {"status": "SUCCESS"}) == (404, "not_found")
    assert client.refused("POST", f"{url}/logs", {"message": "m"}) == (404, "not_found")
    assert client.refused("GET", f"{url}/logs") == (404, "not_found")


def test_runs_are_listed_newest_first_and_filtered(client: Client) -> None:
    """The list can be narrowed by action, blueprint, activity, source and external id."""
    ids = [client.execute() for _ in range(3)]
    client.port.add_run("run_q2mGf9ZYkFRnZJjB", "other", blueprint=None)
    client.ok("PATCH", f"/actions/runs/{ids[0]}", {"status": "SUCCESS", "externalRunId": "build-7"})

    def listed(**query: str) -> list[str]:
        return [run["id"] for run in client.ok("GET", "/actions/runs", **query)["runs"]]

    assert listed(action="create_vm") == ids[::-1]
    assert listed(blueprint="vm", active="true") == ids[:0:-1]
    assert listed(active="false") == [ids[0]] == listed(external_run_id="build-7")
    assert listed(limit="1") == ["run_q2mGf9ZYkFRnZJjB"]
    assert listed(source="UI") == []
    assert client.refused("GET", "/actions/runs", active="True") == (422, "invalid_request")


def test_added_run_belongs_to_a_recorded_message(client: Client) -> None:
    """A run can be there without having been executed here, and is like any other."""
    client.port.add_run("run_q2mGf9ZYkFRnZJjB", properties=INPUTS)
    run = client.ok("GET", "/actions/runs/run_q2mGf9ZYkFRnZJjB", version="v2")["run"]
    assert (run["status"], run["action"]["identifier"], run["properties"]) == (
        "IN_PROGRESS",
        "create_vm",
        INPUTS,
    )
    client.ok("PATCH", "/actions/runs/run_q2mGf9ZYkFRnZJjB", {"status": "SUCCESS"})


# Entities

ENTITIES = "/blueprints/vm/entities"


def test_entity_is_created_once(client: Client) -> None:
    """Creating answers 201 with the entity; a second time is 409 and changes nothing."""
    body = {"identifier": "box", "title": "Box", "properties": {"cpu_cores": 2}, "team": "infra"}
    answer = client.call("POST", ENTITIES, body)
    assert answer.status_code == 201
    entity = client.ok("GET", f"{ENTITIES}/box")["entity"]
    assert entity == answer.json()["entity"] == client.port.entities["vm", "box"]
    assert (entity["title"], entity["properties"], entity["team"]) == ("Box", {"cpu_cores": 2}, ["infra"])
    assert client.refused("POST", ENTITIES, {**body, "title": "Other"}) == (409, "identifier_taken")
    assert client.port.entities["vm", "box"]["title"] == "Box"


def test_upsert_replaces_and_merge_keeps(client: Client) -> None:
    """upsert overwrites the whole entity; with merge, fields that are not given stay."""
    client.ok("POST", ENTITIES, {"identifier": "box", "title": "Box", "properties": {"cpu_cores": 2}})
    body = {"identifier": "box", "properties": {"memory_size": 4}}
    merged = client.ok("POST", ENTITIES, body, upsert="true", merge="true")["entity"]
    assert (merged["title"], merged["properties"]) == ("Box", {"cpu_cores": 2, "memory_size": 4})
    replaced = client.ok("POST", ENTITIES, body, upsert="true")["entity"]
    assert "title" not in replaced
    assert replaced["properties"] == {"memory_size": 4}
    assert replaced["createdAt"] == merged["createdAt"]


def test_merge_without_upsert_is_still_a_creation(client: Client) -> None:
    """merge alone changes nothing about what exists."""
    client.ok("POST", ENTITIES, {"identifier": "box"})
    assert client.refused("POST", ENTITIES, {"identifier": "box"}, merge="true") == (409, "identifier_taken")


@pytest.mark.parametrize(
    "name", ["upsert", "merge", "validation_only", "create_missing_related_entities", "delete_dependents"]
)
@pytest.mark.parametrize("value", ["True", "False", "1", ""])
def test_booleans_of_the_query_are_lower_case(client: Client, name: str, value: str) -> None:
    """Only `true` and `false` are booleans: what Python's str() makes of them is 422."""
    client.ok("POST", ENTITIES, {"identifier": "box"})
    method, path = ("DELETE", f"{ENTITIES}/box") if name == "delete_dependents" else ("POST", ENTITIES)
    assert client.refused(method, path, {"identifier": "new"}, **{name: value}) == (422, "invalid_request")
    assert list(client.port.entities) == [("vm", "box")]


def test_missing_identifier_is_generated(client: Client) -> None:
    """Port makes an identifier up where none is given, a new one each time."""
    identifiers = {client.ok("POST", ENTITIES, {"title": "Box"})["entity"]["identifier"] for _ in range(2)}
    assert len(identifiers) == 2
    assert all(re.fullmatch("e_[A-Za-z0-9]{16}", name) for name in identifiers)


@pytest.mark.parametrize("identifier", ["a b", "", ".", "..", "a(b)", "a,b", "a#b", "a" * 1001, "a²", 7, None])
def test_illegal_entity_identifier_is_422(client: Client, identifier: Any) -> None:
    """Letters, digits and @ _ . + : \\ / = - are all an identifier may hold, up to 1000 of them."""
    assert client.refused("POST", ENTITIES, {"identifier": identifier}) == (422, "invalid_request")


@pytest.mark.parametrize("identifier", ["a/b", "a\\b", "a+b", "a@b:c=d", "100-žluť", "x" * 1000, "服务器"])
def test_identifier_is_found_under_its_encoded_path(client: Client, identifier: str) -> None:
    """Legal identifiers hold characters that a path must encode, a slash among them."""
    client.ok("POST", ENTITIES, {"identifier": identifier})
    path = f"{ENTITIES}/{quote(identifier, safe='')}"
    assert client.ok("GET", path)["entity"]["identifier"] == identifier
    client.ok("DELETE", path)
    assert client.port.entities == {}


def test_unencoded_slash_is_another_route(client: Client) -> None:
    """A slash that is not encoded ends the segment, and nothing is found."""
    client.ok("POST", ENTITIES, {"identifier": "a/b"})
    assert client.refused("GET", f"{ENTITIES}/a/b") == (404, "not_found")


@pytest.mark.parametrize(
    "properties", [{"cpu_cores": "2"}, {"cpu_cores": True}, {"deployed": "Perhaps"}, {"color": "red"}]
)
def test_properties_are_held_against_the_blueprint(client: Client, properties: dict[str, Any]) -> None:
    """Type, enum and unknown properties get 422 blueprint_schema_mismatch, on every way of writing."""
    mismatch = (422, "blueprint_schema_mismatch")
    assert client.refused("POST", ENTITIES, {"identifier": "box", "properties": properties}) == mismatch
    client.ok("POST", ENTITIES, {"identifier": "box"})
    for method in ("PATCH", "PUT"):
        assert client.refused(method, f"{ENTITIES}/box", {"properties": properties}) == mismatch
    assert client.port.entities["vm", "box"]["properties"] == {}


def test_required_properties_and_formats(bare: Client) -> None:
    """A blueprint's required properties must be there, and formats are checked."""
    schema = {
        "properties": {
            "site": {"type": "string", "format": "url"},
            "since": {"type": "string", "format": "date-time"},
        },
        "required": ["site"],
    }
    bare.ok("POST", "/blueprints", {"identifier": "page", "title": "Page", "schema": schema})
    for properties in (
        {},
        {"site": None},
        {"site": "nowhere"},
        {"site": "https://a.b", "since": "yesterday"},
    ):
        answer = bare.refused("POST", "/blueprints/page/entities", {"properties": properties})
        assert answer == (422, "blueprint_schema_mismatch")
    good = {"site": "https://a.b", "since": "2026-01-01T00:00:00.000Z"}
    bare.ok("POST", "/blueprints/page/entities", {"properties": good})


def test_validation_only_stores_nothing(client: Client) -> None:
    """validation_only checks as ever and leaves everything as it was."""
    client.ok("POST", ENTITIES, {"identifier": "box"}, validation_only="true")
    body = {"properties": {"cpu_cores": "2"}}
    assert client.refused("POST", ENTITIES, body, validation_only="true") == (
        422,
        "blueprint_schema_mismatch",
    )
    assert client.port.entities == {}


def test_entity_of_unknown_blueprint_is_404(client: Client) -> None:
    """There is no entity without its blueprint."""
    assert client.refused("POST", "/blueprints/host/entities", {"identifier": "a"}) == (404, "not_found")
    assert client.refused("GET", "/blueprints/host/entities/a") == (404, "not_found")
    assert client.refused("GET", f"{ENTITIES}/a") == (404, "not_found")


def test_entity_cannot_be_tied_to_an_ended_run(client: Client) -> None:
    """run_id works while the run is in progress, is 400 run_exhausted after, and 404 if unknown."""
    run_id = client.execute()
    client.ok("POST", ENTITIES, {"identifier": "box"}, run_id=run_id)
    client.ok("PATCH", f"/actions/runs/{run_id}", {"status": "SUCCESS"})
    late = (400, "run_exhausted")
    assert client.refused("POST", ENTITIES, {"identifier": "late"}, run_id=run_id) == late
    assert client.refused("PATCH", f"{ENTITIES}/box", {"title": "late"}, run_id=run_id) == late
    assert client.refused("PUT", f"{ENTITIES}/box", {"title": "late"}, run_id=run_id) == late
    assert client.refused("DELETE", f"{ENTITIES}/box", run_id=run_id) == late
    assert client.refused("POST", ENTITIES, {"identifier": "box"}, run_id="r_none") == (404, "not_found")
    assert [(key, "title" in entity) for key, entity in client.port.entities.items()] == [(("vm", "box"), False)]


def test_patch_put_and_delete(client: Client) -> None:
    """PATCH keeps what it does not name and null clears; PUT replaces; DELETE removes; none creates."""
    path = f"{ENTITIES}/box"
    for method in ("PATCH", "PUT", "DELETE"):
        assert client.refused(method, path, {"title": "Box"}) == (404, "not_found")
    client.ok("POST", ENTITIES, {"identifier": "box", "title": "Box", "properties": {"cpu_cores": 2}})
    patched = client.ok("PATCH", path, {"title": None, "properties": {"memory_size": 4}})["entity"]
    assert "title" not in patched
    assert patched["properties"] == {"cpu_cores": 2, "memory_size": 4}
    patched = client.ok("PATCH", path, {"properties": {"cpu_cores": None}})["entity"]
    assert patched["properties"] == {"memory_size": 4}
    assert client.ok("PUT", path, {"title": "New"})["entity"]["properties"] == {}
    assert client.refused("PATCH", path, {"color": "red"}) == (422, "invalid_request")
    assert client.call("DELETE", path).json() == {"ok": True}
    assert client.port.entities == {}


def test_entity_can_be_renamed_but_not_onto_another(client: Client) -> None:
    """A patch may give a new identifier, unless it is taken."""
    for identifier in ("a", "b"):
        client.ok("POST", ENTITIES, {"identifier": identifier})
    assert client.refused("PATCH", f"{ENTITIES}/a", {"identifier": "b"}) == (409, "identifier_taken")
    client.ok("PATCH", f"{ENTITIES}/a", {"identifier": "c"})
    assert set(client.port.entities) == {("vm", "b"), ("vm", "c")}


def test_relations(client: Client) -> None:
    """Relations are known, of the right number, and lead to entities that exist or are to be created."""
    relations = {
        "vm": {"target": "vm", "required": True, "many": False},
        "peers": {"target": "disk", "required": False, "many": True},
    }
    disk = {"identifier": "disk", "title": "Disk", "schema": {"properties": {}}, "relations": relations}
    client.ok("POST", "/blueprints", disk)
    client.ok("POST", ENTITIES, {"identifier": "box"})

    def refusal(**relations: Any) -> tuple[int, str]:
        return client.refused("POST", "/blueprints/disk/entities", {"identifier": "d", "relations": relations})

    assert refusal() == (422, "required_relation")
    assert refusal(vm=["box"]) == (422, "relation_many_violation")
    assert refusal(vm="box", peers="d") == (422, "relation_many_violation")
    assert refusal(vm="box", host="h") == (422, "blueprint_schema_mismatch")
    assert refusal(vm="nothing") == (404, "not_found")
    body = {"identifier": "d", "relations": {"vm": "nothing", "peers": []}}
    client.ok("POST", "/blueprints/disk/entities", body, create_missing_related_entities="true")
    assert client.port.entities["disk", "d"]["relations"] == {"vm": "nothing", "peers": []}
    assert ("vm", "nothing") in client.port.entities


def test_bulk_reports_each_entity(client: Client) -> None:
    """Some good and some bad entities are 207 with both lists by index; all good is 200."""
    bad = {"identifier": "bad", "properties": {"cpu_cores": "2"}}
    answer = client.call("POST", f"{ENTITIES}/bulk", {"entities": [{"identifier": "a"}, bad, {"identifier": "a"}]})
    assert answer.status_code == 207
    assert answer.json()["entities"] == [{"created": True, "identifier": "a", "index": 0}]
    errors = [(e["index"], e["identifier"], e["statusCode"], e["error"]) for e in answer.json()["errors"]]
    assert errors == [(1, "bad", 422, "blueprint_schema_mismatch"), (2, "a", 409, "identifier_taken")]
    again = client.call("POST", f"{ENTITIES}/bulk", {"entities": [{"identifier": "a"}]}, upsert="true")
    assert (again.status_code, again.json()["entities"][0]["created"]) == (200, False)


def test_bulk_takes_one_to_twenty(client: Client) -> None:
    """None, and more than 20 at once, get 422."""
    for count, status in ((0, 422), (1, 200), (20, 200), (21, 422)):
        body = {"entities": [{"identifier": str(number)} for number in range(count)]}
        assert client.call("POST", f"{ENTITIES}/bulk", body, upsert="true").status_code == status


def test_change_log(client: Client, published: list[tuple[str, Any]]) -> None:
    """Entities of a blueprint with a Kafka destination announce creation, update and deletion."""
    client.ok("POST", ENTITIES, {"identifier": "quiet"})
    client.ok("PATCH", "/blueprints/vm", {"changelogDestination": {"type": "KAFKA"}})
    created = client.ok("POST", ENTITIES, {"identifier": "box", "title": "Box"})["entity"]
    updated = client.ok("PATCH", f"{ENTITIES}/box", {"properties": {"cpu_cores": 2}})["entity"]
    client.ok("DELETE", f"{ENTITIES}/box")
    assert {topic for topic, _ in published} == {f"{client.port.organization_id}.change.log"}
    messages = [message for _, message in published]
    assert [(message["action"], message["diff"]["before"], message["diff"]["after"]) for message in messages] == [
        ("CREATE", None, created),
        ("UPDATE", created, updated),
        ("DELETE", updated, None),
    ]
    for message in messages:
        assert (message["resourceType"], message["status"]) == ("entity", "SUCCESS")
        assert message["context"] == {"entity": "box", "blueprint": "vm"}
        assert message["trigger"]["by"]["orgId"] == client.port.organization_id
        assert message["changelogDestination"] == {"type": "KAFKA"}


# Workflows


def test_audit_log_has_what_a_run_changed(client: Client) -> None:
    """Every change of an entity is in the audit log, newest first, and found by the run that made it."""
    run = client.execute()
    client.ok("POST", "/blueprints/vm/entities", {"identifier": "a"}, run_id=run)
    client.ok("PATCH", "/blueprints/vm/entities/a", {"title": "A"})
    client.ok("DELETE", "/blueprints/vm/entities/a", run_id=run)
    records = client.ok("GET", "/audit-log", run_id=run, resources="entity")["audits"]
    assert [record["action"] for record in records] == ["DELETE", "CREATE"]
    assert records[0]["context"] == {"entity": "a", "blueprint": "vm", "runId": run}
    assert records[0]["diff"]["after"] is None
    assert len(client.ok("GET", "/audit-log")["audits"]) == 3
    assert len(client.ok("GET", "/audit-log", limit="1")["audits"]) == 1
    assert client.ok("GET", "/audit-log", run_id="r_other")["audits"] == []


def test_node_run_is_reported(client: Client) -> None:
    """A workflow's node run takes logs, output and one end, in its own words."""
    client.port.add_node_run("wfnr_0000000000000001")
    url = "/workflows/nodes/runs/wfnr_0000000000000001"
    client.ok("POST", f"{url}/logs", {"logs": [{"level": "INFO", "message": "on it"}]})
    client.ok("PATCH", url, {"logs": [{"logLevel": "WARN", "log": "slow"}]})
    for body in ({"status": "COMPLETED"}, {"result": "FAILURE"}, {"status": "SUCCESS"}, {"link": "x"}):
        assert client.refused("PATCH", url, body) == (422, "invalid_request")
    client.ok("PATCH", url, {"status": "COMPLETED", "result": "FAILED", "output": {"why": "because"}})
    node_run = client.port.node_runs["wfnr_0000000000000001"]
    assert (node_run["status"], node_run["result"], node_run["output"]) == (
        "COMPLETED",
        "FAILED",
        {"why": "because"},
    )
    assert [log["message"] for log in node_run["logs"]] == ["on it", "slow"]
    assert client.refused("PATCH", url, {"output": {}}) == (422, "run_exhausted")
    assert client.refused("PATCH", "/workflows/nodes/runs/wfnr_none", {"output": {}}) == (404, "not_found")


# Faults


def test_fault_answers_in_place_of_port_as_often_as_told(client: Client) -> None:
    """A fault with a status is met `times` times; the request is not carried out then."""
    run_id = client.execute()
    fault = client.port.fail("/v1/actions/runs", method="PATCH", status=503, times=2)
    url = f"/actions/runs/{run_id}"
    assert client.call("GET", url).status_code == 200
    for _ in range(2):
        assert client.refused("PATCH", url, {"status": "SUCCESS"})[0] == 503
        assert client.port.runs[run_id]["status"] == "IN_PROGRESS"
    assert client.call("PATCH", url, {"status": "SUCCESS"}).status_code == 200
    assert fault.used == 2


def test_fault_stays_until_it_is_removed(client: Client) -> None:
    """times=None is for good; a with statement ends it."""
    with client.port.fail("/v1/", status=500, times=None):
        assert {client.call("GET", "/organization").status_code for _ in range(3)} == {500}
    assert client.call("GET", "/organization").status_code == 200


def test_fault_has_a_body_and_headers_of_its_own(client: Client) -> None:
    """Gateways answer HTML, rate limits have headers: both can be told."""
    client.port.fail("/v1/org", status=502, body="<html>bad gateway</html>")
    answer = client.call("GET", "/organization")
    assert (answer.status_code, answer.text) == (502, "<html>bad gateway</html>")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["X-Trace-Id"]
    client.port.fail("/v1/org", status=429, body={"ok": False}, headers={"Retry-After": "3"})
    answer = client.call("GET", "/organization")
    assert (answer.status_code, answer.json(), answer.headers["Retry-After"]) == (429, {"ok": False}, "3")
    client.port.fail("/v1/org", headers={"x-ratelimit-remaining": "0"})
    answer = client.call("GET", "/organization")
    assert (answer.status_code, answer.headers["x-ratelimit-remaining"]) == (200, "0")
    with pytest.raises(ValueError, match="needs a status"):
        client.port.fail("/v1/org", body="x")


def test_path_of_a_fault_may_be_a_pattern(client: Client) -> None:
    """A fault's path is a regular expression from the beginning of the raw path."""
    client.ok("POST", ENTITIES, {"identifier": "a/b"})
    client.port.fail(r"/v1/blueprints/[^/]+/entities/a%2Fb$", status=500, times=None)
    assert client.call("GET", f"{ENTITIES}/a%2Fb").status_code == 500
    assert client.call("GET", f"{ENTITIES}/a").status_code == 404


def test_delayed_answer(client: Client) -> None:
    """A delay comes before the request is carried out, and holds up no other connection."""
    client.port.fail("/v1/actions/runs/", delay=1)
    run_id = client.execute()
    slow = threading.Thread(target=client.ok, args=("GET", f"/actions/runs/{run_id}"))
    slow.start()
    client.port.wait_until(lambda: client.port.requests[-1].path.endswith(run_id))
    delayed = client.port.requests[-1]
    other = Client(client.port)
    other.ok("PATCH", f"/actions/runs/{run_id}", {"statusLabel": "meanwhile"})
    assert delayed.status is None
    slow.join()
    assert delayed.status == 200


@pytest.mark.parametrize(("drop", "status", "stored"), [("before", None, "IN_PROGRESS"), ("after", 200, "SUCCESS")])
def test_dropped_connection(client: Client, drop: Any, status: int | None, stored: str) -> None:
    """The connection is closed without an answer, before the request is carried out or after."""
    run_id = client.execute()
    client.port.fail("/v1/actions/runs", drop=drop)
    with pytest.raises(requests.ConnectionError):
        client.call("PATCH", f"/actions/runs/{run_id}", {"status": "SUCCESS"})
    assert client.port.requests[-1].status == status
    assert client.port.runs[run_id]["status"] == stored
    assert client.call("GET", f"/actions/runs/{run_id}").status_code == 200


def test_faults_are_met_in_order(client: Client) -> None:
    """Of several faults that match, the first that is left is met."""
    client.port.fail("/v1/org", status=500)
    client.port.fail("/v1/org", status=429)
    assert [client.call("GET", "/organization").status_code for _ in range(3)] == [500, 429, 200]


# The server


def test_what_was_received_is_kept(client: Client) -> None:
    """Every request is kept in order, with path as sent, query, body, headers, status and time."""
    before = time.time()
    client.call("POST", ENTITIES, {"identifier": "á/b"}, upsert="true", run_id="r_x")
    client.call("GET", f"{ENTITIES}/%C3%A1%2Fb")
    posted, read = client.port.requests[-2:]
    assert (posted.method, posted.path, posted.body) == (
        "POST",
        "/v1/blueprints/vm/entities",
        {"identifier": "á/b"},
    )
    assert posted.query == {"upsert": "true", "run_id": "r_x"}
    assert (posted.status, posted.headers["content-type"]) == (404, "application/json")
    assert (read.path, read.body, read.query) == ("/v1/blueprints/vm/entities/%C3%A1%2Fb", None, {})
    assert before <= posted.at <= read.at <= time.time()


def test_connections_are_numbered_and_kept_alive(client: Client) -> None:
    """One session is one connection; another client's is another."""
    for _ in range(5):
        client.ok("GET", "/organization")
    assert {request.connection for request in client.port.requests} == {1}
    Client(client.port).ok("GET", "/organization")
    assert client.port.requests[-1].connection == 2


def test_answers_are_quick(client: Client) -> None:
    """No answer waits for a delayed acknowledgement: 40 ms a request, with Nagle's algorithm on."""
    durations = []
    for _ in range(50):
        started = time.monotonic()
        client.ok("GET", "/actions/create_vm")
        durations.append(time.monotonic() - started)
    # The first ones are quick either way; of the rest, the quicker half says it on a busy machine too.
    assert sorted(durations[20:])[10] < 0.035


def test_requests_side_by_side(client: Client) -> None:
    """Many clients at once lose nothing: of one identifier exactly one creation succeeds."""
    statuses: list[int] = []
    start = threading.Barrier(16)

    def work() -> None:
        mine = Client(client.port)
        start.wait()
        for number in range(10):
            statuses.append(mine.call("POST", ENTITIES, {"identifier": str(number)}).status_code)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses.count(201), statuses.count(409)) == (10, 150)


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
    """A waiter wakes when a request makes its condition true, and gets what it returned."""
    run_id = client.execute()
    other = Client(client.port)
    timer = threading.Timer(0.1, other.call, ("POST", f"/actions/runs/{run_id}/logs", {"message": "now"}))
    timer.start()
    logs = client.port.wait_until(lambda: client.port.run_logs[run_id], timeout=5)
    assert logs[0]["message"] == "now"
    timer.join()
    with pytest.raises(TimeoutError, match=r"within 0\.1 s"):
        client.port.wait_until(lambda: False, timeout=0.1)


def test_leaving_ends_everything_at_once() -> None:
    """Kept connections and delayed answers do not hold the end up; no thread and no open port is left."""
    before = set(threading.enumerate())
    with FakePort() as port:
        idle, client = Client(port), Client(port)
        port.fail("/v1/org", delay=60)
        failures: list[BaseException] = []

        def ask() -> None:
            try:
                client.call("GET", "/org")
            except requests.ConnectionError as error:
                failures.append(error)

        caller = threading.Thread(target=ask)
        caller.start()
        port.wait_until(lambda: port.requests[-1].path == "/v1/org")
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) - before == set()
    assert len(failures) == 1
    with pytest.raises(requests.ConnectionError):
        idle.call("GET", "/organization")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port.url.rsplit(":", 1)[1])), timeout=1)
