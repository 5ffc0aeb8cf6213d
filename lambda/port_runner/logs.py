"""Log lines: one JSON object each, with a constant event name and fields, and nothing that is secret.

A line never holds inputs, a message, the environment, a header or the text of an exception: all of these can carry
what nobody should read in a log. Values that must not appear anywhere are masked as well, as a second fence.
"""

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TextIO

MASK = "[redacted]"
SHORTEST_SECRET = 4

_fields: ContextVar[dict[str, Any] | None] = ContextVar("port_runner_log_fields", default=None)
_secrets: set[str] = set()


def mask(secret: str) -> None:
    """Never let *secret* stand in a log line. What is shorter than four characters would mask ordinary text."""
    if len(secret) >= SHORTEST_SECRET:
        _secrets.add(secret)
        _secrets.add(json.dumps(secret)[1:-1])


@contextmanager
def fields(**values: Any) -> Iterator[None]:
    """Put *values* on every line that this thread, and handlers it starts, log meanwhile."""
    token = _fields.set({**(_fields.get() or {}), **values})
    try:
        yield
    finally:
        _fields.reset(token)


def field(name: str) -> Any:
    """What stands under *name* on this thread's lines; ``None`` where nothing does."""
    return (_fields.get() or {}).get(name)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: ``timestamp``, ``level``, ``event``, the fields, and where an exception arose.

    ``timestamp`` and ``level`` are the names by which Lambda's own log level control filters lines.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "event": record.msg,
            **(_fields.get() or {}),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = error_of(record.exc_info[1])
        text = json.dumps(line, default=_encoded)
        for secret in _secrets:
            text = text.replace(secret, MASK)
        return text


def error_of(error: BaseException) -> dict[str, Any]:
    """*error* as its type, its frames and its causes: everything but its text, which may quote an input."""
    described: dict[str, Any] = {"type": type(error).__qualname__, "frames": _frames(error.__traceback__)}
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        described["cause"] = error_of(cause)
    return described


def _frames(trace: TracebackType | None) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace, limit=50)]


def _encoded(value: Any) -> Any:
    import jsonpickle  # only a line with such a value needs it

    return json.loads(jsonpickle.encode(value, unpicklable=False, warn=False))


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


_logger = logging.getLogger("port_runner")
log = Log(_logger)


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send the library's lines to *stream* (standard output, which Lambda keeps) from *level* on.

    The root logger is left alone: what other libraries log, and to where, is the user's choice.
    """
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter())
    _logger.handlers[:] = [handler]
    _logger.propagate = False
    _logger.setLevel(level)
