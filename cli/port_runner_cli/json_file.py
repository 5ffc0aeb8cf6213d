"""JSON files that a user names."""

import json
from pathlib import Path
from typing import Any

from port_runner_cli.output import SettingsError


def read_json(file: Path) -> Any:
    """Return the file's content. Raises SettingsError if it cannot be read or is not JSON."""
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise SettingsError(f"{file} is not JSON: {error}.") from error
