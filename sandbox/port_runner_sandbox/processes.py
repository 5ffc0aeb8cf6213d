"""Child processes that write to a log file and never outlive this one."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

# The watcher is run by its path, as a script: with -I -S, its interpreter has no packages and starts faster. It stands
# with the plugin, which may import nothing else of the project.
WATCHER = Path(__file__).parents[1] / "localstack_plugin" / "watcher.py"


class ProcessFailed(Exception):
    """A part of the sandbox ended while it started, or was not ready in time. The text shows the end of its log."""


class Process:
    """A running command, as a context manager that ends it.

    The command runs under a watcher. The watcher ends the command and its children when this process ends, even if it
    is killed. Ctrl-C in the terminal of this process does not reach the command: only the context manager ends it.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str],
        directory: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._watcher = subprocess.Popen(
                [sys.executable, "-I", "-S", WATCHER, *command],
                cwd=directory,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until it is ready. Raises ProcessFailed if it ends before, or takes longer."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self._watcher.poll() is not None:
                raise ProcessFailed(f"{self.name} ended while it started. {self._end_of_log()}")
            if time.monotonic() > deadline:
                raise ProcessFailed(f"{self.name} was not ready after {seconds:.0f} seconds. {self._end_of_log()}")
            time.sleep(0.02)

    def end(self) -> None:
        """End the command and its children immediately."""
        assert self._watcher.stdin
        self._watcher.stdin.close()
        self._watcher.wait()

    def _end_of_log(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-20:]
        return "\n".join([f"The end of {self.log}:", *lines]) if lines else f"{self.log} is empty."


def free_port() -> int:
    """Return a port of the loopback address on which no process listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
