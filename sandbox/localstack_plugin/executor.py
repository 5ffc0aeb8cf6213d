"""A function's deployed zip and layers, run as a process of this machine instead of in a container."""

import json
import os
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localstack import config
from localstack.services.lambda_.invocation.lambda_models import FunctionVersion, InvocationResult
from localstack.services.lambda_.invocation.runtime_executor import RuntimeExecutor

from localstack_plugin.function_process import FunctionProcess, Result
from localstack_plugin.runtime_api import Invocation


def interpreter(runtime: str) -> str:
    """Return the Python interpreter that stands for a runtime.

    `LOCAL_LAMBDA_RUNTIMES` is a JSON object of runtimes and paths of interpreters. Raises ValueError if it lacks the
    runtime.
    """
    runtimes: dict[str, str] = json.loads(os.environ["LOCAL_LAMBDA_RUNTIMES"])
    if runtime not in runtimes:
        raise ValueError(f"The runtime {runtime} is not in LOCAL_LAMBDA_RUNTIMES. Use one of: {', '.join(runtimes)}.")
    return runtimes[runtime]


class ProcessExecutor(RuntimeExecutor):
    """One execution environment: one process at a time, and a new one after the last one ended."""

    def __init__(self, id: str, function_version: FunctionVersion) -> None:
        super().__init__(id, function_version)
        self._function = function_version.config
        self._process: FunctionProcess | None = None
        self._environment: dict[str, str] = {}
        self._home = Path(tempfile.mkdtemp(prefix="function-"))
        logs = Path(os.environ["LOCAL_LAMBDA_LOGS"])
        logs.mkdir(parents=True, exist_ok=True)
        self._log = logs / f"{function_version.id.function_name}-{id[:8]}.log"
        self._log.touch()
        self._log_position = 0

    @classmethod
    def prepare_version(cls, function_version: FunctionVersion) -> None:
        """Unpack code and layers. A runtime that is not installed fails the function, not its invocations."""
        interpreter(function_version.config.runtime)
        function_version.config.code.prepare_for_execution()
        for layer in function_version.config.layers:
            layer.code.prepare_for_execution()

    @classmethod
    def cleanup_version(cls, function_version: FunctionVersion) -> None:
        """Do nothing: LocalStack removes the unpacked code itself."""

    def get_address(self) -> str:
        return "127.0.0.1"

    def get_endpoint_from_executor(self) -> str:
        return "127.0.0.1"

    def get_runtime_endpoint(self) -> str:
        return f"http://127.0.0.1:{config.GATEWAY_LISTEN[0].port}/_localstack_lambda/{self.id}"

    def get_logs(self) -> str:
        return self._log.read_text(errors="replace")

    def start(self, env_vars: dict[str, Any]) -> None:
        self._environment = self._runtime_environment(env_vars)
        self._start_process()

    def stop(self) -> None:
        self._end_process()
        shutil.rmtree(self._home, ignore_errors=True)

    def invoke(self, payload: dict[str, str]) -> InvocationResult:
        request_id = payload["invoke-id"]
        process = self._process
        if process is None or (process.initialize() is None and not process.running):
            process = self._start_process()
        self._write_platform_line(
            "platform.start",
            f"START RequestId: {request_id} Version: {self._version}",
            {"requestId": request_id, "version": self._version},
        )
        began = time.monotonic()
        result = process.initialize() or process.invoke(
            Invocation(
                request_id=request_id,
                payload=payload["payload"].encode(),
                deadline=int((time.time() + self._function.timeout) * 1000),
                function_arn=payload["invoked-function-arn"],
                trace_id=payload["trace-id"],
            ),
            self._function.timeout,
        )
        if process.initialize() or not process.running:
            self._end_process()
        self._write_report(request_id, result, (time.monotonic() - began) * 1000)
        return InvocationResult(request_id, result.payload, is_error=result.is_error, logs=self._new_logs())

    @property
    def _version(self) -> str:
        return self.function_version.id.qualifier

    def _start_process(self) -> FunctionProcess:
        self._end_process()
        self._process = FunctionProcess(
            interpreter(self._function.runtime),
            self._function.handler,
            directory=self._function.code.get_unzipped_code_location(),
            environment=self._environment,
            log=self._log,
        )
        # An error here belongs to the next invocation, as with AWS.
        self._process.initialize()
        return self._process

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process:
            process.end()

    def _runtime_environment(self, lambda_environment: dict[str, Any]) -> dict[str, str]:
        """Return Lambda's variables, with this machine's paths instead of /var/task and /opt."""
        environment = {
            name: str(value)
            for name, value in lambda_environment.items()
            if not name.startswith("LOCALSTACK_") and name != "EDGE_PORT"
        }
        # The files of a later layer replace those of earlier layers.
        layers = [layer.code.get_unzipped_code_location() for layer in reversed(self._function.layers)]
        packages = [
            layer / folder
            for layer in layers
            for folder in (f"python/lib/{self._function.runtime}/site-packages", "python")
            if (layer / folder).is_dir()
        ]
        temporary = self._home / "tmp"
        temporary.mkdir()
        environment |= {
            "LANG": "C.UTF-8",
            "LAMBDA_TASK_ROOT": str(self._function.code.get_unzipped_code_location()),
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{self._function.runtime}",
            "PATH": os.pathsep.join([*(f"{layer}/bin" for layer in layers), "/usr/local/bin:/usr/bin:/bin"]),
            "PYTHONPATH": os.pathsep.join([*map(str, packages), *filter(None, [environment.get("PYTHONPATH")])]),
            # Otherwise boto3 would read the AWS configuration of the person who runs the tests.
            "HOME": str(self._home),
            "TMPDIR": str(temporary),
        }
        if "AWS_LAMBDA_LOG_LEVEL" in environment:
            environment["AWS_LAMBDA_LOG_LEVEL"] = environment["AWS_LAMBDA_LOG_LEVEL"].upper()
        return environment

    # The log
    def _write_report(self, request_id: str, result: Result, milliseconds: float) -> None:
        timeout = self._function.timeout
        if result.timed_out and not self._json_log:
            self._write(f"{_now()} {request_id} Task timed out after {timeout:.2f} seconds\n\n")
        if not self._json_log:
            self._write(f"END RequestId: {request_id}\n")
        self._write_platform_line(
            "platform.report",
            f"REPORT RequestId: {request_id}\tDuration: {milliseconds:.2f} ms\t"
            f"Billed Duration: {int(milliseconds) + 1} ms\tMemory Size: {self._function.memory_size} MB\t",
            {
                "requestId": request_id,
                "status": "timeout" if result.timed_out else "error" if result.is_error else "success",
                "metrics": {
                    "durationMs": round(milliseconds, 3),
                    "billedDurationMs": int(milliseconds) + 1,
                    "memorySizeMB": self._function.memory_size,
                },
            },
        )

    @property
    def _json_log(self) -> bool:
        return self._environment.get("AWS_LAMBDA_LOG_FORMAT") == "JSON"

    def _write_platform_line(self, kind: str, text: str, record: dict[str, Any]) -> None:
        if self._json_log:
            text = json.dumps({"time": _now(), "type": kind, "record": record})
        self._write(text + "\n")

    def _write(self, text: str) -> None:
        with self._log.open("a") as log:
            log.write(text)

    def _new_logs(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._log_position)
            logs = log.read()
        self._log_position += len(logs)
        return logs.decode(errors="replace")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
