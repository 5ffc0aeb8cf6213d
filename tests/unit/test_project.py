"""The dependencies that pyproject.toml names agree with the imports and with the development environment."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support.project import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LISTS = {"library": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
FOLDERS = {
    "library": ["lambda/port_runner"],
    "cli": ["cli/port_runner_cli", "sandbox/port_templates"],
    "sandbox": ["sandbox/port_runner_sandbox", "sandbox/port_templates"],
}
OWN = {"handlers", "lambda_function", "port_runner", "port_runner_cli", "port_runner_sandbox", "port_templates"}
# boto3 needs exactly the botocore that is made for it.
BROUGHT = {"botocore": "boto3"}


def imported(folder: Path) -> set[str]:
    """Return the distributions that the folder's modules import, without Python's own and the project's."""
    modules = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules.add(str(node.module).partition(".")[0])
    distributions = packages_distributions()
    found = {distributions[module][0].lower() for module in modules - OWN - sys.stdlib_module_names}
    return {BROUGHT.get(name, name) for name in found}


def required(name: str) -> set[str]:
    """Return the packages that requirements/NAME.in names, and those of the files that it includes."""
    lines = (ROOT / "requirements" / f"{name}.in").read_text().splitlines()
    included = [line.removeprefix("-r ").removesuffix(".in") for line in lines if line.startswith("-r ")]
    named = {match[0] for line in lines if (match := re.match(r"[\w.-]+", line)) and not line.startswith("-")}
    return named.union(*map(required, included))


@pytest.mark.parametrize("name", LISTS)
def test_dependencies_are_in_the_development_environment(name: str) -> None:
    """Every package that pyproject.toml names is in requirements/dev.in, so the tests run with it."""
    assert set(LISTS[name]) - required("dev") == set()


@pytest.mark.parametrize("name", FOLDERS)
def test_imports_are_dependencies(name: str) -> None:
    """Each part names every package that it imports, and no other."""
    allowed = set(LISTS[name]) | (set(LISTS["library"]) if name != "library" else set())
    used = set().union(*(imported(ROOT / folder) for folder in FOLDERS[name]))

    assert used - allowed == set()
    assert set(LISTS[name]) - used == set()
