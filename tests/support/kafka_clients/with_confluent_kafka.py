"""confluent-kafka: librdkafka, in any version."""

import time
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer

from tests.support.kafka_clients.commands import Json, serve


def settings(command: Json) -> Json:
    """Return the settings of each client."""
    login = command["login"]
    return {
        "bootstrap.servers": login["brokers"],
        "broker.address.family": "v4",
        "security.protocol": login["protocol"],
        "ssl.ca.location": login["ca_file"],
        "sasl.mechanism": login["mechanism"],
        "sasl.username": login["username"],
        "sasl.password": login["password"],
        "log_level": 0,
    }


def read(command: Json) -> list[str]:
    """Read and commit. The client would continue after an error, but here the first one is raised."""
    errors: list[Any] = []
    consumer = Consumer(
        {
            **settings(command),
            "group.id": command["group"],
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "error_cb": errors.append,
        }
    )
    try:
        consumer.subscribe([command["topic"]])
        values: list[str] = []
        deadline = time.monotonic() + command["seconds"]
        while len(values) < command["count"]:
            message = consumer.poll(0.1)
            if message is not None and message.error():
                errors.append(message.error())
            elif message is not None:
                values.append((message.value() or b"").decode())
            if errors:
                raise KafkaException(errors[0])
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(values)} records only")
        consumer.commit(asynchronous=False)
        return values
    finally:
        consumer.close()


def produce(command: Json) -> int:
    """Produce a record, and return its offset."""
    errors: list[Any] = []
    offsets: list[int] = []
    producer = Producer(
        {**settings(command), "error_cb": errors.append, "linger.ms": 0, "message.max.bytes": 10_000_000}
    )

    def note(error: Any, message: Any) -> None:
        if error:
            errors.append(error)
        else:
            offsets.append(message.offset())

    producer.produce(command["topic"], b"x" * command["size"], on_delivery=note)
    deadline = time.monotonic() + command["seconds"]
    while not errors and not offsets and time.monotonic() < deadline:
        producer.poll(0.1)
    producer.purge()
    if offsets:
        return offsets[0]
    raise KafkaException(errors[0]) if errors else TimeoutError("no answer")


serve(read, produce)
