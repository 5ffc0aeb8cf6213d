"""The log of a run in the fake Port."""

from port_runner.journal import entry_of
from port_runner_sandbox.fake_port import FakePort


def lines_of_handlers(port: FakePort, run_id: str) -> list[str]:
    """Return the lines of a run's log, without the runner's own."""
    messages = [line["message"] for line in port.run_logs.get(run_id, [])]
    return [message for message in messages if entry_of(message) is None]
