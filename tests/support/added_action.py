"""An action that is added to a copy of this project, with the code and commands of README.md."""

import re
import shutil
from pathlib import Path

from tests.support.project import ROOT

_SECTION = (ROOT / "README.md").read_text().split("\n## Add an action\n")[1].split("\n## ")[0]
_, HANDLER, _, _INCLUDED, _COMMANDS = re.split(r"^```(?:python)?\n", _SECTION, flags=re.MULTILINE)

FILE = "lambda/handlers/costs.py"
ACTION_JSON, SETUP, CHECK, DEPLOY, RUN = COMMANDS = re.findall(r"^ {4}(\S.*)$", _COMMANDS, re.MULTILINE)
ACTION = RUN.split()[2]

# What the entry point gets: the handler's module, and its router.
IMPORT, INCLUDE = filter(None, _INCLUDED.splitlines())

# What the commands need of the project.
PARTS = ("lambda", "port", "scripts", "requirements")


def add_action(directory: Path) -> Path:
    """Copy the project into the directory, add the handler, and return the directory. The environment is shared."""
    for folder in PARTS:
        shutil.copytree(ROOT / folder, directory / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / file, directory)
    _take_environment(directory)
    (directory / FILE).write_text(HANDLER)
    entry_point = directory / "lambda" / "lambda_function.py"
    text, imported = re.subn(r"^from handlers import .*$", IMPORT, entry_point.read_text(), flags=re.MULTILINE)
    text, included = re.subn(r"^(runner\.include\(vm\.router\))$", rf"\1\n{INCLUDE}", text, flags=re.MULTILINE)
    if (imported, included) != (1, 1):
        raise ValueError(f"{entry_point} does not have the lines that README.md changes")
    entry_point.write_text(text)
    return directory


def _take_environment(directory: Path) -> None:
    """Let the copy use this project's environment, so that it is not installed twice."""
    environment, copy = ROOT / ".venv", directory / ".venv"
    copy.mkdir()
    for each in environment.iterdir():
        (copy / each.name).symlink_to(each)
    stamp = copy / "made-of.txt"
    stamp.unlink()
    stamp.write_text((environment / "made-of.txt").read_text().replace(str(environment), str(copy)))
