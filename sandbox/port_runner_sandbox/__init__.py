"""Kafka, Port and AWS on this machine, for the demo and the integration tests."""

from port_runner_sandbox.kafka import Kafka
from port_runner_sandbox.localstack import NoSandbox
from port_runner_sandbox.processes import ProcessFailed
from port_runner_sandbox.sandbox import Sandbox, start_sandbox

__all__ = ["Kafka", "NoSandbox", "ProcessFailed", "Sandbox", "start_sandbox"]
