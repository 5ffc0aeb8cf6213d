"""A stand-in for Port's HTTP API, strict where Port is, that publishes executed actions as Port would."""

from port_runner_sandbox.fake_port.faults import Fault
from port_runner_sandbox.fake_port.http_server import Answer, Received
from port_runner_sandbox.fake_port.port import FakePort

__all__ = ["Answer", "FakePort", "Fault", "Received"]
