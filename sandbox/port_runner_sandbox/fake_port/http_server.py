"""The HTTP side of the fake Port: connections that are kept alive, JSON in and out.

aiohttp speaks HTTP in one thread, with the parser of Node.js. The requests are carried out in other threads, so that a
slow one delays no other.
"""

import asyncio
import itertools
import json
import logging
import math
import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web
from werkzeug.datastructures import Headers

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1024 * 1024
# Arrays and objects within each other. Port publishes no limit, but Python has one.
MAX_DEPTH = 200
# A longer body is not even read to its end: the connection is closed after the answer.
_MAX_DISCARDED_BYTES = 32 * MAX_BODY_BYTES
# Requests that are carried out at the same time. Others wait.
_MAX_THREADS = 256
_SECONDS_TO_FINISH = 5.0


@dataclass
class Received:
    """One request as it arrived.

    `path` is raw: percent-encoded as sent, without the query. `query` holds each name's last value, and `all_queries`
    every value. `body` is the parsed JSON, or None if there was none, it was not JSON or too deep. `connection` is the
    number of the TCP connection, from 1. `at` is in seconds since the epoch. `status` is None until the answer is
    known. It stays None for a request that was dropped before it was carried out.
    """

    method: str
    path: str
    query: dict[str, str]
    all_queries: dict[str, list[str]]
    headers: Headers
    raw_body: bytes
    connection: int
    at: float = field(default_factory=time.time)
    trace_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: int | None = None
    too_large: bool = False

    @property
    def body(self) -> Any:
        try:
            # Bytes that are not UTF-8 become U+FFFD, as in JavaScript. Python would refuse them, or guess UTF-16.
            text = self.raw_body.decode(errors="replace")
            body = json.loads(text, parse_constant=_no_constants, parse_float=_number, parse_int=_number)
            return None if _deeper_than(body, MAX_DEPTH) else body
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True)
class Answer:
    """An answer: a JSON document, or bytes that are sent unchanged."""

    status: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json; charset=utf-8"

    @classmethod
    def json(cls, status: int, document: Any) -> "Answer":
        return cls(status, to_json(document))


# A text, or a number that Python writes with an exponent, though JavaScript would not or writes another one.
_TINY = re.compile(r'"(?:[^"\\]++|\\.)*+"|[0-9.]+e-[0-9]+')


def _tiny(found: re.Match[str]) -> str:
    """Write 1e-06 as 0.000001 and 1e-07 as 1e-7."""
    if found[0].startswith('"'):
        return found[0]
    mantissa, exponent = found[0].split("e")
    return f"{Decimal(found[0]):f}" if int(exponent) >= -6 else f"{mantissa}e{int(exponent)}"


def to_json(document: Any) -> bytes:
    """Return the document as JavaScript writes it: compact, in UTF-8, with lone surrogates escaped."""
    text = _TINY.sub(_tiny, json.dumps(document, ensure_ascii=False, separators=(",", ":")))
    # The escape of a lone surrogate is the same in Python as in JSON.
    return text.encode(errors="backslashreplace")


Respond = Callable[[Received], Answer | None]


class HttpServer:
    """A server on a free port of 127.0.0.1.

    If `respond` returns None, the connection is closed without an answer. A connection on which nothing arrives for
    `idle_seconds` is closed too.
    """

    def __init__(self, respond: Respond, *, idle_seconds: float, tls: ssl.SSLContext | None) -> None:
        self._respond = respond
        self._idle_seconds = idle_seconds
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="fake-port", daemon=True)
        self._threads = ThreadPoolExecutor(_MAX_THREADS, "fake-port")
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Stop listening, and close every open connection."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = _Server(self._handle, self._idle_seconds)
        listener = await self._loop.create_server(server, sock=self._socket, ssl=self._tls)
        self._ready.set()
        await self._stopping.wait()
        listener.close()
        server.pre_shutdown()
        await server.shutdown(_SECONDS_TO_FINISH)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _Connection)
        if (expected := request.headers.get("Expect", "").lower()) not in ("", "100-continue"):
            return _refusal(417, "Expectation Failed", f"The expectation {expected!r} is unknown")
        body, size = b"", request.content_length or 0
        try:
            # A client that asks first need not send what is too large.
            if not expected or size <= MAX_BODY_BYTES:
                if expected:
                    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body, size = await self._read(request)
        except TimeoutError:
            return _refusal(408, "Request Timeout", "The body did not arrive")
        except (web.RequestPayloadError, OSError) as error:
            return _refusal(400, "Bad Request", str(error))
        received = _received(request, b"" if size > MAX_BODY_BYTES else body, connection.number)
        received.too_large = size > MAX_BODY_BYTES
        answer = await self._loop.run_in_executor(self._threads, self._respond, received)
        if answer is None:
            connection.force_close()
            return web.Response()
        headers = {"Content-Type": answer.content_type, **answer.headers}
        response = web.Response(status=answer.status, body=answer.content, headers=headers)
        if not request.content.is_eof():
            response.force_close()
        return response

    async def _read(self, request: web.BaseRequest) -> tuple[bytes, int]:
        """Return the body, and its size.

        More than Port takes is read and dropped, so that the client receives the answer instead of a reset connection.
        """
        body, size = bytearray(), 0
        while size <= _MAX_DISCARDED_BYTES:
            chunk = await asyncio.wait_for(request.content.readany(), self._idle_seconds)
            size += len(chunk)
            if not chunk:
                break
            if size <= MAX_BODY_BYTES:
                body += chunk
        return bytes(body), size


class _Connection(web.RequestHandler):
    """A connection of aiohttp with a number, which answers JSON to what is not HTTP."""

    __slots__ = ("number",)

    def __init__(self, number: int, server: web.Server, loop: asyncio.AbstractEventLoop, idle_seconds: float) -> None:
        super().__init__(server, loop=loop, keepalive_timeout=idle_seconds, lingering_time=0, auto_decompress=False)
        self.number = number

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status == 500:
            log.error("the fake Port failed at %s %s", request.method, request.path, exc_info=exc)
        return _refusal(status, HTTPStatus(status).phrase, message or "Client Error")


class _Server(web.Server):
    """aiohttp's server with numbered connections."""

    def __init__(self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], idle_seconds: float) -> None:
        super().__init__(handle)
        self._idle_seconds = idle_seconds
        self._numbers = itertools.count(1)

    def __call__(self) -> web.RequestHandler:
        return _Connection(next(self._numbers), self, asyncio.get_running_loop(), self._idle_seconds)


def _received(request: web.BaseRequest, body: bytes, connection: int) -> Received:
    # Not urlsplit: it takes the beginning of "//a/b" for a host.
    path, _, query = re.sub("^https?://[^/?]*", "", request.raw_path).partition("#")[0].partition("?")
    queries = parse_qs(query, keep_blank_values=True)
    return Received(
        method=request.method,
        path=path,
        query={name: values[-1] for name, values in queries.items()},
        all_queries=queries,
        headers=Headers(request.headers.items()),
        raw_body=body,
        connection=connection,
    )


def _refusal(status: int, error: str, message: str) -> web.Response:
    """Refuse what is not a request, as Port's server does before Port sees it, and close the connection."""
    answer = Answer.json(status, {"statusCode": status, "error": error, "message": message})
    response = web.Response(status=status, body=answer.content, headers={"Content-Type": answer.content_type})
    response.force_close()
    return response


def _no_constants(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _number(text: str) -> float:
    """Return a number as JavaScript reads it: 1.0 is 1, and after 16 digits or so the rest is lost."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large for a number")
    return int(value) if value.is_integer() and abs(value) < 1e21 else value


def _deeper_than(value: Any, limit: int) -> bool:
    """Return whether more arrays and objects than the limit are within each other."""
    level = [value]
    for _ in range(limit + 1):
        level = [
            item
            for outer in level
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
