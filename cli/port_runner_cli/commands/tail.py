"""`tail`: show the function's log for one run."""

import time
from dataclasses import dataclass, field

import click

from port_runner.messages import RUN_ID
from port_runner_cli.clients.cloudwatch import FunctionLog
from port_runner_cli.clients.function import function_option, read_function
from port_runner_cli.duration import DURATION
from port_runner_cli.log_lines import LogLine, render_line
from port_runner_cli.output import COMMAND, INTERRUPTED, CommandFailed, Output, output_option

POLL_SECONDS = 1.0
# CloudWatch can find a line only some time after it was written.
LATE_MILLISECONDS = 60_000
# Events after which the function logs nothing more about a run.
LAST_EVENTS = ("run.reported", "run.not_in_progress", "run.unknown_to_port", "record.kept", "record.given_up")

PLACE = ("topic", "partition", "offset")


@dataclass
class RunLog:
    """The log lines about one run, and Lambda's lines about its invocations. `since` is in milliseconds."""

    log: FunctionLog
    run_id: str
    since: int
    lines: dict[str, LogLine] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    places: set[tuple[object, ...]] = field(default_factory=set)

    def look(self) -> list[LogLine]:
        """Return the lines that are new, oldest first. Raises CommandFailed."""
        found = self.log.find(f'"{self.run_id}"', self.since, self._is_of_run)
        for line in found:
            request = line.fields.get("request_id")
            if isinstance(request, str):
                self.requests.setdefault(request, line.at)
                self.places.add(_place(line))
        if self.requests:
            pattern = " ".join(f'?"{request}"' for request in self.requests)
            began = max(self.since, min(self.requests.values()) - LATE_MILLISECONDS)
            found += self.log.find(pattern, began, self._is_of_invocation)
        new = {line.id: line for line in found if line.id not in self.lines}
        self.lines |= new
        self.since = max(self.since, *(line.at - LATE_MILLISECONDS for line in new.values()), 0)
        return sorted(new.values(), key=lambda line: line.at)

    @property
    def is_over(self) -> bool:
        """Return whether the function is done with the run, and Lambda has reported the end of that invocation."""
        done = {line.fields.get("request_id") for line in self.lines.values() if line.event in LAST_EVENTS}
        reports = [line.event for line in self.lines.values() if line.event.startswith("REPORT ")]
        return any(str(request) in report for request in done for report in reports)

    def _is_of_run(self, line: LogLine) -> bool:
        return line.fields.get("run_id") == self.run_id if line.level else self.run_id in line.event

    def _is_of_invocation(self, line: LogLine) -> bool:
        """Return whether the line reports the result of the run's record, or the end of its process."""
        if line.level:
            return line.fields.get("request_id") in self.requests and _place(line) in self.places
        of_ours = any(request in line.event for request in self.requests)
        return of_ours and not line.event.startswith(("START ", "END "))


def _place(line: LogLine) -> tuple[object, ...]:
    return tuple(line.fields.get(name) for name in PLACE)


def show(lines: list[LogLine], output: Output, shown: tuple[object, ...] = ()) -> tuple[object, ...]:
    """Print lines, with a heading for each new invocation. `shown` and the result are the last heading."""
    for line in lines:
        place = (line.fields.get("request_id"), line.stream)
        if line.level and place != shown:
            shown = place
            record = "{}-{}@{}".format(*(line.fields.get(name, "?") for name in PLACE))
            output.say(f"request {place[0]}  {line.fields.get('action', '')}  {record}  {line.stream}", "bold")
        output.show(render_line(line))
    return shown


@click.command()
@click.argument("run_id")
@click.option("--follow", is_flag=True, help="Continue until the function is done with the run, or until Ctrl-C.")
@click.option("--since", type=DURATION, default="1d", show_default=True, help="How far back to look: 90s, 30m, 6h, 7d.")
@function_option
@output_option
def tail(run_id: str, follow: bool, since: float, function_name: str, output: Output) -> None:
    """Show the function's log for one run, across all its streams.

    RUN_ID is the run's id in Port. Lambda's own lines about the run's invocations are shown too: the duration, and
    a crash of the process. The exit code is 1 if nothing is found about the run.
    """
    if not RUN_ID.fullmatch(run_id):
        raise click.UsageError(f"{run_id!r} is no run id: it has letters, digits, _ and - only.")
    run_log = RunLog(FunctionLog(read_function(function_name)), run_id, int((time.time() - since) * 1000))
    try:
        _show_all(run_log, follow, output)
        interrupted = False
    except KeyboardInterrupt:
        interrupted = True
    lines = sorted(run_log.lines.values(), key=lambda line: line.at)
    output.document([line.document for line in lines])
    if interrupted:
        raise SystemExit(INTERRUPTED)
    if not lines:
        raise CommandFailed(
            f"{run_log.log.group} has nothing about {run_id}. Look further back with --since; if the function never "
            f"had the run, `{COMMAND} doctor` says why."
        )


def _show_all(run_log: RunLog, follow: bool, output: Output) -> None:
    with output.waiting(f"Searching {run_log.log.group}"):
        shown = show(run_log.look(), output)
        while follow and not run_log.is_over:
            time.sleep(POLL_SECONDS)
            shown = show(run_log.look(), output, shown)
