"""aiokafka."""

import asyncio
import ssl

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from tests.support.kafka_clients.commands import Json, serve


def settings(command: Json) -> Json:
    """Return the settings of each client."""
    login = command["login"]
    return {
        "bootstrap_servers": login["brokers"],
        "security_protocol": login["protocol"],
        "ssl_context": ssl.create_default_context(cafile=login["ca_file"]),
        "sasl_mechanism": login["mechanism"],
        "sasl_plain_username": login["username"],
        "sasl_plain_password": login["password"],
    }


async def read(command: Json) -> list[str]:
    """Read and commit."""
    consumer = AIOKafkaConsumer(
        command["topic"],
        **settings(command),
        group_id=command["group"],
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    try:
        await consumer.start()
        values = [(await consumer.getone()).value.decode() for _ in range(command["count"])]
        await consumer.commit()
        return values
    finally:
        await consumer.stop()


async def produce(command: Json) -> int:
    """Produce a record, and return its offset."""
    producer = AIOKafkaProducer(**settings(command), max_request_size=10_000_000)
    try:
        await producer.start()
        sent = await producer.send_and_wait(command["topic"], b"x" * command["size"])
        return int(sent.offset)
    finally:
        await producer.stop()


serve(
    lambda command: asyncio.run(asyncio.wait_for(read(command), command["seconds"])),
    lambda command: asyncio.run(asyncio.wait_for(produce(command), command["seconds"])),
)
