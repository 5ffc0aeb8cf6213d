"""The handlers of this project, as the function has them."""

import importlib
import traceback
from pathlib import Path

from port_runner_cli.output import SettingsError
from port_runner import Runner

SOURCES = Path(__file__).parents[2] / "lambda"
ENTRY_POINT = "lambda_function"


def load_runner() -> Runner:
    """The runner in lambda/lambda_function.py, with every handler that it includes. Raises SettingsError."""
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
    """Where in the project's own files it happened."""
    if isinstance(error, SyntaxError):
        return ""  # its text has the place
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_relative_to(SOURCES) and "port_runner" not in file.parts:
            return f" ({file.relative_to(SOURCES.parent)}, line {frame.lineno})"
    return ""
