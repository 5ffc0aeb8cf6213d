"""The set-up brings blueprints and actions into Port, and touches nothing it need not."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import Result
from moto import mock_aws

import port_runner_cli.clients.port
from port_runner_cli.clients.port import PortConnection, base_url
from port_runner_cli.commands.setup import read_definitions
from port_runner_cli.output import SettingsError
from port_runner_sandbox.fake_port import FakePort
from tests.support.command_under_test import command
from tests.support.project import ROOT


@pytest.fixture
def port() -> Iterator[FakePort]:
    with FakePort() as port:
        yield port


def run(port: FakePort, *arguments: str, **environment: str) -> Result:
    return command("setup", *arguments, port=port, **environment)


def writes(port: FakePort) -> list[tuple[str, str]]:
    """Method and path of each request that changes something."""
    return [(r.method, r.path) for r in port.requests if r.method != "GET" and "access_token" not in r.path]


def definition(folder: Path, content: Any) -> str:
    file = folder / "definition.json"
    file.write_text(json.dumps(content))
    return str(file)


def test_shipped_definitions_are_created_blueprint_first(port: FakePort) -> None:
    """On an empty organization the blueprint is made before the action that refers to it."""
    result = run(port)
    assert result.exit_code == 0, result.output
    assert writes(port) == [("POST", "/v1/blueprints"), ("POST", "/v1/actions")]
    assert result.stdout.splitlines() == [
        f"Port at {port.url}",
        "blueprint vm: created",
        "action create_vm: created",
    ]
    shipped = {definition.kind: definition.content for definition in read_definitions()}
    assert port.blueprints["vm"].items() >= shipped["blueprint"].items()
    assert port.actions["create_vm"].items() >= shipped["action"].items()


def test_second_run_changes_nothing(port: FakePort) -> None:
    """Port's additions to a definition are not a difference: the second run says unchanged and writes nothing."""
    run(port)
    before = len(writes(port))
    result = run(port)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == ["blueprint vm: unchanged", "action create_vm: unchanged"]
    assert len(writes(port)) == before


def test_dry_run_writes_nothing(port: FakePort) -> None:
    """--dry-run says what would be created and leaves Port alone."""
    result = run(port, "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == [
        "blueprint vm: would be created",
        "action create_vm: would be created",
    ]
    assert writes(port) == []


def test_difference_is_shown_before_it_is_overwritten(port: FakePort) -> None:
    """A changed action is printed as a difference, then replaced; with --dry-run only printed."""
    run(port)
    port.actions["create_vm"]["title"] = "Changed by hand"
    for arguments, outcome in (("--dry-run",), "would be updated"), ((), "updated"):
        result = run(port, *arguments)
        lines = result.stdout.splitlines()
        assert '-  "title": "Changed by hand",' in lines
        assert '+  "title": "Create a VM",' in lines
        assert lines[-1] == f"action create_vm: {outcome}"
    assert port.actions["create_vm"]["title"] == "Create a VM"
    assert writes(port)[2:] == [("PUT", "/v1/actions/create_vm")]


def test_payload_is_compared_to_the_letter(port: FakePort, tmp_path: Path) -> None:
    """In a payload an empty value is not the same as none."""
    [_, shipped] = read_definitions()
    run(port)
    payload = {**shipped.content["invocationMethod"]["payload"], "extra": {}}
    changed = {**shipped.content, "invocationMethod": {"type": "KAFKA", "payload": payload}}
    file = definition(tmp_path, changed)
    assert run(port, file).stdout.splitlines()[-1] == "action create_vm: updated"
    assert run(port, file).stdout.splitlines()[-1] == "action create_vm: unchanged"


def test_what_a_blueprint_has_besides_stays(port: FakePort) -> None:
    """A property that people added in Port survives an update of the others."""
    run(port)
    properties = port.blueprints["vm"]["schema"]["properties"]
    properties["owner"] = {"type": "string"}
    properties["region"]["title"] = "Place"
    port.blueprints["vm"]["changelogDestination"] = {"type": "KAFKA"}
    assert "blueprint vm: updated" in run(port).stdout
    stored = port.blueprints["vm"]
    assert stored["schema"]["properties"]["owner"] == {"type": "string"}
    assert stored["schema"]["properties"]["region"]["title"] == "Region"
    assert stored["changelogDestination"] == {"type": "KAFKA"}
    assert "blueprint vm: unchanged" in run(port).stdout


def test_only_the_named_files_are_taken(port: FakePort, tmp_path: Path) -> None:
    """Files and folders can be named; identifiers are encoded in paths."""
    blueprint = {"identifier": "a/b", "title": "A", "schema": {"properties": {}}}
    assert run(port, definition(tmp_path, blueprint)).exit_code == 0
    assert run(port, str(tmp_path)).stdout.splitlines()[1:] == ["blueprint a/b: unchanged"]
    assert list(port.blueprints) == ["a/b"]


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_address_may_have_a_slash_and_a_version(port: FakePort, suffix: str) -> None:
    """A trailing slash or /v1 in the address does no harm, as option or in the environment."""
    assert run(port, PORT_API_URL=port.url + suffix).exit_code == 0
    assert run(port, "--port-url", port.url + suffix, PORT_API_URL="https://api.port.io").exit_code == 0


def test_default_address_is_the_eu_region() -> None:
    """Without a setting the EU's address is used; http is for this machine only."""
    assert port_runner_cli.clients.port.DEFAULT_URL == base_url("https://api.port.io/v1/") == "https://api.port.io"
    assert base_url("http://localhost:8080") == "http://localhost:8080"
    for url in (
        "http://api.port.io",
        "api.port.io",
        "ftp://localhost",
        "",
        "https://",
        "https://api.port.io?x=1",
    ):
        with pytest.raises(SettingsError, match="no address of Port"):
            base_url(url)


@pytest.mark.parametrize(("name", "value"), [("REQUESTS_CA_BUNDLE", "/no/such/file"), ("HTTPS_PROXY", "http://[")])
def test_settings_of_the_network_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A variable with which no request can be sent is named in a sentence."""
    for variable in ("no_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=name):
        PortConnection("https://port.example.invalid", "a client id", "a client secret")


@pytest.mark.parametrize("name", ["PORT_CLIENT_ID", "PORT_CLIENT_SECRET"])
def test_missing_credentials_are_named(port: FakePort, name: str) -> None:
    """A variable that is missing is named, and Port is not asked: exit code 2."""
    result = run(port, **{name: ""})
    assert result.exit_code == 2
    assert f"{name} is not set" in result.stderr
    assert port.requests == []


def test_wrong_credentials_are_explained_and_not_shown(port: FakePort) -> None:
    """401 leads to the two variables and the region; the secret is in no output. Exit code 1."""
    result = run(port, PORT_CLIENT_SECRET="not-the-right-one")
    assert result.exit_code == 1
    assert "401" in result.stderr
    assert "https://api.us.port.io" in result.stderr
    assert port.requests[-1].trace_id in result.stderr
    assert "not-the-right-one" not in result.output


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"drop": "before"}, "cannot be reached"),
        ({"status": 503, "body": "<html>"}, "Try again later"),
        ({"status": 522, "body": "<html>"}, "Try again later"),
        ({"status": 302, "body": ""}, "does not seem to be Port"),
        ({"status": 429, "headers": {"Retry-After": "7"}}, "in 7 s"),
        ({"status": 403, "body": {"ok": False, "error": "forbidden"}}, "IP address"),
        (
            {"status": 422, "body": {"ok": False, "error": "invalid_request", "message": "title: too long"}},
            "too long",
        ),
        ({"status": 422, "body": ["odd"]}, "Correct what was sent"),
        ({"status": 200, "body": "<html>"}, "does not seem to be Port"),
    ],
)
def test_refusals_and_failures_are_sentences(port: FakePort, fault: dict[str, Any], sentence: str) -> None:
    """For any answer of Port, a sentence names the subject, and the exit code is 1."""
    port.fail("/v1/blueprints", **fault)
    result = run(port)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert port.url in result.stderr
    assert "Traceback" not in result.output


def test_number_that_json_does_not_have_is_a_sentence(port: FakePort, tmp_path: Path) -> None:
    """Python reads NaN from a file. Port cannot be sent it, and the definition is named."""
    file = tmp_path / "vm.json"
    file.write_text('{"identifier": "vm", "schema": {"properties": {"size": {"type": "number", "default": NaN}}}}')
    result = run(port, str(file))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: Nothing was sent to Port (blueprint vm): ")
    assert port.blueprints == {}


def test_no_answer_in_time(port: FakePort, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request has a timeout."""
    monkeypatch.setattr(port_runner_cli.clients.port, "READ_SECONDS", 0.1)
    port.fail("/v1/blueprints", delay=5)
    result = run(port)
    assert result.exit_code == 1
    assert "did not answer in time" in result.stderr


def test_nothing_listens() -> None:
    """An address where nothing answers is named with the reason."""
    with FakePort() as port:
        pass
    result = run(port)
    assert result.exit_code == 1
    assert port.url in result.stderr
    assert "refused" in result.stderr


@pytest.mark.parametrize("text", ["{", "[]", '{"identifier": "x"}', '{"schema": {}}'])
def test_file_that_is_no_definition(port: FakePort, tmp_path: Path, text: str) -> None:
    """A file that is not JSON, or neither blueprint nor action, is named before Port is asked: code 2."""
    file = tmp_path / "wrong.json"
    file.write_text(text)
    result = run(port, str(file))
    assert result.exit_code == 2
    assert str(file) in result.stderr
    assert port.requests == []


def test_file_that_is_missing(port: FakePort, tmp_path: Path) -> None:
    """A file that is not there is named."""
    result = run(port, str(tmp_path / "none.json"))
    assert result.exit_code == 2
    assert "none.json cannot be read" in result.stderr


def test_proxy_of_the_environment_is_not_asked_for_this_machine(
    port: FakePort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy cannot reach the fake Port, and is left out."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert run(port).exit_code == 0


def test_what_came_of_it_is_read_by_programs(port: FakePort) -> None:
    """With --json, stdout is one document with outcome and difference of each definition; the rest is on stderr."""
    run(port)
    port.actions["create_vm"]["title"] = "Changed by hand"
    result = run(port, "--json")
    blueprint, action = json.loads(result.stdout)
    assert blueprint == {"kind": "blueprint", "identifier": "vm", "outcome": "unchanged", "difference": []}
    assert (action["identifier"], action["outcome"]) == ("create_vm", "updated")
    assert '-  "title": "Changed by hand",' in action["difference"]
    assert "action create_vm: updated" in result.stderr


# Where Port is, and who asks


def test_credentials_come_from_a_file(port: FakePort, tmp_path: Path) -> None:
    """--credentials-file is taken in place of the environment's."""
    file = tmp_path / "credentials.json"
    file.write_text(json.dumps({"client_id": port.client_id, "client_secret": port.client_secret}))
    result = run(port, "--credentials-file", str(file), PORT_CLIENT_ID="", PORT_CLIENT_SECRET="of another")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("text", ["{", "[]", '{"client_id": "a"}', '{"client_id": "a", "client_secret": ""}'])
def test_file_without_credentials(port: FakePort, tmp_path: Path, text: str) -> None:
    """A file that holds no credentials is named, with what it must look like, and Port is not asked: code 2."""
    file = tmp_path / "credentials.json"
    file.write_text(text)
    result = run(port, "--credentials-file", str(file))
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {file} must hold a JSON object")
    assert "client_secret" in result.stderr
    assert port.requests == []
    assert run(port, "--credentials-file", str(tmp_path / "none")).exit_code == 2


def test_credentials_come_from_a_secret(port: FakePort) -> None:
    """--credentials-secret-arn or PORT_CREDENTIALS_SECRET_ARN names a secret, which goes before PORT_CLIENT_ID."""
    with mock_aws():
        client = boto3.client("secretsmanager", region_name="eu-west-1")
        content = json.dumps({"client_id": port.client_id, "client_secret": port.client_secret})
        arn = client.create_secret(Name="port", SecretString=content)["ARN"]
        elsewhere = {"PORT_CLIENT_SECRET": "of another", "AWS_DEFAULT_REGION": "us-east-1"}
        assert run(port, "--credentials-secret-arn", arn, **elsewhere).exit_code == 0
        assert run(port, PORT_CREDENTIALS_SECRET_ARN=arn, **elsewhere).exit_code == 0
        result = run(port, "--credentials-secret-arn", f"{arn}x")
    assert result.exit_code == 1
    assert result.stderr.startswith(
        f"Error: The secret {arn}x with Port's credentials cannot be read (ResourceNotFoundExc"
    )


def test_only_one_source_of_credentials_is_named(port: FakePort) -> None:
    """A file and a secret at once are a mistake: code 2."""
    result = run(port, "--credentials-file", "x", "--credentials-secret-arn", "y")
    assert result.exit_code == 2
    assert "not both" in result.stderr


def test_token_that_ends_is_renewed(port: FakePort) -> None:
    """A token that Port no longer accepts is renewed once, and the command continues."""
    port.fail("/v1/blueprints/vm", status=401)
    result = run(port)
    assert result.exit_code == 0, result.output
    assert [r.path for r in port.requests].count("/v1/auth/access_token") == 2


def test_runs_as_a_program(port: FakePort) -> None:
    """The package runs from any folder, and its help lists the commands and says where credentials go."""
    environment = {
        **os.environ,
        "PORT_CLIENT_ID": port.client_id,
        "PORT_CLIENT_SECRET": port.client_secret,
        "PORT_API_URL": port.url,
    }

    def program(*arguments: str) -> str:
        line = [sys.executable, "-m", "port_runner_cli", *arguments]
        return subprocess.run(line, env=environment, cwd="/", capture_output=True, check=True, text=True).stdout

    help_text = program("--help")
    for word in ("PORT_CLIENT_SECRET", "setup", "check", "action-json", "kafka-secret", "run", "scripts/port-runner"):
        assert word in help_text
    assert program("setup").splitlines()[-1] == "action create_vm: created"
    assert set(port.actions) == {"create_vm"}


def test_script_makes_the_environment_and_keeps_the_folder(tmp_path: Path) -> None:
    """scripts/port-runner makes the environment first, says so on stderr, and hands arguments and folder on."""
    folder = tmp_path / "a project" / "scripts"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "port-runner", folder)
    python = tmp_path / "a project" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    answers = {
        folder / "find-python": "echo python-of-the-test",
        tmp_path / "python-of-the-test": 'echo "making $*"',
        python: 'echo "$PWD $*"; exit 3',
    }
    for file, text in answers.items():
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    line = [str(folder / "port-runner"), "run", "create_vm"]
    done = subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, check=False, text=True)
    root = folder.parent
    assert done.returncode == 3
    assert done.stderr == f"making {root}/scripts/environments.py dev\n"
    assert done.stdout == f"{tmp_path} -m port_runner_cli run create_vm\n"
