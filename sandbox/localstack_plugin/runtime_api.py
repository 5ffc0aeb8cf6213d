"""Lambda's Runtime API for one function process, on loopback.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import queue
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PREFIX = "/2018-06-01/runtime/"


@dataclass(frozen=True)
class Invocation:
    """One event for the function. `deadline` is in milliseconds since the epoch."""

    request_id: str
    payload: bytes
    deadline: int
    function_arn: str
    trace_id: str


@dataclass(frozen=True)
class Message:
    """A message of the function process: `next`, `response`, `error` or `init-error`, or `exited` at its end."""

    kind: str
    request_id: str = ""
    body: bytes = b""


class RuntimeApi(ThreadingHTTPServer):
    """The server of the Runtime API. `messages` holds the messages of the function process, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._invocations: queue.SimpleQueue[Invocation | None] = queue.SimpleQueue()
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def send(self, invocation: Invocation) -> None:
        self._invocations.put(invocation)

    def next_invocation(self) -> Invocation | None:
        """Wait for the next invocation and return it, or None after the process has ended."""
        return self._invocations.get()

    def close(self) -> None:
        self._invocations.put(None)
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: RuntimeApi
    protocol_version = "HTTP/1.1"
    # With Nagle's algorithm, each answer would wait for a delayed acknowledgment: 40 ms, twice per invocation.
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        if self.path != PREFIX + "invocation/next":
            return self._answer(404)
        self.server.messages.put(Message("next"))
        invocation = self.server.next_invocation()
        if invocation is None:
            self.close_connection = True
            return None
        return self._answer(
            200,
            invocation.payload,
            {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
                "Lambda-Runtime-Deadline-Ms": str(invocation.deadline),
                "Lambda-Runtime-Invoked-Function-Arn": invocation.function_arn,
                "Lambda-Runtime-Trace-Id": invocation.trace_id,
            },
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        match self.path.removeprefix(PREFIX).split("/"):
            case ["init", "error"]:
                self.server.messages.put(Message("init-error", body=body))
            case ["invocation", request_id, "response" | "error" as kind]:
                self.server.messages.put(Message(kind, request_id, body))
            case _:
                return self._answer(404)
        return self._answer(202, b'{"status":"OK"}')

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        pass
