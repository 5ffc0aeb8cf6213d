"""Other people's Kafka clients at the sandbox's broker: each sees what it would see at Port's.

The table is this: a test for each rule, with each client of `CLIENTS`.
"""

import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from port_runner_sandbox.broker import Broker
from port_runner_sandbox.certificates import make_certificates
from port_runner_sandbox.kafka import Kafka
from tests.support.kafka_client_under_test import OLD_PYTHON, KafkaClient

ORGANIZATION, USER, PASSWORD = "org_0123456789abcdef", "the-user", "the password, = and ,"
FOREIGN_TOPIC, RECORDS, MIB = "org_of_others.runs", 6, 1024 * 1024
# A client that says nothing for so long has not been refused: it waits.
SECONDS = 60

CLIENTS = [
    KafkaClient("confluent-kafka", "with_confluent_kafka"),
    KafkaClient("old confluent-kafka", "with_confluent_kafka", OLD_PYTHON),
    KafkaClient("aiokafka", "with_aiokafka"),
    KafkaClient("kafka-python", "with_kafka_python"),
    KafkaClient("kcat", "with_kcat"),
]


@dataclass
class Clients:
    """The cluster, and commands to its clients."""

    kafka: Kafka
    broker: Broker

    def login(self, **changes: Any) -> dict[str, Any]:
        """Return the right login with some changes."""
        return {
            "brokers": self.kafka.bootstrap_servers[0],
            "ca_file": str(self.kafka.ca_file),
            "username": USER,
            "password": PASSWORD,
            "mechanism": "SCRAM-SHA-512",
            "protocol": "SASL_SSL",
            **changes,
        }

    def owner(self) -> dict[str, Any]:
        """Return the login that may produce."""
        config = self.kafka.owner_config()
        return self.login(username=config["sasl.username"], password=config["sasl.password"])

    def read(self, client: KafkaClient, count: int = 2, **changes: Any) -> dict[str, Any]:
        """Let a client join a group, read some records and commit."""
        command = {"do": "read", "login": self.login(), "topic": self.kafka.topic, "group": new_group(), "count": count}
        return client.ask({**command, "seconds": SECONDS, **changes})

    def produce(self, client: KafkaClient, size: int, **changes: Any) -> dict[str, Any]:
        """Let a client produce a record of this size."""
        command = {"do": "produce", "login": self.login(), "topic": self.kafka.topic, "size": size}
        return client.ask({**command, "seconds": SECONDS, **changes})


def new_group() -> str:
    return f"{ORGANIZATION}.{uuid.uuid4()}"


def assert_refused(answer: dict[str, Any], pattern: str) -> None:
    assert re.search(pattern, answer.get("error", "no error")), answer


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    directory = tmp_path_factory.mktemp("broker")
    certificates = make_certificates(directory)
    with Broker(certificates, log=directory / "broker.log") as broker:
        kafka = Kafka(broker, certificates=certificates, organization=ORGANIZATION, username=USER, password=PASSWORD)
        kafka.create_topic(kafka.topic)
        broker.create_topic(FOREIGN_TOPIC, organization="org_of_others")
        for number in range(RECORDS):
            kafka.produce(str(number).encode())
        yield Clients(kafka, broker)


@pytest.fixture(params=CLIENTS, ids=lambda client: client.name.replace(" ", "-"), scope="module")
def client(request: pytest.FixtureRequest) -> Iterator[KafkaClient]:
    client: KafkaClient = request.param
    if client.program == "with_kcat" and not shutil.which("kcat"):
        pytest.skip("kcat is not installed")
    yield client
    client.end()


def test_reads_commits_and_resumes(clients: Clients, client: KafkaClient) -> None:
    """With the right password, a client joins a group and reads. The group's next member continues after its commit."""
    group = new_group()
    assert clients.read(client, group=group) == {"values": ["0", "1"]}
    assert clients.kafka.committed(group) == [2]
    assert clients.read(client, group=group) == {"values": ["2", "3"]}
    assert clients.kafka.committed(group) == [4]


def test_may_use_the_group_of_its_name(clients: Clients, client: KafkaClient) -> None:
    """The username is a group that the user may use, too."""
    name = f"user-{uuid.uuid4()}"
    clients.broker.set_password(name, PASSWORD, organization=ORGANIZATION)
    login = clients.login(username=name)
    assert clients.read(client, group=name, login=login) == {"values": ["0", "1"]}
    assert_refused(clients.read(client, group=USER, login=login), "(?i)group.?authorization")


@pytest.mark.parametrize("changes", [{"password": "wrong"}, {"username": "another"}], ids=["password", "user"])
def test_is_refused_with_a_wrong_login(clients: Clients, client: KafkaClient, changes: dict[str, str]) -> None:
    """A wrong password and an unknown user are the same to a client: authentication failed."""
    answer = clients.read(client, login=clients.login(**changes))
    assert_refused(answer, "(?i)Sasl ?Authentication ?(failed|error).*invalid credentials with SASL mechanism")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_is_refused_with_another_mechanism(clients: Clients, client: KafkaClient, mechanism: str) -> None:
    """The only mechanism is SCRAM-SHA-512, and the refusal says so."""
    answer = clients.read(client, login=clients.login(mechanism=mechanism))
    assert_refused(answer, "(?i)Unsupported ?Sasl ?Mechanism")


def test_is_refused_without_tls(clients: Clients, client: KafkaClient) -> None:
    """A client that speaks no TLS is disconnected."""
    answer = clients.read(client, login=clients.login(protocol="SASL_PLAINTEXT"))
    assert_refused(answer, "(?i)disconnected|closed|_ALL_BROKERS_DOWN")


def test_is_refused_in_a_foreign_group(clients: Clients, client: KafkaClient) -> None:
    """A group is the user's name, or begins with the organization and a period."""
    for group in ("mine", ORGANIZATION, f"{ORGANIZATION}-mine", f"{USER}.mine"):
        assert_refused(clients.read(client, group=group), "(?i)group.?authorization")


@pytest.mark.parametrize("topic", [FOREIGN_TOPIC, f"{ORGANIZATION}.new"], ids=["foreign", "unknown"])
def test_is_refused_other_topics(clients: Clients, client: KafkaClient, topic: str) -> None:
    """The user may not read other topics, and learns nothing about which exist. No client makes a topic."""
    assert_refused(clients.read(client, topic=topic), "(?i)topic.*(authoriz)")
    assert_refused(clients.produce(client, 10, topic=topic), "(?i)(topic|cluster).?authorization")


def test_is_refused_to_produce(clients: Clients, client: KafkaClient) -> None:
    """The user may not produce, not even to the organization's topic: nothing new is in it."""
    assert_refused(clients.produce(client, 10), "(?i)(topic|cluster).?authorization")
    assert clients.read(client, RECORDS) == {"values": [str(number) for number in range(RECORDS)]}


def test_is_refused_too_large_a_record(clients: Clients, client: KafkaClient) -> None:
    """A record of more than 1 MiB is refused, even if the user may produce. A smaller record arrives."""
    topic = f"{ORGANIZATION}.{uuid.uuid4()}"
    clients.kafka.create_topic(topic)
    answer = clients.produce(client, MIB, login=clients.owner(), topic=topic)
    assert_refused(answer, "(?i)message.*too.?large")
    assert clients.produce(client, MIB - 200, login=clients.owner(), topic=topic) == {"offset": 0}
