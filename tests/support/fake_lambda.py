"""A stand-in for Lambda's API: functions that are Python callables, and what else the command line asks about them."""

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

REGION = "eu-west-1"
ACCOUNT = "123456789012"

type Json = dict[str, Any]
# Takes the event, gives the answer and the log.
type Handler = Callable[[Any], tuple[Any, str]]


@dataclass
class FakeFunction:
    """A function; `configuration` and `more` are as GetFunction shows them."""

    name: str
    handler: Handler = lambda event: (None, "")
    configuration: Json = field(default_factory=dict)
    more: Json = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name}"

    def document(self) -> Json:
        base = {"FunctionName": self.name, "FunctionArn": self.arn, "Timeout": 10}
        return {"Configuration": {**base, **self.configuration}, **self.more}


class FakeLambda:
    """The API on a port of this machine, a context manager: point AWS_ENDPOINT_URL_LAMBDA to `url`.

    What a handler raises is a function error. `layers` are answers of GetLayerVersionByArn by ARN.
    """

    def __init__(self) -> None:
        self.functions: dict[str, FakeFunction] = {}
        self.mappings: list[Json] = []
        self.layers: dict[str, Json] = {}
        fake = self

        class Connection(_Connection):
            lambda_ = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Connection)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, function: FakeFunction) -> FakeFunction:
        self.functions[function.name] = function
        return function

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any, Json]:
        match [method, *unquote(path).strip("/").split("/", 2)]:
            case ["GET", _, "event-source-mappings"]:
                function = self._function(query["FunctionName"][0]) if "FunctionName" in query else None
                wanted = [m for m in self.mappings if function is None or m["FunctionArn"] == function.arn]
                return 200, {"EventSourceMappings": wanted}, {}
            case ["GET", _, "functions", name] if found := self._function(name):
                return 200, found.document(), {}
            case ["POST", _, "functions", name] if found := self._function(name.removesuffix("/invocations")):
                return self._invoke(found, json.loads(body))
            case ["GET", _, "layers"] if (arn := query.get("Arn", [""])[0]) in self.layers:
                return 200, self.layers[arn], {}
        message = {"Type": "User", "Message": f"Not found: {path}"}
        return 404, message, {"X-Amzn-ErrorType": "ResourceNotFoundException"}

    def _function(self, name: str) -> FakeFunction | None:
        return self.functions.get(name.rpartition(":")[2])

    def _invoke(self, function: FakeFunction, event: Any) -> tuple[int, Any, Json]:
        function.events.append(event)
        try:
            answer, log = function.handler(event)
        except Exception as error:
            answer = {"errorType": type(error).__name__, "errorMessage": str(error)}
            return 200, answer, {"X-Amz-Function-Error": "Unhandled"}
        tail = log.encode()[-4096:]
        return 200, answer, {"X-Amz-Log-Result": base64.b64encode(tail).decode()}


class _Connection(BaseHTTPRequestHandler):
    lambda_: FakeLambda

    def _serve(self) -> None:
        target = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, document, headers = self.lambda_.answer(self.command, target.path, parse_qs(target.query), body)
        content = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _serve

    def log_message(self, format: str, *args: Any) -> None:
        pass
