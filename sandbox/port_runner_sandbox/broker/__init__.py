"""A Kafka broker in memory that treats its clients as Port's does: TLS, SCRAM-SHA-512, and Port's rules of access."""

from port_runner_sandbox.broker.server import Broker
from port_runner_sandbox.broker.topics import MAX_MESSAGE_BYTES

__all__ = ["MAX_MESSAGE_BYTES", "Broker"]
