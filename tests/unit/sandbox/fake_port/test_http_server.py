"""The fake Port's server keeps requests and connections, and ends with all of its threads."""

import re
import socket
import threading
import time
from typing import Any

import pytest
import requests

from port_runner_sandbox.fake_port import FakePort, http_server
from tests.unit.sandbox.fake_port.client import ENTITIES, Client, action


def test_body_above_one_mebibyte_is_413(client: Client) -> None:
    """A body over 1 MiB gets 413, and the connection can be used again."""
    body = {"identifier": "big", "title": "x" * 1024 * 1024}
    assert client.refused("POST", "/blueprints/vm/entities", body)[0] == 413
    assert client.ok("GET", "/organization")
    assert len({request.connection for request in client.port.requests}) == 1


@pytest.mark.parametrize("text", [b"{", b"", b'{"properties": {"cpu_cores": NaN}}'])
def test_body_that_is_not_json_is_422(client: Client, text: bytes) -> None:
    """A body that is not JSON gets 422 and is kept as None. NaN is not JSON."""
    url = f"{client.port.url}/v1/blueprints/vm/entities"
    assert client.session.post(url, data=text, timeout=5).status_code == 422
    assert client.port.requests[-1].body is None


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (rb"\ud800", "\ud800"),
        (rb"\udc00\ud800", "\udc00\ud800"),
        (rb"\ud83d\ude00", "😀"),
        (b"\xed\xa0\x80", "\ufffd" * 3),
    ],
)
def test_texts_that_are_not_unicode(client: Client, published: list[tuple[str, Any]], sent: bytes, kept: str) -> None:
    """A lone surrogate is stored and answered as it came. Bytes that are not UTF-8 become U+FFFD, as in JavaScript."""
    run_id = client.execute()

    def post(path: str, template: bytes) -> Any:
        answer = client.session.post(f"{client.port.url}/v1{path}", data=template.replace(b"TEXT", sent), timeout=5)
        assert answer.ok, answer.text
        return answer.json()

    assert post(f"/actions/runs/{run_id}/logs", b'{"message": "a TEXT"}')["runLog"]["message"] == f"a {kept}"
    assert client.ok("GET", f"/actions/runs/{run_id}/logs")["runLogs"][0]["message"] == f"a {kept}"
    client.ok("PATCH", "/blueprints/vm", {"changelogDestination": {"type": "KAFKA"}})
    assert post(ENTITIES, b'{"identifier": "box", "title": "TEXT"}')["entity"]["title"] == kept
    assert published[-1][1]["diff"]["after"]["title"] == kept
    secret = {"type": "string", "encryption": "aes256-gcm"}
    inputs = {"properties": {"plain": {"type": "string"}, "secret": secret}}
    body = action("say", "CREATE", invocationMethod={"type": "KAFKA", "payload": {"said": "{{ .inputs.plain }}"}})
    client.ok("POST", "/actions", {**body, "trigger": {**body["trigger"], "userInputs": inputs}})
    run = post("/actions/say/runs", b'{"properties": {"plain": "TEXT", "secret": "TEXT"}}')["run"]
    assert run["properties"]["plain"] == kept
    said = next(message for topic, message in reversed(published) if topic.endswith(".runs"))
    assert said == {"said": re.sub("[\ud800-\udfff]", "\ufffd", kept)}


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/blueprints"), ("POST", "/actions"), ("PATCH", "/actions/runs/r"), ("POST", ENTITIES)],
)
def test_refused_text_that_is_not_unicode(client: Client, method: str, path: str) -> None:
    """A refusal may quote a lone surrogate, which is escaped."""
    body = {"identifier": "\ud800", "title": "\ud800"}
    assert client.refused(method, path, body) == (422, "invalid_request")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("1.0", "1"),
        ("-0", "0"),
        ("1E2", "100"),
        ("0.5", "0.5"),
        ("9007199254740993", "9007199254740992"),
        ("1e-5", "0.00001"),
        ("-1.5e-6", "-0.0000015"),
        ("1e-07", "1e-7"),
        ("2.5e-10", "2.5e-10"),
        ("1e21", "1e+21"),
    ],
)
def test_numbers_are_javascript(client: Client, sent: str, kept: str) -> None:
    """A number is stored and answered as JavaScript does: no difference of 1.0 and 1, and no more than its digits."""
    body = f'{{"identifier": "box", "properties": {{"cpu_cores": {sent}}}}}'
    answer = client.session.post(f"{client.port.url}/v1{ENTITIES}", data=body, timeout=5)
    assert f'"cpu_cores":{kept}}}' in answer.text
    body = '{"identifier": "text", "title": "1e-05 \\"1e-05"}'
    answer = client.session.post(f"{client.port.url}/v1{ENTITIES}", data=body, timeout=5)
    assert answer.json()["entity"]["title"] == '1e-05 "1e-05'


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
    """A client's session uses one connection, and another client gets another number."""
    for _ in range(5):
        client.ok("GET", "/organization")
    assert {request.connection for request in client.port.requests} == {1}
    Client(client.port).ok("GET", "/organization")
    assert client.port.requests[-1].connection == 2


def test_answers_are_quick(client: Client) -> None:
    """No answer waits 40 ms for a delayed acknowledgment, as it would with Nagle's algorithm."""
    durations = []
    for _ in range(50):
        started = time.monotonic()
        client.ok("GET", "/actions/create_vm")
        durations.append(time.monotonic() - started)
    # The first requests are fast in any case. The faster half of the rest is telling even on a busy machine.
    assert sorted(durations[20:])[10] < 0.035


def test_requests_side_by_side(client: Client) -> None:
    """If many clients create the same entity at the same time, exactly one succeeds."""
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


def test_leaving_ends_everything_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open connections and delayed answers do not delay the end. No thread and no open port is left."""
    monkeypatch.setattr(http_server, "_SECONDS_TO_FINISH", 120.0)
    before, started = set(threading.enumerate()), time.monotonic()
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
    assert time.monotonic() - started < 60
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) - before == set()
    assert len(failures) == 1
    with pytest.raises(requests.ConnectionError):
        idle.call("GET", "/organization")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port.url.rsplit(":", 1)[1])), timeout=1)
