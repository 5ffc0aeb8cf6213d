"""A stand-in for Port's HTTP API. It is as strict as Port, and publishes executed actions like Port."""

from port_runner_sandbox.fake_port.faults import Fault
from port_runner_sandbox.fake_port.http_server import Answer, Received
from port_runner_sandbox.fake_port.port import FakePort
from port_runner_sandbox.fake_port.rate_limit import RateLimit

__all__ = ["Answer", "FakePort", "Fault", "RateLimit", "Received"]
