"""The runner's own lines in a run's log: written, read, and found in logs of any length and order."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from port_runner.journal import (
    MOST_PAGES,
    PAGE,
    Entry,
    GivenBack,
    HandedOver,
    LogLine,
    Started,
    entry_of,
    last_entry,
    not_an_entry,
)

STARTED = Started(number=2, request="927732b4-38f4-403a-857f-25bb752e9e95", until=1764064330.125)


class Log:
    """A run's log as Port serves it, page by page, in either order."""

    def __init__(self, messages: Sequence[str], *, newest_first: bool) -> None:
        self.lines = [LogLine(message, f"2026-01-31T{number:012}Z") for number, message in enumerate(messages)]
        if newest_first:
            self.lines.reverse()
        self.requests = 0

    def page(self, offset: int) -> Sequence[LogLine]:
        assert offset >= 0
        self.requests += 1
        return self.lines[offset : offset + PAGE]


def text_of(entry: Entry) -> str:
    if isinstance(entry, Started):
        return entry.text("https://console.example.com/log")
    return entry.text("Port was away.") if isinstance(entry, GivenBack) else entry.text()


ENTRIES = st.one_of(
    st.builds(
        Started,
        number=st.integers(1, 10**6),
        request=st.from_regex(r"[!-~]+", fullmatch=True),
        until=st.integers(0, 10**13).map(lambda milliseconds: milliseconds / 1000),
    ),
    st.builds(GivenBack, starts=st.integers(0, 10**6)),
    st.just(HandedOver()),
)


@given(ENTRIES)
def test_an_entry_is_read_as_it_was_written(entry: Entry) -> None:
    """Nothing of an entry is lost on its way through the log, and the time is exact to the millisecond."""
    read = entry_of(text_of(entry))

    if isinstance(entry, Started) and isinstance(read, Started):
        assert (read.number, read.request) == (entry.number, entry.request)
        assert read.until == pytest.approx(entry.until, abs=0.001)
    else:
        assert read == entry


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Started",
        "Started: the build",
        "Started: start 1, request r, until tomorrow.",
        "Started: start 1, request r, until 9999-99-99T00:00:00Z.",
        "Started: start -1, request r, until 2026-01-31T12:00:00.000Z.",
        "Given back: some starts so far.",
        "It was Handed over: to a pipeline",
    ],
)
def test_other_lines_are_no_entries(text: str) -> None:
    """A line that is not exactly of the journal's form is the handler's own."""
    assert entry_of(text) is None
    assert not_an_entry(text) == text


@given(ENTRIES)
def test_a_handler_cannot_write_an_entry(entry: Entry) -> None:
    """A handler that copies a line of the journal into its log changes nothing for the next delivery."""
    assert entry_of(not_an_entry(text_of(entry))) is None


@given(
    st.lists(st.integers(0, 3 * PAGE), max_size=6).flatmap(
        lambda gaps: st.tuples(st.just(gaps), st.lists(ENTRIES, min_size=len(gaps), max_size=len(gaps)))
    ),
    st.integers(0, 2 * PAGE),
    st.booleans(),
)
def test_the_newest_entry_is_found(written: tuple[list[int], list[Entry]], rest: int, newest_first: bool) -> None:
    """The last entry counts, with any lines between the entries, and in any order of the log."""
    messages: list[str] = []
    for gap, entry in zip(*written, strict=True):
        messages += ["a line"] * gap + [text_of(entry)]
    messages += ["a line"] * rest
    texts = [message for message in messages if entry_of(message)]

    found = last_entry(Log(messages, newest_first=newest_first).page)

    assert found == (entry_of(texts[-1]) if texts else None)


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_long_log_takes_few_requests(newest_first: bool) -> None:
    """A pipeline that wrote 25,000 lines does not keep the record from being read."""
    log = Log([STARTED.text(None), HandedOver().text(), *["a line"] * 25_000], newest_first=newest_first)

    assert last_entry(log.page) == HandedOver()
    assert log.requests < 50


@pytest.mark.parametrize("newest_first", [False, True])
def test_more_lines_than_a_handler_can_write_are_of_another_system(newest_first: bool) -> None:
    """If the newest entries are too far away to be read, another system has been at work for long: it ends the run."""
    messages = [STARTED.text(None), *["a line"] * (2 * MOST_PAGES * PAGE)]

    assert last_entry(Log(messages, newest_first=newest_first).page) == HandedOver()


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_long_log_without_entries(newest_first: bool) -> None:
    """However many lines others have written, a run without an entry was not started."""
    assert last_entry(Log(["a line"] * (2 * MOST_PAGES * PAGE), newest_first=newest_first).page) is None


def test_lines_of_one_moment_keep_their_order() -> None:
    """Of entries with the same time, the later one counts."""
    lines = [
        LogLine(STARTED.text(None), "2026-01-31T12:00:00.000Z"),
        LogLine(HandedOver().text(), "2026-01-31T12:00:00.000Z"),
    ]

    assert last_entry(lambda offset: lines[offset:]) == HandedOver()
