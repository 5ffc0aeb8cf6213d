"""The shell lines that the demo leaves for another terminal while it keeps running."""

import os
import subprocess
from pathlib import Path

from port_runner_sandbox import Sandbox
from port_runner_sandbox.fake_port import FakePort
from port_runner_sandbox.kafka import Kafka
from scripts.demo import exports


def test_exports_lead_a_shell_to_the_stack(tmp_path: Path) -> None:
    """A shell that reads the lines has the sandbox's AWS and Port, the function's name, and no AWS profile."""
    secret = 'it\'s "quoted" $HOME'
    kafka = Kafka(
        bootstrap_servers=[], ca_certificate="", username="", password="", topic="", set_password=lambda *_: None
    )
    with FakePort(client_secret=secret) as port:
        sandbox = Sandbox("http://127.0.0.1:4566", kafka, port, tmp_path)
        lines = exports(sandbox, "the-function")
        url = port.url
    names = ("AWS_ENDPOINT_URL", "PORT_API_URL", "PORT_CLIENT_SECRET", "PORT_RUNNER_FUNCTION", "AWS_PROFILE")
    shown = "".join(f'\nprintf "%s\\n" "${name}"' for name in names)

    answer = subprocess.run(
        ["sh", "-c", lines + shown],
        env={"PATH": os.environ["PATH"], "AWS_PROFILE": "mine"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert answer.stdout.splitlines() == ["http://127.0.0.1:4566", url, secret, "the-function", ""]
