"""A stand-in for Port's HTTP API, strict where Port is, that publishes executed actions as Port would."""

from local_stack.fake_port.faults import Fault
from local_stack.fake_port.http_server import Answer, Received
from local_stack.fake_port.port import FakePort

__all__ = ["Answer", "FakePort", "Fault", "Received"]
