"""The command: runs the handlers in this process, once or after each change."""

import contextlib
import importlib
import io
import json
import logging
import os
import pdb
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from port_runner_cli.clients.port import PortAccess, port_options
from port_runner_cli.commands.local.target import fake_target, real_target
from port_runner_cli.json_file import read_json
from port_runner_cli.log_lines import LogLine, read_line, render_line
from port_runner_cli.output import INTERRUPTED, CommandFailed, Output, SettingsError, output_option
from port_runner_cli.project import ENTRY_POINT, definitions_folder, sources

LOGGER = "port_runner"
# Long enough for a breakpoint, but a Port that does not answer must not be waited for without end.
AN_HOUR = 3600
POLL_SECONDS = 0.1

TOPIC, CHANGE_LOG = "local.runs", "local.change.log"

type Json = dict[str, Any]


# The event


def read_event(file: Path) -> Json:
    """Return the Kafka event in a file, or an event with the one message in it. Raises SettingsError."""
    content = read_json(file)
    if isinstance(content, dict) and isinstance(content.get("records"), dict):
        return content
    of_change_log = isinstance(content, dict) and (content.get("resourceType") == "entity" or "diff" in content)
    event: Json = _library("testing").kafka_event(content, topic=CHANGE_LOG if of_change_log else TOPIC)
    return event


def _library(name: str) -> Any:
    """Return a module of the library as it is loaded now. With --watch, modules are loaded repeatedly."""
    return importlib.import_module(f"port_runner.{name}")


def invocations_of(event: Json) -> list[Any]:
    """Return the run requests in the event's records. A record that cannot be read has none. Raises SettingsError."""
    kafka, messages, errors = _library("kafka"), _library("messages"), _library("errors")
    try:
        records = kafka.records_from_event(event)
    except errors.PortRunnerError as error:
        raise SettingsError(f"{error}.") from error
    found = []
    for record in records:
        with contextlib.suppress(errors.MessageError):
            found.append(messages.read_message(record, messages.MessagePaths()))
    return [each for each in found if isinstance(each, messages.RunRequest)]


# The handlers


@contextmanager
def loaded(source: Path) -> Iterator[Any]:
    """Import the module with the entry point in this folder again, and restore all modules afterward.

    Raises SettingsError if it cannot be imported.
    """
    if not (source / f"{ENTRY_POINT}.py").is_file():
        raise SettingsError(f"There is no {ENTRY_POINT}.py in {source}. Name its folder with --source.")
    names = {path.stem if path.suffix == ".py" else path.name for path in source.iterdir()}
    before, writes_no_bytecode = _take_out(names), sys.dont_write_bytecode
    sys.path.insert(0, str(source))
    importlib.invalidate_caches()
    # Python would use compiled code of the same second and size, although the file may have been edited since.
    sys.dont_write_bytecode = True
    try:
        yield _imported()
    finally:
        sys.dont_write_bytecode = writes_no_bytecode
        sys.path.remove(str(source))
        _take_out(names)
        sys.modules.update(before)


def _take_out(names: set[str]) -> dict[str, Any]:
    found = [name for name in sys.modules if name.partition(".")[0] in names]
    return {name: sys.modules.pop(name) for name in found}


def _imported() -> Any:
    try:
        return importlib.import_module(ENTRY_POINT)
    except Exception as error:
        place = "".join(traceback.format_exception(None, error, _users_own(error.__traceback__)))
        raise SettingsError(f"{ENTRY_POINT} cannot be imported.\n{place.rstrip()}") from error


def _users_own(trace: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the first frame outside Python and the library, or the complete traceback."""
    start = trace
    while start is not None and _is_not_users(start.tb_frame.f_code.co_filename):
        start = start.tb_next
    return start or trace


def _is_not_users(file: str) -> bool:
    parts = Path(file).parts
    return file.startswith("<") or "port_runner" in parts or "importlib" in parts or Path(file) == Path(__file__)


class Lines(logging.Handler):
    """Shows and keeps the function's log lines. An unexpected error is shown with its complete traceback."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self.setFormatter(_library("logs").JsonFormatter())
        self.output = output
        self.lines: list[LogLine] = []
        self.error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:
        line = read_line(self.format(record), int(record.created * 1000))
        if line is None:
            return
        self.lines.append(line)
        error = record.exc_info[1] if record.exc_info else None
        self.output.show(render_line(line, with_error=error is None))
        if error is not None:
            self.error = error
            trace = traceback.format_exception(type(error), error, _users_own(error.__traceback__))
            self.output.say("".join(trace).rstrip(), "red")


@contextmanager
def lines_of(module: Any, context: Any, output: Output) -> Iterator[Lines]:
    """Collect the log lines of the function in the block. Raises SettingsError if its environment is not valid."""
    errors = _library("errors")
    try:
        # The first event sets up the log, as on Lambda.
        with contextlib.redirect_stdout(io.StringIO()):
            module.lambda_handler({"records": {}}, context)
    except errors.ConfigurationError as error:
        raise SettingsError(f"The function's environment does not fit: {error}.") from error
    lines, logger = Lines(output), logging.getLogger(LOGGER)
    before, logger.handlers[:] = logger.handlers[:], [lines]
    try:
        yield lines
    finally:
        logger.handlers[:] = before


# One run


@dataclass
class Handled:
    """The result of an event: the runs in Port, the changed entities, and the function's log lines."""

    runs: list[Json] = field(default_factory=list)
    entities: list[Json] = field(default_factory=list)
    lines: list[LogLine] = field(default_factory=list)
    raised: str | None = None
    error: BaseException | None = None
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Return whether something was handled, and nothing failed."""
        handled = [line for line in self.lines if line.event in ("run.reported", "change.handled")]
        own = [line for line in self.lines if "logger" not in line.fields]  # the others are the handlers' affair
        bad = [line for line in own if line.is_error or line.event == "action.unknown"]
        failed = [line for line in handled if line.fields.get("status") == "FAILURE"]
        return bool(handled) and not bad and not failed and self.raised is None

    @property
    def document(self) -> Json:
        return {
            "good": self.good,
            "runs": self.runs,
            "entities": self.entities,
            "raised": self.raised,
            "lines": [line.document for line in self.lines],
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Local:
    """An event in a file and the handlers in a folder.

    `access` is None for a fake Port. `seconds` limit the invocation.
    """

    file: Path
    source: Path
    access: PortAccess | None
    level: str
    seconds: float
    output: Output

    def handle(self) -> Handled:
        """Read the files again, and give the event to the handlers. Raises CommandFailed."""
        with ExitStack() as stack:
            target = stack.enter_context(fake_target() if self.access is None else real_target(self.access))
            stack.enter_context(_environment({**target.environment, "LOG_LEVEL": self.level}))
            module = stack.enter_context(loaded(self.source))
            event = read_event(self.file)
            invocations = invocations_of(event)
            target.prepare(invocations)
            context = _library("testing").LambdaContext(self.seconds)
            lines = stack.enter_context(lines_of(module, context, self.output))
            handled = Handled()
            began = time.monotonic()
            try:
                answer = module.lambda_handler(event, context)
                if answer:
                    handled.raised = f"the function wants records again: {json.dumps(answer)}"
            except Exception as error:
                handled.raised = f"{type(error).__name__}: {error}"
            handled.seconds = time.monotonic() - began
            handled.lines, handled.error = lines.lines, lines.error
            handled.runs = [{**target.run(each), "log": target.log(each)} for each in invocations]
            handled.entities = target.entities()
            return handled


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Return the function's environment: these variables, and neither a secret nor a queue in AWS."""
    before = dict(os.environ)
    for name in ("PORT_CREDENTIALS_SECRET_ARN", "FAILURE_QUEUE_URL", "REPORT_BATCH_ITEM_FAILURES"):
        os.environ.pop(name, None)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def show(handled: Handled, output: Output) -> None:
    """Print the results of the runs."""
    for run in handled.runs:
        status = str(run.get("result") or run.get("status") or "unknown")
        style = {"SUCCESS": "bold green", "IN_PROGRESS": "bold yellow"}.get(status, "bold red")
        label = f"  {run['statusLabel']}" if run.get("statusLabel") else ""
        output.say(f"\n{run.get('id') or run.get('identifier')}: {status}{label}", style)
        link = run.get("link") or []
        texts = [
            ("summary", run.get("summary")),
            *(("link", each) for each in ([link] if isinstance(link, str) else link)),
        ]
        for name, text in [*texts, *(("log", line) for line in run.get("log", []))]:
            if text:
                output.say(f"  {name:<8} {text}")
    for entity in handled.entities:
        content = "deleted" if entity.get("deleted") else json.dumps(entity.get("properties", {}), ensure_ascii=False)
        output.say(f"  entity   {entity['blueprint']}/{entity['identifier']}  {entity.get('title') or ''}  {content}")
    if handled.raised is not None:
        output.say(f"\nLambda would redeliver the records: {handled.raised}", "red")
    elif not handled.runs and not handled.good:
        output.say("\nNothing here handled it: the lines above say why.", "yellow")
    output.say(f"{handled.seconds:.2f} s", "dim")


def post_mortem(error: BaseException | None) -> None:
    """Open the debugger at the point where the handler failed."""
    if error is not None and error.__traceback__ is not None:
        pdb.post_mortem(_users_own(error.__traceback__))


# Watching


def snapshot(paths: list[Path]) -> dict[Path, tuple[int, int]]:
    """Return the times of change of files, and of the Python and JSON files in folders."""
    files = [
        file
        for path in paths
        for file in ([path] if not path.is_dir() else path.rglob("*"))
        if file == path or file.suffix in (".py", ".json")
    ]
    found = {}
    for file in files:
        with contextlib.suppress(OSError):  # the file is being replaced
            status = file.stat()
            found[file] = (status.st_mtime_ns, status.st_size)
    return found


def changed(paths: list[Path], seen: dict[Path, tuple[int, int]]) -> list[Path]:
    """Wait until a file has changed, and then until no file changes anymore. Return the changed files."""
    now = _later(paths)
    while now == seen:
        now = _later(paths)
    while now != (later := _later(paths)):
        now = later
    return sorted(file for file in {*now, *seen} if now.get(file) != seen.get(file))


def _later(paths: list[Path]) -> dict[Path, tuple[int, int]]:
    time.sleep(POLL_SECONDS)
    return snapshot(paths)


# The command


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--watch", is_flag=True, help="Run again whenever a handler, FILE or a definition is saved, until Ctrl-C."
)
@click.option("--debugger", is_flag=True, help="Open pdb where a handler failed. breakpoint() works without it.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=AN_HOUR,
    show_default=True,
    metavar="SECONDS",
    help="Time that the function has for the event, like its timeout in AWS.",
)
@click.option(
    "--source",
    type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
    default=sources,
    metavar="FOLDER",
    help=f"Folder with {ENTRY_POINT}.py; by default that of this project.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="debug",
    show_default=True,
    help="Lowest level of the log lines that are shown.",
)
@port_options
@output_option
@click.pass_context
def local(
    ctx: click.Context,
    file: Path,
    watch: bool,
    debugger: bool,
    timeout: float,
    source: Path,
    log_level: str,
    access: PortAccess,
    output: Output,
) -> None:
    """Give a recorded message to the handlers in this process.

    FILE is a JSON file with a message as Port publishes it, or with a complete Kafka event as Lambda sends it.
    `failures show ID --event` prints such an event.

    By default, a new fake Port has the blueprints and actions of port/ and the message's run. To use an existing Port
    that has the run, give --port-url, --credentials-file or --credentials-secret-arn. Secret inputs are decrypted with
    PORT_ENCRYPTION_SECRET. The exit code is 1 unless every run succeeded.
    """
    if watch and output.as_json:
        raise click.UsageError("--watch never ends, so there is no single document. Leave out --json.")
    options = ("port_url", "credentials_file", "credentials_secret_arn")
    is_given = any(ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in options)
    run = Local(file, source, access if is_given else None, log_level.upper(), timeout, output)
    if watch:
        _again_and_again(run, debugger, [source, file, definitions_folder()], output)
    # Output of a handler is not part of the document.
    with contextlib.redirect_stdout(sys.stderr) if output.as_json else contextlib.nullcontext():
        handled = run.handle()
        show(handled, output)
    output.document(handled.document)
    if debugger:
        post_mortem(handled.error)
    if not handled.good:
        raise SystemExit(1)


def _again_and_again(run: Local, debugger: bool, paths: list[Path], output: Output) -> NoReturn:
    try:
        while True:
            seen = snapshot(paths)
            try:
                handled = run.handle()
                show(handled, output)
                if debugger:
                    post_mortem(handled.error)
            except CommandFailed as error:
                output.say(f"Error: {error.message}", "red")
            output.say("Waiting for a change; Ctrl-C ends this.", "dim")
            files = changed(paths, seen)
            output.say(f"\n{', '.join(file.name for file in files)} changed", "bold cyan")
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
