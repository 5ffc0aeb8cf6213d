"""The Kafka cluster as its clients see it."""

import secrets
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaException, Producer

from port_runner_sandbox.broker import MAX_MESSAGE_BYTES, Broker
from port_runner_sandbox.certificates import Certificates

TIMEOUT_SECONDS = 10
SECURITY_PROTOCOL = "SASL_SSL"
MECHANISM = "SCRAM-SHA-512"
# Port's own user of the cluster. It alone produces.
OWNER = "port"

type Settings = dict[str, str | int | float | bool]


class Kafka:
    """The address of the cluster and an organization's login, topics and groups, as Port hands them out.

    `topic` is the topic of the organization's runs. With the rights of Port, this also makes topics and produces.
    """

    def __init__(
        self, broker: Broker, *, certificates: Certificates, organization: str, username: str, password: str
    ) -> None:
        self.bootstrap_servers = [broker.address]
        self.ca_certificate = certificates.authority
        self.ca_file: Path = certificates.authority_file
        self.organization = organization
        self.username = username
        self.topic = f"{organization}.runs"
        self.change_log_topic = f"{organization}.change.log"
        self.group_prefix = f"{organization}."
        self._broker = broker
        self._owner_password = secrets.token_urlsafe()
        self._producer: Producer | None = None
        broker.set_password(OWNER, self._owner_password, organization=None)
        self.change_password(password)

    def client_config(self) -> Settings:
        """The settings that a confluent-kafka client of the organization needs to connect."""
        return self._config(self.username, self.password)

    def owner_config(self) -> Settings:
        """The settings of a confluent-kafka client that may produce, as Port itself does."""
        return self._config(OWNER, self._owner_password)

    def _config(self, username: str, password: str) -> Settings:
        return {
            "bootstrap.servers": ",".join(self.bootstrap_servers),
            "broker.address.family": "v4",
            "security.protocol": SECURITY_PROTOCOL,
            "ssl.ca.pem": self.ca_certificate,
            "sasl.mechanism": MECHANISM,
            "sasl.username": username,
            "sasl.password": password,
            "log_level": 2,
        }

    def produce(
        self,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        topic: str | None = None,
        partition: int = -1,
    ) -> None:
        """Produce one record, by default to `topic`, and wait until the broker has it.

        Raises KafkaException if the broker refuses it, or TimeoutError if the broker does not answer.
        """
        errors: list[KafkaException] = []
        if self._producer is None:
            self._producer = Producer(self.owner_config() | {"linger.ms": 0})
        self._producer.produce(
            topic or self.topic,
            value,
            key,
            partition,
            headers=list(headers),
            on_delivery=lambda error, message: errors.append(KafkaException(error)) if error else None,
        )
        if self._producer.flush(TIMEOUT_SECONDS):
            self._producer.purge()
            raise TimeoutError(f"Kafka did not take the record within {TIMEOUT_SECONDS} seconds")
        if errors:
            raise errors[0]

    def create_topic(self, name: str, partitions: int = 1, *, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        """Create a topic that the organization's users may read."""
        self._broker.create_topic(
            name, organization=self.organization, partitions=partitions, max_message_bytes=max_message_bytes
        )

    def committed(self, group: str, topic: str | None = None, partitions: int = 1) -> list[int | None]:
        """Return the next offset of a consumer group for each partition, or None if it has committed nothing."""
        return self._broker.committed(group, topic or self.topic, partitions)

    def change_password(self, password: str) -> None:
        """Change the user's password, as a rotation by Port would, and disconnect clients that have the old one."""
        self._broker.set_password(self.username, password, organization=self.organization)
        self.password = password
