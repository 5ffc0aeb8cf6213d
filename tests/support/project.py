"""Paths of the project's own files."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DEFINITIONS = ROOT / "port"
EVENTS = ROOT / "tests" / "events"
