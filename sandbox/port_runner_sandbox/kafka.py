"""The Kafka cluster as its clients see it."""

import time
from collections.abc import Callable, Sequence

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

TIMEOUT_SECONDS = 10


class Kafka:
    """The address of the cluster and its login. Produces records, and reads the offsets of consumer groups.

    `topic` is the topic of the organization's runs.
    """

    def __init__(
        self,
        *,
        bootstrap_servers: list[str],
        ca_certificate: str,
        username: str,
        password: str,
        topic: str,
        set_password: Callable[[str, str], None],
    ) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.ca_certificate = ca_certificate
        self.username = username
        self.password = password
        self.topic = topic
        self._set_password = set_password
        self._producer: Producer | None = None
        self._admin_client: AdminClient | None = None

    def client_config(self) -> dict[str, str | int | float | bool]:
        """The settings that a confluent-kafka client needs to connect."""
        return {
            "bootstrap.servers": ",".join(self.bootstrap_servers),
            "broker.address.family": "v4",
            "security.protocol": "SASL_SSL",
            "ssl.ca.pem": self.ca_certificate,
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": self.username,
            "sasl.password": self.password,
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
            # After a batch of several records, the broker reports a wrong end of the partition.
            self._producer = Producer(self.client_config() | {"linger.ms": 0, "batch.num.messages": 1})
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

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic and wait until it exists."""
        admin = self._admin()
        for created in admin.create_topics([NewTopic(name, partitions, 1)]).values():
            created.result(TIMEOUT_SECONDS)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while name not in admin.list_topics(timeout=TIMEOUT_SECONDS).topics:
            if time.monotonic() > deadline:
                raise TimeoutError(f"The topic {name} does not exist {TIMEOUT_SECONDS} seconds after its creation")
            time.sleep(0.02)

    def committed(self, group: str, topic: str | None = None, partitions: int = 1) -> list[int | None]:
        """Return the next offset of a consumer group for each partition, or None if it has committed nothing."""
        places = [TopicPartition(topic or self.topic, partition) for partition in range(partitions)]
        [answer] = self._admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)]).values()
        found = answer.result(TIMEOUT_SECONDS).topic_partitions
        return [place.offset if place.offset >= 0 else None for place in found]

    def change_password(self, password: str) -> None:
        """Change the user's password, as a rotation by Port would, and disconnect clients that have the old one."""
        self._set_password(self.username, password)
        self.password = password
        self._producer = None
        self._admin_client = None

    def _admin(self) -> AdminClient:
        if self._admin_client is None:
            self._admin_client = AdminClient(self.client_config())
        return self._admin_client
