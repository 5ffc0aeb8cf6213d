"""The output of commands, and their errors."""

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

# The command as people type it, in this project's folder.
COMMAND = "scripts/port-runner"


# The exit code of a command that Ctrl-C ended.
INTERRUPTED = 130


class OrderedGroup(click.Group):
    """Lists its commands in the order in which they were added. Ctrl-C in one of them is exit code 130."""

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
    """A command failed. The text says what was wrong, and what to do. Exit code 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"Error: {printable(self.message)}", file=file or sys.stderr)


class SettingsError(CommandFailed):
    """A setting or a file is wrong, and no request was sent. Exit code 2."""

    exit_code = 2


class NotCheckable(CommandFailed):
    """Something cannot be checked from here. It may be good or bad."""


class Output:
    """Prints colors on a terminal and plain lines elsewhere. As JSON, prints one document, and messages on stderr.

    Text for people goes through `say` and `show`. `document` is for programs.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.console = Console(stderr=as_json, highlight=False, markup=False, emoji=False, soft_wrap=True)

    @property
    def live(self) -> bool:
        """Return whether the output is a terminal that can overwrite its lines."""
        return self.console.is_terminal and not self.console.is_dumb_terminal

    def say(self, text: str = "", style: str = "") -> None:
        """Print one or more lines."""
        self.console.print(Text(printable(text), style))

    def show(self, renderable: RenderableType) -> None:
        """Print a table or a similar object."""
        self.console.print(renderable)

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """Show a spinner with this text during the block on a terminal, and nothing elsewhere."""
        return self.console.status(Text(printable(text))) if self.live else nullcontext()

    def document(self, content: Any) -> None:
        """Print the result as JSON if that is asked for. Call it once, at the end."""
        if self.as_json:
            click.echo(json.dumps(content, indent=2, ensure_ascii=False))


def output_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json` to a command. The object that the command prints through is passed as `output`."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document. Progress is shown on stderr.")
    @wraps(command)
    def with_output(*arguments: Any, as_json: bool, **options: Any) -> Any:
        return command(*arguments, output=Output(as_json=as_json), **options)

    return with_output


def printable(text: str) -> str:
    """Return `text` without characters that could control a terminal. The text may come from anywhere."""
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc")
