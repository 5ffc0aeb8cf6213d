"""The sandbox, once for all integration tests."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from port_runner_cli.clients.port import PortConnection
from port_runner_cli.commands.setup import read_definitions, set_up
from port_runner_sandbox import Sandbox, start_sandbox
from tests.support.deployment import Deployment, deployed
from tests.support.project import ROOT

LAYER = ROOT / "dist" / "layer-x86_64.zip"
LOGS = pytest.StashKey[Path]()


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Sandbox]:
    directory = tmp_path_factory.mktemp("sandbox")
    pytestconfig.stash[LOGS] = directory
    with start_sandbox(directory) as sandbox:
        yield sandbox


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    if exitstatus and LOGS in config.stash:
        terminalreporter.write_line(f"Logs of the sandbox: {config.stash[LOGS]}")


@pytest.fixture(scope="session")
def connection(sandbox: Sandbox) -> Iterator[PortConnection]:
    """A connection to the sandbox's Port, which has the blueprint and action."""
    with PortConnection(sandbox.port.url, sandbox.port.client_id, sandbox.port.client_secret) as connection:
        set_up(connection, read_definitions(), tell=lambda line, style: None)
        yield connection


@pytest.fixture(scope="session")
def coming_deployment(
    sandbox: Sandbox, connection: PortConnection, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Future[Deployment]]:
    """The module, applied once in the background while other tests run."""
    if not LAYER.exists():
        pytest.fail(f"There is no {LAYER.relative_to(ROOT)}. Run `make package` to build it.", pytrace=False)
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\nApplying the module to the sandbox; the failure queue alone takes 25 s.", flush=True)
    with ExitStack() as made, ThreadPoolExecutor(1) as background:
        yield background.submit(
            lambda: made.enter_context(deployed(sandbox, connection, tmp_path_factory.mktemp("module")))
        )


@pytest.fixture(scope="session")
def deployment(coming_deployment: Future[Deployment]) -> Deployment:
    return coming_deployment.result()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the test that destroys the shared deployment to the end."""
    items.sort(key=lambda item: item.name == "test_destroy_leaves_nothing")
