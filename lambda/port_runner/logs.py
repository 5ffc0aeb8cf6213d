"""Log lines: one JSON object each, with a constant event name and fields, and without secrets.

A line never holds inputs, a message, the environment, a header or the text of an exception, because all of these can
carry secrets. As a second protection, values that must not appear anywhere are masked.
"""

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TextIO

from .bounded import BoundedDict

MASK = "[redacted]"
SHORTEST_SECRET = 4
SECRETS_OF_RUNS = 1000
MOST_FRAMES = 50
MOST_CAUSES = 10

_fields: ContextVar[dict[str, Any] | None] = ContextVar("port_runner_log_fields", default=None)
_secrets: set[str] = set()
_secrets_of_runs: BoundedDict[str, None] = BoundedDict(SECRETS_OF_RUNS)


def mask(secret: str, *, of_a_run: bool = False) -> None:
    """Mask *secret* in all log lines. A text below four characters is not masked: it would hide ordinary text.

    Only the newest thousand secrets *of_a_run* are kept: a process handles many runs, and each line looks for all.
    """
    if len(secret) < SHORTEST_SECRET:
        return
    for spelling in (secret, json.dumps(secret)[1:-1]):
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


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: ``timestamp``, ``level``, ``event``, the fields, and the error's frames.

    Lambda's own log level control filters lines by the names ``timestamp`` and ``level``.
    """

    def format(self, record: logging.LogRecord) -> str:
        # The library's own words, by which people search: not masked, even if they contain a secret.
        words = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "event": record.msg,
        }
        values: dict[str, Any] = {**(_fields.get() or {}), **getattr(record, "fields", {})}
        if record.exc_info and record.exc_info[1] is not None:
            values["error"] = error_of(record.exc_info[1])
        secrets = sorted((*_secrets, *_secrets_of_runs), key=len, reverse=True)  # one can be part of another
        return json.dumps(words | {name: _masked(_plain(value), secrets) for name, value in values.items()})


def _plain(value: Any) -> Any:
    """Return *value* in a form that JSON can carry. A value that cannot be encoded never costs more than its field."""
    if value is None or type(value) in (str, bool):  # most fields are
        return value
    try:
        return json.loads(json.dumps(value, default=_encoded), parse_constant=str)
    except Exception:
        return f"<{type(value).__qualname__}>"


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
        self._logger.log(level, event, extra={"fields": values}, exc_info=exc_info)


def write(line: str) -> None:
    """Write *line* unchanged, at every level."""
    _lines.info(line)


_logger = logging.getLogger("port_runner")
_lines = logging.getLogger("port_runner.lines")
log = Log(_logger)


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send the library's lines from *level* up to *stream*, by default standard output, which Lambda collects.

    The root logger stays unchanged: the lines of other libraries are the user's choice.
    """
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter())
    plain = logging.StreamHandler(handler.stream)
    for logger, its_handler, its_level in ((_logger, handler, level), (_lines, plain, "INFO")):
        logger.handlers[:] = [its_handler]
        logger.propagate = False
        logger.setLevel(its_level)
