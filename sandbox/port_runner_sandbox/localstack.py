"""LocalStack: one from its own environment with the sandbox's plugins, or one that is already running."""

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localstack_client.config import get_service_endpoint

from port_runner_sandbox.processes import Process, free_port

REPOSITORY = Path(__file__).parents[2]
RUNTIMES = {"python3.13": REPOSITORY / ".venv-runtime" / "bin" / "python"}
PYTHON = REPOSITORY / ".venv-localstack" / "bin" / "python"


class NoSandbox(Exception):
    """LocalStack cannot be used. The text says why, and what to do."""


@contextmanager
def start_localstack(directory: Path) -> Iterator["LocalStack"]:
    """Start LocalStack, and end it after the block. Call `wait` before its `url` is used.

    Its data is removed at the end. Its logs stay in `directory`. Raises NoSandbox if an environment is missing.
    """
    for python in (PYTHON, *RUNTIMES.values()):
        if not python.exists():
            raise NoSandbox(f"{python} is missing. Run scripts/environments.py to make it.")
    home = directory / "localstack"
    home.mkdir(parents=True, exist_ok=True)
    port = free_port()
    process = Process(
        "LocalStack",
        [PYTHON, "-m", "localstack.runtime.main"],
        log=directory / "localstack.log",
        environment=_environment(home, directory / "functions", port),
        directory=home,
    )
    try:
        with process:
            yield LocalStack(process, f"http://127.0.0.1:{port}")
    finally:
        shutil.rmtree(home, ignore_errors=True)


class LocalStack:
    """A LocalStack that has been started. It answers at `url` after `wait` has returned."""

    def __init__(self, process: Process, url: str) -> None:
        self.url = url
        self._process = process

    def wait(self) -> None:
        """Wait until LocalStack answers. Raises ProcessFailed if it does not start."""
        self._process.wait_until(lambda: is_localstack(self.url), seconds=60)


def running_localstack() -> str | None:
    """Return the URL of the developer's own LocalStack, if AWS_ENDPOINT_URL or LOCALSTACK_HOST names one.

    Raises NoSandbox if that address is not a LocalStack. No other service may be touched, above all not AWS.
    """
    if not os.environ.get("AWS_ENDPOINT_URL") and not os.environ.get("LOCALSTACK_HOST"):
        return None
    url = str(get_service_endpoint("lambda"))
    if not is_localstack(url):
        raise NoSandbox(
            f"No LocalStack answers at {url}/_localstack/health, though AWS_ENDPOINT_URL or LOCALSTACK_HOST names it. "
            "Start it, or unset the variable and one is started for you."
        )
    return url


def is_localstack(url: str) -> bool:
    """Return whether a LocalStack answers at this URL."""
    without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with without_proxy.open(f"{url.rstrip('/')}/_localstack/health", timeout=5) as response:
            return "services" in json.load(response)
    except (OSError, ValueError, TypeError):
        return False


def _environment(home: Path, function_logs: Path, port: int) -> dict[str, str]:
    temporary = home / "tmp"
    temporary.mkdir(exist_ok=True)
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "FILESYSTEM_ROOT": str(home / "filesystem"),
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        # Connect to no other machine: for no certificate, no usage event, no name.
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DISABLE_EVENTS": "1",
        "DNS_ADDRESS": "0",
        "EAGER_SERVICE_LOADING": "0",
        "LAMBDA_RUNTIME_EXECUTOR": "local-process",
        # The poller itself waits for records.
        "LAMBDA_EVENT_SOURCE_MAPPING_POLL_INTERVAL_SEC": "0",
        "LOCAL_LAMBDA_RUNTIMES": json.dumps({runtime: str(python) for runtime, python in RUNTIMES.items()}),
        "LOCAL_LAMBDA_LOGS": str(function_logs),
        # The shortest that Kafka takes: a consumer that lost its connection is in its group's way for so long.
        "LOCAL_LAMBDA_KAFKA_SESSION_TIMEOUT_MS": "6000",
        "LOCAL_LAMBDA_MAX_RETRY_DELAY_SECONDS": "0.2",
    }
