"""The project that a command works on: its handlers, and Port's side of it."""

import importlib
import sys
import traceback
from pathlib import Path

from port_runner import Runner
from port_runner_cli.output import SettingsError

ENTRY_POINT = "lambda_function"


def project_folder() -> Path:
    """Return the nearest folder with lambda/lambda_function.py, from the current folder upward.

    Without one, return the folder that this program is installed from.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "lambda" / f"{ENTRY_POINT}.py").is_file():
            return folder
    return Path(__file__).parents[2]


def sources() -> Path:
    """Return the folder of the handlers and their entry point."""
    return project_folder() / "lambda"


def definitions_folder() -> Path:
    """Return the folder of the blueprints and actions as JSON files."""
    return project_folder() / "port"


def load_runner() -> Runner:
    """Return the runner in lambda/lambda_function.py, with every handler that it includes. Raises SettingsError."""
    if sys.path[0] != str(sources()):
        sys.path.insert(0, str(sources()))
    try:
        runner = getattr(importlib.import_module(ENTRY_POINT), "runner", None)
    except Exception as error:
        raise SettingsError(
            f"lambda/{ENTRY_POINT}.py cannot be imported: {type(error).__name__}: {error}{_place(error)}. "
            "Correct it and run this again."
        ) from error
    if not isinstance(runner, Runner):
        raise SettingsError(f"lambda/{ENTRY_POINT}.py has no `runner = Runner()` that could say which handlers it has.")
    return runner


def _place(error: Exception) -> str:
    """Return the place of the error in the project's own files."""
    if isinstance(error, SyntaxError):
        return ""  # the error's text has the place
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_relative_to(sources()) and "port_runner" not in file.parts:
            return f" ({file.relative_to(project_folder())}, line {frame.lineno})"
    return ""
