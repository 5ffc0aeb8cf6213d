"""The local stack, once for all integration tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack import Stack, local_stack
from module_under_test import ROOT, Deployment, deployed

LAYER = ROOT / "dist" / "layer-x86_64.zip"
LOGS = pytest.StashKey[Path]()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("local-stack")
    pytestconfig.stash[LOGS] = directory
    with local_stack(directory) as stack:
        yield stack


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    if exitstatus and LOGS in config.stash:
        terminalreporter.write_line(f"Logs of the local stack: {config.stash[LOGS]}")


@pytest.fixture(scope="session")
def deployment(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Deployment]:
    """The module, applied once."""
    if not LAYER.exists():
        pytest.fail(f"There is no {LAYER.relative_to(ROOT)}. Run `make package` to build it.", pytrace=False)
    with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\nApplying the module to the local stack; the failure queue alone takes 25 s.", flush=True)
    with deployed(stack, tmp_path_factory.mktemp("module")) as deployment:
        yield deployment


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The test that destroys what the others use comes last."""
    items.sort(key=lambda item: item.name == "test_destroy_leaves_nothing")
