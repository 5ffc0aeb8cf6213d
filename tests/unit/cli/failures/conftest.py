"""A failure queue, and the function that it belongs to."""

import pytest

from port_runner_cli.commands.failures import queue as queue_module
from tests.support.failures_under_test import NAME, Queue, took
from tests.support.fake_lambda import FakeFunction, FakeLambda


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "WAIT_SECONDS", 0)


@pytest.fixture
def queue(aws: FakeLambda) -> Queue:
    return Queue()


@pytest.fixture
def deployed(aws: FakeLambda, queue: Queue) -> FakeFunction:
    """A function that takes every event."""
    configuration = {"Environment": {"Variables": {"FAILURE_QUEUE_URL": queue.url}}}
    return aws.add(FakeFunction(NAME, configuration=configuration, handler=took))
