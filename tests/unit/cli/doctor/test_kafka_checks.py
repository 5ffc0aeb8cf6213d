"""Each fault on the way to Kafka is named, and nothing else."""

import socket
import threading
import time
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupState, KafkaError, KafkaException

from port_runner_cli.clients import kafka as kafka_module
from port_runner_cli.commands.doctor import kafka_checks
from port_runner_sandbox.processes import free_port
from tests.support.doctor_under_test import (
    GROUP,
    ORGANIZATION,
    TOPIC,
    Deployed,
    expect,
    findings,
    of_state,
    reading,
)
from tests.support.fake_lambda import ACCOUNT, REGION


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


def test_a_group_in_which_the_user_may_not_read(deployed: Deployed) -> None:
    """A group that the brokers' access lists refuse is named, with the brokers' own reason."""
    deployed.mapping["SelfManagedKafkaEventSourceConfig"] = {"ConsumerGroupId": "mine"}
    found = findings(kafka=True)
    assert of_state(found, "bad") == ["Port: group", "Kafka: group"]
    assert "Group authorization failed" in found["Kafka: group"].found
    assert "ORG_ID.anything" in found["Kafka: group"].found


def test_a_group_in_which_nobody_reads(deployed: Deployed) -> None:
    """A mapping that says that it is enabled, and has no reader in its group, does not poll."""
    group = f"{ORGANIZATION}.unread"
    deployed.mapping["SelfManagedKafkaEventSourceConfig"] = {"ConsumerGroupId": group}
    assert findings(kafka=True)["Kafka: members"].state == "bad"


def test_more_readers_than_partitions(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two readers of one partition one gets nothing: both are named."""

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
