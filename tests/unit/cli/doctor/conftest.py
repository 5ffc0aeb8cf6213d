"""The deployment for `doctor`: one Kafka for all tests, and everything else new for each test."""

from collections.abc import Iterator

import pytest

from port_runner_cli.clients.port import PortConnection
from port_runner_cli.commands.setup import read_definitions, set_up
from port_runner_sandbox.broker import Broker
from port_runner_sandbox.certificates import Certificates, make_certificates
from port_runner_sandbox.fake_port import FakePort
from port_runner_sandbox.kafka import Kafka
from tests.support.doctor_under_test import GROUP, ORGANIZATION, TOPIC, Deployed, reading
from tests.support.fake_lambda import FakeLambda


@pytest.fixture(scope="package")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="package")
def cluster(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker with the topic of the runs, in which one record has been read in the function's group."""
    with Broker(certificates, log=tmp_path_factory.mktemp("kafka") / "broker.log") as broker:
        kafka = Kafka(
            broker, certificates=certificates, organization=ORGANIZATION, username="user", password="password"
        )
        kafka.create_topic(TOPIC)
        kafka.produce(b"{}")
        with reading(kafka, GROUP):
            yield kafka


@pytest.fixture
def port() -> Iterator[FakePort]:
    with FakePort() as port:
        with PortConnection(port.url, port.client_id, port.client_secret) as connection:
            set_up(connection, read_definitions(), tell=lambda text, style: None)
        yield port


@pytest.fixture
def deployed(aws: FakeLambda, port: FakePort, cluster: Kafka, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    for name in ("PORT_CLIENT_ID", "PORT_CLIENT_SECRET", "PORT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    return Deployed(aws, port, cluster)
