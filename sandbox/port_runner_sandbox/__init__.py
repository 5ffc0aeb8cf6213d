"""Kafka, Port and AWS on this machine, for the demo and the integration tests."""

from port_runner_sandbox.kafka import Kafka
from port_runner_sandbox.localstack import NoLocalStack
from port_runner_sandbox.processes import ProcessFailed
from port_runner_sandbox.stack import Stack, local_stack

__all__ = ["Kafka", "NoLocalStack", "ProcessFailed", "Stack", "local_stack"]
