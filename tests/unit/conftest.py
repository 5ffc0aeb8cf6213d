"""A fake Port with the `vm` blueprint, and a function that talks to it."""

from collections.abc import Iterator

import pytest
import requests

from port_runner import deadline, logs
from port_runner.bounded import BoundedDict
from port_runner_sandbox.fake_port import FakePort
from tests.support.fake_lambda import REGION, FakeLambda
from tests.support.function_under_test import Function
from tests.support.project import ROOT


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line of one test is masked for a secret of another."""
    monkeypatch.setattr(logs, "_secrets", set())
    monkeypatch.setattr(logs, "_secrets_of_runs", BoundedDict(logs.SECRETS_OF_RUNS))


@pytest.fixture(autouse=True)
def no_abandoned_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test ends the process because of a thread that another test has left behind."""
    monkeypatch.setattr(deadline, "_abandoned", [])


@pytest.fixture
def port() -> Iterator[FakePort]:
    with FakePort() as port:
        credentials = {"clientId": port.client_id, "clientSecret": port.client_secret}
        token = requests.post(f"{port.url}/v1/auth/access_token", json=credentials, timeout=5).json()["accessToken"]
        answer = requests.post(
            f"{port.url}/v1/blueprints",
            data=(ROOT / "port" / "vm_blueprint.json").read_bytes(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            timeout=5,
        )
        assert answer.ok, answer.text
        port.requests.clear()
        yield port


@pytest.fixture
def function(port: FakePort, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Function:
    for name in ("PORT_CREDENTIALS_SECRET_ARN", "FAILURE_QUEUE_URL", "REPORT_BATCH_ITEM_FAILURES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PORT_API_URL", port.url)
    monkeypatch.setenv("PORT_CLIENT_ID", port.client_id)
    monkeypatch.setenv("PORT_CLIENT_SECRET", port.client_secret)
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    return Function(port, read_output=lambda: capsys.readouterr().out)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLambda]:
    """An empty AWS within this process, and a fake Lambda, for which boto3 needs only its settings."""
    from moto import mock_aws  # slow to import, and most tests do without

    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "PORT_RUNNER_FUNCTION", "PORT_CREDENTIALS_SECRET_ARN"):
        monkeypatch.delenv(name, raising=False)
    with FakeLambda() as fake, mock_aws():
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.setenv(name, REGION)
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", fake.url)
        yield fake
