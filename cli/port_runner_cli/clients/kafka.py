"""Kafka, reached with a mapping's settings: brokers, login, records by their places."""

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from port_runner_cli.clients.aws import asking_aws, aws_client
from port_runner_cli.output import CommandFailed

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

TIMEOUT_SECONDS = 10.0
# Seconds for the first look at a new connection's problems. Later looks take longer, as an answer may come from afar.
FIRST_LOOK_SECONDS = 0.3
MECHANISMS = {
    "SASL_SCRAM_512_AUTH": "SCRAM-SHA-512",
    "SASL_SCRAM_256_AUTH": "SCRAM-SHA-256",
    "BASIC_AUTH": "PLAIN",
}
CA_CERTIFICATE = "SERVER_ROOT_CA_CERTIFICATE"

type Json = dict[str, Any]


class KafkaFailed(CommandFailed):
    """Kafka cannot be used. `code` is librdkafka's name of the error, such as `_AUTHENTICATION`."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class SecretUnfit(CommandFailed):
    """A secret can be read, but does not have the content that Lambda needs."""


@dataclass(frozen=True)
class KafkaMapping:
    """An event source mapping of self-managed Kafka, as Lambda's API shows it."""

    content: Json

    @property
    def uuid(self) -> str:
        return str(self.content["UUID"])

    @property
    def topic(self) -> str:
        return str(self.content["Topics"][0])

    @property
    def group(self) -> str:
        return str(self.content.get("SelfManagedKafkaEventSourceConfig", {}).get("ConsumerGroupId") or self.uuid)

    @property
    def brokers(self) -> list[str]:
        return list(self.content["SelfManagedEventSource"]["Endpoints"]["KAFKA_BOOTSTRAP_SERVERS"])

    @property
    def access(self) -> Mapping[str, str]:
        """The ARNs of the secrets with which Lambda connects, by type of access."""
        return {each["Type"]: each["URI"] for each in self.content.get("SourceAccessConfigurations", [])}

    @property
    def login_secret(self) -> tuple[str, str] | None:
        """The SASL mechanism and the ARN of the user's secret, or None without a login."""
        found = [(MECHANISMS[kind], arn) for kind, arn in self.access.items() if kind in MECHANISMS]
        return found[0] if found else None

    def user(self) -> Json:
        """Return username and password from the secret. Raises CommandFailed."""
        return _secret(self.login_secret[1], "username", "password") if self.login_secret else {}

    def authority(self) -> str | None:
        """Return the certificate (PEM) of a private authority, or None without such a secret. Raises CommandFailed."""
        arn = self.access.get(CA_CERTIFICATE)
        return None if arn is None else str(_secret(arn, "certificate")["certificate"])

    def client_settings(self) -> Json:
        """Return settings of a confluent-kafka client that connects like Lambda. Raises CommandFailed."""
        authority, user = self.authority(), self.user()
        settings: Json = {
            "bootstrap.servers": ",".join(self.brokers),
            "security.protocol": "SASL_SSL" if user else "SSL",
            "socket.timeout.ms": int(TIMEOUT_SECONDS * 1000),
            # A wrong password must not be tried many times a second.
            "reconnect.backoff.ms": 500,
            "log_level": 0,
        }
        if user and self.login_secret:
            settings |= {
                "sasl.mechanism": self.login_secret[0],
                "sasl.username": user["username"],
                "sasl.password": user["password"],
            }
        return settings | ({} if authority is None else {"ssl.ca.pem": authority})


def _secret(arn: str, *names: str) -> Json:
    with asking_aws(f"The secret {arn} cannot be read"):
        text = aws_client("secretsmanager", arn).get_secret_value(SecretId=arn).get("SecretString", "")
    try:
        content = json.loads(text)
        if all(isinstance(content[name], str) and content[name] for name in names):
            return dict(content)
    except (ValueError, KeyError, TypeError):
        pass
    raise SecretUnfit(f"The secret {arn} must hold a JSON object with {' and '.join(names)}.")


@dataclass
class Troubles:
    """The errors of a client's connections during one request. The first one tells the cause."""

    errors: list["KafkaError"] = field(default_factory=list)

    @property
    def has_cause(self) -> bool:
        return any(each.name() in CAUSES for each in self.errors)

    def cause(self, error: "KafkaError") -> "KafkaError":
        """Return the cause of `error`, which may only say that the time was up."""
        return next((each for each in self.errors if each.name() in CAUSES), error)


# Errors that tell more than "no broker was left".
CAUSES = ("_AUTHENTICATION", "_SSL", "_RESOLVE")
ADVICE = {
    "_AUTHENTICATION": "Username or password is wrong: bring the new ones into the secret.",
    "_SSL": "The certificate is not trusted, or the port does not speak TLS.",
    "_RESOLVE": "Check the brokers' names.",
    "_TRANSPORT": "Check the brokers' addresses, and that this machine may connect to them.",
    "_ALL_BROKERS_DOWN": "Check the brokers' addresses, and that this machine may connect to them.",
    "_TIMED_OUT": "Check the brokers' addresses, and that this machine may connect to them.",
    "TOPIC_AUTHORIZATION_FAILED": "The user may not read this topic.",
    "GROUP_AUTHORIZATION_FAILED": "The user may not read in this group: Port allows ORG_ID.anything and the username.",
}


@contextmanager
def open_consumer(mapping: KafkaMapping) -> Iterator["Consumer"]:
    """Open a consumer that connects like Lambda and joins no group. Errors in the block are raised as CommandFailed."""
    from confluent_kafka import Consumer, KafkaException

    troubles = Troubles()
    # With these settings the consumer does not commit, and does not join the group while it only assigns partitions.
    settings = {
        **mapping.client_settings(),
        "group.id": mapping.group,
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "allow.auto.create.topics": False,
        "error_cb": troubles.errors.append,
    }
    try:
        consumer = Consumer(settings)
    except KafkaException as error:
        raise KafkaFailed(f"Kafka cannot be used: {error.args[0].str()}.", "_INVALID_ARG") from error
    try:
        _connect(consumer, troubles)
        yield consumer
    except KafkaException as error:
        raise _refusal(mapping, troubles.cause(error.args[0])) from error
    finally:
        consumer.close()


def _refusal(mapping: KafkaMapping, error: "KafkaError") -> KafkaFailed:
    advice = ADVICE.get(error.name(), "")
    brokers = ", ".join(mapping.brokers)
    return KafkaFailed(f"Kafka at {brokers} refused: {error.str()}. {advice}".rstrip(), error.name())


def committed(mapping: KafkaMapping, places: list["TopicPartition"]) -> list["TopicPartition"]:
    """Return the offsets that the group has committed in these partitions. Raises CommandFailed."""
    from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
    from confluent_kafka.admin import AdminClient

    # A consumer's own `committed` says only that its time is up if the user may not use the group.
    client = AdminClient(mapping.client_settings())
    asked = [ConsumerGroupTopicPartitions(mapping.group, places)]
    try:
        [answer] = client.list_consumer_group_offsets(asked, request_timeout=TIMEOUT_SECONDS).values()
        return list(answer.result().topic_partitions)
    except KafkaException as error:
        raise _refusal(mapping, error.args[0]) from error


def _connect(consumer: "Consumer", troubles: Troubles) -> None:
    """Wait until a broker answers, or until the reason why none answers is known."""
    from confluent_kafka import KafkaException

    deadline, seconds = time.monotonic() + TIMEOUT_SECONDS, FIRST_LOOK_SECONDS
    while True:
        try:
            consumer.list_topics(timeout=seconds)
            return
        except KafkaException:
            consumer.poll(0)  # during this call the client reports its errors
            if troubles.has_cause or time.monotonic() > deadline:
                raise
        seconds = min(2 * seconds, TIMEOUT_SECONDS)


def read_records(mapping: KafkaMapping, topic: str, partition: int, first: int, last: int) -> list[Json]:
    """Return the records at these offsets in the format of a Kafka event. Raises CommandFailed, also if one is gone."""
    from confluent_kafka import TopicPartition

    with open_consumer(mapping) as consumer:
        place = TopicPartition(topic, partition, first)
        oldest, end = consumer.get_watermark_offsets(place, timeout=TIMEOUT_SECONDS)
        if not oldest <= first <= last < end:
            raise CommandFailed(
                f"{topic}-{partition} holds the offsets {oldest} to {end - 1} only, not {_offsets(first, last)}: "
                "Kafka no longer has it, or it is of another topic that had the same name."
            )
        consumer.assign([place])
        return [to_event_record(message) for message in _messages(consumer, last)]


def _offsets(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _messages(consumer: "Consumer", last: int) -> Iterator["Message"]:
    from confluent_kafka import KafkaError, KafkaException

    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        message = consumer.poll(max(0.0, deadline - time.monotonic()))
        if message is None:  # a message without a value is also false
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        if (error := message.error()) is not None:
            raise KafkaException(error)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        offset = message.offset() or 0
        if offset <= last:
            yield message
        if offset >= last:
            return


def to_event_record(message: "Message") -> Json:
    """Return a record in the format of a Kafka event.

    https://docs.aws.amazon.com/lambda/latest/dg/with-kafka.html
    """
    from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

    kind, timestamp = message.timestamp()
    contents = {"key": message.key(), "value": message.value()}
    headers: Any = message.headers() or []
    return {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": timestamp,
        "timestampType": "LOG_APPEND_TIME" if kind == TIMESTAMP_LOG_APPEND_TIME else "CREATE_TIME",
        **{name: base64.b64encode(bytes(value)).decode() for name, value in contents.items() if value is not None},
        "headers": [{name: list(value or b"")} for name, value in headers],
    }


def make_event(records: Sequence[Json]) -> Json:
    """Return the event in which Lambda would send these records."""
    partitions: dict[str, list[Json]] = {}
    for record in records:
        partitions.setdefault(f"{record['topic']}-{record['partition']}", []).append(record)
    return {"eventSource": "SelfManagedKafka", "bootstrapServers": "", "records": partitions}
