"""`tail`: every line of one run and no other, from all streams, as people read it."""

import json
import threading
import time
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result
from moto.logs.models import LogStream

from port_runner_cli.__main__ import main
from port_runner_cli.commands import tail as tail_module
from tests.support.fake_lambda import FakeFunction, FakeLambda

NAME = "runs-under-test"
GROUP = f"/aws/lambda/{NAME}"


class Log:
    """The function's log group."""

    def __init__(self) -> None:
        self.client = boto3.client("logs")
        self.client.create_log_group(logGroupName=GROUP)
        self.streams: set[str] = set()

    def write(self, *lines: Any, stream: str = "s1", ago: float = 0) -> None:
        if stream not in self.streams:
            self.client.create_log_stream(logGroupName=GROUP, logStreamName=stream)
            self.streams.add(stream)
        began = int((time.time() - ago) * 1000)
        events = [
            {"timestamp": began + number, "message": line if isinstance(line, str) else json.dumps(line)}
            for number, line in enumerate(lines)
        ]
        self.client.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)


@pytest.fixture
def log(aws: FakeLambda) -> Log:
    aws.add(FakeFunction(NAME))
    return Log()


def line(event: str, run_id: str | None = "r_1", *, level: str = "INFO", request: str = "q1", **more: Any) -> Any:
    run = {} if run_id is None else {"run_id": run_id, "action": "create_vm"}
    place = {"topic": "org.runs", "partition": 0, "offset": 7}
    return {"timestamp": "x", "level": level, "event": event, "request_id": request, **place, **run, **more}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["tail", *arguments, "--function", NAME])


def test_the_lines_of_one_run_and_no_other(log: Log) -> None:
    """Lines of other runs, metrics and other invocations are left out, even if the pattern passes them."""
    log.write(
        "START RequestId: q1 Version: $LATEST",
        line("run.started", handler="handlers.vm.create_vm"),
        line("run.started", "r_2", handler="of-another", offset=8),
        {"_aws": {}, "FunctionName": NAME, "RunsStarted": 1},
        line("run.reported", status="SUCCESS"),
        "END RequestId: q1",
        "REPORT RequestId: q1\tDuration: 12.30 ms",
        "REPORT RequestId: q9\tDuration: 99 ms",
    )
    result = run("r_1")

    assert result.exit_code == 0
    heading, *lines = result.stdout.splitlines()
    assert heading.split("  ") == ["request q1", "create_vm", "org.runs-0@7", "s1"]
    assert [each[14:] for each in lines] == [
        "INFO     run.started  handler=handlers.vm.create_vm",
        "INFO     run.reported  status=SUCCESS",
        "REPORT RequestId: q1  Duration: 12.30 ms",
    ]


def test_all_streams_in_the_order_of_time(log: Log) -> None:
    """A run that was delivered to two processes is shown in order, each invocation under its heading."""
    log.write(line("run.started"), ago=60, stream="first")
    log.write("q1 Task timed out after 10.00 seconds", ago=50, stream="first")
    log.write(line("run.interrupted", request="q2", level="WARNING"), ago=40, stream="second")

    lines = run("r_1").stdout.splitlines()

    assert [each.split("  ")[0] for each in lines if each.startswith("request")] == ["request q1", "request q2"]
    assert "Task timed out" in lines[2]
    assert "WARNING  run.interrupted" in lines[4]


def test_what_became_of_the_record_belongs_to_it(log: Log) -> None:
    """A line about the run's record counts, though it does not name the run; one about another record does not."""
    log.write(
        line("run.started"),
        line("record.not_consumed", None, level="ERROR", reason="Port did not answer"),
        line("record.not_consumed", None, level="ERROR", reason="another record", offset=8),
    )
    result = run("r_1")
    assert "Port did not answer" in result.stdout
    assert "another record" not in result.stdout


def test_an_error_has_its_frames(log: Log) -> None:
    """Type, frames and causes of an error stand below its line."""
    error = {"type": "KeyError", "frames": ["vm.py:7 f"], "cause": {"type": "OSError", "frames": ["vm.py:3 g"]}}
    log.write(line("run.failed_unexpectedly", level="ERROR", error=error))
    lines = run("r_1").stdout.splitlines()
    assert [each.strip() for each in lines[2:]] == ["KeyError", "vm.py:7 f", "caused by OSError", "vm.py:3 g"]


def test_nothing_steers_the_terminal(log: Log) -> None:
    """Control characters of a value are not printed."""
    log.write(line("run.action_failed", reason="\x1b[2Jgone"))
    assert "\x1b" not in run("r_1").stdout


def test_json_is_one_document(log: Log) -> None:
    """With --json every line comes with all its fields, and nothing else is on stdout."""
    log.write(line("run.started", handler="h"), "REPORT RequestId: q1\tDuration: 1 ms")
    first, second = json.loads(run("r_1", "--json").stdout)
    assert (first["event"], first["handler"], first["run_id"], first["offset"]) == ("run.started", "h", "r_1", 7)
    assert second["text"].startswith("REPORT")


def test_since_bounds_the_search(log: Log) -> None:
    """Lines older than --since are not searched."""
    log.write(line("run.started"), ago=7200)
    assert run("r_1", "--since", "3h").exit_code == 0
    assert run("r_1").exit_code == 0
    result = run("r_1", "--since", "1h")
    assert result.exit_code == 1
    assert "--since" in result.stderr
    assert "scripts/port-runner doctor" in result.stderr


@pytest.mark.parametrize("since", ["1", "h", "1w", "-1h", "1.5h", ""])
def test_lengths_of_time_are_checked(log: Log, since: str) -> None:
    """A text that is not a duration is a usage error."""
    assert run("r_1", "--since", since).exit_code == 2


def test_what_is_no_run_id(log: Log) -> None:
    """An id that could change the search is refused."""
    assert run('r_1" ?"').exit_code == 2


def test_what_is_not_there_is_named(aws: FakeLambda) -> None:
    """A function or a log group that does not exist is named: exit code 1."""
    result = run("r_1")
    assert (result.exit_code, NAME in result.stderr) == (1, True)
    aws.add(FakeFunction(NAME, configuration={"LoggingConfig": {"LogGroup": "/elsewhere"}}))
    result = run("r_1")
    assert (result.exit_code, "/elsewhere" in result.stderr) == (1, True)


def test_follow_ends_with_the_run(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --follow lines are shown once, as they come, until the function is done with the run."""
    monkeypatch.setattr(tail_module, "POLL_SECONDS", 0.02)
    polls = threading.Event()
    looked = tail_module.RunLog.look

    def look(self: tail_module.RunLog) -> Any:
        found = looked(self)
        polls.set()
        return found

    monkeypatch.setattr(tail_module.RunLog, "look", look)

    def go_on() -> None:
        for lines in (
            [line("run.started")],
            [line("run.reported", status="SUCCESS")],
            ["REPORT RequestId: q1\tDuration: 5 ms"],
        ):
            polls.clear()
            assert polls.wait(5)
            log.write(*lines)

    writer = threading.Thread(target=go_on)
    writer.start()
    result = run("r_1", "--follow")
    writer.join()

    assert result.exit_code == 0
    texts = [each[14:] for each in result.stdout.splitlines()[1:]]
    assert [text.split("  ")[0].strip() for text in texts] == ["INFO", "INFO", "REPORT RequestId: q1"]


def test_interrupted_while_it_follows(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends it without a word of its own; what was found is still the document."""
    log.write(line("run.started"))

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    result = run("r_1", "--follow", "--json")
    assert result.exit_code == 130
    assert [each["event"] for each in json.loads(result.stdout)] == ["run.started"]


def test_an_emulator_that_ignores_the_pattern(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the log returns all lines for every pattern, only those of the run are shown."""
    log.write(
        "START RequestId: q1",
        line("run.started"),
        line("run.started", "r_10", request="q2", offset=8),
        "REPORT RequestId: q2\tDuration: 1 ms",
    )
    original = LogStream.filter_log_events

    def all_of_them(self: Any, start_time: int, end_time: int, filter_pattern: str) -> Any:
        return original(self, start_time, end_time, "")

    monkeypatch.setattr(LogStream, "filter_log_events", all_of_them)
    result = run("r_1")
    assert "q2" not in result.stdout
    assert len(result.stdout.splitlines()) == 2
