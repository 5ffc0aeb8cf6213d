"""`doctor` says so if everything is good, and names exactly the part that is broken.

Function, role, secrets, queue and log are in an AWS within this process, Port is the fake one, and Kafka is a broker on
this machine behind TLS and SCRAM.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Consumer, ConsumerGroupState, KafkaError, KafkaException

from port_runner.testing import run_message
from port_runner_cli.__main__ import main
from port_runner_cli.clients import kafka as kafka_module
from port_runner_cli.clients.port import PortAccess, PortConnection
from port_runner_cli.commands.doctor import kafka_checks, leftover_checks, mapping_checks
from port_runner_cli.commands.doctor.command import CHECKS, list_checks, run_check
from port_runner_cli.commands.doctor.deployment import Deployment
from port_runner_cli.commands.doctor.filter_pattern import passes
from port_runner_cli.commands.doctor.finding import Finding, NotCheckable
from port_runner_cli.commands.doctor.role_policy import Policies, trusts
from port_runner_cli.commands.doctor.sample_message import sample_message
from port_runner_cli.commands.setup import read_definitions, set_up
from port_runner_sandbox.broker import broker
from port_runner_sandbox.certificates import Certificates, make_certificates
from port_runner_sandbox.fake_port import FakePort
from port_runner_sandbox.gateway import Gateway
from port_runner_sandbox.kafka import Kafka
from port_runner_sandbox.processes import free_port
from tests.support.fake_lambda import ACCOUNT, REGION, FakeFunction, FakeLambda
from tests.support.function_under_test import event_file

NAME = "runs-under-test"
ORGANIZATION = "org_localstack000001"
TOPIC = f"{ORGANIZATION}.runs"
GROUP = f"{ORGANIZATION}.{NAME}"
LAYER = f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:{NAME}-dependencies:1"

type Json = dict[str, Any]
type Found = dict[str, Finding]


# Kafka, once for all


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def cluster(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker with the topic of the runs, in which one record has been read in the function's group."""
    directory, port = tmp_path_factory.mktemp("kafka"), free_port()
    with Gateway(broker_port=port, certificates=certificates, log=directory / "gateway.log") as gateway:
        gateway.set_password("user", "password")
        with broker(port, advertised=f"127.0.0.1:{gateway.port}", log=directory / "broker.log"):
            kafka = Kafka(
                bootstrap_servers=[f"127.0.0.1:{gateway.port}"],
                ca_certificate=certificates.authority,
                username="user",
                password="password",
                topic=TOPIC,
                set_password=gateway.set_password,
            )
            kafka.create_topic(TOPIC)
            kafka.produce(b"{}")
            with reading(kafka, GROUP):
                yield kafka


@contextmanager
def reading(kafka: Kafka, group: str, topic: str = TOPIC) -> Iterator[None]:
    """A consumer that has read a topic to its end and stays in its group, as Lambda's poller does."""
    settings = {
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": 2000,
        "heartbeat.interval.ms": 300,
    }
    consumer = Consumer(kafka.client_config() | settings)
    consumer.subscribe([topic])
    deadline = time.monotonic() + 20
    while consumer.poll(0.1) is None:
        assert time.monotonic() < deadline
    consumer.commit(asynchronous=False)
    ended = threading.Event()

    def stay() -> None:
        while not ended.is_set():
            consumer.poll(0.1)

    thread = threading.Thread(target=stay)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        consumer.close()


# A deployment in which all is well


class Deployed:
    """The deployment that doctor examines. Each test breaks one part of it."""

    def __init__(self, aws: FakeLambda, port: FakePort, cluster: Kafka) -> None:
        self.aws, self.port, self.cluster = aws, port, cluster
        self.secrets, self.iam, self.sqs, self.logs = map(boto3.client, ("secretsmanager", "iam", "sqs", "logs"))
        self.group = f"/aws/lambda/{NAME}"
        self.logs.create_log_group(logGroupName=self.group)
        self.queue: str = self.sqs.create_queue(QueueName=f"{NAME}-failures")["QueueUrl"]
        self.login = self.secret("kafka-credentials", {"username": "user", "password": "password"})
        self.authority = self.secret("kafka-ca-certificate", {"certificate": cluster.ca_certificate})
        credentials = {"client_id": port.client_id, "client_secret": port.client_secret}
        self.credentials = self.secret("port-credentials", credentials)
        self.make_role()
        self.environment = {
            "PORT_API_URL": port.url,
            "PORT_CREDENTIALS_SECRET_ARN": self.credentials,
            "FAILURE_QUEUE_URL": self.queue,
            "REPORT_BATCH_ITEM_FAILURES": "false",
        }
        self.configuration: Json = {
            "Role": self.role,
            "Runtime": "python3.13",
            "Architectures": ["x86_64"],
            "Layers": [{"Arn": LAYER}],
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "Environment": {"Variables": self.environment},
        }
        self.function = aws.add(FakeFunction(NAME, configuration=self.configuration))
        aws.layers[LAYER] = {"CompatibleRuntimes": ["python3.13"], "CompatibleArchitectures": ["x86_64"]}
        self.mapping: Json = {
            "UUID": "5f2d9b1c-0000-0000-0000-000000000000",
            "FunctionArn": self.function.arn,
            "Topics": [TOPIC],
            "State": "Enabled",
            "LastProcessingResult": "OK",
            "StartingPosition": "TRIM_HORIZON",
            "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap_servers}},
            "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": GROUP},
            "SourceAccessConfigurations": [
                {"Type": "SASL_SCRAM_512_AUTH", "URI": self.login},
                {"Type": "SERVER_ROOT_CA_CERTIFICATE", "URI": self.authority},
            ],
        }
        aws.mappings.append(self.mapping)

    def secret(self, name: str, content: Any) -> str:
        text = content if isinstance(content, str) else json.dumps(content)
        return str(self.secrets.create_secret(Name=f"{NAME}/{name}", SecretString=text)["ARN"])

    def put(self, arn: str, content: Any) -> None:
        self.secrets.put_secret_value(SecretId=arn, SecretString=json.dumps(content))

    def make_role(self) -> None:
        self.statements: list[Json] = [
            allow("secretsmanager:GetSecretValue", self.login, self.authority, self.credentials),
            allow("sqs:SendMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{NAME}-failures"),
            allow(
                ["logs:CreateLogStream", "logs:PutLogEvents"],
                f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{self.group}:*",
            ),
        ]
        trust = allow("sts:AssumeRole") | {"Principal": {"Service": "lambda.amazonaws.com"}}
        role = self.iam.create_role(
            RoleName=NAME, AssumeRolePolicyDocument=json.dumps(policy(without(trust, "Resource")))
        )
        self.role = role["Role"]["Arn"]
        self.write_policy()

    def write_policy(self) -> None:
        document = json.dumps(policy(*self.statements))
        self.iam.put_role_policy(RoleName=NAME, PolicyName="port-runner", PolicyDocument=document)

    def action(self) -> Json:
        return self.port.actions["create_vm"]

    def payload(self) -> Json:
        payload: Json = self.action()["invocationMethod"]["payload"]
        return payload

    def log(self, *lines: Any, stream: str = "s") -> None:
        self.logs.create_log_stream(logGroupName=self.group, logStreamName=stream)
        events = [
            {
                "timestamp": int(time.time() * 1000) + number,
                "message": each if isinstance(each, str) else json.dumps(each),
            }
            for number, each in enumerate(lines)
        ]
        self.logs.put_log_events(logGroupName=self.group, logStreamName=stream, logEvents=events)


def allow(actions: Any, *resources: str) -> Json:
    return {"Effect": "Allow", "Action": actions, "Resource": list(resources)}


def policy(*statements: Json) -> Json:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def without(content: Json, *names: str) -> Json:
    return {name: value for name, value in content.items() if name not in names}


@pytest.fixture
def port() -> Iterator[FakePort]:
    with FakePort() as port:
        with PortConnection(port.url, port.client_id, port.client_secret) as connection:
            set_up(connection, read_definitions(), tell=lambda text, style: None)
        yield port


@pytest.fixture
def deployed(aws: FakeLambda, port: FakePort, cluster: Kafka, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    for name in ("PORT_CLIENT_ID", "PORT_CLIENT_SECRET", "PORT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    return Deployed(aws, port, cluster)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", "--function", NAME, "--action", "create_vm", *arguments])


def findings(*, kafka: bool = False, **settings: Any) -> Found:
    """Return the findings by section and name. Those of Kafka take longer and are only made on request."""
    defaults = {"access": PortAccess("https://api.port.io"), "actions": ["create_vm"]}
    deployment = Deployment(NAME, **{**defaults, **settings})
    return {
        f"{section}: {name}": run_check(check, deployment)
        for section, name, check in list_checks(deployment)
        if kafka or section != "Kafka"
    }


def of_state(found: Found, state: str) -> list[str]:
    return [name for name, each in found.items() if each.state == state]


def expect(found: Found, *bad: str, says: str = "") -> None:
    """Exactly these are bad, and the first of them says so."""
    assert of_state(found, "bad") == list(bad)
    assert says in found[bad[0]].found


# All is well


def test_all_is_well(deployed: Deployed) -> None:
    """If nothing is broken, every check is made and is good: exit code 0, and nothing was changed."""
    before = json.dumps(deployed.port.actions)
    deployed.port.requests.clear()
    result = run()
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    count = sum(len(checks) for checks in CHECKS.values()) + 1  # the action's own
    assert lines[-1] == f"0 bad, 0 not checkable, {count} good"
    assert [line for line in lines if line.startswith("  ") and not line.startswith("  good ")] == []
    assert f"  good    topic: {TOPIC} has 1 partition" in lines
    assert json.dumps(deployed.port.actions) == before
    asked = [request for request in deployed.port.requests if "access_token" not in request.path]
    assert {request.method for request in asked} == {"GET"}
    assert deployed.function.events == []


def test_a_finding_says_what_to_do(deployed: Deployed) -> None:
    """A bad line is followed by advice, and the exit code is 1."""
    deployed.mapping["State"] = "Disabled"
    result = run()
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    position = lines.index("  bad     state: it is Disabled")
    assert lines[position + 1].strip() == "→ Set event_source_mapping_enabled = true in Terraform."


def test_no_secret_is_shown(deployed: Deployed) -> None:
    """Neither passwords nor the client's secret are in any output, good or bad."""
    deployed.put(deployed.login, {"username": "user", "password": "canary-of-the-password"})
    output = run().output + run("--json").output
    assert "canary-of-the-password" not in output
    assert deployed.port.client_secret not in output


# The function


@pytest.mark.parametrize(
    ("change", "check", "says"),
    [
        ({"State": "Failed", "StateReason": "no such image"}, "state", "no such image"),
        ({"LastUpdateStatus": "Failed", "LastUpdateStatusReason": "too large"}, "state", "too large"),
        ({"Timeout": 841}, "timeout", "840"),
        ({"Runtime": "python3.12"}, "layers", "python3.12"),
        ({"Architectures": ["arm64"]}, "layers", "arm64"),
    ],
)
def test_a_function_that_cannot_run(deployed: Deployed, change: Json, check: str, says: str) -> None:
    """Its state, its last update, its timeout, and a layer of another runtime or architecture are each named."""
    deployed.configuration |= change
    expect(findings(), f"Function: {check}", says=says)


def test_a_function_that_is_not_there(deployed: Deployed) -> None:
    """Without a function, only that is bad, and no check that depends on it is good or bad."""
    deployed.aws.functions.clear()
    found = findings()
    expect(found, "Function: state", says=NAME)
    assert of_state(found, "good") == []
    lines = run().stdout.splitlines()
    assert "  unknown environment, timeout, concurrency, layers: not checked: the function cannot be read" in lines


def test_an_environment_that_the_runner_refuses(deployed: Deployed) -> None:
    """A setting that would fail every event is found without an event."""
    deployed.environment["MAX_CONCURRENCY"] = "many"
    expect(findings(), "Function: environment", says="MAX_CONCURRENCY")


def test_a_function_that_is_switched_off(deployed: Deployed) -> None:
    """A reserved concurrency of 0 is found."""
    deployed.function.more["Concurrency"] = {"ReservedConcurrentExecutions": 0}
    expect(findings(), "Function: concurrency")


def test_a_function_without_layers(deployed: Deployed) -> None:
    """Without a layer it cannot be told from here whether the packages are there."""
    del deployed.configuration["Layers"]
    assert of_state(findings(), "unknown") == ["Function: layers"]


def test_a_function_that_is_being_made(deployed: Deployed) -> None:
    """A state that is changing at the moment is neither good nor bad."""
    deployed.configuration["State"] = "Pending"
    deployed.mapping["State"] = "Creating"
    assert of_state(findings(), "unknown") == ["Function: state", "Mapping: state"]


# Its role


@pytest.mark.parametrize(
    ("statement", "check", "how"),
    [
        (0, "Role: secrets", "missing"),
        (1, "Role: failure queue", "missing"),
        (2, "Role: log", "missing"),
        (2, "Role: log", "another"),
        (0, "Role: secrets", "denied"),
        (1, "Role: failure queue", "outside the boundary"),
    ],
)
def test_a_role_that_lacks_something(deployed: Deployed, statement: int, check: str, how: str) -> None:
    """A permission that is missing, for another resource, denied, or outside the permissions boundary is named."""
    mine = deployed.statements[statement]
    if how == "missing":
        deployed.statements.remove(mine)
    elif how == "another":
        mine["Resource"] = [f"{resource.removesuffix('*')}-another" for resource in mine["Resource"]]
    elif how == "denied":
        deployed.statements.append({**mine, "Effect": "Deny"})
    else:
        others = [each for each in deployed.statements if each is not mine]
        limit(deployed, others)
    deployed.write_policy()
    expect(findings(), check, says="denied" if how == "denied" else "not allowed")


def limit(deployed: Deployed, statements: list[Json]) -> None:
    """Give the role a permissions boundary."""
    made = deployed.iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(policy(*statements)))
    deployed.iam.put_role_permissions_boundary(RoleName=NAME, PermissionsBoundary=made["Policy"]["Arn"])


@pytest.mark.parametrize("name", ["login", "authority", "credentials"])
def test_each_secret_counts(deployed: Deployed, name: str) -> None:
    """The role must read the secrets of the mapping and that of the function, every one."""
    arn = getattr(deployed, name)
    deployed.statements[0]["Resource"].remove(arn)
    deployed.write_policy()
    expect(findings(), "Role: secrets", says=arn)


def test_a_managed_policy_counts(deployed: Deployed) -> None:
    """A permission of an attached policy counts."""
    document = json.dumps(policy(deployed.statements.pop(0)))
    made = deployed.iam.create_policy(PolicyName="secrets", PolicyDocument=document)
    deployed.iam.attach_role_policy(RoleName=NAME, PolicyArn=made["Policy"]["Arn"])
    deployed.write_policy()
    assert of_state(findings(), "bad") == []


def test_a_key_of_ones_own(deployed: Deployed) -> None:
    """A secret under a customer's key is of no use without that key."""
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
    for name in (key, key.rpartition("/")[2]):
        deployed.secrets.update_secret(SecretId=deployed.login, KmsKeyId=name)
        expect(findings(), "Role: secrets", says=f"kms:Decrypt on {key}")
    deployed.statements.append(allow("kms:Decrypt", key))
    deployed.write_policy()
    assert of_state(findings(), "bad") == []


def test_a_condition_is_left_to_the_reader(deployed: Deployed) -> None:
    """A condition can hold or not: that is said, and not called bad."""
    deployed.statements[1]["Condition"] = {"Bool": {"aws:SecureTransport": "true"}}
    deployed.write_policy()
    assert of_state(findings(), "unknown") == ["Role: failure queue"]


def test_a_role_that_lambda_may_not_take(deployed: Deployed) -> None:
    """A trust policy without Lambda is named."""
    trust = without(allow("sts:AssumeRole"), "Resource") | {"Principal": {"Service": "ec2.amazonaws.com"}}
    deployed.iam.update_assume_role_policy(RoleName=NAME, PolicyDocument=json.dumps(policy(trust)))
    expect(findings(), "Role: trust", says="does not let Lambda")


def test_a_role_that_is_gone(deployed: Deployed) -> None:
    """A role that was deleted under the function is named, once."""
    deployed.configuration["Role"] = f"arn:aws:iam::{ACCOUNT}:role/gone"
    found = findings()
    expect(found, "Role: trust", says="gone")
    assert of_state(found, "unknown") == ["Role: secrets", "Role: failure queue", "Role: log"]


# The mapping


def test_a_function_without_a_mapping(deployed: Deployed) -> None:
    """Without a mapping for the runs nothing is delivered, though there be one for the change log."""
    deployed.mapping["Topics"] = [f"{ORGANIZATION}.change.log"]
    found = findings(kafka=True)
    expect(found, "Mapping: existence", says="no event source mapping for runs")
    assert not [name for name in of_state(found, "good") if name.startswith(("Mapping", "Kafka"))]


def test_another_mapping_can_be_examined(deployed: Deployed) -> None:
    """With --topic the mapping of that topic is examined; the page of the runs says that there is one."""
    other = {**deployed.mapping, "UUID": "other", "Topics": [f"{ORGANIZATION}.change.log"], "State": "Disabled"}
    other["SelfManagedKafkaEventSourceConfig"] = {"ConsumerGroupId": f"{GROUP}.change-log"}
    deployed.aws.mappings.append(other)
    found = findings()
    assert of_state(found, "bad") == []
    assert "--topic" in found["Mapping: existence"].found
    assert "Mapping: state" in of_state(findings(topic=f"{ORGANIZATION}.change.log"), "bad")


def test_what_the_mapping_says_of_its_last_batch(deployed: Deployed) -> None:
    """Its own words are shown, with what to do where they are known."""
    for said, advice in {
        "PROBLEM: Function call failed": "its errors below",
        "PROBLEM: SASL authentication failed: …": "login",
        "PROBLEM: EVENT_SOURCE_AUTHZ_ERROR": "may not read",
        "PROBLEM: Lambda failed to authenticate server: …": "certificate",
        "PROBLEM: Connection error. Please check your event source connection configuration": "cannot be reached",
        "PROBLEM: The secret arn:… cannot be read: AccessDeniedException": "secret",
    }.items():
        deployed.mapping["LastProcessingResult"] = said
        finding = mapping_checks.result(Deployment(NAME, PortAccess("https://api.port.io")))
        assert (finding.state, said in finding.found) == ("bad", True)
        assert advice in finding.advice
    deployed.mapping["LastProcessingResult"] = "PROBLEM: something new"
    expect(findings(), "Mapping: last result", says="something new")


def test_a_mapping_that_is_switched_off(deployed: Deployed) -> None:
    """A mapping that is not enabled is named with AWS's reason."""
    deployed.mapping |= {"State": "Disabled", "StateTransitionReason": "User action"}
    expect(findings(), "Mapping: state", says="User action")


def test_two_mappings_in_one_group(deployed: Deployed) -> None:
    """Another function's mapping that reads in the same group takes part of the records."""
    deployed.aws.mappings.append({**deployed.mapping, "UUID": "other", "FunctionArn": f"{deployed.function.arn}-old"})
    expect(findings(), "Mapping: group", says=f"{NAME}-old")
    deployed.aws.mappings[-1]["State"] = "Deleting"
    assert of_state(findings(), "bad") == []


def test_a_filter_that_holds_back(deployed: Deployed, tmp_path: Path) -> None:
    """A filter is tried with the messages of the actions, and with a recorded one if that is given."""
    deployed.mapping["FilterCriteria"] = {"Filters": [{"Pattern": '{"value": {"action": ["delete_vm"]}}'}]}
    expect(findings(), "Mapping: filter", says="create_vm")
    file = tmp_path / "message.json"
    file.write_text(json.dumps(run_message("delete_vm")))
    assert f"filter: its filter passes the messages of {file}" in run("--message", str(file)).stdout
    deployed.mapping["FilterCriteria"]["Filters"].append({"Pattern": '{"value": {"action": ["create_vm"]}}'})
    assert of_state(findings(), "bad") == []


def test_a_recorded_message_that_is_none(tmp_path: Path) -> None:
    """A file that holds no JSON is a mistake in usage, said before anything is looked at: exit code 2."""
    file = tmp_path / "message.json"
    file.write_text("{")
    result = run("--message", str(file))
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{file} is not JSON" in result.stderr


@pytest.mark.parametrize("pattern", ['{"value": ["text"]}', '{"key": ["x"]}', '{"value": {"action": [{"cidr": "x"}]}}'])
def test_a_filter_that_nobody_here_knows(deployed: Deployed, pattern: str) -> None:
    """A filter that cannot be evaluated is neither good nor bad."""
    deployed.mapping["FilterCriteria"] = {"Filters": [{"Pattern": pattern}]}
    assert of_state(findings(), "unknown") == ["Mapping: filter"]


def test_failures_that_nobody_reads(deployed: Deployed) -> None:
    """A function that names single records to a mapping that does not read them loses them; not so the reverse."""
    deployed.environment["REPORT_BATCH_ITEM_FAILURES"] = "true"
    expect(findings(), "Mapping: partial responses", says="lost")
    deployed.mapping["FunctionResponseTypes"] = ["ReportBatchItemFailures"]
    assert of_state(findings(), "bad") == []
    deployed.environment["REPORT_BATCH_ITEM_FAILURES"] = "false"
    assert of_state(findings(), "bad") == []


# Port


def test_credentials_that_port_refuses(deployed: Deployed) -> None:
    """A client secret that was rotated in Port is named, and what hangs on it is not called good."""
    deployed.put(deployed.credentials, {"client_id": deployed.port.client_id, "client_secret": "an old one"})
    found = findings()
    expect(found, "Port: credentials", says="401")
    assert of_state(found, "unknown") == ["Port: topic", "Port: group", "Port: create_vm"]


@pytest.mark.parametrize("content", [{"clientId": "a"}, "no JSON"])
def test_a_secret_of_another_shape(deployed: Deployed, content: Any) -> None:
    """A secret without client_id and client_secret is named."""
    deployed.put(deployed.credentials, content)
    expect(findings(), "Port: credentials", says=deployed.credentials)


def test_a_port_that_is_not_there(deployed: Deployed) -> None:
    """An address where nothing answers is named."""
    deployed.environment["PORT_API_URL"] = f"http://127.0.0.1:{free_port()}"
    expect(findings(), "Port: credentials", says="cannot be reached")


def test_ones_own_credentials(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the function is not known, Port is asked with the user's credentials, and its state is not guessed."""
    deployed.aws.functions.clear()
    monkeypatch.setenv("PORT_CLIENT_ID", deployed.port.client_id)
    monkeypatch.setenv("PORT_CLIENT_SECRET", deployed.port.client_secret)
    found = findings(access=PortAccess(deployed.port.url))
    assert found["Port: credentials"].state == "unknown"
    assert of_state(found, "good") == ["Port: create_vm"]


def test_a_topic_of_another_organization(deployed: Deployed) -> None:
    """A topic that is not the organization's is named, with what the organization's id is."""
    other = "org_another000000001.runs"
    deployed.mapping["Topics"] = [other]
    found = findings()
    expect(found, "Port: topic", says=other)
    assert ORGANIZATION in found["Port: topic"].advice


def test_a_group_that_port_does_not_allow(deployed: Deployed) -> None:
    """A group without the organization's id is named; the username is allowed as it is."""
    deployed.mapping["SelfManagedKafkaEventSourceConfig"] = {"ConsumerGroupId": "my-group"}
    found = findings()
    assert "Port: group" in of_state(found, "bad")
    assert f"{ORGANIZATION}.ANYTHING" in found["Port: group"].found
    deployed.mapping["SelfManagedKafkaEventSourceConfig"] = {"ConsumerGroupId": "user"}
    assert findings()["Port: group"].state == "good"


def test_an_action_that_is_not_there(deployed: Deployed) -> None:
    """An action that Port does not have is named, with how to make it."""
    del deployed.port.actions["create_vm"]
    found = findings()
    expect(found, "Port: create_vm", says="no action")
    assert "action-json create_vm" in found["Port: create_vm"].advice


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda action: action["invocationMethod"].update(type="WEBHOOK"), "WEBHOOK"),
        (lambda action: action["invocationMethod"]["payload"].pop("context"), "names no run"),
        (lambda action: action["invocationMethod"]["payload"]["context"].update(runId="r_1"), "not their run"),
        (lambda action: action["invocationMethod"]["payload"].update(changelogDestination={}), "skipped"),
        (lambda action: action["invocationMethod"]["payload"].update(action="resize_vm"), "no handler"),
    ],
)
def test_an_action_whose_runs_never_end(deployed: Deployed, change: Callable[[Json], None], says: str) -> None:
    """An action that is not invoked over Kafka, and messages that the runner could not use, are named."""
    change(deployed.action())
    expect(findings(), "Port: create_vm", says=says)


@pytest.mark.parametrize("payload", [None, {}])
def test_an_action_without_a_payload(deployed: Deployed, payload: Any) -> None:
    """The message of an action without a payload is not known, and the finding says that."""
    deployed.action()["invocationMethod"]["payload"] = payload
    found = findings()
    assert found["Port: create_vm"].state == "unknown"
    assert "not documented" in found["Port: create_vm"].found
    assert "action-json create_vm" in found["Port: create_vm"].advice


def test_without_names_the_handlers_say_which_actions(deployed: Deployed) -> None:
    """Every action that a handler here takes is looked at."""
    assert "Port: create_vm" in findings(actions=())


# Kafka


@pytest.mark.parametrize("content", [{"user": "u"}, {"username": "user", "password": ""}, ["list"]])
def test_a_login_of_another_shape(deployed: Deployed, content: Any) -> None:
    """A secret without username and password is named, and its content is not."""
    deployed.put(deployed.login, content)
    found = findings(kafka=True)
    expect(found, "Kafka: secrets", says=deployed.login)
    assert "kafka-secret --store" in found["Kafka: secrets"].advice


def test_a_secret_that_is_not_there(deployed: Deployed) -> None:
    """A secret that the mapping names and that does not exist is named."""
    gone = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:gone-AbCdEf"
    deployed.mapping["SourceAccessConfigurations"][0]["URI"] = gone
    deployed.statements[0]["Resource"].append(gone)
    deployed.write_policy()
    expect(findings(kafka=True), "Kafka: secrets", says=gone)


def test_a_secret_in_another_region(deployed: Deployed) -> None:
    """Lambda takes secrets of its own region only."""
    elsewhere = deployed.login.replace(REGION, "us-east-1")
    deployed.mapping["SourceAccessConfigurations"][0]["URI"] = elsewhere
    deployed.statements[0]["Resource"].append(elsewhere)
    deployed.write_policy()
    found = findings(kafka=True)
    assert "Kafka: secrets" in of_state(found, "bad")
    assert "not in the function's region" in found["Kafka: secrets"].found


def brokers(deployed: Deployed, *names: str) -> None:
    deployed.mapping["SelfManagedEventSource"] = {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": list(names)}}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that cannot be reached is waited for."""
    monkeypatch.setattr(kafka_module, "TIMEOUT_SECONDS", 0.6)
    monkeypatch.setattr(kafka_checks, "CONNECT_SECONDS", 0.5)


NOT_CONNECTED = ["Kafka: topic", "Kafka: group", "Kafka: members", "Kafka: lag"]


@pytest.mark.usefixtures("impatient")
def test_brokers_whose_names_do_not_resolve(deployed: Deployed) -> None:
    """A name that does not resolve is named, and no later check is bad."""
    brokers(deployed, "broker.invalid:9196")
    found = findings(kafka=True)
    expect(found, "Kafka: names", says="broker.invalid")
    assert of_state(found, "unknown") == ["Kafka: ports", "Kafka: TLS", "Kafka: login", *NOT_CONNECTED]


@pytest.mark.usefixtures("impatient")
def test_brokers_that_do_not_listen(deployed: Deployed) -> None:
    """A port that is closed is named, and said to be seen from this machine."""
    brokers(deployed, f"localhost:{free_port()}")
    found = findings(kafka=True)
    expect(found, "Kafka: ports", says="from this machine")
    assert of_state(found, "unknown") == ["Kafka: TLS", "Kafka: login", *NOT_CONNECTED]


def test_an_answer_may_have_a_long_way(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that takes a second for each answer is there all the same."""

    class Far(Consumer):
        def list_topics(self, topic: Any = None, timeout: float = -1) -> Any:
            if timeout < 1:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            return super().list_topics(timeout=timeout)

    monkeypatch.setattr("confluent_kafka.Consumer", Far)
    assert findings(kafka=True)["Kafka: login"].state == "good"


def test_one_broker_of_several(deployed: Deployed) -> None:
    """Each of the brokers is tried. Kafka itself works with the remaining ones."""
    closed = f"localhost:{free_port()}"
    brokers(deployed, *deployed.cluster.bootstrap_servers, closed)
    expect(findings(kafka=True), "Kafka: ports", says=closed)


@pytest.mark.usefixtures("impatient")
def test_a_certificate_that_is_not_trusted(deployed: Deployed) -> None:
    """Without the authority of the brokers, their certificate is what is bad, and not the password."""
    del deployed.mapping["SourceAccessConfigurations"][1]
    found = findings(kafka=True)
    expect(found, "Kafka: TLS", says="certificate")
    assert "kafka_ca_certificate" in found["Kafka: TLS"].advice
    assert found["Kafka: login"].state == "unknown"


@pytest.mark.usefixtures("impatient")
def test_a_port_that_does_not_speak_tls(deployed: Deployed) -> None:
    """A server that answers with something else is told apart from a certificate."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        brokers(deployed, f"localhost:{server.getsockname()[1]}")
        found = findings(kafka=True)
    expect(found, "Kafka: TLS", says="does not speak TLS")


def test_a_wrong_password(deployed: Deployed) -> None:
    """A password that Kafka refuses is what is bad, soon, and nothing behind it is called good."""
    deployed.put(deployed.login, {"username": "user", "password": "an old one"})
    began = time.monotonic()
    found = findings(kafka=True)
    assert time.monotonic() - began < 10
    expect(found, "Kafka: login", says="Authentication failed")
    assert "kafka-secret --store" in found["Kafka: login"].advice
    assert of_state(found, "unknown") == NOT_CONNECTED


def test_a_topic_that_is_not_there(deployed: Deployed) -> None:
    """A topic that the user does not see is named, with those that it sees; it is not created by asking for it."""
    deployed.mapping["Topics"] = [f"{ORGANIZATION}.change.log"]
    for _ in range(2):
        found = findings(kafka=True, topic=f"{ORGANIZATION}.change.log")
        expect(found, "Kafka: topic", says=TOPIC)


def test_a_group_in_which_the_user_may_not_read(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that the brokers' access lists refuse is named. The broker here has none, so its answer is made up."""

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))

    class Refusing(Consumer):
        committed = refuse

    monkeypatch.setattr("confluent_kafka.Consumer", Refusing)
    found = findings(kafka=True)
    expect(found, "Kafka: group", says="Group authorization failed")
    assert "ORG_ID.anything" in found["Kafka: group"].found


def test_a_group_in_which_nobody_reads(deployed: Deployed) -> None:
    """A mapping that says that it is enabled, and has no reader in its group, does not poll."""
    group = f"{ORGANIZATION}.unread"
    deployed.mapping["SelfManagedKafkaEventSourceConfig"] = {"ConsumerGroupId": group}
    assert findings(kafka=True)["Kafka: members"].state == "bad"


def test_more_readers_than_partitions(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two readers of one partition one gets nothing: both are named. The broker here does not list its readers."""

    class Member:
        def __init__(self, client_id: str) -> None:
            self.client_id, self.host = client_id, "/10.0.0.1"

    class Group:
        state, members = ConsumerGroupState.STABLE, [Member("lambda"), Member("port-agent")]

        def result(self, timeout: float) -> "Group":
            return self

    monkeypatch.setattr(
        "confluent_kafka.admin.AdminClient.describe_consumer_groups", lambda *arguments, **options: {GROUP: Group()}
    )
    found = findings(kafka=True)
    expect(found, "Kafka: members", says="port-agent")
    Group.members.pop()
    found = findings(kafka=True)
    assert of_state(found, "bad") == []
    assert found["Kafka: members"].found.endswith("is being read by lambda at /10.0.0.1")


def test_records_that_wait(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that wait are counted; they are bad only if the oldest waits longer than the function may take."""
    topic, group = f"{ORGANIZATION}.change.log", f"{ORGANIZATION}.slow"
    deployed.cluster.create_topic(topic)
    deployed.mapping |= {"Topics": [topic], "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": group}}
    deployed.cluster.produce(b"{}", topic=topic)
    with reading(deployed.cluster, group, topic):
        for _ in range(2):
            deployed.cluster.produce(b"{}", topic=topic)
        found = findings(kafka=True, topic=topic)
        assert of_state(found, "bad") == []
        assert found["Kafka: lag"].found.startswith("2 records wait")
        monkeypatch.setattr(kafka_checks, "PATIENCE_SECONDS", -deployed.configuration.get("Timeout", 10) - 1)
        expect(findings(kafka=True, topic=topic), "Kafka: lag", says="2 records wait")

    # A group that has read nothing yet.
    deployed.mapping["SelfManagedKafkaEventSourceConfig"] = {"ConsumerGroupId": f"{group}.new"}
    assert findings(kafka=True, topic=topic)["Kafka: lag"].found.startswith("3 records wait")
    deployed.mapping["StartingPosition"] = "LATEST"
    assert findings(kafka=True, topic=topic)["Kafka: lag"].state == "unknown"


# What was left over


def test_a_failure_queue_with_something_in_it(deployed: Deployed) -> None:
    """Records that were given up are counted, also those that another reader holds."""
    for _ in range(2):
        deployed.sqs.send_message(QueueUrl=deployed.queue, MessageBody="{}")
    deployed.sqs.receive_message(QueueUrl=deployed.queue)
    found = findings()
    expect(found, "Left over: failure queue", says="2 messages")
    assert "failures resend" in found["Left over: failure queue"].advice


def test_a_function_without_a_queue(deployed: Deployed) -> None:
    """No queue is no mistake, but is said."""
    deployed.environment["FAILURE_QUEUE_URL"] = ""
    assert of_state(findings(), "unknown") == ["Role: failure queue", "Left over: failure queue"]


def test_errors_in_the_log(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last errors are shown with their runs; warnings, and what is older than a day, are not."""
    error = {"level": "ERROR", "event": "run.failed_unexpectedly", "run_id": "r_7", "error": {"type": "KeyError"}}
    deployed.log(
        {"level": "WARNING", "event": "run.action_failed"},
        "START RequestId: 1",
        error,
        "2026-11-22 q1 Task timed out after 10.00 seconds",
    )
    found = findings()
    expect(found, "Left over: errors", says="run.failed_unexpectedly r_7 KeyError")
    assert found["Left over: errors"].found.startswith("2 in the last 24 h")
    assert "Task timed out" in found["Left over: errors"].found
    monkeypatch.setattr(leftover_checks, "LOOK_BACK_SECONDS", -60)
    assert of_state(findings(), "bad") == []


def test_what_one_may_not_see_is_not_bad(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing permission of this user makes no check bad."""
    from botocore.client import BaseClient
    from botocore.exceptions import ClientError

    allowed = BaseClient._make_api_call

    def call(self: Any, operation: str, parameters: Any) -> Any:
        if operation in ("GetSecretValue", "GetRole", "GetQueueAttributes", "FilterLogEvents"):
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, operation)
        return allowed(self, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    found = findings(kafka=True)
    assert of_state(found, "bad") == []
    assert found["Port: credentials"].state == found["Kafka: secrets"].state == "unknown"


# The parts


@pytest.mark.parametrize(
    ("pattern", "passing", "held"),
    [
        ({"action": ["create_vm"]}, [{"action": "create_vm"}], [{"action": "x"}, {}, {"action": {"a": 1}}, []]),
        (
            {"a": {"b": [1, None]}},
            [{"a": {"b": 1}}, {"a": {"b": None}}, {"a": [{"b": 1}]}],
            [{"a": {}}, {"a": {"b": 1.0}}],
        ),
        ({"a": [True]}, [{"a": True}], [{"a": 1}, {"a": "true"}]),
        ({"a": [{"prefix": "x"}]}, [{"a": "xy"}, {"a": ["b", "xb"]}], [{"a": "yx"}, {"a": 1}, {}]),
        ({"a": [{"suffix": "x"}]}, [{"a": "yx"}], [{"a": "xy"}]),
        ({"a": [{"equals-ignore-case": "Ab"}]}, [{"a": "aB"}], [{"a": "abc"}]),
        ({"a": [{"anything-but": ["x", "y"]}]}, [{"a": "z"}], [{"a": "x"}, {}]),
        ({"a": [{"anything-but": {"prefix": "x"}}]}, [{"a": "z"}], [{"a": "xa"}]),
        ({"a": [{"exists": False}]}, [{}, {"b": 1}], [{"a": None}]),
        ({"a": [{"exists": True}]}, [{"a": None}], [{}]),
        ({"a": [{"numeric": [">", 0, "<=", 3]}]}, [{"a": 3}, {"a": 1.5}], [{"a": 0}, {"a": "2"}, {"a": True}]),
        ({"$or": [{"a": [1]}, {"b": [2]}]}, [{"a": 1}, {"b": 2}], [{"a": 2}]),
        ({"a": [1], "b": [2]}, [{"a": 1, "b": 2}], [{"a": 1}, {"b": 2}]),
    ],
)
def test_patterns(pattern: Json, passing: list[Any], held: list[Any]) -> None:
    """A filter lets pass what Lambda lets pass, by the rules of EventBridge."""
    text = json.dumps({"value": pattern})
    assert [passes([text], message) for message in passing] == [True] * len(passing)
    assert [passes([text], message) for message in held] == [False] * len(held)
    assert passes(['{"value": {"never": ["x"]}}', text], passing[0])


@pytest.mark.parametrize(
    ("statement", "verdict"),
    [
        (allow("s3:Get*", "arn:aws:s3:::b/*"), "allowed"),
        (allow("S3:getobject", "arn:aws:s3:::b/k"), "allowed"),
        (allow("*", "*"), "allowed"),
        (allow("s3:GetObject", "arn:aws:s3:::B/k"), "not allowed"),
        (allow("s3:GetObject", "arn:aws:s3:::b/k?"), "not allowed"),
        (allow("s3:PutObject", "*"), "not allowed"),
        ({"Effect": "Allow", "NotAction": "s3:Put*", "Resource": "*"}, "allowed"),
        ({"Effect": "Allow", "NotAction": "s3:Get*", "Resource": "*"}, "not allowed"),
        ({"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::b/*"}, "not allowed"),
        ({**allow("*", "*"), "Condition": {"x": {}}}, "depends"),
    ],
)
def test_policies(statement: Json, verdict: str) -> None:
    """A statement allows what IAM would allow by it; a denial wins, unless a condition decides about it."""
    action, resource = "s3:GetObject", "arn:aws:s3:::b/k"
    assert Policies([policy(statement)]).verdict(action, resource) == verdict
    assert Policies([{"Statement": statement}]).verdict(action, resource) == verdict
    denial = {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}
    assert Policies([policy(statement), policy(denial)]).verdict(action, resource) == "denied"
    perhaps = {**denial, "Condition": {"x": {}}}
    assert Policies([policy(statement, perhaps)]).verdict(action, resource) == "depends"
    assert Policies([policy(allow("*", "*"))], policy(statement)).verdict(action, resource) == verdict


def test_trust() -> None:
    """Only an Allow for the service itself lets it take the role."""
    principal = {"Principal": {"Service": ["ec2.amazonaws.com", "lambda.amazonaws.com"]}}
    allowed = without(allow("sts:*"), "Resource") | principal
    assert trusts(policy(allowed), "lambda.amazonaws.com")
    for other in (
        {**allowed, "Effect": "Deny"},
        {**allowed, "Action": "sts:TagSession"},
        {**allowed, "Principal": "*"},
        {**allowed, "Principal": {"AWS": "lambda.amazonaws.com"}},
    ):
        assert not trusts(policy(other), "lambda.amazonaws.com")


def test_a_sample_is_what_port_would_publish(port: FakePort) -> None:
    """Of the shipped action's payload, the sample has the places and types of a message that was recorded."""

    def shape(value: Any) -> Any:
        return {name: shape(each) for name, each in value.items()} if isinstance(value, dict) else type(value)

    sample = sample_message(port.actions["create_vm"], ORGANIZATION)
    recorded = event_file("create_vm_v2_template")
    for message in (sample, recorded):
        message["trigger"].pop("by")
        message["payload"].pop("properties")
    assert shape(sample) == shape(recorded)


@pytest.mark.parametrize(
    ("payload", "rendered"),
    [
        ({"id": "{{ .run.id }}"}, {"id": "r_sampleOfDoctor00"}),
        ({"text": "run {{ .run.id }} of {{ .action.identifier }}"}, {"text": "run r_sampleOfDoctor00 of resize"}),
        ({'{{ if .inputs | has("a") then "a" else null end }}': 1}, {"a": 1}),
        ({'{{ if .inputs | has("b") then "b" else null end }}': 1}, {}),
        ({"{{ spreadValue() }}": "{{ .inputs }}", "c": 3}, {"a": 1, "c": 3}),
        ([{"n": "{{ .inputs.a }}"}, "x"], [{"n": 1}, "x"]),
        ({"plain": [1, None, True]}, {"plain": [1, None, True]}),
    ],
)
def test_templates(payload: Any, rendered: Any) -> None:
    """A template of its own keeps its value's type; keys can be left out and spread."""
    user_inputs = {"properties": {"a": {"type": "number"}}}
    action = {
        "identifier": "resize",
        "trigger": {"operation": "CREATE", "userInputs": user_inputs},
        "invocationMethod": {"type": "KAFKA", "payload": payload},
    }
    assert sample_message(action, ORGANIZATION) == rendered


def test_a_template_that_cannot_be_evaluated() -> None:
    """JQ that only Port knows, and text that is not JQ, is not checkable."""
    for template in ("{{ nothing_of_that_name(3) }}", "{{ .a | }}", "{{ error }}"):
        with pytest.raises(NotCheckable, match="cannot be evaluated"):
            sample_message({"invocationMethod": {"payload": {"a": template}}}, ORGANIZATION)
