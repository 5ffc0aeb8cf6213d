"""One process of a function, driven by AWS's own runtime client through the Runtime API."""

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localstack_plugin.runtime_api import Invocation, Message, RuntimeApi

WATCHER = Path(__file__).with_name("watcher.py")
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-ib
INIT_SECONDS = 10


@dataclass(frozen=True)
class Result:
    """The end of an invocation: the function's JSON answer, or the JSON of its error."""

    payload: bytes
    is_error: bool
    timed_out: bool = False


class FunctionProcess:
    """A started function process.

    `python` is the interpreter that stands for the runtime. The process has no variables except `environment`. Its
    output is appended to `log`.
    """

    def __init__(
        self, python: str, handler: str, *, directory: Path, environment: Mapping[str, str], log: Path
    ) -> None:
        self._api = RuntimeApi()
        self._initialized = False
        self._init_error: Result | None = None
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(WATCHER), python, "-m", "awslambdaric", handler],
                cwd=directory,
                env={**environment, "AWS_LAMBDA_RUNTIME_API": self._api.address},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        threading.Thread(target=self._report_exit, daemon=True).start()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def initialize(self) -> Result | None:
        """Wait until the function's module is imported. If that failed, return the error at each call."""
        if not self._initialized:
            self._init_error = self._wait_for_init()
            self._initialized = True
        return self._init_error

    def _wait_for_init(self) -> Result | None:
        message = self._receive(time.monotonic() + INIT_SECONDS)
        if message is None:
            return Result(_error("Sandbox.Timedout", f"Init timed out after {INIT_SECONDS} seconds"), True)
        if message.kind == "next":
            return None
        if message.kind == "init-error":
            return Result(message.body, True)
        return Result(_error("Runtime.ExitError", f"Error: {self._how_it_ended()}"), True)

    def invoke(self, invocation: Invocation, timeout: float) -> Result:
        """Send one event and return its result. After an error, the process may have ended."""
        deadline = time.monotonic() + timeout
        self._api.send(invocation)
        while message := self._receive(deadline):
            if message.kind == "exited":
                text = f"RequestId: {invocation.request_id} Error: {self._how_it_ended()}"
                return Result(_error("Runtime.ExitError", text), True)
            if message.request_id == invocation.request_id:
                return Result(message.body, message.kind == "error")
        self.end()
        text = f"RequestId: {invocation.request_id} Error: Task timed out after {timeout:.2f} seconds"
        return Result(_error("Sandbox.Timedout", text), True, timed_out=True)

    def end(self) -> None:
        """End the process and every process that it has started."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
        self._api.close()

    def _receive(self, deadline: float) -> Message | None:
        try:
            return self._api.messages.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None

    def _report_exit(self) -> None:
        self._process.wait()
        self._api.messages.put(Message("exited"))

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        if code < 0:
            return f"Runtime exited with error: signal: {signal.Signals(-code).name}"
        return f"Runtime exited with error: exit status {code}" if code else "Runtime exited without providing a reason"


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()
