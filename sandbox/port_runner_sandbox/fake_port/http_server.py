"""The HTTP side of the fake Port: threads, kept-alive connections, JSON in and out."""

import contextlib
import itertools
import json
import logging
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from werkzeug.datastructures import Headers

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1024 * 1024


@dataclass
class Received:
    """One request as it arrived.

    `path` is raw: percent-encoded as sent, without the query. `query` holds each name's last value, and
    `all_queries` every value. `body` is the
    parsed JSON, or None if there was no body or it was not JSON. `connection` is the number of the TCP connection, from
    1. `at` is in seconds since the epoch. `status` is None until the answer is known. It stays None for a request that
    was dropped before it was carried out.
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
            return json.loads(self.raw_body.decode(errors="replace"), parse_constant=_no_constants)
        except ValueError:
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


def to_json(document: Any) -> bytes:
    """Return the document as JavaScript writes it: compact, in UTF-8, with lone surrogates escaped."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    # The escape of a lone surrogate is the same in Python as in JSON.
    return text.encode(errors="backslashreplace")


class HttpServer(ThreadingHTTPServer):
    """A server on a free port of 127.0.0.1, with one thread per connection.

    If `respond` returns None, the connection is closed without an answer.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, respond: Callable[[Received], Answer | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.respond = respond
        self.connection_numbers = itertools.count(1)
        self._sockets: set[socket.socket] = set()
        self._sockets_lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), name="fake-port", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and close every open connection."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        with self._sockets_lock:
            for open_socket in self._sockets:
                _hang_up(open_socket)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._sockets_lock:
            self._sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._sockets_lock:
            self._sockets.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            log.exception("the fake Port failed in a connection's thread")


class _Connection(BaseHTTPRequestHandler):
    # Werkzeug's own server closes the connection after each answer. This one keeps it open, as Port does.
    protocol_version = "HTTP/1.1"
    # Send head and body in one write, without delay: Nagle's algorithm would wait 40 ms per request for a delayed
    # acknowledgment.
    disable_nagle_algorithm = True
    wbufsize = -1
    server: HttpServer

    def setup(self) -> None:
        super().setup()
        self.number = next(self.server.connection_numbers)

    def _serve(self) -> None:
        answer = self.server.respond(self._receive())
        if answer is None:
            self.close_connection = True
            _hang_up(self.connection)
            return
        self.send_response(answer.status)
        headers = Headers({"Content-Type": answer.content_type, "Content-Length": str(len(answer.content))})
        headers.update(answer.headers)
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _receive(self) -> Received:
        length = int(self.headers.get("Content-Length") or 0)
        too_large = length > MAX_BODY_BYTES
        if too_large:
            self._discard(length)
        target = urlsplit(self.path)
        queries = parse_qs(target.query, keep_blank_values=True)
        return Received(
            method=self.command,
            path=target.path,
            query={name: values[-1] for name, values in queries.items()},
            all_queries=queries,
            headers=Headers(self.headers.items()),
            raw_body=b"" if too_large else self.rfile.read(length),
            connection=self.number,
            too_large=too_large,
        )

    def _discard(self, length: int) -> None:
        """Read and drop a body, so that the client receives the answer instead of a reset connection."""
        while length > 0 and (chunk := self.rfile.read(min(length, MAX_BODY_BYTES))):
            length -= len(chunk)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def _no_constants(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
