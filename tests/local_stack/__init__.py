"""Kafka, Port and AWS on this machine, for the demo and the integration tests."""

from local_stack.kafka import Kafka
from local_stack.localstack import NoLocalStack
from local_stack.processes import ProcessFailed
from local_stack.stack import Stack, local_stack

__all__ = ["Kafka", "NoLocalStack", "ProcessFailed", "Stack", "local_stack"]
