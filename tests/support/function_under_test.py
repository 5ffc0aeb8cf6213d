"""The runner as Lambda would run it, against a fake Port, and the recorded messages."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from port_runner import ActionRouter, Runner
from port_runner.journal import Started
from port_runner.port_api import PortClient
from port_runner.settings import Credentials
from port_runner.testing import LambdaContext, kafka_event, run_message
from port_runner_sandbox.fake_port import FakePort, Received
from tests.support.project import EVENTS
from tests.support.run_logs import lines_of_handlers

# Headers of a refusal that no invocation is long enough to outwait: the client does not try again.
UNTIL_LATER = {"Retry-After": "600"}


def event_file(name: str) -> Any:
    """A recorded message of tests/events/."""
    return json.loads((EVENTS / f"{name}.json").read_text())


@dataclass
class Function:
    """A function as Lambda would run it: one process that lives over several events."""

    port: FakePort
    router: ActionRouter = field(default_factory=ActionRouter)
    read_output: Callable[[], str] = lambda: ""
    output: str = ""

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget what the process remembers, as a new one would."""
        self._runner: Runner | None = None

    def handle(self, event: Any, *, seconds: float = 30.0) -> Any:
        """Give *event* to the entry point, with *seconds* left."""
        if self._runner is None:
            self._runner = Runner()
            self._runner.include(self.router)
        try:
            return self._runner.lambda_handler(event, LambdaContext(seconds))
        finally:
            self.output += self.read_output()

    def run(
        self, action: str, inputs: Any = None, *, run_id: str = "r_1", seconds: float = 30.0, **message: Any
    ) -> Any:
        """Deliver one run of *action*, which Port has."""
        if run_id not in self.port.runs:
            self.port.add_run(run_id, action)
        return self.handle(kafka_event(run_message(action, inputs, run_id=run_id, **message)), seconds=seconds)

    def note_start(
        self, run_id: str = "r_1", *, number: int = 1, seconds: float = -60.0, label: str = "Running"
    ) -> None:
        """Note in Port that another process started the run. It can live for *seconds* from now on."""
        if run_id not in self.port.runs:
            self.port.add_run(run_id, "resize")
        started = Started(number, "of-another-process", time.time() + seconds)
        self.note(run_id, started.text(None), label=label)

    def note(self, run_id: str, text: str, *, label: str | None = None) -> None:
        """Add a line to the run's log in Port, as a process of this function elsewhere would."""
        client = PortClient(self.port.url, lambda: Credentials(self.port.client_id, self.port.client_secret))
        more = {} if label is None else {"statusLabel": label}
        client.add_run_log(run_id, text, until=time.monotonic() + 10, **more)

    def run_log(self, run_id: str = "r_1") -> list[str]:
        """Return the lines of the run's log in Port, without the runner's own."""
        return lines_of_handlers(self.port, run_id)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log so far, without the metrics."""
        return [line for line in self._objects() if "event" in line]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The metrics so far, in CloudWatch's embedded format."""
        return [line for line in self._objects() if "_aws" in line]

    def _objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.splitlines()]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of one event."""
        return [line for line in self.lines if line["event"] == event]

    def requests(self, method: str, path: str) -> list[Received]:
        """Return the requests that Port received, by method and the end of the path."""
        return [each for each in self.port.requests if each.method == method and each.path.endswith(path)]

    def ends(self, run_id: str = "r_1") -> list[Any]:
        """Every terminal report that Port received about the run, refused ones too."""
        patches = self.requests("PATCH", f"/runs/{run_id}")
        return [each.body for each in patches if isinstance(each.body, dict) and "status" in each.body]
