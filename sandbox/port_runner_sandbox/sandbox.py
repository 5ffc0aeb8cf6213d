"""The sandbox: Kafka, Port and AWS on this machine, started and ended together."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.config import Config
from localstack_client.session import Session

from port_runner_sandbox.broker import Broker
from port_runner_sandbox.certificates import make_certificates
from port_runner_sandbox.fake_port import FakePort
from port_runner_sandbox.kafka import Kafka
from port_runner_sandbox.localstack import running_localstack, start_localstack

REGION = "eu-west-1"
# LocalStack accepts these credentials. AWS would not.
AWS_KEY = "test"
KAFKA_USER = "port-organization"
KAFKA_PASSWORD = "kafka-password-of-the-sandbox"


@dataclass(frozen=True)
class Sandbox:
    """The running sandbox, and the ways to reach it. `directory` holds the logs."""

    aws_endpoint_url: str
    kafka: Kafka
    port: FakePort
    directory: Path
    _clients: dict[str, Any] = field(default_factory=dict, repr=False)

    def aws(self, service: str) -> Any:
        """Return a boto3 client of LocalStack."""
        if service not in self._clients:
            host = urlsplit(self.aws_endpoint_url).netloc
            session = Session(AWS_KEY, AWS_KEY, region_name=REGION, localstack_host=host)
            # A proxy of the network cannot reach this machine.
            self._clients[service] = session.client(service, config=Config(proxies={}))
        return self._clients[service]

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that lead Terraform and boto3 to LocalStack. Add them to your own."""
        return {
            "AWS_ENDPOINT_URL": self.aws_endpoint_url,
            "AWS_ACCESS_KEY_ID": AWS_KEY,
            "AWS_SECRET_ACCESS_KEY": AWS_KEY,
            "AWS_SESSION_TOKEN": "",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def variables(self) -> dict[str, object]:
        """The variables of a root module that uses this Port and this Kafka."""
        return {
            "port_org_id": self.port.organization_id,
            "port_credentials": {"client_id": self.port.client_id, "client_secret": self.port.client_secret},
            "kafka_credentials": {"username": self.kafka.username, "password": self.kafka.password},
        }

    @property
    def module_arguments(self) -> dict[str, object]:
        """The module's arguments that lead it to this Port and this Kafka, for an override of the root module."""
        return {
            "port_api_url": self.port.url,
            "kafka_bootstrap_servers": self.kafka.bootstrap_servers,
            "kafka_ca_certificate": self.kafka.ca_certificate,
            # The topic is new: each run in it belongs to this sandbox.
            "starting_position": "TRIM_HORIZON",
        }


def _quiet(message: str) -> None:
    pass


@contextmanager
def start_sandbox(directory: Path, *, progress: Callable[[str], None] = _quiet) -> Iterator[Sandbox]:
    """Start everything, and end it after the block. Logs stay in `directory`.

    Uses the LocalStack that AWS_ENDPOINT_URL or LOCALSTACK_HOST names, or starts one. Raises NoSandbox or
    ProcessFailed, whose texts say what is wrong.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    aws_endpoint_url = running_localstack()
    with ExitStack() as parts:
        # The slowest part first, so that the others start at the same time.
        progress("Using the LocalStack that is already running" if aws_endpoint_url else "Starting LocalStack")
        started = None if aws_endpoint_url else parts.enter_context(start_localstack(directory))
        progress("Starting Kafka with TLS and SCRAM")
        certificates = make_certificates(directory / "certificates")
        broker = parts.enter_context(Broker(certificates, log=directory / "broker.log"))
        progress("Starting the fake Port")
        port = parts.enter_context(FakePort(publish=lambda topic, value: kafka.produce(value, topic=topic)))
        kafka = Kafka(
            broker,
            certificates=certificates,
            organization=port.organization_id,
            username=KAFKA_USER,
            password=KAFKA_PASSWORD,
        )
        port.kafka_credentials = {
            "brokers": kafka.bootstrap_servers,
            "username": kafka.username,
            "password": kafka.password,
        }
        kafka.create_topic(kafka.topic)
        kafka.create_topic(kafka.change_log_topic)
        if started:
            progress("Waiting for LocalStack")
            started.wait()
            aws_endpoint_url = started.url
        assert aws_endpoint_url
        progress(f"The sandbox is ready: AWS at {aws_endpoint_url}, Kafka at {broker.address}, Port at {port.url}")
        yield Sandbox(aws_endpoint_url, kafka, port, directory)
