"""The command line against the deployed function: what it finds, what it sends again, what it shows of a run."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from port_runner.testing import run_message
from port_runner_cli.__main__ import main
from tests.support.deployment import INPUTS, Deployment, new_run_id


def run(deployment: Deployment, *arguments: str, **access: str) -> Result:
    """Run a command with this deployment's AWS, and no credentials for Port but these."""
    unset = dict.fromkeys(("PORT_CLIENT_ID", "PORT_CLIENT_SECRET", "PORT_API_URL", "AWS_PROFILE"))
    environment = {**unset, **deployment.sandbox.environment, "PORT_RUNNER_FUNCTION": deployment.name, **access}
    return CliRunner().invoke(main, arguments, env=environment)


def diagnosis(deployment: Deployment, *arguments: str) -> dict[str, str]:
    """The state of each check, but for what earlier tests left over."""
    found = json.loads(run(deployment, "doctor", "--action", "create_vm", "--json", *arguments).stdout)["findings"]
    return {f"{each['section']}: {each['check']}": each["state"] for each in found if each["section"] != "Left over"}


def bad(deployment: Deployment, *arguments: str) -> list[str]:
    return [name for name, state in diagnosis(deployment, *arguments).items() if state == "bad"]


# doctor


@pytest.fixture
def quiet(deployment: Deployment) -> None:
    """Every record is done with, and the mapping says that all is well."""
    deployment.ended(deployment.start("create_vm", INPUTS))
    deployment.until(deployment.consumed)
    deployment.until(lambda: deployment.result() == "OK")


@pytest.mark.usefixtures("quiet")
def test_doctor_finds_nothing_wrong(deployment: Deployment) -> None:
    """Every check of a deployment that Terraform made is good, and every part can be checked."""
    assert deployment.until(lambda: all_good(diagnosis(deployment)))


def all_good(states: dict[str, str]) -> bool:
    """Return whether every check is good, after the group's members have settled."""
    assert {state for name, state in states.items() if name != "Kafka: members"} == {"good"}, states
    return states["Kafka: members"] == "good"


@contextmanager
def secret(deployment: Deployment, kind: str, content: Any) -> Iterator[None]:
    """Another content of one of the module's secrets."""
    secrets, name = deployment.sandbox.aws("secretsmanager"), f"{deployment.name}/{kind}"
    before = secrets.get_secret_value(SecretId=name)["SecretString"]
    secrets.put_secret_value(SecretId=name, SecretString=json.dumps(content))
    try:
        yield
    finally:
        secrets.put_secret_value(SecretId=name, SecretString=before)


def test_doctor_finds_a_wrong_password(deployment: Deployment) -> None:
    """A password that Kafka does not take is the one thing that is bad."""
    with secret(deployment, "kafka-credentials", {"username": deployment.sandbox.kafka.username, "password": "old"}):
        assert bad(deployment) == ["Kafka: login"]


def test_a_rotated_password_is_brought_into_the_secret(deployment: Deployment, tmp_path: Path) -> None:
    """For a password that Kafka refuses, doctor advises `kafka-secret --store`, which stores the right one."""
    kafka, port = deployment.sandbox.kafka, deployment.sandbox.port
    access = {"PORT_API_URL": port.url, "PORT_CLIENT_ID": port.client_id, "PORT_CLIENT_SECRET": port.client_secret}
    variables = tmp_path / "port.auto.tfvars.json"
    with secret(deployment, "kafka-credentials", {"username": kafka.username, "password": "old"}):
        name = f"{deployment.name}/kafka-credentials"
        result = run(deployment, "kafka-secret", "--output", str(variables), "--store", name, **access)
        assert result.exit_code == 0, result.output
        assert bad(deployment) == []
    written = json.loads(variables.read_text())
    assert written["kafka_bootstrap_servers"] == kafka.bootstrap_servers
    assert kafka.password not in result.output + variables.read_text()


def test_doctor_finds_a_client_that_port_refuses(deployment: Deployment) -> None:
    """A client secret that Port does not take is the one thing that is bad."""
    with secret(
        deployment, "port-credentials", {"client_id": deployment.sandbox.port.client_id, "client_secret": "old"}
    ):
        assert bad(deployment) == ["Port: credentials"]


@contextmanager
def another_mapping(deployment: Deployment, **settings: Any) -> Iterator[None]:
    """A second mapping of the function, which does not poll."""
    functions, first = deployment.sandbox.aws("lambda"), deployment.mapping()
    names = ("SelfManagedEventSource", "SelfManagedKafkaEventSourceConfig", "SourceAccessConfigurations")
    copied = {name: first[name] for name in names}
    made = functions.create_event_source_mapping(
        FunctionName=deployment.name, StartingPosition="TRIM_HORIZON", Enabled=False, **{**copied, **settings}
    )
    try:
        yield
    finally:
        functions.delete_event_source_mapping(UUID=made["UUID"])


def test_doctor_finds_what_is_wrong_with_a_mapping(deployment: Deployment) -> None:
    """A topic and a group that are not the organization's, and a disabled mapping, are each found."""
    group = {"ConsumerGroupId": "a-foreign-group"}
    with another_mapping(deployment, Topics=["org_another.runs"], SelfManagedKafkaEventSourceConfig=group):
        found = bad(deployment, "--topic", "org_another.runs")
        assert bad(deployment) == []
    assert found == ["Mapping: state", "Port: topic", "Port: group", "Kafka: topic"]


def test_doctor_finds_a_shared_group(deployment: Deployment) -> None:
    """A second mapping in the consumer group is found from the first."""
    # Of the same brokers, by the same names, there can be no second one.
    servers = [server.replace("localhost", "127.0.0.1") for server in deployment.sandbox.kafka.bootstrap_servers]
    source = {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": servers}}
    with another_mapping(deployment, Topics=["org_another.runs"], SelfManagedEventSource=source):
        assert bad(deployment) == ["Mapping: group"]


def test_doctor_finds_a_function_that_fails(deployment: Deployment) -> None:
    """While Port refuses the function's reports, the mapping's last result says that the function fails."""
    refusal: dict[str, Any] = {"status": 503, "headers": {"Retry-After": "600"}}
    with deployment.sandbox.port.fail("/v1/actions/runs/", times=None, **refusal):
        run_id = deployment.start("create_vm", INPUTS)
        deployment.until(lambda: "failed" in deployment.result())
        assert bad(deployment) == ["Mapping: last result"]
    deployment.ended(run_id)
    deployment.until(deployment.consumed)


# failures


def kept(deployment: Deployment, run_id: str) -> list[dict[str, Any]]:
    """Return the line of `failures list` about a run."""
    found = json.loads(run(deployment, "failures", "list", "--json").stdout)
    return [each for each in found if each["run_id"] == run_id]


def keep(deployment: Deployment, run_id: str) -> dict[str, Any]:
    """Have the function keep a record, since Port does not know its run; the message in the queue."""
    deployment.publish(run_message("create_vm", INPUTS, run_id=run_id, blueprint="vm"))
    [message] = deployment.until(lambda: kept(deployment, run_id))
    return message


def test_a_kept_record_goes_back_to_the_function(deployment: Deployment, tmp_path: Path) -> None:
    """A run that Port did not know is kept, can be looked at and tried here, and ends once it is sent again."""
    run_id = new_run_id()
    message = keep(deployment, run_id)
    assert message["reason"] == "Port does not know its run"

    event = tmp_path / "event.json"
    event.write_text(run(deployment, "failures", "show", message["id"], "--event").stdout)
    assert f"{run_id}: SUCCESS" in run(deployment, "local", str(event)).stdout

    again = run(deployment, "failures", "resend", message["id"])
    assert again.exit_code == 1
    assert "not taken: Port does not know its run" in again.stdout
    assert kept(deployment, run_id) == [message]

    deployment.sandbox.port.add_run(run_id)
    sent = run(deployment, "failures", "resend", message["id"])
    assert sent.exit_code == 0, sent.output
    assert f"{run_id} ended in SUCCESS" in sent.stdout
    assert deployment.sandbox.port.runs[run_id]["status"] == "SUCCESS"
    assert kept(deployment, run_id) == []


def test_records_that_lambda_gave_up_are_fetched_from_kafka(deployment: Deployment) -> None:
    """Of offsets alone, the records are read from Kafka with the mapping's login; those that are gone stay kept."""
    run_ids = [new_run_id() for _ in range(2)]
    first = deployment.published()
    for run_id in run_ids:
        assert run(deployment, "failures", "remove", keep(deployment, run_id)["id"], "--yes").exit_code == 0
        deployment.sandbox.port.add_run(run_id)
    ids = [given_up(deployment, offset, offset + 1) for offset in (first, deployment.published())]

    shown = run(deployment, "failures", "show", ids[0])
    assert all(run_id in shown.stdout for run_id in run_ids)
    result = run(deployment, "failures", "resend", *ids)

    assert result.exit_code == 1
    taken, not_taken = result.stdout.splitlines()
    assert taken.endswith(": taken: " + ", ".join(f"{run_id} ended in SUCCESS" for run_id in run_ids))
    assert "no longer has it" in not_taken
    left = [each["id"] for each in json.loads(run(deployment, "failures", "list", "--json").stdout)]
    assert (ids[0] in left, ids[1] in left) == (False, True)
    assert run(deployment, "failures", "remove", ids[1], "--yes").exit_code == 0


def given_up(deployment: Deployment, first: int, last: int) -> str:
    """Put Lambda's own record of a batch into the failure queue; its id."""
    places = {f"{deployment.sandbox.kafka.topic}-0": {"firstRecordOffset": str(first), "lastRecordOffset": str(last)}}
    body = {"requestContext": {"condition": "RetryAttemptsExhausted"}, "KafkaBatchInfo": {"recordsInfo": places}}
    url = deployment.outputs["failure_queue_url"]
    sent = deployment.sandbox.aws("sqs").send_message(QueueUrl=url, MessageBody=json.dumps(body))
    return str(sent["MessageId"])


# tail


def test_tail_shows_one_run(deployment: Deployment) -> None:
    """The lines of one run, and how long its invocation took, out of a log that has others."""
    run_ids = [deployment.start("create_vm", INPUTS) for _ in range(2)]
    deployment.ended(*run_ids)

    result = run(deployment, "tail", run_ids[0], "--follow")

    assert result.exit_code == 0
    assert "run.started  handler=handlers.vm.create_vm" in result.stdout
    assert "run.reported  status=SUCCESS" in result.stdout
    assert result.stdout.count("REPORT RequestId") == 1
    lines = json.loads(run(deployment, "tail", run_ids[0], "--json").stdout)
    assert {line["run_id"] for line in lines if "run_id" in line} == {run_ids[0]}
