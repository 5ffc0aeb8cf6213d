"""`run` executes an action in Port and follows its run to the end."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from port_runner_cli.commands import run as run_module
from port_runner_sandbox.fake_port import FakePort
from tests.support.command_under_test import command

INPUTS = ("--input", "cpu=2", "--input", "memory=4", "--input", "storage=50", "--input", "region=eu-west-1")
SECRET = "s3cr3t-p@ss"

type Json = dict[str, Any]


class Function:
    """A function that reports a run to Port: it does `steps` in its own thread, after the run was published."""

    def __init__(self, port: FakePort) -> None:
        self.port = port
        self.steps: Callable[[str], None] = lambda run_id: None
        self.messages: list[Json] = []
        self.threads: list[threading.Thread] = []
        port.publish = self.take

    def take(self, topic: str, value: bytes) -> None:
        message = json.loads(value)
        self.messages.append(message)
        thread = threading.Thread(target=self.steps, args=(message["context"]["runId"],))
        self.threads.append(thread)
        thread.start()

    def call(self, method: str, path: str, body: Json | None = None, **query: str) -> None:
        credentials = {"clientId": self.port.client_id, "clientSecret": self.port.client_secret}
        url = f"{self.port.url}/v1"
        token = requests.post(f"{url}/auth/access_token", json=credentials, timeout=5).json()["accessToken"]
        headers = {"Authorization": f"Bearer {token}"}
        requests.request(method, url + path, json=body, params=query, headers=headers, timeout=5).raise_for_status()

    def log(self, run_id: str, text: str) -> None:
        self.call("POST", f"/actions/runs/{run_id}/logs", {"message": text})

    def patch(self, run_id: str, **changes: Any) -> None:
        self.call("PATCH", f"/actions/runs/{run_id}", changes)


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePort]:
    monkeypatch.setattr(run_module, "POLL_SECONDS", 0.02)
    with FakePort() as port:
        assert command("setup", port=port).exit_code == 0
        port.requests.clear()
        yield port


@pytest.fixture
def function(port: FakePort) -> Iterator[Function]:
    function = Function(port)
    yield function
    for thread in function.threads:
        thread.join()


def executions(port: FakePort) -> list[Json]:
    """Bodies of the requests that started a run."""
    return [r.body for r in port.requests if r.method == "POST" and r.path.endswith("/runs")]


def succeed(function: Function) -> None:
    function.steps = lambda run_id: function.patch(run_id, status="SUCCESS")


# Following


def test_run_is_followed_to_its_end(port: FakePort, function: Function) -> None:
    """Label, link, log lines, the entities and the summary are shown in the order in which they came; code 0."""

    def looked() -> int:
        return sum(r.path.endswith("/logs") and r.method == "GET" for r in port.requests)

    def is_seen() -> None:
        before = looked()
        port.wait_until(lambda: looked() >= before + 2)

    def steps(run_id: str) -> None:
        function.patch(run_id, statusLabel="Creating", link="https://logs.example.com/1")
        is_seen()
        function.log(run_id, "First line\nof two")
        is_seen()
        function.call("POST", "/blueprints/vm/entities", {"identifier": "vm-1"}, run_id=run_id)
        function.log(run_id, "Last line")
        function.patch(run_id, status="SUCCESS", summary="vm-1 is there")

    function.steps = steps
    result = command("run", "create_vm", *INPUTS, port=port)
    assert result.exit_code == 0, result.output
    [run_id] = port.runs
    lines = result.stdout.splitlines()
    assert lines[0] == f"create_vm runs as {run_id}"
    told = [line[11:] for line in lines[1:-2]]
    assert told == [
        "label   Creating",
        "link    https://logs.example.com/1",
        "log     First line",
        "        of two",
        "log     Last line",
        "entity  vm/vm-1 CREATE",
    ]
    assert all(line[:11].strip().endswith(" s") for line in lines[1:3])
    assert lines[-2].startswith("SUCCESS after ")
    assert lines[-1] == "vm-1 is there"


def test_what_was_sent(port: FakePort, function: Function) -> None:
    """Inputs are sent as the types that the action declares, and the run's author as asked for."""
    succeed(function)
    assert command("run", "create_vm", *INPUTS, "--run-as", "dev@example.com", port=port).exit_code == 0
    assert executions(port) == [{"properties": {"cpu": 2, "memory": 4, "storage": 50, "region": "eu-west-1"}}]
    [execution] = [r for r in port.requests if r.method == "POST" and r.path.endswith("/runs")]
    assert execution.path == "/v1/actions/create_vm/runs"
    assert execution.query == {"run_as": "dev@example.com"}


def test_failure_is_code_1(port: FakePort, function: Function) -> None:
    """A run that ended in FAILURE fails the command, and its summary is shown."""
    function.steps = lambda run_id: function.patch(run_id, status="FAILURE", summary="No room in eu-west-1.")
    result = command("run", "create_vm", *INPUTS, port=port)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-2].startswith("FAILURE after ")
    assert result.stdout.splitlines()[-1] == "No room in eu-west-1."


def test_outcome_is_read_by_programs(port: FakePort, function: Function) -> None:
    """With --json, stdout is one document at the end, and progress is on stderr."""

    def steps(run_id: str) -> None:
        function.log(run_id, "A line")
        function.call("POST", "/blueprints/vm/entities", {"identifier": "vm-1"}, run_id=run_id)
        function.patch(run_id, status="SUCCESS", summary="Good", statusLabel="Done", link=["https://a", "https://b"])

    function.steps = steps
    result = command("run", "create_vm", *INPUTS, "--json", port=port)
    document = json.loads(result.stdout)
    [run_id] = port.runs
    assert 0 <= document.pop("seconds") < 30
    assert document == {
        "id": run_id,
        "action": "create_vm",
        "status": "SUCCESS",
        "statusLabel": "Done",
        "summary": "Good",
        "links": ["https://a", "https://b"],
        "logs": ["A line"],
        "entities": [{"action": "CREATE", "blueprint": "vm", "identifier": "vm-1"}],
    }
    assert "A line" in result.stderr


def test_run_that_does_not_end_in_time_is_code_3(port: FakePort, function: Function) -> None:
    """A run that outlasts the time continues, and the command says so with what to do; code 3."""
    result = command("run", "create_vm", *INPUTS, "--timeout", "0.1", port=port)
    assert result.exit_code == 3
    [run_id] = port.runs
    assert f"The run {run_id} has not ended within 0 s. It continues." in result.stdout
    assert "`scripts/port-runner doctor` says why" in result.stdout
    assert port.runs[run_id]["status"] == "IN_PROGRESS"
    document = json.loads(command("run", "create_vm", *INPUTS, "--timeout", "0", "--json", port=port).stdout)
    assert document["status"] == "IN_PROGRESS"


def test_no_follow_starts_and_leaves(port: FakePort) -> None:
    """--no-follow prints the run's id and asks for nothing more."""
    result = command("run", "create_vm", *INPUTS, "--no-follow", port=port)
    assert result.exit_code == 0
    [run_id] = port.runs
    assert result.stdout == f"create_vm runs as {run_id}\n"
    assert port.requests[-1].path == "/v1/actions/create_vm/runs"
    document = json.loads(command("run", "create_vm", *INPUTS, "--no-follow", "--json", port=port).stdout)
    assert document == {"id": list(port.runs)[1], "action": "create_vm", "status": "IN_PROGRESS"}


def test_every_log_line_is_shown_once_in_order(port: FakePort, function: Function) -> None:
    """More lines than Port gives at once are all fetched, though the run ends before the first look."""
    lines = [f"line {number}" for number in range(120)]

    def report(topic: str, value: bytes) -> None:
        run_id = json.loads(value)["context"]["runId"]
        for line in lines:
            function.log(run_id, line)
        function.patch(run_id, status="SUCCESS")

    port.publish = report
    document = json.loads(command("run", "create_vm", *INPUTS, "--json", port=port).stdout)
    assert document["logs"] == lines


def test_order_in_which_port_lists_lines_does_not_matter(port: FakePort, function: Function) -> None:
    """Should Port list the newest lines first, they are shown oldest first all the same, and once."""
    run_ids: list[str] = []
    function.steps = run_ids.append

    def answered(numbers: range) -> Json:
        moment = "2026-01-01T00:00:{:02}.000Z"
        return {"ok": True, "runLogs": [line(n, moment.format(n)) for n in numbers]}

    def line(number: int, moment: str) -> Json:
        return {"id": f"rl_{number}", "runId": "r", "message": str(number), "createdBy": "x", "createdAt": moment}

    logs = r"/v1/actions/runs/[^/]+/logs"
    # First look: 2, 1, 0. Second look: 4 and 3 came; beyond the three that are known stand 1 and 0, and all is asked.
    for numbers in (range(2, -1, -1), range(1, -1, -1), range(4, -1, -1)):
        port.fail(logs, method="GET", status=200, body=answered(numbers))
    port.fail(logs, method="GET", status=200, body={"ok": True, "runLogs": []}, times=None)
    result = command("run", "create_vm", *INPUTS, "--timeout", "0.3", "--json", port=port)
    assert json.loads(result.stdout)["logs"] == ["0", "1", "2", "3", "4"]
    looks = [r.query["offset"] for r in port.requests if r.method == "GET" and r.path.endswith("/logs")]
    assert looks[:4] == ["0", "3", "0", "5"]


def test_outage_of_port_is_waited_out(port: FakePort, function: Function) -> None:
    """While Port does not answer the run is still followed; it is said once."""
    runs = "/v1/actions/runs/"
    port.fail(runs, method="GET", status=503)
    port.fail(runs, method="GET", status=429)
    port.fail(runs, method="GET", status=522)
    port.fail(runs, method="GET", drop="before")

    def steps(run_id: str) -> None:
        port.wait_until(lambda: sum(r.path.startswith(runs) for r in port.requests) > 4)
        function.patch(run_id, status="SUCCESS")

    function.steps = steps
    result = command("run", "create_vm", *INPUTS, port=port)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("Asking again.") == 1


def test_audit_log_that_is_not_shown_is_no_failure(port: FakePort, function: Function) -> None:
    """Without the permission for the audit log the entities are not known, and the rest is as good."""
    port.fail("/v1/audit-log", status=403)
    succeed(function)
    result = command("run", "create_vm", *INPUTS, "--json", port=port)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["entities"] == []


def test_text_from_a_run_cannot_steer_the_terminal(port: FakePort, function: Function) -> None:
    """Escape sequences in labels, logs and summaries are taken out."""

    def steps(run_id: str) -> None:
        function.log(run_id, "\x1b[2Jgone\x07")
        function.patch(run_id, status="SUCCESS", summary="\x1b]0;title\x07")

    function.steps = steps
    result = command("run", "create_vm", *INPUTS, port=port)
    assert "\x1b" not in result.stdout
    assert "\x07" not in result.stdout
    assert "[2Jgone" in result.stdout


def test_interrupt_stops_following_and_not_the_run(port: FakePort) -> None:
    """Ctrl-C ends the command, which says that the run continues; code 130."""
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "PORT_CLIENT_ID": port.client_id,
        "PORT_CLIENT_SECRET": port.client_secret,
        "PORT_API_URL": port.url,
    }
    line = [sys.executable, "-m", "port_runner_cli", "run", "create_vm", *INPUTS]
    with subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        port.wait_until(lambda: any(r.path.endswith("/logs") for r in port.requests), timeout=60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    [run_id] = port.runs
    assert process.returncode == 130
    assert out.splitlines()[-1] == f"No longer following. The run {run_id} continues."
    assert "KeyboardInterrupt" not in err  # http.client may remark that an answer was cut short
    assert port.runs[run_id]["status"] == "IN_PROGRESS"


# Inputs


def define(port: FakePort, inputs: Json, required: list[str] | None = None, **trigger: Any) -> None:
    """Give the action other inputs."""
    user_inputs = {"properties": inputs, "required": required or []}
    port.actions["create_vm"]["trigger"] |= {"userInputs": user_inputs, **trigger}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("string", "2", "2"),
        ("string", "a=b", "a=b"),
        ("string", "", ""),
        ("number", "2", 2),
        ("number", "-2.5", -2.5),
        ("boolean", "true", True),
        ("boolean", "false", False),
        ("array", '["a", "b"]', ["a", "b"]),
        ("object", '{"a": 1}', {"a": 1}),
    ],
)
def test_values_become_what_the_action_declares(port: FakePort, kind: str, text: str, value: Any) -> None:
    """A text is read by the input's type."""
    define(port, {"x": {"type": kind}})
    assert command("run", "create_vm", "--input", f"x={text}", "--no-follow", port=port).exit_code == 0
    assert executions(port) == [{"properties": {"x": value}}]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("number", "two"),
        ("number", "true"),
        ("number", '"2"'),
        ("number", "NaN"),
        ("boolean", "yes"),
        ("boolean", "1"),
        ("array", "a,b"),
        ("array", '{"a": 1}'),
        ("object", "[]"),
        ("object", "null"),
    ],
)
def test_value_of_another_type_is_named(port: FakePort, kind: str, text: str) -> None:
    """A value of a wrong type is named with an example of a right one, and nothing is started: code 2."""
    define(port, {"x": {"type": kind}})
    result = command("run", "create_vm", "--input", f"x={text}", port=port)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: The input x is of the type {kind}: it looks like ")
    assert result.stderr.endswith(f", not {text}.\n")
    assert executions(port) == []


def test_inputs_come_from_a_file(port: FakePort, tmp_path: Path) -> None:
    """A file holds inputs as JSON; a flag goes before it, and - is stdin."""
    file = tmp_path / "inputs.json"
    content = {"cpu": 2, "memory": 4, "storage": 50, "region": "eu-west-1"}
    file.write_text(json.dumps(content))
    arguments = ("run", "create_vm", "--no-follow", "--input", "cpu=8", "--inputs-file")
    assert command(*arguments, str(file), port=port).exit_code == 0
    assert command(*arguments, "-", port=port, typed=json.dumps(content)).exit_code == 0
    assert executions(port) == [{"properties": {**content, "cpu": 8}}] * 2


@pytest.mark.parametrize("text", ["{", "[]", "", '{"cpu": NaN}'])
def test_file_that_holds_no_inputs(port: FakePort, tmp_path: Path, text: str) -> None:
    """A file that is not a JSON object is named before Port is asked: code 2."""
    file = tmp_path / "inputs.json"
    file.write_text(text)
    result = command("run", "create_vm", "--inputs-file", str(file), port=port)
    assert result.exit_code == 2
    assert str(file) in result.stderr
    assert port.requests == []


def test_unknown_input_lists_those_that_there_are(port: FakePort, tmp_path: Path) -> None:
    """An input that the action has not is named, with those that it has, from a flag as from a file."""
    file = tmp_path / "inputs.json"
    file.write_text('{"cpus": 2}')
    for arguments in (("--input", "cpus=2"), ("--inputs-file", str(file)), ("--secret-env", "cpus=HOME")):
        result = command("run", "create_vm", *arguments, port=port)
        assert result.exit_code == 2
        assert "create_vm has no input cpus. Its inputs are: title, cpu, memory, storage, region." in result.stderr
    assert executions(port) == []


def test_missing_inputs_are_asked_for_as_they_are_typed(port: FakePort) -> None:
    """Required inputs that were not given are listed as options, choices and all; those with a default are Port's."""
    inputs = {
        "cpu": {"type": "number"},
        "region": {"type": "string", "enum": ["eu", "us"]},
        "password": {"type": "string", "encryption": "aes256-gcm"},
        "size": {"type": "string", "default": "small"},
    }
    define(port, inputs, list(inputs))
    result = command("run", "create_vm", port=port)
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: create_vm needs --input cpu=<number> --input region=eu|us --secret-prompt password.\n"
    )


def test_input_without_equals_sign(port: FakePort) -> None:
    """An input that is no pair is refused without repeating it: it may be a secret in the wrong place."""
    result = command("run", "create_vm", "--input", SECRET, port=port)
    assert result.exit_code == 2
    assert "--input takes NAME=VALUE" in result.stderr
    assert SECRET not in result.output


# Secret inputs


def with_secret(port: FakePort, **rules: Any) -> None:
    define(port, {"password": {"type": "string", "encryption": "aes256-gcm", **rules}}, ["password"])


def test_secret_is_no_argument(port: FakePort) -> None:
    """A secret input given as an argument is refused with the ways to give it, and not repeated: code 2."""
    with_secret(port)
    result = command("run", "create_vm", "--input", f"password={SECRET}", port=port)
    assert result.exit_code == 2
    assert "The input password is secret" in result.stderr
    for way in ("--inputs-file", "--secret-env password=VARIABLE", "--secret-prompt password"):
        assert way in result.stderr
    assert SECRET not in result.output
    assert executions(port) == []


def test_secret_comes_from_environment_prompt_or_file(port: FakePort, tmp_path: Path) -> None:
    """Each of the ways brings it to Port, and none prints it."""
    with_secret(port)
    file = tmp_path / "inputs.json"
    file.write_text(json.dumps({"password": SECRET}))
    ways: list[tuple[tuple[str, ...], str | None]] = [
        (("--secret-env", "password=THE_PASSWORD"), None),
        (("--secret-prompt", "password"), f"{SECRET}\n"),
        (("--inputs-file", str(file)), None),
    ]
    for arguments, typed in ways:
        result = command("run", "create_vm", *arguments, "--no-follow", port=port, typed=typed, THE_PASSWORD=SECRET)
        assert result.exit_code == 0, result.output
        assert SECRET not in result.output
    assert executions(port) == [{"properties": {"password": SECRET}}] * 3


def test_secret_object_is_read_as_json(port: FakePort) -> None:
    """A secret of the type object is JSON. A text that is not JSON is not repeated."""
    define(port, {"login": {"type": "object", "encryption": "aes256-gcm"}})
    arguments = ("run", "create_vm", "--secret-env", "login=LOGIN", "--no-follow")
    assert command(*arguments, port=port, LOGIN='{"user": "a"}').exit_code == 0
    assert executions(port) == [{"properties": {"login": {"user": "a"}}}]
    result = command(*arguments, port=port, LOGIN=SECRET)
    assert result.exit_code == 2
    assert "it looks like" in result.stderr
    assert SECRET not in result.output


def test_variable_that_is_not_set(port: FakePort) -> None:
    """The variable is named."""
    with_secret(port)
    result = command("run", "create_vm", "--secret-env", "password=NOT_SET_ANYWHERE", port=port)
    assert result.exit_code == 2
    assert "NOT_SET_ANYWHERE is not set" in result.stderr


def test_secret_that_port_refuses_is_not_repeated(port: FakePort) -> None:
    """Port's words about a value that does not fit are shown without the value."""
    with_secret(port, pattern="^[0-9]+$")
    result = command("run", "create_vm", "--secret-env", "password=THE_PASSWORD", port=port, THE_PASSWORD=SECRET)
    assert result.exit_code == 1
    assert "user_inputs_schema_invalid" in result.stderr
    assert "'***' does not match" in result.stderr
    assert SECRET not in result.output


def test_input_for_a_key_of_the_customer_is_for_ports_form(port: FakePort) -> None:
    """An input that the browser encrypts must not reach Port as plain text."""
    define(port, {"key": {"type": "string", "encryption": {"algorithm": "client-side", "key": "PEM"}}})
    result = command("run", "create_vm", "--secret-env", "key=THE_KEY", port=port, THE_KEY=SECRET)
    assert result.exit_code == 2
    assert "Run create_vm in Port's own form" in result.stderr
    assert executions(port) == []


# Actions and entities


def test_unknown_action(port: FakePort) -> None:
    """An action that Port has not is named with what may be wrong."""
    result = command("run", "delete vm", port=port)
    assert result.exit_code == 1
    assert f"Port at {port.url} has no action delete vm." in result.stderr


def test_automation_is_not_for_people(port: FakePort) -> None:
    """An automation cannot be run."""
    port.actions["create_vm"]["trigger"] = {"type": "automation", "event": {}}
    result = command("run", "create_vm", port=port)
    assert result.exit_code == 1
    assert "create_vm is an automation" in result.stderr


def test_entity_of_a_day_2_action(port: FakePort, function: Function) -> None:
    """A DAY-2 action needs an entity, which is sent; a CREATE action takes none."""
    result = command("run", "create_vm", *INPUTS, "--entity", "vm-1", port=port)
    assert result.exit_code == 2
    assert "create_vm is a CREATE action: it takes no --entity." in result.stderr
    function.call("POST", "/blueprints/vm/entities", {"identifier": "vm-1"})
    define(port, {}, operation="DAY-2")
    result = command("run", "create_vm", port=port)
    assert result.exit_code == 2
    assert "say with --entity for which vm" in result.stderr
    succeed(function)
    assert command("run", "create_vm", "--entity", "vm-1", port=port).exit_code == 0
    assert executions(port) == [{"properties": {}, "entity": "vm-1"}]


def test_refusal_of_port_is_a_sentence(port: FakePort) -> None:
    """Port's refusal is shown in Port's own words, and nothing is followed: code 1."""
    result = command("run", "create_vm", *INPUTS[:-1], "region=moon", port=port)
    assert result.exit_code == 1
    assert "refused to run create_vm (422 user_inputs_schema_invalid" in result.stderr
    assert "'moon' is not one of" in result.stderr
