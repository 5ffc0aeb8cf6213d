"""The README agrees with the code."""

import re
from dataclasses import fields

from handlers.vm import CreateVm, create_vm
from port_runner.settings import Settings
from port_runner.testing import make_run
from tests.support.project import ROOT

README = (ROOT / "README.md").read_text()


def test_handler_is_the_shipped_one() -> None:
    """The handler in the README is the file that ships."""
    assert (ROOT / "lambda" / "handlers" / "vm.py").read_text().strip() in README


def test_example_of_a_test_works() -> None:
    """The README's example of a handler's test works."""
    [code] = re.findall(r"```python\n(from port_runner\.testing import make_run\n.*?)```", README, re.DOTALL)

    exec(code, {"CreateVm": CreateVm, "create_vm": create_vm})

    assert make_run("create_vm", CreateVm(1, 1, 1, "eu-west-1")).id in code


def test_every_variable_of_the_environment_is_listed() -> None:
    """The table has every variable that the function reads, except those that Lambda sets."""
    set_by_lambda = {"function_name", "log_group", "log_stream", "region"}
    read = {field.name.upper() for field in fields(Settings) if field.name not in set_by_lambda}
    table = README.split("## The function's environment")[1].split("\n## ")[0]
    rows = [row for row in table.splitlines() if row.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row.split("|")[1])}

    assert listed == read


def test_every_command_exists() -> None:
    """Every make target, script and path that the README names exists."""
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^ {4}|&& )make ([a-z][a-z-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    paths = set(re.findall(r"\]\(([^)#]+)\)", README))
    paths |= set(re.findall(r"`((?:lambda|scripts|terraform|tests)/[^`* ]*)`", README))
    for path in paths:
        if not path.startswith("http") and "costs.py" not in path:
            assert (ROOT / path).exists(), path
