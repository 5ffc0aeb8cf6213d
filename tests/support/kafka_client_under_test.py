"""Other people's Kafka clients, each in a process of its own."""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.project import ROOT

PYTHON, OLD_PYTHON = ROOT / ".venv/bin/python", ROOT / ".venv-old-kafka/bin/python"


@dataclass
class KafkaClient:
    """A client, as a program of `kafka_clients/` and the Python of the environment that holds its library."""

    name: str
    program: str
    python: Path = PYTHON
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """Let the program carry out a command, and return its answer."""
        if self._process is None:
            self._process = subprocess.Popen(
                [self.python, "-m", f"tests.support.kafka_clients.{self.program}"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        process = self._process
        assert process.stdin
        assert process.stdout
        print(json.dumps(command), file=process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        if "error" in answer:
            # Some libraries keep trying in the background.
            self.end()
        return answer

    def end(self) -> None:
        """End the program, if it runs."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None
