"""The demo: the events of a run, and the shell lines for another terminal while it keeps running."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from port_runner_sandbox import Sandbox
from port_runner_sandbox.broker import Broker
from port_runner_sandbox.certificates import make_certificates
from port_runner_sandbox.fake_port import FakePort
from port_runner_sandbox.kafka import Kafka
from scripts.demo import events_of, exports
from tests.support.port_client import make_client, soon

CLIENT_SECRET = 'it\'s "quoted" $HOME'


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox without AWS."""
    certificates = make_certificates(tmp_path)
    with FakePort(client_secret=CLIENT_SECRET) as port, Broker(certificates, log=tmp_path / "broker.log") as broker:
        kafka = Kafka(
            broker, certificates=certificates, organization=port.organization_id, username="user", password="password"
        )
        for topic in (kafka.topic, kafka.change_log_topic):
            kafka.create_topic(topic)
        yield Sandbox("http://127.0.0.1:4566", kafka, port, tmp_path)


def read_in_shell(lines: str, *names: str) -> list[str]:
    """Return variables of a shell that has read the lines."""
    shown = "".join(f'\nprintf "%s\\n" "${name}"' for name in names)
    answer = subprocess.run(
        ["sh", "-c", lines + shown],
        env={"PATH": os.environ["PATH"], "AWS_PROFILE": "mine"},
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout.splitlines()


def test_exports_lead_a_shell_to_the_stack(sandbox: Sandbox) -> None:
    """A shell that reads the lines has the sandbox's AWS and Port, the function's name, and no AWS profile."""
    names = ("AWS_ENDPOINT_URL", "PORT_API_URL", "PORT_CLIENT_SECRET", "PORT_RUNNER_FUNCTION", "AWS_PROFILE")
    shown = read_in_shell(exports(sandbox, "the-function"), *names)
    assert shown == ["http://127.0.0.1:4566", sandbox.port.url, CLIENT_SECRET, "the-function", ""]


def test_exports_lead_any_client_to_kafka(sandbox: Sandbox) -> None:
    """The lines have what a Kafka client needs, but only the name of the secret that holds the password."""
    lines = exports(sandbox, "the-function")
    names = ("BROKERS", "SECURITY_PROTOCOL", "SASL_MECHANISM", "CA_FILE", "USERNAME")
    servers, protocol, mechanism, ca_file, username = read_in_shell(lines, *(f"KAFKA_{name}" for name in names))
    client = AdminClient(
        {
            "bootstrap.servers": servers,
            "security.protocol": protocol,
            "sasl.mechanism": mechanism,
            "ssl.ca.location": ca_file,
            "sasl.username": username,
            "sasl.password": sandbox.kafka.password,
        }
    )
    topics = read_in_shell(lines, "KAFKA_RUNS_TOPIC", "KAFKA_CHANGE_LOG_TOPIC")
    assert topics == [f"{sandbox.port.organization_id}.runs", f"{sandbox.port.organization_id}.change.log"]
    assert set(client.list_topics(timeout=30).topics) == set(topics)
    rest = read_in_shell(lines, "KAFKA_GROUP_PREFIX", "KAFKA_PASSWORD_SECRET")
    assert rest == [f"{sandbox.port.organization_id}.", "the-function/kafka-credentials"]
    assert "=password\n" not in lines


def test_a_start_is_shown_with_its_label() -> None:
    """A line of the run's log can carry a label: both are shown, and of a long line only its beginning."""
    with FakePort() as port:
        port.add_run("r_1")
        make_client(port).add_run_log("r_1", "Started.\nhttps://example.com", statusLabel="Running", until=soon())
        shown = [(event.place, event.text) for event in events_of(port.requests[-1])]

    assert shown == [("label", "Running"), ("run log", "Started. …")]
