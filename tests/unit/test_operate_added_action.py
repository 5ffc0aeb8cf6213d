"""From a new handler to its first green run, with the commands that README.md names."""

import os
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from added_action import ACTION_JSON, CHECK, ROOT, RUN, SETUP, add_action
from local_stack.fake_port import FakePort
from package import package_function

# Lambda, as far as the handler can tell: a process that has the zip's content and the function's environment.
FUNCTION = """
import json, sys
from lambda_function import lambda_handler
from port_runner.testing import LambdaContext, kafka_event
lambda_handler(kafka_event(json.load(sys.stdin), topic=sys.argv[1]), LambdaContext())
"""


@pytest.fixture
def port() -> Iterator[FakePort]:
    with FakePort() as port:
        yield port


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return add_action(tmp_path / "project")


def environment_of(port: FakePort, *folders: Path) -> dict[str, str]:
    foreign = ("PORT_", "AWS_")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(foreign)},
        "PYTHONPATH": ":".join(str(folder) for folder in folders),
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
        environment = environment_of(port, project / "lambda", ROOT / "tests", project / "scripts")
        program = [sys.executable, "-m", "operate", *arguments]
        return subprocess.run(program, cwd=project, env=environment, capture_output=True, text=True, check=False)

    return execute


@contextmanager
def deployed(project: Path, port: FakePort) -> Iterator[Path]:
    """Pack the function as `make package` does, and have what Port publishes reach the zip's content; gives its log."""
    zip_file, content, log = (project / name for name in ("dist/function.zip", "unzipped", "function.log"))
    package_function(project / "lambda", zip_file)
    with zipfile.ZipFile(zip_file) as archive:
        archive.extractall(content)
    environment = environment_of(port, content)
    with log.open("w") as output, ExitStack() as running:

        def publish(topic: str, value: bytes) -> None:
            line = [sys.executable, "-c", FUNCTION, topic]
            function = running.enter_context(
                subprocess.Popen(line, stdin=subprocess.PIPE, stdout=output, env=environment)
            )
            assert function.stdin
            function.stdin.write(value)
            function.stdin.close()

        port.publish = publish
        yield log


def test_first_green_run_in_five_commands(
    project: Path, port: FakePort, execute: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    """action-json, setup, check, deploy and run: the new action's first run ends in SUCCESS, with its log."""
    written = execute(ACTION_JSON)
    assert (written.returncode, written.stdout) == (0, "scripts/port/estimate_vm_action.json: written\n")

    set_up = execute(SETUP)
    assert (set_up.returncode, set_up.stderr) == (0, "")
    assert set_up.stdout.splitlines()[1:] == [
        "blueprint vm: created",
        "action create_vm: created",
        "action estimate_vm: created",
    ]
    assert port.actions["estimate_vm"]["trigger"]["userInputs"]["properties"]["period"] == {
        "type": "string",
        "title": "Period",
        "enum": ["month", "year"],
        "default": "month",
    }

    checked = execute(CHECK)
    assert (checked.returncode, checked.stdout) == (0, "Actions and handlers agree.\n")

    with deployed(project, port) as log:
        run = execute(RUN)
    assert run.returncode == 0, run.stdout + run.stderr + log.read_text()
    [run_id] = port.runs
    lines = run.stdout.splitlines()
    assert lines[0] == f"estimate_vm runs as {run_id}"
    assert any(line.endswith("log     Estimating 2 cores and 8 GB") for line in lines)
    assert lines[-2].startswith("SUCCESS after ")
    assert lines[-1] == "About 44 EUR a month."
    assert port.runs[run_id]["status"] == "SUCCESS"


def test_each_command_can_be_repeated(
    project: Path, port: FakePort, execute: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    """Before the deployment, every command may be run again and changes nothing."""
    for line in (ACTION_JSON, SETUP):
        assert execute(line).returncode == 0
    file = project / "scripts" / "port" / "estimate_vm_action.json"
    before = file.read_text()
    assert execute(ACTION_JSON).stdout == "scripts/port/estimate_vm_action.json: unchanged\n"
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
