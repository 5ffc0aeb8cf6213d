"""JSON from a file that somebody named."""

import json
from pathlib import Path
from typing import Any

from port_runner_cli.output import SettingsError


def read_json(file: Path) -> Any:
    """What the file holds. Raises SettingsError where it cannot be read or is not JSON."""
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise SettingsError(f"{file} is not JSON: {error}.") from error
