"""Durations as people type them."""

import re
from typing import Any

import click

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Duration(click.ParamType[float]):
    """A duration such as `90s`, `30m`, `6h` or `7d`, converted to seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"(\d{1,6})([smhd])", str(value))
        if match is None:
            self.fail(f"{value!r} is no length of time. Say 90s, 30m, 6h or 7d.", param, ctx)
        return int(match[1]) * SECONDS[match[2]]


DURATION = _Duration()
