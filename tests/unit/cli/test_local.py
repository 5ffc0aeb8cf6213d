"""`local` gives a recorded message to the handlers as on Lambda, and shows their author what happened."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from port_runner.testing import kafka_event, run_message
from port_runner_cli.__main__ import main
from port_runner_sandbox.fake_port import FakePort
from tests.support.project import ROOT

IMPORTS = """
import time
from typing import Any
from port_runner import ActionFailed, ActionRouter, ActionRun, EntityChange, InProgress, Runner, Success
"""
ENTRY_POINT = """
runner = Runner()
runner.include(router)
lambda_handler = runner.lambda_handler
"""


class Source:
    """A folder with an entry point, and the file with the message."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "source"
        self.folder.mkdir()
        self.file = folder / "message.json"

    def handler(self, body: str, decorator: str = '@router.action("resize")', kind: str = "ActionRun[Any]") -> None:
        """Write the entry point with one handler; *body* is its code."""
        lines = "\n".join(f"    {line}" for line in body.splitlines())
        code = f"router = ActionRouter()\n{decorator}\ndef handler(run: {kind}) -> Any:\n{lines}\n"
        (self.folder / "lambda_function.py").write_text(f"{IMPORTS}{code}{ENTRY_POINT}")

    def message(self, content: Any) -> None:
        self.file.write_text(content if isinstance(content, str) else json.dumps(content))

    def arguments(self, *more: str) -> list[str]:
        return ["local", str(self.file), "--source", str(self.folder), *more]

    def run(self, *more: str, **environment: str) -> Result:
        return CliRunner().invoke(main, self.arguments(*more), env=environment)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    source = Source(tmp_path)
    source.message(run_message("resize", {"cpu": 2}, run_id="r_1", blueprint="vm"))
    return source


def test_the_shipped_handler_runs_a_recorded_message() -> None:
    """Without settings of any kind, a message of the README's action ends in SUCCESS with its entity: exit code 0."""
    file = ROOT / "tests" / "events" / "create_vm_v2_template.json"
    result = CliRunner().invoke(main, ["local", str(file)], env={"PORT_API_URL": "https://api.port.io"})
    assert result.exit_code == 0
    assert "INFO     run.started  handler=handlers.vm.create_vm" in result.stdout
    assert "r_QOz6WoOB1Q2lmhZZ: SUCCESS" in result.stdout
    assert "log      Creating a VM in eu-west-1" in result.stdout
    assert "entity   vm/vm-r_QOz6WoOB1Q2lmhZZ" in result.stdout


def test_json_has_runs_entities_and_lines(source: Source) -> None:
    """With --json, stdout is one document, also if the handler prints."""
    source.handler(
        'print("noise")\nrun.upsert_entity("vm", identifier="a", title="A")\nreturn Success(summary="Done.")'
    )
    document = json.loads(source.run("--json").stdout)
    assert document["good"] is True
    assert [(run["id"], run["status"], run["summary"]) for run in document["runs"]] == [("r_1", "SUCCESS", "Done.")]
    assert [(each["blueprint"], each["identifier"]) for each in document["entities"]] == [("vm", "a")]
    assert [line["event"] for line in document["lines"]] == ["run.started", "run.reported"]


def test_a_whole_event(source: Source) -> None:
    """A Kafka event is given as it is, with all its records."""
    source.handler("return Success()")
    source.message(kafka_event(*[run_message("resize", run_id=f"r_{n}") for n in range(3)]))
    result = source.run()
    assert result.exit_code == 0
    assert re.findall(r"^(r_\d): SUCCESS", result.stdout, re.MULTILINE) == ["r_0", "r_1", "r_2"]


def test_an_entry_of_the_change_log(source: Source) -> None:
    """A message of the change log goes to its listener."""
    source.handler('run.upsert_entity("vm", identifier="copy")', '@router.change("vm")', "EntityChange")
    entity = {"identifier": "a", "blueprint": "vm", "properties": {"cpu_cores": 1}}
    context = {"blueprint": "vm", "entity": "a"}
    diff = {"before": None, "after": entity}
    source.message({"action": "CREATE", "resourceType": "entity", "context": context, "diff": diff})
    result = source.run()
    assert result.exit_code == 0
    assert "change.handled" in result.stdout
    assert "entity   vm/copy" in result.stdout


def test_the_entity_of_the_message_is_there(source: Source) -> None:
    """A DAY-2 handler can read and change the entity that its message carries."""
    source.handler('run.update_entity("vm", "a", properties={"cpu_cores": run.inputs["cpu"]})')
    message = run_message("resize", {"cpu": 8}, run_id="r_1", operation="DAY-2", blueprint="vm", entity="a")
    message["payload"]["entity"] = {"identifier": "a", "blueprint": "vm", "title": "A", "properties": {"region": "eu"}}
    source.message(message)
    [entity] = json.loads(source.run("--json").stdout)["entities"]
    assert entity["properties"] == {"region": "eu", "cpu_cores": 8}


def test_the_run_of_a_workflow_node(source: Source) -> None:
    """The run of a workflow's node is known to the fake Port as well."""
    source.handler("return Success()", '@router.action("resize", idempotent=True, workflow_nodes=True)')
    source.message(run_message("resize", run_id="wfnr_1"))
    result = source.run()
    assert result.exit_code == 0
    assert "wfnr_1: SUCCESS" in result.stdout


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ('raise ActionFailed("There is no room.")', "There is no room."),
        ('raise KeyError("a key")', "KeyError: 'a key'"),
        ('run.upsert_entity("no_blueprint")', "no_blueprint"),
        ("return 3", "run.outcome_unknown"),
    ],
)
def test_a_handler_that_fails(source: Source, body: str, sentence: str) -> None:
    """A run that ends in FAILURE shows why: exit code 1."""
    source.handler(body)
    result = source.run()
    assert result.exit_code == 1
    assert "r_1: FAILURE" in result.stdout
    assert sentence in result.stdout


def test_an_unexpected_error_has_the_users_frames_only(source: Source) -> None:
    """The traceback of a defect is shown with its text, and begins in the handler."""
    source.handler('raise KeyError("a key")')
    lines = source.run().stdout.splitlines()
    frames = [line for line in lines if line.strip().startswith("File ")]
    assert len(frames) == 1
    assert "lambda_function.py" in frames[0]
    assert '    raise KeyError("a key")' in lines


def test_a_run_that_is_handed_over_is_good(source: Source) -> None:
    """A run that its handler leaves to a pipeline stays in progress, and that is no failure."""
    source.handler('return InProgress(link="https://ci.example.com/1")')
    result = source.run()
    assert result.exit_code == 0
    assert "r_1: IN_PROGRESS" in result.stdout
    assert "link     https://ci.example.com/1" in result.stdout


def test_what_nobody_handles(source: Source) -> None:
    """A message that no handler takes is no success, and the log says what is missing."""
    source.handler("return Success()", '@router.action("another")')
    result = source.run()
    assert result.exit_code == 1
    assert '@router.action("resize")' in result.stdout
    source.message(run_message("another") | {"changelogDestination": {"type": "KAFKA"}})
    result = source.run()
    assert result.exit_code == 1
    assert "it is an entry of the change log" in result.stdout
    assert "Nothing here handled it" in result.stdout


@pytest.mark.parametrize("other", [{"action": "resize"}, run_message("another", run_id="r_2")])
def test_one_record_that_is_not_handled_is_one_too_many(source: Source, other: Any) -> None:
    """If one of several records is given up or unknown here, the command fails."""
    source.handler("return Success()")
    source.message(kafka_event(run_message("resize", run_id="r_1"), other))
    result = source.run()
    assert result.exit_code == 1
    assert "r_1: SUCCESS" in result.stdout


def test_a_record_that_nobody_can_read(source: Source) -> None:
    """A message that names no run is given up, as on Lambda: exit code 1."""
    source.handler("return Success()")
    source.message({"action": "resize"})
    result = source.run()
    assert result.exit_code == 1
    assert "it names no run" in result.stdout


def test_the_timeout_is_what_is_asked_for(source: Source) -> None:
    """With --timeout the run ends as it would on Lambda; without, a handler may take its time."""
    source.handler("while True: time.sleep(0.05)")
    result = source.run("--timeout", "0.6")
    assert result.exit_code == 1
    assert "Timed out" in result.stdout
    source.handler("time.sleep(1)")
    assert source.run().exit_code == 0


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("{", "is not JSON"), ('{"records": {"t-0": [{}]}}', "no Kafka event"), (None, "cannot be read")],
)
def test_a_file_that_is_no_message(source: Source, content: str | None, sentence: str) -> None:
    """A file that cannot be used is named: exit code 2."""
    source.handler("return Success()")
    source.file.unlink() if content is None else source.message(content)
    result = source.run()
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_an_entry_point_that_cannot_be_imported(source: Source) -> None:
    """If the handlers cannot be imported, the place in them is shown: exit code 2."""
    (source.folder / "lambda_function.py").write_text("import json\n\nundefined_name\n")
    result = source.run()
    assert result.exit_code == 2
    assert "line 3" in result.stderr
    assert "NameError" in result.stderr
    assert "importlib" not in result.stderr
    (source.folder / "lambda_function.py").unlink()
    result = source.run()
    assert result.exit_code == 2
    assert "--source" in result.stderr


def test_nothing_is_left_behind(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment, modules and import path of the process are restored."""
    monkeypatch.setenv("FAILURE_QUEUE_URL", "https://sqs.example.com/queue")
    monkeypatch.setitem(sys.modules, "lambda_function", ModuleType("lambda_function"))
    source.handler("return Success()")
    before = dict(os.environ), dict(sys.modules), list(sys.path)
    assert source.run().exit_code == 0
    now = dict(os.environ), dict(sys.modules), list(sys.path)
    assert (now[0], now[2]) == (before[0], before[2])
    for name in ("lambda_function", "port_runner.logs"):
        assert now[1][name] is before[1][name]


def test_no_queue_in_aws_is_touched(source: Source) -> None:
    """A failure queue that the environment names is not written to."""
    source.handler("return Success()")
    source.message({"action": "resize"})
    result = source.run(FAILURE_QUEUE_URL="https://sqs.eu-west-1.amazonaws.com/1/q", AWS_REGION="eu-west-1")
    assert "record.given_up" in result.stdout


def test_without_the_fake_port(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """If sandbox/ is missing, the error names it and the alternative: exit code 2."""
    source.handler("return Success()")
    monkeypatch.setitem(sys.modules, "port_runner_sandbox.fake_port", None)
    result = source.run()
    assert result.exit_code == 2
    assert "sandbox" in result.stderr
    assert "--port-url" in result.stderr


def test_against_a_given_port(source: Source, port: FakePort) -> None:
    """With --port-url the run is read from that Port, and ends there."""
    source.handler('run.log("Resizing")\nreturn Success(summary="Done.")')
    credentials = {"PORT_CLIENT_ID": port.client_id, "PORT_CLIENT_SECRET": port.client_secret}
    result = source.run("--port-url", port.url, **credentials)
    assert result.exit_code == 1
    assert "r_1" in result.stderr  # it does not have the run yet

    port.add_run("r_1", "resize")
    result = source.run("--port-url", port.url, **credentials)
    assert result.exit_code == 0
    assert port.runs["r_1"]["summary"] == "Done."
    assert "log      Resizing" in result.stdout


# A person at a terminal


class Terminal:
    """The command on a terminal of its own, as its user sees it."""

    def __init__(self, source: Source, *more: str) -> None:
        self.master, slave = pty.openpty()
        environment = {
            **os.environ,
            "TERM": "dumb",
        }
        command = [sys.executable, "-m", "port_runner_cli", *source.arguments(*more)]
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        self.text = ""

    def until(self, wanted: str, *, seconds: float = 30) -> str:
        """Read until *wanted* stands there; gives what came until then, and forgets it."""
        deadline = time.monotonic() + seconds
        while wanted not in self.text:
            assert select.select([self.master], [], [], max(0, deadline - time.monotonic()))[0], self.text
            try:
                self.text += os.read(self.master, 65536).decode()
            except OSError:
                raise AssertionError(f"it ended: {self.text}") from None
        before, self.text = self.text.split(wanted, 1)
        return before

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> int:
        """Wait until the command has ended; its exit code."""
        code = self.process.wait(30)
        os.close(self.master)
        return code


@pytest.fixture
def terminal(source: Source) -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(*more: str) -> Terminal:
        started.append(Terminal(source, *more))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def test_a_breakpoint_in_a_handler(source: Source, terminal: Callable[..., Terminal]) -> None:
    """breakpoint() opens the debugger on the terminal for any length of time, and then the run continues."""
    source.handler("breakpoint()\nreturn Success()")
    screen = terminal()
    screen.until("(Pdb) ")
    screen.type("p run.inputs['cpu'] * 21\n")
    screen.until("42")
    screen.until("(Pdb) ")
    screen.type("c\n")
    screen.until("r_1: SUCCESS")
    assert screen.end() == 0


def test_the_debugger_where_a_handler_failed(source: Source, terminal: Callable[..., Terminal]) -> None:
    """With --debugger a handler's defect can be looked at in its own frame, after the run was reported."""
    source.handler('room = 17\nraise KeyError("a key")')
    screen = terminal("--debugger")
    screen.until("r_1: FAILURE")
    screen.until("(Pdb) ")
    screen.type("p room + 4\n")
    screen.until("21")
    screen.type("q\n")
    assert screen.end() == 1


def test_watch_runs_again_on_save(source: Source, terminal: Callable[..., Terminal]) -> None:
    """A saved handler, module or message is noticed, and a mistake in it is waited out."""
    (source.folder / "rooms.py").write_text('NAME = "first room"\n')
    source.handler("import rooms\nreturn Success(summary=rooms.NAME)")
    screen = terminal("--watch")
    screen.until("first room")
    screen.until("Waiting")

    (source.folder / "rooms.py").write_text('NAME = "a second room"\n')
    screen.until("rooms.py changed")
    screen.until("a second room")
    screen.until("Waiting")

    (source.folder / "rooms.py").write_text("NAME = \n")
    screen.until("SyntaxError")
    screen.until("Waiting")
    (source.folder / "rooms.py").write_text('NAME = "the third room"\n')
    screen.until("the third room")
    screen.until("Waiting")

    code = (source.folder / "lambda_function.py").read_text()
    for mistake in ("def (", "import nothing_of_that_name"):
        (source.folder / "lambda_function.py").write_text(mistake)
        screen.until("Error: lambda_function cannot be imported")
        screen.until("Waiting")
    (source.folder / "lambda_function.py").write_text(code)
    screen.until("the third room")
    screen.until("Waiting")

    source.message(run_message("resize", run_id="r_2"))
    screen.until("message.json changed")
    screen.until("r_2: SUCCESS")
    screen.until("Waiting")
    screen.process.send_signal(signal.SIGINT)
    assert screen.end() == 130


def test_an_interrupt_ends_a_handler_that_does_not_end(source: Source, terminal: Callable[..., Terminal]) -> None:
    """Ctrl-C ends the command while a handler is working."""
    source.handler('print("it works")\nwhile True: time.sleep(0.05)')
    screen = terminal()
    screen.until("it works")
    screen.process.send_signal(signal.SIGINT)
    assert screen.end() == 130


def test_a_save_right_after_a_run_is_not_mistaken_for_the_old_file(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit that keeps the file's size, within the same second, is seen: no compiled code of the old file is used."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    outcomes = []
    for summary in ("one", "two", "six"):
        source.handler(f'return Success(summary="{summary}")')
        outcomes += [run["summary"] for run in json.loads(source.run("--json").stdout)["runs"]]
    assert outcomes == ["one", "two", "six"]


def test_watch_sees_a_save_while_the_handler_works(source: Source, terminal: Callable[..., Terminal]) -> None:
    """A file that is saved before a run has ended starts the next run."""
    source.handler('print("it works")\ntime.sleep(1)\nreturn Success(summary="the old one")')
    screen = terminal("--watch")
    screen.until("it works")
    source.handler('return Success(summary="the new one")')
    screen.until("the old one")
    screen.until("the new one")


def test_watch_has_no_document(source: Source) -> None:
    """--watch with --json is a mistake in usage."""
    assert source.run("--watch", "--json").exit_code == 2
