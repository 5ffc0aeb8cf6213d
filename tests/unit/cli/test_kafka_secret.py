"""`kafka-secret` brings what Port says of Kafka to Terraform and Secrets Manager, and the password nowhere else."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import Result
from moto import mock_aws

from port_runner_sandbox.fake_port import FakePort
from tests.support.command_under_test import command

PASSWORD = "the-kafka-password"
BROKERS = ["b-1.example.com:9196", "b-2.example.com:9196"]
CREDENTIALS = {"brokers": BROKERS, "username": "the-user", "password": PASSWORD}
REGION = "eu-west-1"


@pytest.fixture
def port() -> Iterator[FakePort]:
    with FakePort(kafka_credentials=dict(CREDENTIALS)) as port:
        yield port


@pytest.fixture
def secrets() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("secretsmanager", region_name=REGION)


def run(port: FakePort, file: Path, *arguments: str) -> Result:
    result = command("kafka-secret", "--output", str(file), *arguments, port=port, AWS_DEFAULT_REGION=REGION)
    assert PASSWORD not in result.output
    return result


def stored(secrets: Any, name: str) -> Any:
    return json.loads(secrets.get_secret_value(SecretId=name)["SecretString"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "port.auto.tfvars.json"


def test_variables_are_written_and_no_secret(port: FakePort, file: Path) -> None:
    """The file has the organization's id and the brokers under the module's names; only its owner may read it."""
    result = run(port, file)
    assert result.exit_code == 0, result.output
    variables = {"port_org_id": port.organization_id, "kafka_bootstrap_servers": BROKERS}
    assert json.loads(file.read_text()) == variables
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [child.name for child in file.parent.iterdir()] == [file.name]
    assert result.stdout.splitlines() == [
        f"{file}: created",
        f'  port_org_id = "{port.organization_id}"',
        f"  kafka_bootstrap_servers = {json.dumps(BROKERS)}",
    ]
    assert [r.path for r in port.requests[1:]] == ["/v1/organization", "/v1/kafka-credentials"]


def test_second_run_changes_nothing(port: FakePort, file: Path) -> None:
    """It is safe to run again, and other content of the file stays."""
    run(port, file)
    before = file.stat().st_ino
    assert run(port, file).stdout.startswith(f"{file}: unchanged")
    assert file.stat().st_ino == before
    file.write_text(json.dumps({"name": "mine", "port_org_id": "org_old"}))
    assert run(port, file).stdout.startswith(f"{file}: updated")
    assert json.loads(file.read_text()) == {
        "name": "mine",
        "port_org_id": port.organization_id,
        "kafka_bootstrap_servers": BROKERS,
    }


def test_secret_is_made_then_left_alone_then_rotated(port: FakePort, file: Path, secrets: Any) -> None:
    """--store makes a secret of that name, leaves it where it is right, and writes a new password into it."""
    result = run(port, file, "--store", "port/kafka")
    assert result.exit_code == 0, result.output
    arn = secrets.describe_secret(SecretId="port/kafka")["ARN"]
    assert result.stdout.splitlines()[0] == f"secret {arn}: created"
    assert stored(secrets, "port/kafka") == {"username": "the-user", "password": PASSWORD}
    assert json.loads(file.read_text())["kafka_credentials_secret_arn"] == arn
    assert PASSWORD not in file.read_text()

    assert run(port, file, "--store", "port/kafka").stdout.splitlines()[0] == f"secret {arn}: unchanged"
    assert len(secrets.describe_secret(SecretId=arn)["VersionIdsToStages"]) == 1

    port.kafka_credentials = {**CREDENTIALS, "password": "rotated"}
    document = json.loads(run(port, file, "--store", arn, "--json").stdout)
    assert document == {
        "port_org_id": port.organization_id,
        "kafka_bootstrap_servers": BROKERS,
        "kafka_credentials_secret_arn": arn,
        "secret": "updated",
        "file": str(file),
        "variables": "unchanged",
    }
    assert stored(secrets, arn) == {"username": "the-user", "password": "rotated"}


@pytest.mark.parametrize("value", ["not JSON", json.dumps({"username": "the-user"})])
def test_secret_of_another_form_is_written_over(port: FakePort, file: Path, secrets: Any, value: str) -> None:
    """For any earlier content, the secret has the content that a mapping reads at the end."""
    secrets.create_secret(Name="kafka", SecretString=value)
    assert ": updated" in run(port, file, "--store", "kafka").stdout
    assert stored(secrets, "kafka") == {"username": "the-user", "password": PASSWORD}


def test_empty_secret_is_filled(port: FakePort, file: Path, secrets: Any) -> None:
    """A secret that was made without a value, by Terraform say, gets one."""
    secrets.create_secret(Name="kafka")
    assert ": updated" in run(port, file, "--store", "kafka").stdout
    assert stored(secrets, "kafka")["password"] == PASSWORD


def test_arn_of_a_secret_that_is_not_there(port: FakePort, file: Path, secrets: Any) -> None:
    """A secret cannot be made from an ARN, so an unknown one is named and nothing is written: code 1."""
    arn = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:none-abcdef"
    result = run(port, file, "--store", arn)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: The secret {arn} cannot be written (ResourceNotFoundException).")
    assert not file.exists()


def test_secret_that_is_being_deleted(port: FakePort, file: Path, secrets: Any) -> None:
    """AWS's reason for a secret that cannot be written is shown."""
    secrets.create_secret(Name="kafka", SecretString="x")
    secrets.delete_secret(SecretId="kafka")
    result = run(port, file, "--store", "kafka")
    assert result.exit_code == 1
    assert "The secret kafka cannot be read (InvalidRequestException). AWS says:" in result.stderr


def test_organization_without_kafka(port: FakePort, file: Path) -> None:
    """An organization whose topics do not exist yet is told whom to ask."""
    port.kafka_credentials = None
    result = run(port, file)
    assert result.exit_code == 1
    assert "404" in result.stderr
    port.kafka_credentials = {"brokers": BROKERS, "username": "the-user", "password": ""}
    result = run(port, file)
    assert result.exit_code == 1
    assert "Ask Port's support" in result.stderr
    assert not file.exists()


@pytest.mark.parametrize(("name", "text"), [("a.tfvars", None), ("a.tfvars.json", "["), ("a.tfvars.json", "[]")])
def test_file_that_holds_no_variables(port: FakePort, tmp_path: Path, name: str, text: str | None) -> None:
    """A file of another form, or of another name, is left as it is: code 2."""
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    result = run(port, file)
    assert result.exit_code == 2
    assert str(file) in result.stderr
    assert (file.read_text() if file.exists() else None) == text


def test_folder_that_is_not_there(port: FakePort, tmp_path: Path) -> None:
    """A file that cannot be written is named, with the reason."""
    result = run(port, tmp_path / "none" / "a.tfvars.json")
    assert result.exit_code == 2
    assert "cannot be written: No such file or directory" in result.stderr


def test_region_is_asked_for(port: FakePort, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a region AWS cannot be asked, and the variable is named: code 2."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    result = command("kafka-secret", "--output", str(file), "--store", "kafka", port=port, AWS_CONFIG_FILE="/dev/null")
    assert result.exit_code == 2
    assert "Set AWS_REGION" in result.stderr
