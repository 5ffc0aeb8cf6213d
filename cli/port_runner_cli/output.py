"""What commands print, and how they fail."""

import json
import sys
import unicodedata
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.text import Text

# As people type it, in this project's folder.
COMMAND = "scripts/port-runner"


# What a shell calls a command that Ctrl-C ended.
INTERRUPTED = 130


class OrderedGroup(click.Group):
    """Lists its commands as they were added; Ctrl-C in one of them is exit code 130."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)


class CommandFailed(click.ClickException):
    """A command cannot do what it is for; the text says what was wrong, and what to do. Exit code 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"Error: {printable(self.message)}", file=file or sys.stderr)


class SettingsError(CommandFailed):
    """A setting or a file is wrong; nobody else was asked. Exit code 2."""

    exit_code = 2


class Output:
    """Colours on a terminal, plain lines elsewhere; as JSON one document, with all that is told on the way on stderr.

    Only text for people goes through `say` and `show`; `document` is what a program reads.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.console = Console(stderr=as_json, highlight=False, markup=False, emoji=False, soft_wrap=True)

    @property
    def live(self) -> bool:
        """Whether a person watches, on a terminal that can overwrite what it shows."""
        return self.console.is_terminal and not self.console.is_dumb_terminal

    def say(self, text: str = "", style: str = "") -> None:
        """Print a line, or several."""
        self.console.print(Text(printable(text), style))

    def show(self, renderable: RenderableType) -> None:
        """Print a table or the like."""
        self.console.print(renderable)

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """A spinner with this text for as long as the block takes, on a terminal; nothing elsewhere."""
        return self.console.status(Text(printable(text))) if self.live else nullcontext()

    def document(self, content: Any) -> None:
        """Print what came of it all, if JSON is asked for; once, at the end."""
        if self.as_json:
            click.echo(json.dumps(content, indent=2, ensure_ascii=False))


def output_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json` to a command; what it prints through comes as `output`."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document; what goes on is told on stderr.")
    @wraps(command)
    def with_output(*arguments: Any, as_json: bool, **options: Any) -> Any:
        return command(*arguments, output=Output(as_json=as_json), **options)

    return with_output


def printable(text: str) -> str:
    """`text` without what could steer a terminal: it may come from anywhere."""
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc")
