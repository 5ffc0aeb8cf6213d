"""A log line is one JSON object with fields, and holds no secret and no text of an exception."""

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from port_runner import logs
from port_runner.logs import log


class Output(io.StringIO):
    """The written lines, as the objects that a log reader makes of them."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line, parse_constant=_no_json) for line in self.getvalue().splitlines()]

    @property
    def line(self) -> dict[str, Any]:
        (line,) = self.lines
        return line


def _no_json(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Restore logging after the test."""
    logger = logging.getLogger("port_runner")
    before = (logger.handlers[:], logger.propagate, logger.level)
    yield
    logger.handlers[:], logger.propagate, level = before
    logger.setLevel(level)


@pytest.fixture
def output() -> Output:
    """The stream of the library's lines, from DEBUG on."""
    output = Output()
    logs.configure("DEBUG", output)
    return output


def raised(function: Callable[[], Any]) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("it raised nothing")


# Lines


def test_a_line_is_one_object_with_its_fields(output: Output) -> None:
    """Time, level and event come first, then what the call says; a newline in a field ends no line."""
    log.info("run.ended", status="SUCCESS", seconds=1.5, lines=["a\nb", None], more={"ž": True})

    line = output.line
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert (line.pop("level"), line.pop("event")) == ("INFO", "run.ended")
    assert line.pop("timestamp").endswith("Z")
    assert line == {"status": "SUCCESS", "seconds": 1.5, "lines": ["a\nb", None], "more": {"ž": True}}


def test_timestamp_is_utc_with_milliseconds(output: Output) -> None:
    """The time is that of the record, in the form that Lambda's own lines have."""
    record = logging.makeLogRecord({"msg": "event", "created": 1545084650.987654, "msecs": 987.0})

    assert json.loads(logs.JsonFormatter().format(record))["timestamp"] == "2018-12-17T22:10:50.987Z"


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_every_level_is_named(output: Output, level: str) -> None:
    """Lambda filters lines by the level's name."""
    getattr(log, level)("event")

    assert output.line["level"] == level.upper()


def test_lines_below_the_level_are_left_out() -> None:
    """configure says from which level on lines are written, and replaces what it said before."""
    before, after = Output(), Output()
    logs.configure("DEBUG", before)
    logs.configure("WARNING", after)

    log.info("left.out")
    log.warning("written")

    assert (before.lines, [line["event"] for line in after.lines]) == ([], ["written"])


def test_standard_output_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Lambda keeps what goes to standard output."""
    logs.configure("INFO")
    log.info("event")

    assert json.loads(capsys.readouterr().out)["event"] == "event"


def test_the_root_logger_is_left_alone(output: Output) -> None:
    """The lines of other libraries are left alone, and our lines do not appear twice through the root logger."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers), root.disabled)
    heard: list[logging.LogRecord] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record)

    listener = Listener()
    root.addHandler(listener)
    try:
        logs.configure("DEBUG", output)
        log.error("ours")
        logging.getLogger("theirs").error("theirs")
    finally:
        root.removeHandler(listener)

    assert (root.level, list(root.handlers), root.disabled) == before
    assert ([record.msg for record in heard], output.line["event"]) == (["theirs"], "ours")


# Fields of a thread


def test_fields_stand_on_every_line_meanwhile(output: Output) -> None:
    """Fields nest, the inner and the line's own win, and they end with their block, an exception's too."""
    with logs.fields(request_id="q", run_id="outer"):
        with logs.fields(run_id="inner"):
            log.info("1", offset=1)
            log.info("2", run_id="own")
        with pytest.raises(ValueError, match="x"), logs.fields(run_id="failed"):
            raise ValueError("x")
        log.info("3")
        assert logs.field("run_id") == "outer"
    log.info("4")

    said = [(line.get("request_id"), line.get("run_id"), line.get("offset")) for line in output.lines]
    assert said == [("q", "inner", 1), ("q", "own", None), ("q", "outer", None), (None, None, None)]
    assert logs.field("run_id") is None


def test_fields_of_one_thread_are_not_anothers(output: Output) -> None:
    """Runs go side by side: no line bears another run's fields, and each line stays whole."""
    together = threading.Barrier(8)

    def work(number: int) -> None:
        with logs.fields(run_id=number):
            together.wait()
            for _ in range(50):
                log.info("event", number=number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(output.lines) == 400
    assert all(line["run_id"] == line["number"] for line in output.lines)


# Secrets


@pytest.mark.parametrize(
    "secret",
    ["plain-secret", 'with "quotes"', "two\nlines", "back\\slash", "žluťoučký", "\U0001f512" * 4, "true"],
)
def test_masked_secrets_stand_nowhere(output: Output, secret: str) -> None:
    """A masked value is cut out of texts, lists, names and JSON within a text, and the line stays JSON."""
    logs.mask(secret)

    log.info("event", text=f"<{secret}>", inner={secret: [secret]}, encoded=json.dumps({"a": secret}), flag=True)

    line = output.line
    assert (line["text"], line["inner"]) == ("<[redacted]>", {"[redacted]": ["[redacted]"]})
    assert line["encoded"] == '{"a": "[redacted]"}'
    assert line["flag"] is True


def test_a_secret_within_a_secret_leaves_no_rest(output: Output) -> None:
    """Of two secrets, one a part of the other, nothing of the longer is left."""
    for secret in ("abcd", "abcdefgh", "cdef", "xxabcdxx"):
        logs.mask(secret)

    log.info("event", text="abcdefgh xxabcdxx")

    assert output.line["text"] == "[redacted] [redacted]"


def test_short_texts_are_not_masked(output: Output) -> None:
    """A secret of less than four characters is not masked, because it would mask ordinary text."""
    for secret in ("", "a", "run"):
        logs.mask(secret)

    log.info("run.ended", text="a run")

    assert (output.line["event"], output.line["text"]) == ("run.ended", "a run")


def test_a_secret_that_is_a_common_word_hides_no_line(output: Output) -> None:
    """The words by which lines are found and filtered are never masked, even if one is a password."""
    for secret in ("before", "ERROR", "2026"):
        logs.mask(secret)

    log.error("record.kept_before", text="before")

    line = output.line
    assert (line["event"], line["level"], line["text"]) == ("record.kept_before", "ERROR", "[redacted]")
    assert "redacted" not in line["timestamp"]


def test_secrets_in_objects_and_fields_are_masked(output: Output) -> None:
    """A secret is found in an object that jsonpickle encodes and in the fields of the thread too."""

    class Thing:
        def __init__(self) -> None:
            self.token = "s3cret-token"

    logs.mask("s3cret-token")
    with logs.fields(who="s3cret-token"):
        log.info("event", thing=Thing())

    assert (output.line["who"], output.line["thing"]) == ("[redacted]", {"token": "[redacted]"})


def test_masking_while_others_log(output: Output) -> None:
    """A token that one thread masks while others write breaks no line of theirs."""

    def mask_many() -> None:
        for number in range(2000):
            logs.mask(f"secret-{number}")

    thread = threading.Thread(target=mask_many)
    thread.start()
    written = 0
    while thread.is_alive():
        log.info("event", number=written)
        written += 1
    thread.join()

    assert [line["number"] for line in output.lines] == list(range(written))


# Exceptions


def fail_with_secret() -> None:
    s3cret_free_local = "s3cret"
    raise ValueError(f"{s3cret_free_local} in the text", {"also": "s3cret"})


def test_an_exception_is_its_type_and_frames(output: Output) -> None:
    """The log says what arose and where, never what the exception says: that may quote an input."""
    log.error("run.failed", error=raised(fail_with_secret))

    error = output.line["error"]
    assert error["type"] == "ValueError"
    assert error["frames"][-1].endswith(" fail_with_secret")
    assert __file__.rsplit("/", 1)[-1] in error["frames"][-1]
    assert "s3cret" not in output.getvalue()


def chained() -> None:
    try:
        fail_with_secret()
    except ValueError as error:
        raise KeyError("s3cret") from error


def in_handling() -> None:
    try:
        fail_with_secret()
    except ValueError:
        raise KeyError("s3cret")  # noqa: B904


def hidden() -> None:
    try:
        fail_with_secret()
    except ValueError:
        raise KeyError("s3cret") from None


@pytest.mark.parametrize(("function", "cause"), [(chained, "ValueError"), (in_handling, "ValueError"), (hidden, None)])
def test_causes_are_told_without_their_text(output: Output, function: Callable[[], None], cause: str | None) -> None:
    """The cause of an exception is logged by type and frames too, unless `from None` hid it."""
    log.critical("run.failed", error=raised(function))

    error = output.line["error"]
    assert (error["type"], error.get("cause", {}).get("type")) == ("KeyError", cause)
    assert "s3cret" not in output.getvalue()


def test_groups_and_notes_are_told_without_their_text(output: Output) -> None:
    """Of a group each exception is told, with its frames; notes are text like any other."""
    inner = raised(fail_with_secret)
    inner.add_note("s3cret")
    group = ExceptionGroup("s3cret", [inner, KeyError("s3cret")])
    group.add_note("s3cret")

    log.error("run.failed", error=group)

    error = output.line["error"]
    assert (error["type"], [each["type"] for each in error["errors"]]) == ("ExceptionGroup", ["ValueError", "KeyError"])
    assert error["errors"][0]["frames"][-1].endswith(" fail_with_secret")
    assert "s3cret" not in output.getvalue()


def test_an_exception_as_a_field_is_told_without_its_text(output: Output) -> None:
    """An exception that is put into any other field, or into a list, is described in the same way."""
    log.warning("event", reason=raised(fail_with_secret), all=[raised(chained)])

    assert output.line["reason"]["type"] == "ValueError"
    assert output.line["all"][0]["cause"]["type"] == "ValueError"
    assert "s3cret" not in output.getvalue()


def test_causes_that_go_round_or_on_for_ever(output: Output) -> None:
    """A circle of causes, or a chain of thousands, makes a line of ordinary length."""
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    last: BaseException = ValueError()
    for _ in range(5000):
        last, last.__context__ = ValueError(), last
    deepest: Exception = ValueError()
    for _ in range(5000):
        deepest = ExceptionGroup("", [deepest])

    for error in (first, last, deepest):
        log.error("event", error=error)

    assert len(output.lines) == 3
    assert all(len(line) < 2000 for line in output.getvalue().splitlines())


def test_of_many_frames_the_last_are_told(output: Output) -> None:
    """In a deep recursion the place where it ended is what a reader needs."""

    def dive(depth: int) -> None:
        if depth:
            dive(depth - 1)
        else:
            fail_with_secret()

    log.error("event", error=raised(lambda: dive(200)))

    frames = output.line["error"]["frames"]
    assert len(frames) == logs.MOST_FRAMES
    assert frames[-1].endswith(" fail_with_secret")


# Odd fields


class Unwilling:
    def __getstate__(self) -> Any:
        raise RuntimeError("s3cret")

    def __repr__(self) -> str:
        raise RuntimeError("s3cret")


def endless() -> Any:
    ring: list[Any] = []
    ring.append(ring)
    return ring


def deep() -> Any:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Unwilling(), "<Unwilling>"),
        (endless(), "<list>"),
        (deep(), "<list>"),
        ({(1, 2): "tuple"}, "<dict>"),
        (10**5000, "<int>"),
        (float("nan"), "NaN"),
        ([float("inf"), -float("inf")], ["Infinity", "-Infinity"]),
        ("\ud800", "\ud800"),
        ({1: None}, {"1": None}),
        ((1, 2), [1, 2]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_odd_fields_cost_themselves_alone(
    output: Output, capsys: pytest.CaptureFixture[str], value: Any, written: Any
) -> None:
    """A field that JSON cannot carry shows its type or its word; the line is written and nothing is raised."""
    log.info("event", odd=value, even=1)

    assert (output.line["odd"], output.line["even"]) == (written, 1)
    assert capsys.readouterr().err == ""


ODD = st.floats() | st.text() | st.binary(max_size=4) | st.dates() | st.frozensets(st.integers(), max_size=2)


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.text(), ODD | st.lists(ODD, max_size=2) | st.dictionaries(ODD, ODD, max_size=2), max_size=3))
def test_any_fields_make_one_line(fields: dict[str, Any]) -> None:
    """Every value is logged as one line and one JSON object."""
    record = logging.makeLogRecord({"msg": "event", "fields": fields})

    text = logs.JsonFormatter().format(record)

    assert len(text.splitlines()) == 1
    assert json.loads(text, parse_constant=_no_json).keys() >= fields.keys()


def test_jsonpickle_is_imported_only_when_it_is_needed() -> None:
    """Lines of plain values do not pay for the import at the cold start; one with an object does."""
    program = (
        "import io, sys, pathlib\n"
        "from port_runner import logs\n"
        "logs.configure('INFO', io.StringIO())\n"
        "logs.log.info('event', a=1, b=['x'], error=None)\n"
        "logs.log.error('event', error=ValueError())\n"
        "before = 'jsonpickle' in sys.modules\n"
        "logs.log.info('event', path=pathlib.PurePath('/'))\n"
        "print(before, 'jsonpickle' in sys.modules)\n"
    )

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert result.stdout == "False True\n"
