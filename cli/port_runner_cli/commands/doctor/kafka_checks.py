"""Checks of Kafka: from the brokers' names to the last record of the topic."""

import socket
import ssl
import time
from contextlib import closing

from port_runner_cli.clients.kafka import (
    TIMEOUT_SECONDS,
    KafkaFailed,
    KafkaMapping,
    SecretUnfit,
    committed,
    open_consumer,
    read_records,
)
from port_runner_cli.commands.doctor.deployment import Deployment
from port_runner_cli.commands.doctor.finding import Finding, bad, good, unknown, unreadable
from port_runner_cli.output import COMMAND

CONNECT_SECONDS = 5.0
# The age in seconds that the oldest waiting record may have, plus the time that the function may need for earlier ones.
PATIENCE_SECONDS = 60
THEN_STORE = f"`{COMMAND} kafka-secret --store ARN` writes the user's secret as Port has it."
# librdkafka's codes for a connection that did not get as far as a login.
NO_CONNECTION = ("_SSL", "_RESOLVE", "_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT")


def secrets(deployment: Deployment) -> Finding:
    """The mapping's secrets have the content that Lambda needs, and are in the mapping's region."""
    region = deployment.function.arn.split(":")[3]
    for arn in deployment.mapping.access.values():
        if arn.startswith("arn:") and arn.split(":")[3] != region:
            return bad(
                f"the secret {arn} is not in the function's region, {region}",
                f"Replicate the secret to {region}, and name that one to Terraform.",
            )
    for name in ("user", "authority"):
        if error := deployment.problem_with(name):
            return bad(error.message, THEN_STORE) if isinstance(error, SecretUnfit) else unreadable(error)
    user = deployment.user.get("username")
    return good(f"Lambda logs in as {user}" if user else "Lambda does not log in: the mapping names no credentials")


def _brokers(deployment: Deployment) -> list[tuple[str, int]]:
    return [(host, int(port)) for host, _, port in (broker.rpartition(":") for broker in deployment.mapping.brokers)]


def _listed(problems: list[tuple[str, str]]) -> str:
    return "; ".join(f"{broker}: {problem}" for broker, problem in problems)


def names(deployment: Deployment) -> Finding:
    """The brokers' names resolve."""
    problems = []
    for host, port in _brokers(deployment):
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            problems.append((host, error.strerror or str(error)))
    if problems:
        return bad(_listed(problems), f"Correct kafka_bootstrap_servers; `{COMMAND} kafka-secret` fetches them.")
    return good(f"{', '.join(deployment.mapping.brokers)} resolve")


def ports(deployment: Deployment) -> Finding:
    """The brokers accept connections."""
    problems, unresolved = [], False
    for host, port in _brokers(deployment):
        try:
            socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
        except socket.gaierror:
            unresolved = True
        except OSError as error:
            problems.append((f"{host}:{port}", error.strerror or str(error)))
    if problems:
        return bad(
            f"{_listed(problems)}, from this machine; Lambda connects from elsewhere",
            "Open the port in firewalls, and check that the brokers are those of your region.",
        )
    return unknown("without an address there is no port") if unresolved else good("they accept connections")


def tls(deployment: Deployment) -> Finding:
    """The brokers speak TLS, with a certificate that Lambda would trust."""
    context = ssl.create_default_context(cadata=deployment.authority)
    # Stricter than Kafka clients are.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    problems, unreachable = [], False
    for host, port in _brokers(deployment):
        try:
            connection = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
        except OSError:
            unreachable = True
            continue
        if problem := _handshake(context, connection, host):
            problems.append((f"{host}:{port}", problem))
    if problems:
        return bad(
            _listed(problems),
            "If the brokers have a private authority, set kafka_ca_certificate in Terraform. If they do not "
            "speak TLS, the port is wrong.",
        )
    if unreachable:
        return unknown("there is no connection")
    return good(f"their certificates are trusted{', by the authority of the secret' if deployment.authority else ''}")


def _handshake(context: ssl.SSLContext, connection: socket.socket, host: str) -> str | None:
    """Return what is wrong with the certificate, or None."""
    with closing(connection):
        try:
            context.wrap_socket(connection, server_hostname=host).close()
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
        except OSError as error:
            return f"it does not speak TLS ({error.strerror or error})"
    return None


def login(deployment: Deployment) -> Finding:
    """Kafka accepts the username and the password."""
    error = deployment.problem_with("topics")
    if error is None:
        return good(f"Kafka takes the password of {deployment.user.get('username') or 'no user'}")
    if not isinstance(error, KafkaFailed):
        return unreadable(error)
    if error.code in NO_CONNECTION:
        return unknown("there is no connection to log in over")
    return bad(error.message, f"After a rotation in Port: {THEN_STORE}")


def topic(deployment: Deployment) -> Finding:
    """The topic exists, and the user can see it."""
    name = deployment.mapping.topic
    if name in deployment.topics:
        return good(f"{name} has {deployment.topics[name]} partition{'s' if deployment.topics[name] > 1 else ''}")
    seen = ", ".join(sorted(deployment.topics)) or "none"
    return bad(
        f"the user sees no topic {name}; those that it sees: {seen}",
        "Check kafka_topic and port_org_id; Port makes the topics at its end.",
    )


def group(deployment: Deployment) -> Finding:
    """The user may read the topic in the group."""
    from confluent_kafka import TopicPartition

    mapping = deployment.mapping
    if mapping.topic not in deployment.topics:
        return unknown("there is no topic to read")
    place = TopicPartition(mapping.topic, 0)
    try:
        committed(mapping, [place])
        with open_consumer(mapping) as consumer:
            consumer.get_watermark_offsets(place, timeout=TIMEOUT_SECONDS)
    except KafkaFailed as error:
        return bad(error.message, "Name the group ORG_ID.anything with kafka_consumer_group_id in Terraform.")
    return good(f"the user may read in {mapping.group}")


def members(deployment: Deployment) -> Finding:
    """Lambda reads in the group, and no other consumer does."""
    from confluent_kafka import ConsumerGroupState, KafkaException
    from confluent_kafka.admin import AdminClient

    mapping, partitions = deployment.mapping, deployment.topics.get(deployment.mapping.topic, 1)
    client = AdminClient(mapping.client_settings())
    try:
        [answer] = client.describe_consumer_groups([mapping.group], request_timeout=TIMEOUT_SECONDS).values()
        found = answer.result(TIMEOUT_SECONDS)
    except (KafkaException, TimeoutError) as error:
        return unknown(f"the members of {mapping.group} cannot be listed: {error}")
    if found.state in (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD):
        return bad(f"no consumer reads in {mapping.group}", "The mapping does not poll: see above.")
    readers = ", ".join(sorted(f"{member.client_id} at {member.host}" for member in found.members))
    if len(found.members) > partitions:
        return bad(
            f"{len(found.members)} read in {mapping.group}, and the topic has {partitions} partition(s): {readers}",
            "Some get nothing. Stop the other one, or give each its own group.",
        )
    if found.state is not ConsumerGroupState.STABLE:
        return unknown(f"{mapping.group} is {found.state.name.lower()}", "Its members are changing. Check again.")
    # Not every broker lists the members. Lambda's own member has no special name; the reader may recognize the others.
    return good(f"{mapping.group} is being read{f' by {readers}' if readers else ''}")


def lag(deployment: Deployment) -> Finding:
    """The records of the topic have been read, or are being read."""
    from confluent_kafka import TopicPartition

    mapping, partitions = deployment.mapping, deployment.topics.get(deployment.mapping.topic, 0)
    if not partitions:
        return unknown("there is no topic to read")
    from_start = mapping.content.get("StartingPosition") == "TRIM_HORIZON"
    waiting: dict[int, tuple[int, int]] = {}
    with open_consumer(mapping) as consumer:
        places = [TopicPartition(mapping.topic, number) for number in range(partitions)]
        for place in committed(mapping, places):
            first, end = consumer.get_watermark_offsets(place, timeout=TIMEOUT_SECONDS)
            if place.offset < 0 and not from_start and end > first:
                return unknown(
                    f"nothing was read in {mapping.group} so far, though there are records",
                    "The mapping starts at LATEST: it reads only new records. Run an action.",
                )
            next_offset = max(first, place.offset)
            if end > next_offset:
                waiting[place.partition] = (next_offset, end - next_offset)
    count = sum(number for _, number in waiting.values())
    if not count:
        return good("no record waits")
    age = max(_age(mapping, partition, offset) for partition, (offset, _) in waiting.items())
    found = f"{count} record{'s wait' if count > 1 else ' waits'}, the oldest for {_length(age)}"
    if age <= deployment.function.timeout + PATIENCE_SECONDS:
        return good(found)
    return bad(
        found, "The function fails again and again, or the mapping does not poll: see above, and its errors below."
    )


def _age(mapping: KafkaMapping, partition: int, offset: int) -> float:
    [record] = read_records(mapping, mapping.topic, partition, offset, offset)
    return max(0.0, time.time() - float(record["timestamp"]) / 1000)


def _length(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
