"""A fake Port behind TLS, near and far, and processes of the function with an environment like Lambda's."""

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi

from port_runner_sandbox.certificates import make_certificates
from port_runner_sandbox.processes import Process
from scripts.bench.slow_port import COUNTS, CREDENTIALS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYTHON = ROOT / ".venv-runtime" / "bin" / "python"
FUNCTION, LAYER = ROOT / "dist" / "function.zip", ROOT / "dist" / "layer-x86_64.zip"
ROUND_TRIP_SECONDS = 0.03
LONGEST_SECONDS = 600


class NotMeasured(Exception):
    """A measurement failed; the text says why."""


@dataclass(frozen=True)
class Workbench:
    """Start processes of the function. *near* is Port's own URL, *far* is its URL behind a slow network."""

    near: str
    far: str
    import_path: Sequence[Path]
    authorities: Path

    def cold_start(self, *arguments: str, event: Any = None, secret: bool = False) -> tuple[float, list[str]]:
        """Return the seconds from a process's start until ``cold_start.py`` ends, and the heavy modules it imports."""
        environment = self._environment(self.near, secret=secret)
        began = time.monotonic_ns()
        result = _result_of([HERE / "cold_start.py", *arguments], environment, json.dumps(event))
        return (result["finished_at"] - began) / 1e9, result["modules"]

    def run_case(self, case: str, *, far: bool = False, tracing: bool = False, **arguments: Any) -> Any:
        """Return the result of a case of ``cases.py``. With *tracing*, the process counts Python's bytes."""
        environment = self._environment(self.far if far else self.near, secret=False)
        if tracing:
            environment["PYTHONTRACEMALLOC"] = "1"
        return _result_of(["-m", "scripts.bench.cases", case], environment, json.dumps(arguments))

    def _environment(self, port_url: str, *, secret: bool) -> dict[str, str]:
        credentials = {f"PORT_{name.upper()}": value for name, value in CREDENTIALS.items()}
        if secret:  # boto3 sends its request to the fake Port, which also answers as Secrets Manager
            credentials = {
                "PORT_CREDENTIALS_SECRET_ARN": "arn:aws:secretsmanager:eu-west-1:000000000000:secret:bench",
                "AWS_ENDPOINT_URL": self.near,
                "AWS_ACCESS_KEY_ID": "bench",
                "AWS_SECRET_ACCESS_KEY": "bench",
                "AWS_REGION": "eu-west-1",
                "AWS_DEFAULT_REGION": "eu-west-1",
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            }
        return {
            "PATH": os.defpath,
            "PYTHONPATH": os.pathsep.join(map(str, [*self.import_path, ROOT])),
            "PYTHONDONTWRITEBYTECODE": "1",  # Lambda's disk is read-only, so a new process compiles again
            "PORT_API_URL": port_url,
            "COUNTS_URL": self.near + COUNTS,
            "REQUESTS_CA_BUNDLE": str(self.authorities),
            **credentials,
        }


def unpacked(directory: Path) -> list[Path]:
    """Unpack the function and its layer into *directory*, and return their import path, in Lambda's order.

    Raise ``NotMeasured`` if a zip or the runtime's Python is missing.
    """
    for needed in (PYTHON, FUNCTION, LAYER):
        if not needed.exists():
            raise NotMeasured(f"{needed.relative_to(ROOT)} is missing. Run `make bench`, which builds it first.")
    for package in (FUNCTION, LAYER):
        with zipfile.ZipFile(package) as archive:
            archive.extractall(directory)
    return [directory, directory / "python"]


@contextmanager
def workbench(directory: Path, import_path: Sequence[Path]) -> Iterator[Workbench]:
    """Start a fake Port with its files in *directory*, and yield the workbench. Raise ``ProcessFailed`` if it fails.

    *import_path* leads to the function and its packages.
    """
    certificates = make_certificates(directory / "certificates")
    # The list of authorities has its usual length, because loading it is a part of the cost of a new connection.
    authorities = directory / "authorities.pem"
    authorities.write_text(Path(certifi.where()).read_text() + certificates.authority)
    command: list[str | Path] = [sys.executable, HERE / "slow_port.py", certificates.certificate, certificates.key]
    log = directory / "port.log"
    with Process("Port", [*command, str(ROUND_TRIP_SECONDS)], log=log, environment={"PATH": os.defpath}) as port:
        port.wait_until(lambda: log.read_text().endswith("}\n"), seconds=20)
        ports = json.loads(log.read_text())
        near, far = (f"https://127.0.0.1:{ports[name]}" for name in ("near", "far"))
        yield Workbench(near, far, import_path, authorities)


def _result_of(arguments: list[str | Path], environment: Mapping[str, str], given: str) -> Any:
    """Run a process of the function, and return the JSON that it prints."""
    process = subprocess.run(
        [PYTHON, *arguments],
        env=dict(environment),
        input=given,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    if process.returncode:
        raise NotMeasured(f"{' '.join(map(str, arguments))} failed:\n{process.stderr.strip()[-2000:]}")
    return json.loads(process.stdout)
