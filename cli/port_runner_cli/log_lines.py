"""Lines of the function's log: parsed, and rendered for people."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from port_runner_cli.output import printable

STYLES = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
# Fields that are shown first on every line, in the heading above it, or below it.
SHOWN_ELSEWHERE = (
    "timestamp",
    "level",
    "event",
    "logger",
    "run_id",
    "request_id",
    "action",
    "topic",
    "partition",
    "offset",
    "error",
)
# Lambda's own lines in normal operation.
PLATFORM = ("INIT_START ", "START ", "END ", "REPORT ")
# Lambda's lines when the process could not continue, and Python's before the runner has started.
PLATFORM_ERRORS = re.compile(r"Task timed out|Runtime\.[A-Z]\w+|Runtime exited|^\[ERROR\]|^Traceback ")

type Json = dict[str, Any]


@dataclass(frozen=True)
class LogLine:
    """A log line.

    `at` is in milliseconds of the epoch. If the runner did not write it, `event` is the complete text.
    """

    at: int
    event: str
    level: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    stream: str = ""

    @property
    def is_error(self) -> bool:
        """Return whether the line reports an error, of the runner or of the process."""
        return self.level in ("ERROR", "CRITICAL") or (
            not self.level and PLATFORM_ERRORS.search(self.event) is not None
        )

    @property
    def document(self) -> Json:
        if not self.level:
            return {"timestamp": _moment(self.at), "text": self.event}
        return {"timestamp": _moment(self.at), "level": self.level, "event": self.event, **self.fields}


def read_line(text: str, at: int, *, id: str = "", stream: str = "") -> LogLine | None:
    """Return a line of the log, or None for a metric, which is not for people."""
    text = text.rstrip()
    try:
        content = json.loads(text)
    except ValueError:
        return LogLine(at, text, id=id, stream=stream) if text else None
    if not isinstance(content, dict):
        return LogLine(at, text, id=id, stream=stream)
    if "_aws" in content:
        return None
    event, level = _event(content), content.get("level")
    if event is None or not isinstance(level, str):
        return LogLine(at, text, id=id, stream=stream)
    fields = {name: value for name, value in content.items() if name not in ("timestamp", "level", "event", "message")}
    return LogLine(at, event, level, fields, id, stream)


def _event(content: Mapping[str, Any]) -> str | None:
    """Return the event of the runner's own line, or the logger and its message of any other line of the function."""
    if isinstance(event := content.get("event"), str):
        return event
    if isinstance(message := content.get("message"), str) and isinstance(logger := content.get("logger"), str):
        return f"{logger}: {message}"
    return None


def render_line(line: LogLine, *, with_error: bool = True) -> Text:
    """Return a line as people read it: time, level, event, fields, and optionally an error's frames below."""
    moment = datetime.fromtimestamp(line.at / 1000, UTC).strftime("%H:%M:%S.%f")[:-3]
    if not line.level:
        style = "dim" if line.event.startswith(PLATFORM) else "red"
        return Text(f"{moment}  {printable(line.event).replace('\t', '  ')}", style)
    text = Text(f"{moment}  ", "dim")
    text.append(f"{line.level:<8} {printable(line.event)}", STYLES.get(line.level, "not dim"))
    for name, value in line.fields.items():
        if name not in SHOWN_ELSEWHERE:
            text.append(f"  {name}=", "dim")
            text.append(printable(_shown(value)), "not dim")
    if with_error and isinstance(error := line.fields.get("error"), dict):
        for each in _error_lines(error):
            text.append(f"\n{'':14}{printable(each)}", STYLES["ERROR"])
    return text


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _error_lines(error: Mapping[str, Any]) -> Iterator[str]:
    yield str(error.get("type"))
    for frame in error.get("frames") or ():
        yield f"  {frame}"
    if isinstance(cause := error.get("cause"), dict):
        first, *rest = _error_lines(cause)
        yield f"caused by {first}"
        yield from rest
    for each in error.get("errors") or ():
        yield from _error_lines(each)


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
