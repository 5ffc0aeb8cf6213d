"""Log lines: one JSON object each, with a constant event name and fields, and without secrets.

A line never holds inputs, a message, the environment, a header or the text of an exception, because all of these can
carry secrets. As a second protection, values that must not appear anywhere are masked.

The lines of other loggers, such as a handler's own, become JSON lines with the same fields and masks. Their message is
what their author wrote.
"""

import copy
import json
import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TextIO

from .bounded import BoundedDict

MASK = "[redacted]"
SHORTEST_SECRET = 4
SECRETS_OF_RUNS = 1000
MOST_FRAMES = 50
MOST_CAUSES = 10

NAME = "port_runner"
# AWS's handlers on the root logger. Their formatters end a line themselves, so another formatter would not fit them.
RUNTIME_HANDLERS = ("LambdaLoggerHandler", "LambdaLoggerHandlerWithFrameType")
RUNTIME_MODULES = ("bootstrap", "awslambdaric.bootstrap")
# At DEBUG these write headers and bodies, such as a secret that is just being read and not yet masked. At INFO they
# tell at each cold start where credentials and addresses come from.
TALKATIVE_LOGGERS = ("boto3", "botocore", "urllib3")
# What a record has besides the `extra` of its call. The last three come from AWS's own filter and formatter.
NO_EXTRA = frozenset(
    (*vars(logging.makeLogRecord({})), "message", "asctime", "aws_request_id", "tenant_id", "_frame_type")
)
# Fields that say something else in a line than an `extra` of this name would.
OWN_FIELDS = ("event", "error", "stack")
# Names that Port, Kafka, AWS and the code have given. People search by them, and no handler or input supplies them.
NAMES = frozenset(
    ("request_id", "run_id", "action", "actions", "blueprint", "handler", "status", "topic", "partition", "offset")
)

_fields: ContextVar[dict[str, Any] | None] = ContextVar("port_runner_log_fields", default=None)
_secrets: set[str] = set()
_secrets_of_runs: BoundedDict[str, None] = BoundedDict(SECRETS_OF_RUNS)


def mask(secret: str, *, of_a_run: bool = False) -> None:
    """Mask *secret* in all log lines. A text below four characters is not masked: it would hide ordinary text.

    Only the newest thousand secrets *of_a_run* are kept: a process handles many runs, and each line looks for all.
    """
    if len(secret) < SHORTEST_SECRET:
        return
    quoted = (json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr(secret))
    for spelling in (secret, *(each[1:-1] for each in quoted)):
        if of_a_run:
            _secrets_of_runs[spelling] = None
        else:
            _secrets.add(spelling)


@contextmanager
def fields(**values: Any) -> Iterator[None]:
    """Add *values* to every line that this thread, and handlers that it starts, log in this context."""
    token = _fields.set({**(_fields.get() or {}), **values})
    try:
        yield
    finally:
        _fields.reset(token)


def field(name: str) -> Any:
    """Return the value of the field *name* on this thread's lines, or ``None``."""
    return (_fields.get() or {}).get(name)


class _Event(str):
    """The name of an event of the library. It tells the library's own lines from those of all other loggers."""


class _Line(str):
    """A complete line, to be written unchanged."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: ``timestamp``, ``level``, ``event``, the fields, and the error's frames.

    The line of another logger has ``logger`` and ``message`` instead of ``event``, and its ``extra`` as fields.
    Lambda's own log level control filters lines by the names ``timestamp`` and ``level``.
    """

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, _Line):
            return record.msg
        line: dict[str, Any] = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
        }
        context, secrets = _fields.get() or {}, _known_secrets()
        if isinstance(record.msg, _Event):
            # The library's own words, by which people search: not masked, even if they contain a secret.
            line["event"] = record.msg
            line |= _own({**context, **getattr(record, "fields", {})}, secrets)
        else:
            line |= {"logger": _masked(record.name, secrets), "message": _masked(_message_of(record), secrets)}
            line |= _own(context, secrets)
            for name, value in _extra_of(record).items():
                line[_masked(_free(name, line), secrets)] = _masked(_plain(value, str), secrets)
        if (error := _error_in(record)) is not None:
            line["error"] = _masked(error_of(error), secrets)
        if record.stack_info:
            line["stack"] = _masked(record.stack_info, secrets)
        return json.dumps(line)


def _own(values: Mapping[str, Any], secrets: Sequence[str]) -> dict[str, Any]:
    """Return fields that the library has set."""
    plain = {name: _plain(value) for name, value in values.items()}
    return {name: value if name in NAMES else _masked(value, secrets) for name, value in plain.items()}


def _message_of(record: logging.LogRecord) -> str:
    """Return the message of another logger's line. An exception in its place is shown by its type alone."""
    return type(record.msg).__qualname__ if isinstance(record.msg, BaseException) else _text_of(record)


def _text_of(record: logging.LogRecord) -> str:
    """Return the text of another logger's line. If it cannot be made, return what can be shown of it."""
    for text_of in (record.getMessage, lambda: str(record.msg)):  # the arguments may not fit the message
        with suppress(Exception):
            return text_of()
    return f"<{type(record.msg).__qualname__}>"


def _extra_of(record: logging.LogRecord) -> dict[str, Any]:
    return {str(name): value for name, value in vars(record).items() if name not in NO_EXTRA}


def _free(name: str, values: Mapping[str, Any]) -> str:
    """Return the field for an extra: another than *name* if a field of the library is called so."""
    return f"extra_{name}" if name in values or name in OWN_FIELDS else name


def _error_in(record: logging.LogRecord) -> BaseException | None:
    """Return the exception of the line, or the one that stands in place of its message."""
    for error in (*(record.exc_info or ()), record.msg):
        if isinstance(error, BaseException):
            return error
    return None


def _plain(value: Any, encoded: Callable[[Any], Any] | None = None) -> Any:
    """Return *value* in a form that JSON can carry. A value that cannot be encoded never costs more than its field."""
    if value is None or type(value) in (str, bool):  # most fields are
        return value

    def encode(value: Any) -> Any:
        return error_of(value) if isinstance(value, BaseException) else (encoded or _encoded)(value)

    try:
        return json.loads(json.dumps(value, default=encode), parse_constant=str)
    except Exception:
        return f"<{type(value).__qualname__}>"


def _known_secrets() -> Sequence[str]:
    return sorted((*_secrets, *_secrets_of_runs), key=len, reverse=True)  # one can be part of another


def _masked(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
        return value
    if isinstance(value, list):
        return [_masked(each, secrets) for each in value]
    if isinstance(value, dict):
        return {_masked(name, secrets): _masked(each, secrets) for name, each in value.items()}
    return value


def error_of(error: BaseException, causes: int = MOST_CAUSES) -> dict[str, Any]:
    """Return *error* as its type, frames and causes. Its text is left out, because it may quote an input."""
    described: dict[str, Any] = {"type": type(error).__qualname__, "frames": _frames(error.__traceback__)}
    if causes == 0:  # causes can form a circle
        return described
    if isinstance(error, BaseExceptionGroup):
        described["errors"] = [error_of(each, causes - 1) for each in error.exceptions[:MOST_CAUSES]]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        described["cause"] = error_of(cause, causes - 1)
    return described


def _frames(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace, limit=-MOST_FRAMES)  # the last frames, where the error was raised
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def _encoded(value: Any) -> Any:
    if isinstance(value, BaseException):
        return error_of(value)
    import jsonpickle  # needed only for a line with such a value

    return json.loads(jsonpickle.encode(value, unpicklable=False, warn=False, keys=True))


class Log:
    """Writes events: ``log.info("run.ended", status="SUCCESS")``."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, **values: Any) -> None:
        self._write(logging.DEBUG, event, values)

    def info(self, event: str, **values: Any) -> None:
        self._write(logging.INFO, event, values)

    def warning(self, event: str, **values: Any) -> None:
        self._write(logging.WARNING, event, values)

    def error(self, event: str, *, error: BaseException | None = None, **values: Any) -> None:
        self._write(logging.ERROR, event, values, error)

    def critical(self, event: str, *, error: BaseException | None = None, **values: Any) -> None:
        self._write(logging.CRITICAL, event, values, error)

    def _write(self, level: int, event: str, values: dict[str, Any], error: BaseException | None = None) -> None:
        exc_info = (type(error), error, error.__traceback__) if error is not None else None
        self._logger.log(level, _Event(event), extra={"fields": values}, exc_info=exc_info)


def write(line: str) -> None:
    """Write *line* unchanged, at every level."""
    _logger.handle(logging.makeLogRecord({"name": NAME, "levelno": logging.INFO, "msg": _Line(line)}))


_logger = logging.getLogger(NAME)
log = Log(_logger)


class _Output(logging.StreamHandler[TextIO]):
    """Writes lines of JSON. An error raises nothing into who logs, and the line's arguments are printed nowhere."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):
            self.stream.write(self.format(record) + "\n")
            self.flush()


class _FromRoot(logging.Handler):
    """Gives the lines of all other loggers to the library's own output."""

    def __init__(self, root_level: int | None) -> None:
        super().__init__()
        self.set_name(NAME)
        self.root_level = root_level  # None if an author has set it

    def emit(self, record: logging.LogRecord) -> None:
        _logger.handle(record)


class _Masks(logging.Filter):
    """Masks what another's handler on the root logger writes, in a copy of the record."""

    def filter(self, record: logging.LogRecord) -> logging.LogRecord:
        secrets = _known_secrets()
        shown: dict[str, Any] = {name: _masked_or_type(value, secrets) for name, value in _extra_of(record).items()}
        text = _text_of(record)
        if (masked := _masked(text, secrets)) != text or not _fits(record):
            shown |= {"msg": masked, "args": None}
        trace = _trace_of(record)
        if trace is None:
            shown["exc_info"] = None
        elif (masked := _masked(trace, secrets)) != trace:
            shown["exc_text"] = masked  # formatters use it if it is there
        copied = copy.copy(record)
        vars(copied).update(shown, stack_info=_masked(record.stack_info, secrets))
        return copied


def _fits(record: logging.LogRecord) -> bool:
    """Return whether the arguments fit the message. If not, `logging` would print them to standard error."""
    try:
        record.getMessage()
    except Exception:
        return False
    return True


def _trace_of(record: logging.LogRecord) -> str | None:
    """Return the text of the record's exception, or ``None`` if it cannot be made."""
    if record.exc_text or not record.exc_info:
        return record.exc_text or ""
    try:
        return logging.Formatter().formatException(record.exc_info)
    except Exception:
        return None


def _masked_or_type(value: Any, secrets: Sequence[str]) -> Any:
    try:
        return _masked(value, secrets)
    except Exception:  # a list that holds itself
        return f"<{type(value).__qualname__}>"


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send the library's lines from *level* up to *stream*, by default standard output, which Lambda collects.

    The lines of other loggers go there too. If *level* is DEBUG, theirs begin at INFO: below it, libraries log headers
    and bodies. A handler that an author has put on the root logger stays, and gets the masks.
    """
    _logger.handlers[:] = [_Output(stream or sys.stdout)]
    _logger.propagate = False
    _logger.disabled = False  # `logging.config` disables the loggers that it does not know
    _logger.setLevel(level)
    for name in TALKATIVE_LOGGERS:
        if (logger := logging.getLogger(name)).level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
    _take_root(logging.getLogger(), max(_logger.level, logging.INFO))


def _take_root(root: logging.Logger, level: int) -> None:
    """Put the library's handler on *root* in place of AWS's, if there is no other, and set a level that is free."""
    before = [each for each in root.handlers if each.get_name() == NAME]
    of_aws = [each for each in root.handlers if _is_of_aws(each)]
    others = [each for each in root.handlers if each not in before + of_aws]
    for other in others:
        for former in [each for each in other.filters if getattr(each, "name", None) == NAME]:
            other.removeFilter(former)
        other.addFilter(_Masks(NAME))
    if others and not before + of_aws:
        return
    is_free = root.level in (logging.WARNING, *(getattr(each, "root_level", None) for each in before))
    if is_free:
        root.setLevel(level)
    handler = _FromRoot(level if is_free else None)
    for replaced in before + of_aws:
        root.removeHandler(replaced)
        for its_filter in replaced.filters:  # some libraries keep their lines out of AWS's handler in this way
            handler.addFilter(its_filter)
    root.addHandler(handler)


def _is_of_aws(handler: logging.Handler) -> bool:
    return type(handler).__name__ in RUNTIME_HANDLERS and type(handler).__module__ in RUNTIME_MODULES
