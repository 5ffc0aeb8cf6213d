"""The login, byte by byte: what a broker answers, and when it closes the connection."""

import base64
import hashlib
import hmac
import io
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kio.index import load_request_schema
from kio.serial import entity_writer

from port_runner_sandbox.broker import Broker
from port_runner_sandbox.broker.users import Login, LoginFailed, User, make_credentials
from port_runner_sandbox.broker.wire import VERSIONS, Api, Request, make_entity
from port_runner_sandbox.certificates import Certificates, make_certificates
from tests.support.cluster_under_test import read_response

USER, PASSWORD = "a=user,", "pass,word="
MECHANISM = "SCRAM-SHA-512"


class ScramClient:
    """The client's side of SCRAM. It can add something to its nonce, and bind to a channel."""

    def __init__(
        self, user: str = USER, password: str = PASSWORD, *, before_nonce: str = "", header: str = "n,,"
    ) -> None:
        self._password = password
        self._before_nonce = before_nonce
        self._header = header
        name = user.replace("=", "=3D").replace(",", "=2C")
        self._bare = f"n={name},r=nonce-of-client"

    def first(self) -> bytes:
        return f"{self._header}{self._bare}".encode()

    def final(self, answer: bytes) -> bytes:
        fields = dict(part.split("=", 1) for part in answer.decode().split(","))
        salt, rounds = base64.b64decode(fields["s"]), int(fields["i"])
        salted = hashlib.pbkdf2_hmac("sha512", self._password.encode(), salt, rounds)
        key = hmac.digest(salted, b"Client Key", "sha512")
        bound = base64.b64encode(b"n,,").decode()
        unsigned = f"c={bound},r={self._before_nonce}{fields['r']}"
        signed = f"{self._bare},{answer.decode()},{unsigned}".encode()
        self._server_key = hmac.digest(salted, b"Server Key", "sha512")
        self._signed = signed
        signature = hmac.digest(hashlib.sha512(key).digest(), signed, "sha512")
        proof = base64.b64encode(bytes(one ^ other for one, other in zip(key, signature, strict=True))).decode()
        return f"{unsigned},p={proof}".encode()

    def trusts(self, answer: bytes) -> bool:
        return answer == b"v=" + base64.b64encode(hmac.digest(self._server_key, self._signed, "sha512"))


class Connection:
    """A connection of a client that can send anything."""

    def __init__(self, address: str, certificates: Certificates) -> None:
        host, port = address.split(":")
        self._raw = socket.create_connection(("127.0.0.1", int(port)), timeout=60)
        context = ssl.create_default_context(cadata=certificates.authority)
        self._socket = context.wrap_socket(self._raw, server_hostname=host)

    def send(self, message: bytes) -> None:
        self._socket.sendall(struct.pack(">i", len(message)) + message)

    def read(self) -> bytes:
        """Return the next message, or nothing if the broker has closed the connection."""
        size = self._exactly(4)
        return self._exactly(int.from_bytes(size)) if size else b""

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size and (more := self._socket.recv(size - len(found))):
            found += more
        return found

    def ask(self, api: Api, version: int | None = None, **content: Any) -> Any:
        """Send a request and return the response."""
        request = Request(api, VERSIONS[api][1] if version is None else version, 1, "a-client", None)
        schema: Any = load_request_schema(api, request.version)
        message = io.BytesIO()
        header = {
            "request_api_key": api,
            "request_api_version": request.version,
            "correlation_id": 1,
            "client_id": "a-client",
        }
        entity_writer(schema.__header_schema__)(message, make_entity(schema.__header_schema__, header))
        entity_writer(schema)(message, make_entity(schema, content))
        self.send(message.getvalue())
        answer = self.read()
        return read_response(request, struct.pack(">i", len(answer)) + answer) if answer else None

    def log_in(self, client: ScramClient, version: int | None = None) -> Any:
        """Log in, and return the last answer of the broker."""
        assert self.ask(Api.SASL_HANDSHAKE, mechanism=MECHANISM).error_code.name == "none"
        first = self.ask(Api.SASL_AUTHENTICATE, version, auth_bytes=client.first())
        if first.error_code.name != "none":
            return first
        return self.ask(Api.SASL_AUTHENTICATE, version, auth_bytes=client.final(first.auth_bytes))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "broker.log"


@pytest.fixture
def broker(certificates: Certificates, log: Path) -> Iterator[Broker]:
    with Broker(certificates, log=log) as broker:
        broker.set_password(USER, PASSWORD, organization="org_a")
        yield broker


@pytest.fixture
def connection(broker: Broker, certificates: Certificates) -> Iterator[Connection]:
    connection = Connection(broker.address, certificates)
    yield connection
    connection.close()


@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_login(connection: Connection, log: Path, version: int) -> None:
    """In each version, a client logs in, sees that the broker knows its password too, and is answered."""
    client = ScramClient()
    last = connection.log_in(client, version)
    assert last.error_code.name == "none"
    assert client.trusts(last.auth_bytes)
    assert connection.ask(Api.LIST_GROUPS).groups == ()
    assert connection.ask(Api.API_VERSIONS, client_software_name="a", client_software_version="1").api_keys
    assert connection.ask(Api.SASL_AUTHENTICATE, auth_bytes=b"").error_code.name == "illegal_sasl_state"
    assert f"{USER} logged in" in log.read_text()
    assert PASSWORD not in log.read_text()


def test_the_oldest_login(connection: Connection) -> None:
    """After version 0 of the handshake, SCRAM's messages come without a request around them."""
    client = ScramClient()
    assert connection.ask(Api.SASL_HANDSHAKE, 0, mechanism=MECHANISM).mechanisms == (MECHANISM,)
    connection.send(client.first())
    connection.send(client.final(connection.read()))
    assert client.trusts(connection.read())
    assert connection.ask(Api.LIST_GROUPS).groups == ()


@pytest.mark.parametrize("client", [ScramClient(password="wrong"), ScramClient("unknown")], ids=["password", "user"])
def test_a_refused_login(connection: Connection, client: ScramClient) -> None:
    """A wrong login gets error 58 with Kafka's sentence. Then the connection is closed."""
    last = connection.log_in(client)
    assert last.error_code == 58
    assert last.error_message == (
        "Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512"
    )
    assert connection.read() == b""


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "GSSAPI", "OAUTHBEARER", "scram-sha-512", ""])
def test_another_mechanism(connection: Connection, mechanism: str) -> None:
    """Another mechanism gets error 33 with the right one. Then the connection is closed."""
    answer = connection.ask(Api.SASL_HANDSHAKE, mechanism=mechanism)
    assert (answer.error_code, answer.mechanisms) == (33, (MECHANISM,))
    assert connection.read() == b""


@pytest.mark.parametrize("api", [Api.LIST_GROUPS, Api.SASL_AUTHENTICATE], ids=lambda api: api.name)
def test_no_answer_before_the_login(connection: Connection, log: Path, api: Api) -> None:
    """A request before the login closes the connection without an answer, as in Kafka."""
    assert connection.ask(api, auth_bytes=b"n,,n=a,r=b") is None
    assert f"closed: {api.name} before the login" in log.read_text()


def test_no_other_request_during_the_login(connection: Connection) -> None:
    """Between the handshake and the end of the login, only SCRAM's messages are taken."""
    connection.ask(Api.SASL_HANDSHAKE, mechanism=MECHANISM)
    assert connection.ask(Api.API_VERSIONS, client_software_name="a", client_software_version="1") is None


def test_a_client_that_is_too_new(connection: Connection) -> None:
    """A client with a newer ApiVersions gets the oldest version of the answer, with error 35. Then it can log in."""
    connection.send(struct.pack(">hhih", Api.API_VERSIONS, 9, 5, -1) + b"\0something new")
    answer = connection.read()
    body = read_response(Request(Api.API_VERSIONS, 0, 5, "", None), struct.pack(">i", len(answer)) + answer)
    assert body.error_code == 35
    assert {each.api_key for each in body.api_keys} == set(Api)
    assert connection.log_in(ScramClient()).error_code == 0


@pytest.mark.parametrize(
    "message",
    [
        struct.pack(">hhih", 999, 0, 1, -1),
        struct.pack(">hhih", Api.LIST_GROUPS, 99, 1, -1),
        struct.pack(">hhih", Api.METADATA, 1, 1, -1) + b"\x7f\xff\xff\xff",
        b"x",
        b"",
    ],
    ids=["unknown request", "unknown version", "cut off", "one byte", "nothing"],
)
def test_a_request_that_cannot_be_read(connection: Connection, broker: Broker, message: bytes) -> None:
    """A request that cannot be read closes the connection. The broker serves others."""
    connection.log_in(ScramClient())
    connection.send(message)
    assert connection.read() == b""
    assert broker.committed("none", "none", 1) == [None]


@pytest.mark.parametrize("size", [-1, 2**31 - 1])
def test_a_request_of_no_possible_size(connection: Connection, size: int) -> None:
    """A size that no request has closes the connection at once."""
    connection._socket.sendall(struct.pack(">i", size))
    assert connection.read() == b""


def test_a_changed_password(connection: Connection, broker: Broker, certificates: Certificates) -> None:
    """After a change, who is logged in is disconnected, the former password is refused, and the new one taken."""
    connection.log_in(ScramClient())
    broker.set_password(USER, "the next", organization="org_a")
    with suppress(OSError):
        assert connection.read() == b""
    for password, code in ((PASSWORD, 58), ("the next", 0)):
        other = Connection(broker.address, certificates)
        assert other.log_in(ScramClient(password=password)).error_code == code
        other.close()


class TestScram:
    @pytest.fixture
    def login(self) -> Login:
        return Login({USER: make_credentials(User(USER, "org_a"), PASSWORD)})

    def test_a_nonce_after_the_clients_own(self, login: Login) -> None:
        """The nonce may come after the client's own part once more, as librdkafka before 2.6.1 sends it."""
        client = ScramClient(before_nonce="nonce-of-client")
        assert client.trusts(login.answer(client.final(login.answer(client.first()))))
        assert login.user == User(USER, "org_a")

    def test_a_password_that_changes_during_the_login(self) -> None:
        """A login that began before a change of the password fails."""
        users = {USER: make_credentials(User(USER, "org_a"), PASSWORD)}
        login, client = Login(users), ScramClient()
        final = client.final(login.answer(client.first()))
        users[USER] = make_credentials(User(USER, "org_a"), PASSWORD)
        with pytest.raises(LoginFailed, match="has changed"):
            login.answer(final)

    def test_a_nonce_of_another_exchange(self, login: Login) -> None:
        """A final message with another nonce is refused: it may be a recorded one."""
        client = ScramClient()
        answer = login.answer(client.first())
        nonce = answer.decode().partition(",")[0].removeprefix("r=")
        final = client.final(answer.replace(nonce.encode(), b"nonce-of-clientAndOfAnotherServer"))
        with pytest.raises(LoginFailed, match="does not fit"):
            login.answer(final)
        assert login.user is None

    @pytest.mark.parametrize(
        "first", [b"", b"n,,", b"n,,n=,r=", b"p=tls-unique,,n=a,r=b", b"\xff", b"n,a=other,n=a,r=b", b"n,,m=x,n=a,r=b"]
    )
    def test_a_first_message_of_another_kind(self, login: Login, first: bytes) -> None:
        """Only SCRAM's first message is taken, without a channel and for the user itself."""
        with pytest.raises(LoginFailed):
            login.answer(first)

    @pytest.mark.parametrize("final", [b"", b"c=biws,r=x", b"c=biws,r=x,p=", b"c=biws,r=x,p=%%"])
    def test_a_final_message_of_another_kind(self, login: Login, final: bytes) -> None:
        """Only SCRAM's final message is taken."""
        login.answer(ScramClient().first())
        with pytest.raises(LoginFailed):
            login.answer(final)

    def test_a_proof_of_another_length(self, login: Login) -> None:
        """A proof that is cut off or empty proves nothing."""
        client = ScramClient()
        final = client.final(login.answer(client.first()))
        with pytest.raises(LoginFailed, match="wrong password"):
            login.answer(final.partition(b",p=")[0] + b",p=AAAA")

    def test_a_header_that_was_changed(self, login: Login) -> None:
        """The final message repeats the header of the first."""
        client = ScramClient(header="y,,")
        with pytest.raises(LoginFailed, match="does not fit"):
            login.answer(client.final(login.answer(client.first())))
