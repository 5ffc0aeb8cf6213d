"""kafka-python."""

from kafka import KafkaConsumer, KafkaProducer

from tests.support.kafka_clients.commands import Json, serve


def settings(command: Json) -> Json:
    """Return the settings of each client."""
    login = command["login"]
    return {
        "bootstrap_servers": login["brokers"],
        "bootstrap_timeout_ms": command["seconds"] * 1000,
        "security_protocol": login["protocol"],
        "ssl_cafile": login["ca_file"],
        "sasl_mechanism": login["mechanism"],
        "sasl_plain_username": login["username"],
        "sasl_plain_password": login["password"],
    }


def read(command: Json) -> list[str]:
    """Read and commit."""
    consumer = KafkaConsumer(
        command["topic"],
        **settings(command),
        group_id=command["group"],
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        consumer_timeout_ms=command["seconds"] * 1000,
    )
    try:
        values = [next(consumer).value.decode() for _ in range(command["count"])]
        consumer.commit()
        return values
    except StopIteration as error:
        raise TimeoutError from error
    finally:
        consumer.close(autocommit=False)


def produce(command: Json) -> int:
    """Produce a record, and return its offset."""
    seconds = command["seconds"]
    producer = KafkaProducer(**settings(command), max_request_size=10_000_000, max_block_ms=seconds * 1000)
    try:
        return int(producer.send(command["topic"], b"x" * command["size"]).get(seconds).offset)
    finally:
        producer.close(timeout=1)


serve(read, produce, last_word="SaslAuthenticationFailed|SaslMechanism|socket disconnected|not authorized")
