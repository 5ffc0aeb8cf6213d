"""The command: runs every check and shows the findings."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from port_runner_cli.clients.function import function_option
from port_runner_cli.clients.port import PortAccess, port_options
from port_runner_cli.commands.doctor import function_checks, kafka_checks, leftover_checks, mapping_checks, port_checks
from port_runner_cli.commands.doctor.deployment import Check, Deployment, PartMissing
from port_runner_cli.commands.doctor.finding import Finding, State, unknown
from port_runner_cli.json_file import read_json
from port_runner_cli.output import CommandFailed, Output, output_option

CHECKS: dict[str, list[tuple[str, Check]]] = {
    "Function": [
        ("state", function_checks.state),
        ("environment", function_checks.environment),
        ("timeout", function_checks.timeout),
        ("concurrency", function_checks.concurrency),
        ("layers", function_checks.layers),
    ],
    "Role": [
        ("trust", function_checks.trust),
        ("secrets", function_checks.may_read_secrets),
        ("failure queue", function_checks.may_keep_failures),
        ("log", function_checks.may_log),
    ],
    "Mapping": [
        ("existence", mapping_checks.existence),
        ("state", mapping_checks.state),
        ("last result", mapping_checks.result),
        ("group", mapping_checks.group),
        ("filter", mapping_checks.filters),
        ("partial responses", mapping_checks.partial_responses),
    ],
    "Port": [
        ("credentials", port_checks.credentials),
        ("topic", port_checks.topic),
        ("group", port_checks.group),
    ],
    "Kafka": [
        ("secrets", kafka_checks.secrets),
        ("names", kafka_checks.names),
        ("ports", kafka_checks.ports),
        ("TLS", kafka_checks.tls),
        ("login", kafka_checks.login),
        ("topic", kafka_checks.topic),
        ("group", kafka_checks.group),
        ("members", kafka_checks.members),
        ("lag", kafka_checks.lag),
    ],
    "Left over": [
        ("failure queue", leftover_checks.failure_queue),
        ("errors", leftover_checks.errors),
    ],
}

MARKS: dict[State, tuple[str, str]] = {"good": ("✓", "green"), "bad": ("✗", "bold red"), "unknown": ("?", "yellow")}


def list_checks(deployment: Deployment) -> Iterator[tuple[str, str, Check]]:
    """Return section, name and function of every check. Each action has its own check."""
    for section, checks in CHECKS.items():
        for name, check in checks:
            yield section, name, check
        if section == "Port":
            for name, check in port_checks.actions(deployment):
                yield section, name, check


def run_check(check: Check, deployment: Deployment) -> Finding:
    """Return the finding of a check.

    A part that the check needs and that cannot be read makes no finding of its own.
    """
    try:
        return check(deployment)
    except PartMissing as missing:
        return unknown(f"not checked: {missing.message}")
    except CommandFailed as error:
        return unknown(f"not checked: {error.message}")


@click.command()
@function_option
@click.option(
    "--action", "actions", multiple=True, metavar="ID", help="An action to check. Default: the handlers' actions."
)
@click.option("--topic", metavar="NAME", help="Topic of the mapping to check, if there are several. Default: the runs.")
@click.option(
    "--message",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A recorded message to try the mapping's filter with.",
)
@port_options
@output_option
def doctor(
    function_name: str,
    actions: tuple[str, ...],
    topic: str | None,
    message: Path | None,
    access: PortAccess,
    output: Output,
) -> None:
    """Find out why nothing arrives.

    Examines everything on a message's way from Port to the function. Each line says what was checked, the result (good,
    bad, or not checkable from here), and what to do. Nothing is changed.

    Port is asked with the function's own credentials, or with yours if those cannot be read. The exit code is 1 if
    something is bad.
    """
    deployment = Deployment(
        function_name, access, actions, {} if message is None else {str(message): read_json(message)}, topic
    )
    page = Page(output)
    for section, name, check in list_checks(deployment):
        with output.waiting(f"{section}: {name}"):
            finding = run_check(check, deployment)
        page.add(section, name, finding)
    page.end()
    counts = {state: sum(finding.state == state for _, _, finding in page.lines) for state in MARKS}
    output.say(f"{counts['bad']} bad, {counts['unknown']} not checkable, {counts['good']} good", "bold")
    output.document(
        {
            "function": function_name,
            "findings": [{"section": section, "check": name, **asdict(each)} for section, name, each in page.lines],
        }
    )
    if counts["bad"]:
        raise SystemExit(1)


@dataclass
class Page:
    """Shows findings as they arrive. Checks that could not be made for the same reason share a line."""

    output: Output
    lines: list[tuple[str, str, Finding]] = field(default_factory=list)
    _waiting: list[str] = field(default_factory=list)

    def add(self, section: str, name: str, finding: Finding) -> None:
        last = self.lines[-1] if self.lines else None
        if last is None or last[0] != section or last[2] != finding or finding.state != "unknown":
            self.end()
        if last is None or last[0] != section:
            self.output.say(section, "bold")
        self.lines.append((section, name, finding))
        self._waiting.append(name)
        if finding.state != "unknown":
            self.end()

    def end(self) -> None:
        """Show the findings that wait for others with the same reason."""
        if not self._waiting:
            return
        finding = self.lines[-1][2]
        mark, style = MARKS[finding.state]
        word = mark if self.output.live else f"{finding.state:<7}"
        self.output.say(f"  {word} {', '.join(self._waiting)}: {finding.found}", style)
        if finding.advice:
            self.output.say(f"  {'' if self.output.live else '       '}  → {finding.advice}")
        self._waiting.clear()
