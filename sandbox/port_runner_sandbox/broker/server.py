"""The broker's listener: TLS, the login of each connection, and its requests one after the other."""

import asyncio
import logging
import ssl
import struct
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kio.schema.errors import ErrorCode

from port_runner_sandbox.broker.cluster import Client, Cluster
from port_runner_sandbox.broker.topics import MAX_MESSAGE_BYTES, Partition, Topic
from port_runner_sandbox.broker.users import MECHANISM, Credentials, Login, LoginFailed, User, make_credentials
from port_runner_sandbox.broker.wire import (
    MAX_REQUEST_BYTES,
    Api,
    ProtocolError,
    Request,
    api_versions,
    decode,
    encode,
)
from port_runner_sandbox.certificates import Certificates

HOST = "localhost"
REFUSAL = f"Authentication failed during authentication due to invalid credentials with SASL mechanism {MECHANISM}"
# Kafka, too, closes a refused connection a little later, so that the client reads the refusal first.
CLOSING_SECONDS = 0.1


class Broker:
    """The endpoint clients connect to, as a context manager; it runs in a thread of its own."""

    def __init__(self, certificates: Certificates, *, log: Path) -> None:
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificates.certificate, certificates.key)
        self._users: dict[str, Credentials] = {}
        self._connections: dict[asyncio.StreamWriter, str] = {}
        self._log = logging.Logger("broker")
        handler = logging.FileHandler(log, mode="w")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._log.addHandler(handler)
        self._cluster = Cluster(HOST, log=self._log.info)
        self._loop = asyncio.new_event_loop()
        # For example a failed handshake, because the client does not trust the sandbox's authority.
        self._loop.set_exception_handler(
            lambda loop, context: self._log.info("%s: %s", context["message"], context.get("exception"))
        )
        self._thread = threading.Thread(target=self._loop.run_forever, name="broker", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls))
        self._cluster.port = self._server.sockets[0].getsockname()[1]
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

    @property
    def address(self) -> str:
        """The `host:port` that clients connect to."""
        return f"{HOST}:{self._cluster.port}"

    def set_password(self, username: str, password: str, *, organization: str | None) -> None:
        """Add a user, or change a user's password and make its clients log in again.

        A user of no organization is the cluster's owner.
        """
        credentials = make_credentials(User(username, organization), password)
        self._run(self._set_credentials(credentials))

    def create_topic(
        self, name: str, *, organization: str, partitions: int = 1, max_message_bytes: int = MAX_MESSAGE_BYTES
    ) -> None:
        """Create a topic that the users of an organization may read."""
        made = [Partition() for _ in range(partitions)]
        self._run(self._add_topic(Topic(name, organization, made, max_message_bytes)))

    def committed(self, group: str, topic: str, partitions: int) -> list[int | None]:
        """Return the next offset of a consumer group for each partition, or None if it has committed nothing."""
        return self._run(self._committed(group, topic, partitions))

    def _run[T](self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _set_credentials(self, credentials: Credentials) -> None:
        self._users[credentials.user.name] = credentials
        for writer, user in list(self._connections.items()):
            if user == credentials.user.name:
                writer.transport.abort()

    async def _add_topic(self, topic: Topic) -> None:
        self._cluster.topics[topic.name] = topic

    async def _committed(self, name: str, topic: str, partitions: int) -> list[int | None]:
        group = self._cluster.groups.get(name)
        commits = [group.commits.get((topic, number)) if group else None for number in range(partitions)]
        return [commit.offset if commit else None for commit in commits]

    async def _close(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            user = await self._log_in(reader, writer)
            self._log.info("%s logged in", user.name)
            self._connections[writer] = user.name
            client = Client(user, writer.get_extra_info("peername")[0])
            while True:
                request = decode(await _read_message(reader))
                if (answer := await self._answer(request, client)) is not None:
                    writer.write(answer)
                    await writer.drain()
        except LoginFailed as failed:
            self._log.info("refused: %s", failed)
            await asyncio.sleep(CLOSING_SECONDS)
        except ProtocolError as error:
            self._log.info("closed: %s", error)
        except (OSError, EOFError):
            # The client has disconnected.
            pass
        finally:
            self._connections.pop(writer, None)
            writer.close()

    async def _answer(self, request: Request, client: Client) -> bytes | None:
        if request.api == Api.API_VERSIONS:
            return encode(request, api_versions(request))
        if request.api in (Api.SASL_HANDSHAKE, Api.SASL_AUTHENTICATE):
            nothing = {"error_message": "The client is logged in.", "auth_bytes": b"", "mechanisms": []}
            return encode(request, {"error_code": ErrorCode.illegal_sasl_state, **nothing})
        content = await self._cluster.answer(request, client)
        return None if content is None else encode(request, content)

    # The login

    async def _log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> User:
        """Answer a client until it is logged in. Raises LoginFailed or ProtocolError."""

        async def answer(content: bytes) -> None:
            writer.write(content)
            await writer.drain()

        request = decode(await _read_message(reader))
        while request.api == Api.API_VERSIONS:
            await answer(encode(request, api_versions(request)))
            request = decode(await _read_message(reader))
        if request.api != Api.SASL_HANDSHAKE:
            raise ProtocolError(f"{request.api.name} before the login")
        good = request.body.mechanism == MECHANISM
        error = ErrorCode.none if good else ErrorCode.unsupported_sasl_mechanism
        await answer(encode(request, {"error_code": error, "mechanisms": [MECHANISM]}))
        if not good:
            raise LoginFailed(f"mechanism {request.body.mechanism}")
        login = Login(self._users)
        while login.user is None:
            message = await _read_message(reader)
            if request.version == 0:
                # After the first version of the handshake, SCRAM's messages come without a request around them.
                token = login.answer(message)
                await answer(struct.pack(">i", len(token)) + token)
            else:
                await answer(await self._authenticate(login, message, answer))
        return login.user

    async def _authenticate(self, login: Login, message: bytes, answer: Any) -> bytes:
        request = decode(message)
        if request.api != Api.SASL_AUTHENTICATE:
            raise ProtocolError(f"{request.api.name} during the login")
        try:
            token = login.answer(request.body.auth_bytes)
        except LoginFailed:
            code = ErrorCode.sasl_authentication_failed
            await answer(encode(request, {"error_code": code, "error_message": REFUSAL, "auth_bytes": b""}))
            raise
        return encode(request, {"error_message": None, "auth_bytes": token})


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    size = int.from_bytes(await reader.readexactly(4), signed=True)
    if not 0 <= size <= MAX_REQUEST_BYTES:
        raise ProtocolError(f"a request of {size} bytes")
    return await reader.readexactly(size)
