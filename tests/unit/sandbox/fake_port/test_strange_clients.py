"""The fake Port speaks HTTP as a real server does, also to clients that do not."""

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from port_runner_sandbox.certificates import make_certificates
from port_runner_sandbox.fake_port import FakePort
from tests.unit.sandbox.fake_port.client import ENTITIES, Client, action

END = b"\r\n\r\n"


class Connection:
    """A TCP connection, for bytes that no HTTP client would send."""

    def __init__(self, port: FakePort, token: str = "") -> None:
        self.socket = socket.create_connection(("127.0.0.1", int(port.url.rsplit(":", 1)[1])), timeout=10)
        self.stream = self.socket.makefile("rb")
        self.token = token

    def send(self, first_line: str, *headers: str, body: bytes = b"") -> None:
        lines = [first_line, "Host: port", f"Authorization: {self.token}", *headers]
        self.socket.sendall("\r\n".join(lines).encode() + END + body)

    def answer(self) -> tuple[int, Any, dict[str, str]]:
        """Return status, document and headers of the next answer."""
        status = int(self.stream.readline().split()[1])
        headers = {}
        while line := self.stream.readline().strip().decode():
            name, value = line.split(": ", 1)
            headers[name.lower()] = value
        content = self.stream.read(int(headers.get("content-length", 0)))
        return status, json.loads(content) if content else None, headers

    def is_closed(self) -> bool:
        return self.stream.read(1) == b""


@pytest.fixture
def connection(client: Client) -> Iterator[Connection]:
    connection = Connection(client.port, str(client.session.headers["Authorization"]))
    yield connection
    connection.stream.close()
    connection.socket.close()
    # The next client is served as usual.
    Client(client.port).ok("GET", "/organization")


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: abc"],
        ["Content-Length: -1"],
        ["Content-Length: 1_0"],
        ["Content-Length: 0x2"],
        ["Content-Length: 1, 2"],
        ["Content-Length: 1", "Content-Length: 2"],
        ["Content-Length: 99999999999999999999999999"],
        ["Content-Length: 2", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: gzip"],
        ["no colon"],
        ["Long: " + "x" * 100_000],
    ],
)
def test_headers_of_nonsense_are_400(connection: Connection, headers: list[str]) -> None:
    """Headers that leave open where the body ends, or that are not headers, get 400 with JSON."""
    connection.send("POST /v1/actions HTTP/1.1", *headers, body=b"{}")
    status, document, _ = connection.answer()
    assert (status, document["error"]) == (400, "Bad Request")


@pytest.mark.parametrize(
    "line", ["GARBAGE", "GET", "GET /v1/organization HTTP/9.9", "\x16\x03\x01\x02", "GET  HTTP/1.1"]
)
def test_what_is_not_http_is_400(connection: Connection, line: str) -> None:
    """Bytes that are not a request get 400 with JSON, and the connection is closed."""
    connection.send(line)
    assert connection.answer()[0] == 400
    assert connection.is_closed()


def test_chunked_body(client: Client, connection: Connection) -> None:
    """A body may come in chunks, with extensions and a trailer, and the connection can be used again."""
    for number in range(2):
        connection.send(
            f"POST /v1{ENTITIES} HTTP/1.1",
            "Transfer-Encoding: chunked",
            body=b'5;name=value\r\n{"ide\r\n10\r\nntifier": "box%d"\r\n1\r\n}\r\n0\r\nTrailer: x' % number + END,
        )
        assert connection.answer()[0] == 201
    assert set(client.port.entities) == {("vm", "box0"), ("vm", "box1")}
    assert client.port.requests[-1].raw_body == b'{"identifier": "box1"}'


@pytest.mark.parametrize("body", [b"zz\r\n{}\r\n0" + END, b"-2\r\n{}\r\n0" + END, b"2\r\n{}xx\r\n0" + END])
def test_broken_chunks_are_400(client: Client, connection: Connection, body: bytes) -> None:
    """Chunks of a wrong size get 400, and the request is not carried out."""
    before = len(client.port.requests)
    connection.send("POST /v1/actions HTTP/1.1", "Transfer-Encoding: chunked", body=body)
    assert connection.answer()[0] == 400
    assert len(client.port.requests) == before


def test_body_is_asked_for(client: Client, connection: Connection) -> None:
    """A client that expects 100 Continue gets it before it sends the body. Another expectation gets 417."""
    body = b'{"identifier": "box"}'
    connection.send(f"POST /v1{ENTITIES} HTTP/1.1", "Expect: 100-continue", f"Content-Length: {len(body)}")
    assert connection.answer()[0] == 100
    connection.socket.sendall(body)
    assert connection.answer()[0] == 201
    connection.send(f"POST /v1{ENTITIES} HTTP/1.1", "Expect: a-miracle", f"Content-Length: {len(body)}", body=body)
    assert connection.answer()[0] == 417


def test_body_that_is_too_large_is_not_asked_for(connection: Connection) -> None:
    """A client that expects 100 Continue gets 413 at once if the body is too large."""
    connection.send(f"POST /v1{ENTITIES} HTTP/1.1", "Expect: 100-continue", f"Content-Length: {2 * 1024 * 1024}")
    assert connection.answer()[:2] == (413, {"ok": False, "error": "payload_too_large"})
    assert connection.is_closed()


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "QUERY"])
@pytest.mark.parametrize("path", ["/v1/organization", "/v1/actions/runs/r", "/", "*", "http://port/v1/organization"])
def test_other_methods_are_refused_with_json(connection: Connection, method: str, path: str) -> None:
    """A method that Port's API does not have gets an error, as JSON unless it is HEAD."""
    connection.send(f"{method} {path} HTTP/1.1")
    if method == "HEAD":
        head = connection.stream.readline()
        assert int(head.split()[1]) in (400, 404)
        return
    status, document, headers = connection.answer()
    assert status in (400, 404)
    assert headers["content-type"].startswith("application/json")
    assert document["error"]


def test_target_may_name_the_host(client: Client, connection: Connection) -> None:
    """The target of a request may be a whole URL, as proxies send it. A path may begin with two slashes."""
    connection.send("GET http://api.port.io/v1/organization?x=1 HTTP/1.1")
    assert connection.answer()[0] == 200
    assert (client.port.requests[-1].path, client.port.requests[-1].query) == ("/v1/organization", {"x": "1"})
    connection.send("GET //v1/organization HTTP/1.1")
    assert connection.answer()[0] == 404
    assert client.port.requests[-1].path == "//v1/organization"


def test_requests_may_follow_without_waiting(client: Client, connection: Connection) -> None:
    """Several requests may be sent at once on one connection, and are answered in their order."""
    for number in range(20):
        connection.send(f"GET /v1/actions/a{number} HTTP/1.1")
    messages = [connection.answer()[1]["message"] for _ in range(20)]
    assert messages == [f"Action 'a{number}' was not found" for number in range(20)]


def test_old_clients_get_one_answer(connection: Connection) -> None:
    """HTTP/1.0, and a client that says so, get one answer, and the connection is closed."""
    connection.send("GET /v1/organization HTTP/1.0")
    assert connection.answer()[0] == 200
    assert connection.is_closed()


@pytest.mark.parametrize(
    "sent", [b"", b"GET /v1/org", b"POST /v1/actions HTTP/1.1\r\nHost: p\r\nContent-Length: 9\r\n\r\n{"]
)
def test_idle_connection_is_closed(sent: bytes) -> None:
    """A connection on which nothing more arrives is closed after a while."""
    with FakePort(idle_seconds=0.2) as port:
        connection = Connection(port)
        connection.socket.sendall(sent)
        rest = connection.stream.read()
        assert rest == b"" or rest.startswith(b"HTTP/1.1 408")
        connection.stream.close()
        connection.socket.close()
        Client(port).ok("GET", "/organization")


def test_used_connection_is_closed_when_idle() -> None:
    """A connection that was used is closed too when it is idle."""
    with FakePort(idle_seconds=0.2) as port:
        client = Client(port)
        connection = Connection(port, str(client.session.headers["Authorization"]))
        connection.send("GET /v1/organization HTTP/1.1")
        assert connection.answer()[0] == 200
        assert connection.is_closed()
        connection.stream.close()
        connection.socket.close()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000 + "]" * 100_000,
        "[" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        '{"identifier": "box", "properties": {"p": ' + "[" * 300 + "]" * 300 + "}}",
        '{"identifier": "box", "properties": {"cpu_cores": 1e400}}',
        '{"identifier": "box", "properties": {"cpu_cores": ' + "9" * 10_000 + "}}",
        '{"identifier": "box", "properties": {"cpu_cores": Infinity}}',
        '"' + "x" * 1_000_000 + '"',
    ],
)
@pytest.mark.parametrize("path", [ENTITIES, "/actions", "/actions/create_vm/runs", "/blueprints"])
def test_json_beyond_all_measure_is_422(client: Client, path: str, text: str) -> None:
    """JSON that is too deep, a number that is too large, and a text in place of an object get 422."""
    answer = client.session.post(f"{client.port.url}/v1{path}", data=text, timeout=30)
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")


def test_inputs_may_be_large_and_deep(client: Client, published: list[tuple[str, Any]]) -> None:
    """Inputs below the limits are taken whole: texts of almost a mebibyte, and objects of many levels."""
    deep: Any = 1
    for _ in range(190):
        deep = {"a": deep}
    body = action("big", "CREATE", invocationMethod={"type": "KAFKA", "payload": {"all": "{{ .inputs }}"}})
    body["trigger"]["userInputs"]["properties"] = {"text": {"type": "string"}, "deep": {"type": "object"}}
    client.ok("POST", "/actions", body)
    inputs = {"text": "x" * 1_000_000, "deep": deep}
    assert client.ok("POST", "/actions/big/runs", {"properties": inputs})["run"]["properties"] == inputs
    assert published[-1][1] == {"all": inputs}


@pytest.mark.parametrize("drop", [None, "before", "after"])
def test_lost_client(client: Client, connection: Connection, drop: Any) -> None:
    """A client that leaves before its answer is no trouble, and its request is carried out."""
    client.port.fail(f"/v1{ENTITIES}", delay=0.2, drop=drop)
    body = b'{"identifier": "box"}'
    connection.send(f"POST /v1{ENTITIES} HTTP/1.1", f"Content-Length: {len(body)}", body=body)
    client.port.wait_until(lambda: client.port.requests[-1].path.endswith("entities"))
    connection.stream.close()
    connection.socket.close()
    if drop != "before":
        assert client.port.wait_until(lambda: client.port.entities)


def test_client_that_leaves_in_the_body(client: Client, connection: Connection) -> None:
    """A request whose body does not arrive whole is not carried out."""
    before = len(client.port.requests)
    connection.send(f"POST /v1{ENTITIES} HTTP/1.1", "Content-Length: 30", body=b'{"identifier": "b"}')
    connection.socket.shutdown(socket.SHUT_RDWR)
    client.ok("GET", "/organization")
    assert [request.method for request in client.port.requests[before:]] == ["GET"]


def test_tls(tmp_path: Path) -> None:
    """With certificates, Port speaks TLS, and a client that trusts their authority may use it."""
    certificates = make_certificates(tmp_path)
    authority = tmp_path / "authority.pem"
    authority.write_text(certificates.authority)
    with FakePort(certificates=certificates) as port:
        assert port.url.startswith("https://127.0.0.1:")
        credentials = {"clientId": port.client_id, "clientSecret": port.client_secret}
        url = f"{port.url}/v1/auth/access_token"
        assert requests.post(url, json=credentials, timeout=5, verify=str(authority)).ok
        with pytest.raises(requests.exceptions.SSLError):
            requests.post(url, json=credentials, timeout=5)
        plain = Connection(port)
        plain.send("GET /v1/organization HTTP/1.1")
        assert b"HTTP" not in plain.stream.read()
        plain.stream.close()
        plain.socket.close()
        port.fail("/v1/auth", drop="after")
        with pytest.raises(requests.ConnectionError):
            requests.post(url, json=credentials, timeout=5, verify=str(authority))
        assert port.requests[-1].status == 200
        context = ssl.create_default_context(cafile=str(authority))
        with socket.create_connection(("127.0.0.1", int(port.url.rsplit(":", 1)[1])), timeout=5) as bare:
            context.wrap_socket(bare, server_hostname="localhost").close()
