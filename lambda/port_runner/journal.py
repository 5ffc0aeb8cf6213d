"""The runner's own lines in the log of a run in Port, which tell the next delivery what has happened.

Automations, pipelines and handlers change the label and the links of a run as they like. Its log only grows, so nothing
can hide these lines. https://docs.port.io/api-reference/get-an-actions-run-logs
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

# The clocks of two function environments differ by less.
CLOCK_SECONDS = 1.0
# A page of a log in Port holds at most 50 lines.
PAGE = 50
# A handler adds about one line a second, so within a Lambda invocation it adds fewer than these pages hold.
MOST_PAGES = 20

STARTED = re.compile(r"Started: start (?P<number>[0-9]{1,9}), request (?P<request>\S+), until (?P<until>\S+Z)\.")
GIVEN_BACK = re.compile(r"Given back: (?P<starts>[0-9]{1,9}) starts? so far\.")
HANDED_OVER = re.compile(r"Handed over: ")


@dataclass(frozen=True)
class Started:
    """A handler was started. Until the moment *until*, in seconds of the epoch, its invocation may be at work.

    *number* counts the starts of the run from one.
    """

    number: int
    request: str
    until: float

    @property
    def seconds_left(self) -> float:
        """The seconds for which the invocation may be at work. Negative after that."""
        return self.until + CLOCK_SECONDS - time.time()

    def text(self, log_url: str | None) -> str:
        line = f"Started: start {self.number}, request {self.request}, until {_written(self.until)}."
        return line if log_url is None else f"{line}\n{log_url}"


@dataclass(frozen=True)
class GivenBack:
    """No invocation works on the run, and another one may start it. *starts* is the number of starts so far."""

    starts: int

    def text(self, reason: str) -> str:
        return f"Given back: {self.starts} {'start' if self.starts == 1 else 'starts'} so far. {reason}"


@dataclass(frozen=True)
class HandedOver:
    """Another system works on the run, and ends it."""

    def text(self) -> str:
        return "Handed over: another system ends this run."


type Entry = Started | GivenBack | HandedOver


@dataclass(frozen=True)
class LogLine:
    """A line of a run's log. *created_at* is a text such as ``2026-01-31T12:00:00.000Z``, which sorts by time."""

    message: str
    created_at: str


def entry_of(text: str) -> Entry | None:
    """Return the entry that a line of the log is, or ``None`` for a line that is not the runner's own."""
    if found := STARTED.match(text):
        until = _read(found["until"])
        return None if until is None else Started(int(found["number"]), found["request"], until)
    if found := GIVEN_BACK.match(text):
        return GivenBack(int(found["starts"]))
    return HandedOver() if HANDED_OVER.match(text) else None


def not_an_entry(text: str) -> str:
    """Return *text* so that it cannot be taken for an entry."""
    return f" {text}" if entry_of(text) else text


def last_entry(read_page: Callable[[int], Sequence[LogLine]]) -> Entry | None:
    """Return the newest entry of a log. ``read_page(offset)`` returns up to ``PAGE`` lines.

    Port does not publish the order of a log, so it is found out. A long log is read from its newest line.
    """
    first = read_page(0)
    newest_first = bool(first) and first[0].created_at > first[-1].created_at
    if len(first) < PAGE:
        return _newest(first)
    pages = _from_newest(read_page, newest_first)
    for page, _ in zip(pages, range(MOST_PAGES), strict=False):
        entry = _newest(page)
        if entry is not None:
            return entry
    oldest = read_page(_length(read_page) - PAGE) if newest_first else first
    if _newest(oldest) is not None:  # no handler adds so many lines: another system has been at work for long
        return HandedOver()
    return None


def _newest(page: Sequence[LogLine]) -> Entry | None:
    """Return the newest entry of a page. Of lines with the same time, the later one in the page's order is newer."""
    oldest_first = list(page)
    if page and page[0].created_at > page[-1].created_at:
        oldest_first.reverse()
    oldest_first.sort(key=lambda line: line.created_at)
    entries = [entry for line in oldest_first if (entry := entry_of(line.message)) is not None]
    return entries[-1] if entries else None


def _from_newest(read_page: Callable[[int], Sequence[LogLine]], newest_first: bool) -> Iterator[Sequence[LogLine]]:
    """Return the pages of a log, the newest first."""
    if newest_first:
        offset = 0
        while page := read_page(offset):
            yield page
            offset += PAGE
        return
    end = _length(read_page)
    while end > 0:
        start = max(0, end - PAGE)
        yield read_page(start)[: end - start]
        end = start


def _length(read_page: Callable[[int], Sequence[LogLine]]) -> int:
    """Return the number of lines of a log with at least one full page, by few requests."""
    full, beyond = 0, PAGE
    while (found := len(read_page(beyond))) == PAGE:
        full, beyond = beyond, beyond * 2
    while found == 0 and beyond - full > PAGE:
        middle = (full + beyond) // 2 // PAGE * PAGE
        found = len(read_page(middle))
        if found == PAGE:
            full, found = middle, 0
        else:
            beyond = middle
    return beyond + found


def _written(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None
