"""A deployment for `doctor`, in which a test breaks one part, and the findings about it.

Function, role, secrets, queue and log are in an AWS within this process, Port is the fake one, and Kafka is a broker on
this machine with TLS and SCRAM.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from click.testing import CliRunner, Result
from confluent_kafka import Consumer

from port_runner_cli.__main__ import main
from port_runner_cli.clients.port import PortAccess
from port_runner_cli.commands.doctor.command import list_checks, run_check
from port_runner_cli.commands.doctor.deployment import Deployment
from port_runner_cli.commands.doctor.finding import Finding
from port_runner_sandbox.fake_port import FakePort
from port_runner_sandbox.kafka import Kafka
from tests.support.fake_lambda import ACCOUNT, REGION, FakeFunction, FakeLambda

NAME = "runs-under-test"
ORGANIZATION = "org_localstack000001"
TOPIC = f"{ORGANIZATION}.runs"
GROUP = f"{ORGANIZATION}.{NAME}"
LAYER = f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:{NAME}-dependencies:1"

type Json = dict[str, Any]
type Found = dict[str, Finding]


@contextmanager
def reading(kafka: Kafka, group: str, topic: str = TOPIC) -> Iterator[None]:
    """A consumer that has read a topic to its end and stays in its group, as Lambda's poller does."""
    settings = {
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": 6000,
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
