"""Faults that tests put into the fake Port's answers."""

import json
import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from port_runner_sandbox.fake_port.http_server import Answer, Received

Drop = Literal["before", "after"]

_PAGE = "<!doctype html><html><head><title>Log in</title></head><body>Log in to the network.</body></html>"


@dataclass
class Fault:
    """A change of the answers to matching requests, until it is used up or removed.

    `path` is a regular expression for the beginning of the raw path, so a plain prefix works too.
    With `status`, the request is not carried out, but answered with that status and `body` (a dict or list becomes
    JSON; a string is sent unchanged, as HTML; None is Port's error object). Without `status`, the request is carried
    out. `headers` are added to either answer. `delay` (seconds) comes first. `drop` closes the connection without an
    answer: "before" the request is carried out, or "after". `times` is the number of requests that it meets. None is
    all, until `remove`. `used` counts them. `html` answers a page in place of JSON, as a proxy does, with status
    200 if there is no other.
    """

    path: str
    method: str | None = None
    status: int | None = None
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: Drop | None = None
    times: int | None = 1
    used: int = 0
    html: bool = False

    def __post_init__(self) -> None:
        self._path = re.compile(self.path)
        if self.html:
            self.status = self.status or 200
            self.body = self.body or _PAGE
        if self.body is not None and self.status is None:
            raise ValueError("a fault with a body needs a status: without one, the request is carried out")

    def __enter__(self) -> "Fault":
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def remove(self) -> None:
        """End the fault: later requests are answered normally."""
        self.times = self.used

    def takes(self, request: Received) -> bool:
        """Return whether the fault meets this request, and count it if so."""
        spent = self.times is not None and self.used >= self.times
        if spent or self.method not in (None, request.method) or not self._path.match(request.path):
            return False
        self.used += 1
        return True

    def instead(self) -> Answer | None:
        """Return the answer that replaces the request's own, or None if the request is to be carried out."""
        if self.status is None:
            return None
        if isinstance(self.body, str):
            return Answer(self.status, self.body.encode(), content_type="text/html")
        if isinstance(self.body, bytes):
            return Answer(self.status, self.body, content_type="application/octet-stream")
        error = {
            "ok": False,
            "error": "injected_fault",
            "message": f"The fake Port was told to answer {self.status}.",
        }
        return Answer(self.status, json.dumps(error if self.body is None else self.body).encode())

    def dress(self, answer: Answer) -> Answer:
        """Return the answer with the fault's headers added."""
        return replace(answer, headers={**answer.headers, **self.headers})
