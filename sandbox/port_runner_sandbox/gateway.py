"""TLS and SASL/SCRAM-SHA-512 in front of a plain Kafka broker, as Port's brokers require them.

Each connection is authenticated here, with SaslHandshake and SaslAuthenticate of the Kafka protocol
(https://kafka.apache.org/protocol). After that, every byte is passed on.
"""

import asyncio
import logging
import ssl
import struct
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scramp import ScramException, ScramMechanism

from port_runner_sandbox.certificates import Certificates

MECHANISM = "SCRAM-SHA-512"
SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 17, 18, 36
NO_ERROR, UNSUPPORTED_SASL_MECHANISM, SASL_AUTHENTICATION_FAILED = 0, 33, 58
REFUSAL = f"Authentication failed due to invalid credentials with SASL mechanism {MECHANISM}"


class Refused(Exception):
    """A client that did not authenticate itself; the text says how."""


class Gateway:
    """The endpoint clients connect to, as a context manager; it runs in a thread of its own.

    It listens from the start, so that `port` can be told to the broker.
    """

    def __init__(self, *, broker_port: int, certificates: Certificates, log: Path) -> None:
        self._broker_port = broker_port
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificates.certificate, certificates.key)
        self._mechanism = ScramMechanism(MECHANISM)
        self._users: dict[str, tuple[bytes, bytes, bytes, int]] = {}
        self._connections: dict[asyncio.StreamWriter, str] = {}
        self._log = logging.Logger("gateway")
        handler = logging.FileHandler(log, mode="w")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._log.addHandler(handler)
        self._loop = asyncio.new_event_loop()
        # For example a failed handshake, because the client does not trust the sandbox's authority.
        self._loop.set_exception_handler(
            lambda loop, context: self._log.info("%s: %s", context["message"], context.get("exception"))
        )
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateway", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls))
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        for handler in self._log.handlers:
            handler.close()

    def set_password(self, username: str, password: str) -> None:
        """Add a user, or change a user's password and make its clients log in again."""
        self._users[username] = self._mechanism.make_auth_info(password)
        self._run(self._disconnect(username))

    def _run[T](self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _disconnect(self, username: str) -> None:
        for writer, user in list(self._connections.items()):
            if user == username:
                writer.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            broker, upstream = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError as error:
            self._log.info("the broker cannot be reached: %s", error)
            writer.close()
            return
        try:
            user = await self._authenticate(reader, writer, broker, upstream)
            self._log.info("%s logged in", user)
            self._connections[writer] = user
            await asyncio.gather(_pass_on(reader, upstream), _pass_on(broker, writer))
        except Refused as refused:
            self._log.info("refused: %s", refused)
        except (OSError, EOFError):
            # The client or the broker has disconnected.
            pass
        finally:
            self._connections.pop(writer, None)
            writer.close()
            upstream.close()

    async def _authenticate(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        broker: asyncio.StreamReader,
        upstream: asyncio.StreamWriter,
    ) -> str:
        """Answer a client until it is logged in; gives the user's name."""
        login: _Login | None = None
        while True:
            message = await _read_message(reader)
            key, version, correlation, body = _parse_request(message)
            if key == API_VERSIONS:
                upstream.write(message)
                writer.write(await _read_message(broker))
            elif key == SASL_HANDSHAKE:
                mechanism = _read_string(body)
                login = _Login(self._mechanism, self._users) if mechanism == MECHANISM else None
                error = NO_ERROR if login else UNSUPPORTED_SASL_MECHANISM
                writer.write(_response(correlation, struct.pack(">hi", error, 1) + _string(MECHANISM)))
                if not login:
                    await writer.drain()
                    raise Refused(f"mechanism {mechanism}")
            elif key == SASL_AUTHENTICATE and login and version < 2:
                try:
                    answer = login.answer(body[4:].decode())
                except (ScramException, ValueError) as cause:
                    writer.write(_login_response(correlation, version, SASL_AUTHENTICATION_FAILED, REFUSAL, ""))
                    await writer.drain()
                    raise Refused(f"user {login.user!r}: {cause}") from cause
                writer.write(_login_response(correlation, version, NO_ERROR, None, answer))
                if login.done:
                    await writer.drain()
                    return login.user
            else:
                raise Refused(f"request {key} version {version} without a login")
            await writer.drain()


class _Login:
    """One SCRAM exchange (RFC 5802), the server's side."""

    def __init__(self, mechanism: ScramMechanism, users: dict[str, tuple[bytes, bytes, bytes, int]]) -> None:
        self.user = ""
        self.done = False
        self._users = users
        self._exchange = mechanism.make_server(self._credentials)

    def answer(self, message: str) -> str:
        """Return the answer to the client's next message.

        Raises ScramException if the client cannot prove its identity.
        """
        if not self.user:
            self._exchange.set_client_first(message)
            first: str = self._exchange.get_server_first()
            return first
        self._exchange.set_client_final(message)
        self.done = True
        final: str = self._exchange.get_server_final()
        return final

    def _credentials(self, username: str) -> tuple[bytes, bytes, bytes, int] | None:
        self.user = username
        return self._users.get(username)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    size = await reader.readexactly(4)
    return size + await reader.readexactly(int.from_bytes(size))


def _parse_request(message: bytes) -> tuple[int, int, int, bytes]:
    """API key, version, correlation id and body of a request with header version 1."""
    key, version, correlation, client = struct.unpack_from(">hhih", message, 4)
    return key, version, correlation, message[14 + max(client, 0) :]


def _response(correlation: int, body: bytes) -> bytes:
    return struct.pack(">ii", 4 + len(body), correlation) + body


def _login_response(correlation: int, version: int, error: int, text: str | None, answer: str) -> bytes:
    """A SaslAuthenticate response; from version 1 on it also says that the login does not expire."""
    body = struct.pack(">h", error) + _string(text) + struct.pack(">i", len(answer)) + answer.encode()
    return _response(correlation, body + (struct.pack(">q", 0) if version else b""))


def _string(text: str | None) -> bytes:
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text)) + text.encode()


def _read_string(body: bytes) -> str:
    return body[2 : 2 + int.from_bytes(body[:2])].decode()
