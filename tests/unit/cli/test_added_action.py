"""The commands with which README.md adds an action, in another order and more than once."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from port_runner_sandbox.fake_port import FakePort
from tests.support.added_action import ACTION_JSON, CHECK, RUN, SETUP, add_action


@pytest.fixture
def port() -> Iterator[FakePort]:
    with FakePort() as port:
        yield port


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return add_action(tmp_path / "project")


def environment_of(port: FakePort) -> dict[str, str]:
    foreign = ("PORT_", "AWS_")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(foreign)},
        "PORT_API_URL": port.url,
        "PORT_CLIENT_ID": port.client_id,
        "PORT_CLIENT_SECRET": port.client_secret,
    }


@pytest.fixture
def execute(project: Path, port: FakePort) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs a command line as it stands in README.md, in the copied project's folder."""

    def execute(line: str) -> subprocess.CompletedProcess[str]:
        script, *arguments = shlex.split(line)
        assert script == "scripts/port-runner"
        environment = environment_of(port)
        program = [sys.executable, "-m", "port_runner_cli", *arguments]
        return subprocess.run(program, cwd=project, env=environment, capture_output=True, text=True, check=False)

    return execute


def test_each_command_can_be_repeated(
    project: Path, port: FakePort, execute: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    """Before the deployment, every command may be run again and changes nothing."""
    for line in (ACTION_JSON, SETUP):
        assert execute(line).returncode == 0
    file = project / "port" / "estimate_vm_action.json"
    before = file.read_text()
    assert execute(ACTION_JSON).stdout == "port/estimate_vm_action.json: unchanged\n"
    assert file.read_text() == before
    assert execute(SETUP).stdout.splitlines()[-1] == "action estimate_vm: unchanged"


def test_forgotten_step_is_named(
    project: Path, execute: Callable[[str], subprocess.CompletedProcess[str]], port: FakePort
) -> None:
    """Each command that comes too early says which one is missing."""
    early = execute(RUN)
    assert early.returncode == 1
    assert "has no action estimate_vm. Make it with `scripts/port-runner setup`" in early.stderr
    assert execute(SETUP).returncode == 0
    forgotten = execute(CHECK)
    assert forgotten.returncode == 1
    assert "scripts/port-runner action-json estimate_vm --output FILE" in forgotten.stdout
