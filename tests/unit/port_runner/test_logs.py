"""A log line is one JSON object with fields, and holds no secret and no text of an exception."""

import contextvars
import io
import json
import logging
import logging.config
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from port_runner import ActionRun, Secret, logs
from port_runner.logs import log
from tests.support.function_under_test import Function


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
    """Logging as in a new process, and restored after the test."""
    ours, root = logging.getLogger("port_runner"), logging.getLogger()
    before = [(each, each.handlers[:], each.propagate, each.level) for each in (ours, root)]
    yield
    for logger, handlers, propagate, level in before:
        logger.handlers[:] = handlers
        logger.propagate = propagate
        logger.setLevel(level)


def new_root(*handlers: logging.Handler) -> logging.Logger:
    """Give the root logger these handlers alone, without those of pytest, and Python's level."""
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(logging.WARNING)
    return root


@pytest.fixture
def output() -> Output:
    """The stream of all lines, of the library's from DEBUG on."""
    output = Output()
    new_root()
    logs.configure("DEBUG", output)
    return output


@pytest.fixture
def theirs() -> logging.Logger:
    """The logger of a handler's module."""
    return logging.getLogger("handlers.of_the_test")


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


def test_a_short_secret_hides_no_name_of_port_or_kafka(output: Output, theirs: logging.Logger) -> None:
    """Runs, actions and records are found in the log even if a secret is a part of their names."""
    for secret in ("r_ab", "reso", "prod", "4711", "vm_b", "grow", "SUCC", "orders"):
        logs.mask(secret)
    about = {"run_id": "r_abcd", "action": "resource_new", "topic": "org_prod.runs", "request_id": "4711-4711"}
    own = {"actions": ["resource_new"], "blueprint": "vm_basic", "handler": "grow_disk", "status": "SUCCESS"}

    with logs.fields(**about, offset=4711, partition=0):
        log.info("event", **own)
        theirs.info("said")

    ours, other = output.lines
    assert ours.items() >= {**about, **own, "offset": 4711, "partition": 0}.items()
    assert other.items() >= about.items()


def test_a_name_from_a_handler_is_masked(output: Output, theirs: logging.Logger) -> None:
    """The name of such a field excuses no value of a handler, and no text of ours that may quote an input."""
    logs.mask("r_ab")

    theirs.info("said", extra={"run_id": "r_abcd", "topic": "r_ab", "deep": {"run_id": "r_ab"}})
    with logs.fields(entity="r_abcd"):
        log.info("event", reason="r_abcd", deep={"run_id": "r_ab"})

    assert "r_ab" not in output.getvalue()


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


# Other loggers


class RuntimeHandler(logging.Handler):
    """A handler as AWS's runtime puts it on the root logger: its formatter ends the line."""

    def __init__(self, stream: io.StringIO) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("[%(levelname)s]\t%(message)s\n"))
        self.stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        self.stream.write(self.format(record))


def runtime_handler(name: str, module: str) -> RuntimeHandler:
    made: type[RuntimeHandler] = type(name, (RuntimeHandler,), {"__module__": module})
    return made(Output())


RUNTIMES = [
    ("LambdaLoggerHandler", "bootstrap"),
    ("LambdaLoggerHandler", "awslambdaric.bootstrap"),
    ("LambdaLoggerHandlerWithFrameType", "bootstrap"),
    ("LambdaLoggerHandlerWithFrameType", "awslambdaric.bootstrap"),
]


def test_a_handlers_logger_writes_json_with_the_fields(output: Output, theirs: logging.Logger) -> None:
    """A line of any other logger has time, level, logger, message, the fields of the run, and its extra."""
    with logs.fields(run_id="r_1", action="resize"):
        theirs.info("Resizing %s to %d", "vm-1", 4, extra={"order": ["a", 1], "step": 2})

    line = output.line
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "INFO",
        "logger": "handlers.of_the_test",
        "message": "Resizing vm-1 to 4",
        "run_id": "r_1",
        "action": "resize",
        "order": ["a", 1],
        "step": 2,
    }


def test_a_line_of_a_handler_is_about_its_run(function: Function, theirs: logging.Logger) -> None:
    """Lines in a handler have the run's fields, and mask its secret inputs. A thread needs a copy of the context."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        theirs.info("in the handler, with %s", Secret("s3cret-token").reveal())
        for target in (contextvars.copy_context().run, lambda say, text: say(text)):
            thread = threading.Thread(target=target, args=(theirs.info, "in a thread"))
            thread.start()
            thread.join()

    new_root()
    function.run("resize")

    lines = [json.loads(line) for line in function.output.splitlines()]
    lines = [line for line in lines if line.get("logger") == theirs.name]
    assert [line["message"] for line in lines] == ["in the handler, with [redacted]", "in a thread", "in a thread"]
    about = {"run_id": "r_1", "action": "resize", "topic": "org_test.runs", "partition": 0, "offset": 0}
    assert all(line.items() >= about.items() and line["request_id"] for line in lines[:2])
    assert lines[2].keys() == {"timestamp", "level", "logger", "message"}


@pytest.mark.parametrize(("name", "module"), RUNTIMES)
def test_the_runtimes_handler_is_replaced(theirs: logging.Logger, name: str, module: str) -> None:
    """In Lambda each line is written once, as JSON, with one line break, however often the log is set up."""
    runtime = runtime_handler(name, module)
    new_root(runtime)
    output = Output()
    for _ in range(3):
        logs.configure("INFO", output)

    theirs.info("theirs")
    log.info("ours")

    assert output.getvalue().count("\n") == 2
    assert [line.get("message", line.get("event")) for line in output.lines] == ["theirs", "ours"]
    assert runtime.stream.getvalue() == ""


def test_filters_of_the_runtimes_handler_are_kept(theirs: logging.Logger) -> None:
    """A library that writes its own lines keeps them out of AWS's handler with a filter, so they appear once."""
    runtime = runtime_handler(*RUNTIMES[0])
    runtime.addFilter(lambda record: record.name != theirs.name)
    new_root(runtime)
    output = Output()
    for _ in range(2):
        logs.configure("INFO", output)

    theirs.info("written elsewhere")
    logging.getLogger("another").info("written here")

    assert [line["message"] for line in output.lines] == ["written here"]


def test_anothers_handler_stays_and_gets_the_masks(theirs: logging.Logger) -> None:
    """A handler that an author put on the root logger writes what it would, without known secrets, and we add none."""
    stream, output = io.StringIO(), Output()
    own = logging.StreamHandler(stream)
    own.setFormatter(logging.Formatter("%(message)s | %(order)s"))
    root = new_root(own)
    logs.mask("s3cret-token")
    for _ in range(2):
        logs.configure("INFO", output)

    theirs.warning("token %s", "s3cret-token", extra={"order": {"deep": ["s3cret-token"]}})
    theirs.info("below the level of the root logger")
    try:
        raise ValueError("s3cret-token")
    except ValueError:
        theirs.exception("failed", stack_info=True, extra={"order": 1})  # s3cret-token, in a line of the stack

    assert (root.handlers, root.level, output.getvalue()) == ([own], logging.WARNING, "")
    assert len(own.filters) == 1
    first, *rest = stream.getvalue().splitlines()
    assert first == "token [redacted] | {'deep': ['[redacted]']}"
    assert "ValueError: [redacted]" in rest
    assert "s3cret" not in stream.getvalue()


def test_a_line_without_a_secret_reaches_anothers_handler_unchanged(theirs: logging.Logger) -> None:
    """Handlers and tests that read a record's parts find its message, arguments and exception as they were given."""
    heard: list[logging.LogRecord] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record)

    new_root(Listener())
    logs.mask("s3cret-token")
    logs.configure("INFO", Output())
    message, error = {"a": 1}, raised(fail_with_secret)

    theirs.warning("at %s", message, exc_info=error)
    theirs.warning(message)

    assert [(each.msg, each.args) for each in heard] == [("at %s", message), (message, ())]
    assert heard[0].exc_info == (ValueError, error, error.__traceback__)
    assert heard[0].exc_text is None


def test_the_root_loggers_level(theirs: logging.Logger) -> None:
    """LOG_LEVEL counts for other loggers from INFO up: below, libraries write headers and bodies."""
    root, levels = new_root(), []
    for level in ("DEBUG", "ERROR", "WARNING", "INFO"):
        logs.configure(level, Output())
        levels.append(logging.getLevelName(root.level))

    assert levels == ["INFO", "ERROR", "WARNING", "INFO"]


@pytest.mark.parametrize("level", [logging.DEBUG, logging.ERROR])
def test_a_level_that_an_author_set_is_kept(theirs: logging.Logger, level: int) -> None:
    """An author's own level of the root logger counts more than LOG_LEVEL."""
    root = new_root()
    root.setLevel(level)
    for name in ("INFO", "WARNING"):
        logs.configure(name, Output())

    assert root.level == level


def test_a_loggers_own_level_counts(output: Output, theirs: logging.Logger) -> None:
    """An author who sets the level of a logger sees its lines."""
    theirs.setLevel(logging.DEBUG)
    try:
        theirs.debug("fine")
    finally:
        theirs.setLevel(logging.NOTSET)

    assert output.line["level"] == "DEBUG"


@pytest.mark.parametrize("name", ["boto3.session", "botocore.parsers", "urllib3.connectionpool"])
def test_libraries_write_no_bodies(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Even with a root logger at DEBUG, libraries write warnings only: a body may hold a secret that is not masked."""
    monkeypatch.setattr(logging.getLogger(name.partition(".")[0]), "level", logging.NOTSET)
    new_root().setLevel(logging.DEBUG)
    output = Output()
    logs.configure("DEBUG", output)

    logging.getLogger(name).debug("Response body: %r", b"s3cret")
    logging.getLogger(name).info("Found credentials")
    logging.getLogger(name).warning("The connection was lost")

    assert output.line["message"] == "The connection was lost"


@pytest.mark.parametrize("name", ["port_runner", "port_runner.lines", "port_runner.mine", "port_runner_mine", "root"])
def test_a_logger_with_our_name_is_not_confused(output: Output, name: str) -> None:
    """Any name of a logger makes a handler's line: once, with its arguments, masked, and no event of ours."""
    logs.mask("s3cret-token")

    logging.getLogger(name).warning("run.ended %s", "s3cret-token", extra={"fields": {"run_id": "r_2"}})

    line = output.line
    assert (line["logger"], line["message"]) == (name, "run.ended [redacted]")
    assert line["fields"] == {"run_id": "r_2"}
    assert line.keys().isdisjoint({"event", "run_id"})


def test_an_extra_cannot_take_the_place_of_a_field(output: Output, theirs: logging.Logger) -> None:
    """Our fields are true on each line: an extra of the same name is shown next to it."""
    extra = dict.fromkeys(("timestamp", "level", "logger", "event", "error", "stack", "run_id"), "theirs")
    with logs.fields(run_id="r_1"):
        theirs.info("said", extra=extra)

    line = output.line
    assert (line["level"], line["logger"], line["run_id"]) == ("INFO", theirs.name, "r_1")
    assert {name: line[f"extra_{name}"] for name in extra} == extra
    assert line.keys().isdisjoint({"event", "error", "stack"})


def test_secrets_in_other_lines_are_masked(output: Output, theirs: logging.Logger) -> None:
    """A secret is cut out of message, arguments, extra and the logger's name, however it is quoted."""
    secret = 'it\'s "a"\nžluť\\secret'
    logs.mask(secret)

    theirs.info("at %s %r %s", secret, secret, {"a": secret}, extra={"text": secret, secret: [secret]})
    theirs.info(json.dumps({"a": secret}))
    theirs.info(json.dumps({"a": secret}, ensure_ascii=False))
    theirs.info({"a": secret})
    logging.getLogger(f"x.{secret}").info("said")

    assert len(output.lines) == 5
    assert "žluť" not in json.dumps(output.lines, ensure_ascii=False)
    assert output.lines[0]["message"].startswith("at [redacted] ")


def test_an_exception_of_a_handler_is_its_type_and_frames(output: Output, theirs: logging.Logger) -> None:
    """`exc_info`, an exception in place of the message and one as an extra are shown without their text."""
    error = raised(chained)
    theirs.error("failed", exc_info=error)
    theirs.error(error)
    theirs.error("failed", extra={"reason": error})

    first, second, third = output.lines
    assert first["error"]["type"] == second["error"]["type"] == third["reason"]["type"] == "KeyError"
    assert first["error"]["cause"]["frames"][-1].endswith(" fail_with_secret")
    assert (first["message"], second["message"]) == ("failed", "KeyError")
    assert "s3cret" not in output.getvalue()


def test_an_object_as_an_extra_is_its_text(output: Output, theirs: logging.Logger) -> None:
    """The attributes of an object, such as the secrets of a client, are not logged, unlike those in our own fields."""

    class Client:
        def __init__(self) -> None:
            self.token = "s3cret-token"

        def __str__(self) -> str:
            return "a client"

    theirs.info("said", extra={"client": Client(), "all": [Client()], "secret": Secret("s3cret-token")})

    line = output.line
    assert (line["client"], line["all"], line["secret"]) == ("a client", ["a client"], "Secret([redacted])")


def test_a_stack_is_shown(output: Output, theirs: logging.Logger) -> None:
    """`stack_info=True` shows where the line was written."""
    theirs.info("here", stack_info=True)

    assert "test_a_stack_is_shown" in output.line["stack"]


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("s3cret-token")

    __repr__ = __str__


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("s3cret-token")


@pytest.mark.parametrize("with_own_handler", [False, True], ids=["our handler", "another's"])
@pytest.mark.parametrize(
    ("message", "arguments", "details"),
    [
        ("%d", ("s3cret-token",), {}),
        ("%s %s", ("s3cret-token",), {}),
        ("none", ("s3cret-token",), {}),
        ("%(a)s", ({"b": "s3cret-token"},), {}),
        ("%s", (Unprintable(),), {}),
        (Unprintable(), (), {}),
        (Unprintable(), ("s3cret-token",), {}),
        (UnprintableError(), (), {}),
        ("odd", (), {"exc_info": UnprintableError()}),
        ("odd", (), {"exc_info": (1, 2, 3)}),
        ("odd", (), {"exc_info": True}),
        ("odd", (), {"extra": {"odd": Unprintable()}}),
        (None, (), {"extra": {"odd": float("nan")}}),
        (b"bytes", (), {"extra": {"odd": {(1, 2): 3}}}),
        ("odd", (), {"extra": {1: 2}}),
        ("\ud800", (), {}),
    ],
)
def test_an_odd_line_does_no_harm(
    theirs: logging.Logger,
    capsys: pytest.CaptureFixture[str],
    with_own_handler: bool,
    message: Any,
    arguments: tuple[Any, ...],
    details: dict[str, Any],
) -> None:
    """A line that cannot be made raises nothing, is written as far as it can be, and prints no argument anywhere."""
    output = Output()
    new_root(*([logging.StreamHandler(output)] if with_own_handler else []))
    logs.mask("s3cret-token")
    logs.configure("INFO", output)

    theirs.error(message, *arguments, **details)

    assert len(output.getvalue().splitlines()) >= 1
    assert with_own_handler or output.line["level"] == "ERROR"
    assert "s3cret" not in output.getvalue() + capsys.readouterr().err


def test_an_extra_that_goes_round_does_no_harm(theirs: logging.Logger) -> None:
    """A list that holds itself costs its own field alone, in our lines and in another's."""
    output, own = Output(), logging.StreamHandler(stream := io.StringIO())
    root = new_root()
    logs.configure("INFO", output)
    root.addHandler(own)
    logs.configure("INFO", output)

    theirs.error("said", extra={"ring": endless()})

    assert (output.line["ring"], stream.getvalue()) == ("<list>", "said\n")


def test_a_closed_output_does_no_harm(
    output: Output, theirs: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """If lines cannot be written, the handler continues, and no argument is printed elsewhere."""
    output.close()

    theirs.error("at %s", "s3cret")
    log.error("event", text="s3cret")

    assert capsys.readouterr() == ("", "")


def test_logging_config_does_not_silence_the_library(output: Output) -> None:
    """An author's `dictConfig`, which by default disables all other loggers, hides no line of ours."""
    logging.config.dictConfig({"version": 1})
    logs.configure("INFO", output)

    log.info("event")

    assert output.line["event"] == "event"


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
    output = Output()
    logs.configure("DEBUG", output)

    with logs.fields(**fields):
        log.info("event")

    assert len(output.getvalue().splitlines()) == 1
    assert output.line.keys() >= fields.keys()


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
