"""A client of the fake Port's API."""

import time
from typing import Any

from port_runner.port_api import PortClient
from port_runner.settings import Credentials
from port_runner_sandbox.fake_port import FakePort

TOKEN_PATH = "/v1/auth/access_token"


def make_client(port: FakePort, **options: Any) -> PortClient:
    """Return a client without a token."""
    return PortClient(port.url, lambda: Credentials(port.client_id, port.client_secret), **options)


def soon(seconds: float = 5) -> float:
    """Return a moment for `until`."""
    return time.monotonic() + seconds


def sent(port: FakePort) -> list[tuple[str, str, int | None]]:
    """Return what Port received: method, path and status, without the requests for a token."""
    return [(each.method, each.path, each.status) for each in port.requests if each.path != TOKEN_PATH]
