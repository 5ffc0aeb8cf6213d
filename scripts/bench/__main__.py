"""Measure the function's cold start, runs, batches, decoding and memory, against simpler programs.

Everything runs on this machine, from the zips in dist/ and with the packages of AWS's runtime. Port is a fake behind
TLS, at the end of a network with a round trip of 30 ms. The aims are for a machine that does nothing else.
"""

import json
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from port_runner_sandbox import ProcessFailed
from scripts.bench.measurements import MEASUREMENTS, QUICK, Row, Sizes
from scripts.bench.workbench import NotMeasured, unpacked, workbench

HEADINGS = ("", "against", "its figure", "ours", "ratio", "aim")
TEXTS = 2


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="Use small sizes, only to see that the measurements work.")
@click.option("--json", "form", flag_value="json", help="Print JSON instead of a table.")
@click.option("--markdown", "form", flag_value="markdown", help="Print the table as Markdown.")
@click.argument("names", nargs=-1, type=click.Choice(list(MEASUREMENTS)))
def main(quick: bool, form: str | None, names: tuple[str, ...]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    progress = Console(stderr=True, highlight=False)
    rows: list[Row] = []
    try:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            bed = stack.enter_context(workbench(directory, unpacked(directory / "function")))
            for name in names or MEASUREMENTS:
                began = time.monotonic()
                if not progress.is_terminal:
                    progress.print(f"Measuring {name}")
                with progress.status(f"Measuring {name}"):
                    rows += MEASUREMENTS[name](bed, QUICK if quick else Sizes())
                progress.print(f"Measured {name} in {time.monotonic() - began:.0f} s")
    except (NotMeasured, ProcessFailed) as error:
        raise click.ClickException(str(error)) from None
    if form == "json":
        click.echo(json.dumps([{**asdict(row), "met": row.met} for row in rows], indent=2))
    elif form == "markdown":
        click.echo(markdown(rows))
    else:
        Console(highlight=False).print(table(rows))


def table(rows: list[Row]) -> Table:
    """Return *rows* as a table for a terminal, with missed aims in red."""
    shown = Table()
    for number, heading in enumerate(HEADINGS):
        shown.add_column(heading, justify="left" if number < TEXTS else "right")
    for row in rows:
        style = {True: "green", False: "bold red", None: ""}[row.met]
        shown.add_row(*cells(row), style=style)
    return shown


def markdown(rows: list[Row]) -> str:
    """Return *rows* as a Markdown table."""
    rules = ["---" if number < TEXTS else "---:" for number in range(len(HEADINGS))]
    lines = [HEADINGS, rules, *map(cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(row: Row) -> tuple[str, ...]:
    """Return the texts of *row* in the order of ``HEADINGS``."""
    aim = ""
    if row.most is not None:
        aim = f"≤ {row.most:.2g}"
    elif row.least is not None:
        aim = f"≥ {row.least:g}"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}" if row.ratio < 10 else f"{row.ratio:.0f}"
    figures = (_with_unit(value, row.unit) for value in (row.reference, row.ours))
    return row.what, row.against, *figures, ratio, _judged(aim, row.met)


def _with_unit(value: float, unit: str) -> str:
    return f"{value:.{0 if value >= 100 or value == int(value) else 1}f} {unit}".strip()


def _judged(aim: str, met: bool | None) -> str:
    return aim if met is None else f"{aim} {'met' if met else 'missed'}"


if __name__ == "__main__":
    main()
