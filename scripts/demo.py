"""Watch one run travel from Port through Kafka and Lambda and back. All of it runs here and is removed at the end."""

import argparse
import io
import json
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Never
from urllib.parse import quote

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from port_runner_cli.clients.port import PortConnection
from port_runner_cli.commands.setup import read_definitions, set_up
from port_runner_cli.output import CommandFailed
from port_runner_sandbox import NoSandbox, ProcessFailed, Sandbox, start_sandbox
from port_runner_sandbox.fake_port import FakePort, Received
from port_runner_sandbox.kafka import MECHANISM, SECURITY_PROTOCOL
from port_runner_sandbox.localstack import running_localstack
from port_runner_sandbox.terraform import Terraform, TerraformError

ROOT_MODULE = Path(__file__).parents[1] / "terraform" / "examples" / "basic"
INPUTS = {"title": "My first VM", "cpu": 2, "memory": 4, "storage": 50, "region": "eu-west-1"}
RUN_SECONDS = 60
LOG_SECONDS = 20

ENDED = ("SUCCESS", "FAILURE")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoFailed(Exception):
    """The demo could not finish; the text says why."""


# The screen


class Screen:
    """A live view on a terminal, and plain lines everywhere else. Times count from the start of the demo."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.live = sys.stdout.isatty() and not self.console.is_dumb_terminal
        self.current = "getting ready"
        self._began = time.monotonic()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def say(self, text: str = "", style: str = "") -> None:
        """Print one line with the time. A terminal keeps the colors that the text already has."""
        self.console.print(Text.from_ansi(f"{self.elapsed:6.1f} s  {text}", style=style))

    def tell_of_resource(self, line: str) -> None:
        """Print Terraform's line about one resource."""
        self.say(line.removeprefix("module.port_runner."), "dim")

    @contextmanager
    def step(self, title: str, *, spinner: bool = True) -> Iterator[None]:
        """Show the step's title while it runs, and its duration when it is done."""
        self.current = title
        began = time.monotonic()
        if not self.live or not spinner:
            self.say(f"▸ {title}", "bold")
        with self._spinner(title) if spinner and self.live else ExitStack():
            yield
        self.say(f"✓ {title}: {time.monotonic() - began:.1f} s", "green")

    def _spinner(self, title: str) -> Progress:
        columns = (SpinnerColumn(), TextColumn("[bold]{task.description}"), TimeElapsedColumn())
        progress = Progress(*columns, console=self.console, transient=True)
        progress.add_task(title, total=None)
        return progress


@dataclass(frozen=True)
class Event:
    """An event of the run; `at` is in seconds since the epoch."""

    at: float
    place: str
    text: str


@dataclass
class RunView:
    """A panel with the events of one run and its status."""

    began: float
    run_id: str = ""
    status: str = "EXECUTING"
    events: list[Event] = field(default_factory=list)
    spinner: Spinner = field(default_factory=lambda: Spinner("dots"))

    def __rich__(self) -> Panel:
        rows = Table.grid(padding=(0, 2))
        for event in self.events:
            style = {"SUCCESS": "green", "FAILURE": "red"}.get(event.place, "cyan")
            rows.add_row(f"{event.at - self.began:6.2f} s", Text(event.place, style), Text(event.text))
        self.spinner.update(text=f"{time.time() - self.began:.1f} s")
        waiting = [] if self.status in ENDED else [self.spinner]
        return Panel(Group(rows, *waiting), title=f"create_vm {self.run_id} {self.status}", title_align="left")


@contextmanager
def shown(view: RunView, screen: Screen) -> Iterator[Callable[[Event], None]]:
    """Show the view, and yield a function that adds an event to it."""

    def add(event: Event) -> None:
        view.events.append(event)
        if not screen.live:
            screen.say(f"  {event.at - view.began:5.2f} s  {event.place:<8} {event.text}")

    with Live(view, console=screen.console, refresh_per_second=10) if screen.live else ExitStack():
        yield add


# The events


def events_of(request: Received) -> Iterator[Event]:
    """Yield the events that a request from the function to Port means for the run."""
    body = request.body if isinstance(request.body, dict) else {}
    path = request.path
    if request.status is None or request.status >= 400:
        yield Event(request.at, "Port", f"answers {request.status} to {request.method} {path}")
        return
    if label := body.get("statusLabel"):
        yield Event(request.at, "label", label)
    if request.method == "PATCH":
        if status := body.get("status"):
            yield Event(request.at, status, body.get("summary", ""))
    elif request.method == "POST" and path.endswith("/logs"):
        first, more, _ = body["message"].partition("\n")
        yield Event(request.at, "run log", f"{first} …" if more else first)
    elif request.method == "POST" and path.endswith("/entities"):
        properties = ", ".join(f"{name} {value}" for name, value in body.get("properties", {}).items())
        yield Event(request.at, "entity", f"{body.get('title')} ({body.get('identifier')}): {properties}")


def follow(port: FakePort, first: int, view: RunView, add: Callable[[Event], None]) -> None:
    """Add the run's events as they arrive, from request number `first`, until the run has ended.

    Raise DemoFailed if it does not end within RUN_SECONDS.
    """
    deadline = time.monotonic() + RUN_SECONDS
    position = first

    def arrived() -> bool:
        return len(port.requests) > position and port.requests[position].status is not None

    while view.status not in ENDED:
        with port.changed:
            if not port.changed.wait_for(arrived, deadline - time.monotonic()):
                raise DemoFailed(f"The run did not end within {RUN_SECONDS} s.")
            request = port.requests[position]
        if position == first:
            add(Event(request.at, "Lambda", "has the record and calls Port"))
        for event in events_of(request):
            add(event)
            view.status = event.place if event.place in ENDED else view.status
        position += 1


# The steps


def main() -> int:
    """Run the demo, and return 0 if the run ended in SUCCESS."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--stay",
        action="store_true",
        help="keep everything running until Ctrl-C, so that scripts/port-runner can use it",
    )
    arguments = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    for each in SIGNALS:
        signal.signal(each, _end)
    screen = Screen()
    directory = Path(tempfile.mkdtemp(prefix="port-demo-"))
    try:
        show(screen, directory, stays=arguments.stay)
    except KeyboardInterrupt:
        screen.say("Interrupted. Everything was stopped and removed.", "yellow")
        shutil.rmtree(directory)
        return 130
    except (DemoFailed, CommandFailed, TerraformError, NoSandbox, ProcessFailed) as error:
        return _failed(screen, directory, str(error))
    except Exception as error:
        (directory / "demo.log").write_text(traceback.format_exc())
        return _failed(screen, directory, f"{type(error).__name__}: {error} (see demo.log for the traceback)")
    shutil.rmtree(directory)
    screen.say("Done: the run went all the way, and everything was removed.", "bold green")
    return 0


def show(screen: Screen, directory: Path, *, stays: bool) -> None:
    """Run every step, from the start of the sandbox to its end. With *stays*, wait for Ctrl-C before the last steps."""
    with ExitStack() as running:
        ours = running_localstack() is None
        with screen.step("Start Kafka, Port and AWS on this machine"):
            sandbox = running.enter_context(start_sandbox(directory, progress=screen.say))
        with screen.step("Put blueprint and action into Port"):
            credentials = (sandbox.port.client_id, sandbox.port.client_secret)
            port = running.enter_context(PortConnection(sandbox.port.url, *credentials))
            set_up(port, read_definitions(), tell=screen.say)
        with ExitStack() as applied:
            terraform = Terraform(ROOT_MODULE, directory, sandbox.environment, progress=screen.tell_of_resource)
            with screen.step("Prepare Terraform: terraform init"):
                terraform.init()
                terraform.override(sandbox.module_arguments)
            variables = sandbox.variables
            if not ours:
                # The demo's own LocalStack is discarded as a whole. One that was running before is always cleaned up.
                applied.callback(remove, terraform, variables, screen)
            with screen.step("Create function, mapping and the rest: terraform apply"):
                screen.say("Planning. The failure queue then takes 25 s, because the AWS provider waits for it.", "dim")
                with ExitStack() if ours else uninterrupted(screen):
                    terraform.apply(variables)
                outputs = terraform.output()
            run_once(sandbox, port, screen, outputs)
            if stays:
                stay(sandbox, str(outputs["lambda_function_name"]), directory, screen)
            remove(terraform, variables, screen)
            applied.pop_all()
        with screen.step("End Kafka, Port and AWS"):
            running.close()


def remove(terraform: Terraform, variables: dict[str, object], screen: Screen) -> None:
    """Destroy what Terraform applied."""
    with screen.step("Remove everything again: terraform destroy"):
        terraform.destroy(variables)


def run_once(sandbox: Sandbox, port: PortConnection, screen: Screen, outputs: dict[str, object]) -> None:
    """Execute the action, and show the run's events, the function's log and the entity."""
    with screen.step("Execute create_vm in Port and watch its run", spinner=False):
        run = watch(sandbox, port, screen, str(outputs["lambda_event_source_mapping_uuid"]))
    log_group = str(outputs["lambda_cloudwatch_log_group_name"])
    with screen.step(f"Read the function's log: {log_group}"):
        lines = read_log(sandbox, log_group)
    for line in lines:
        screen.console.print(Text(f"          {line}", "dim"))
    with screen.step("Read the entity from Port"):
        if run["status"] != "SUCCESS":
            raise DemoFailed(f"There is no entity, because the run ended in {run['status']}: {run.get('summary')}")
        [(blueprint, identifier)] = sandbox.port.entities
        found = port.find(f"/blueprints/{blueprint}/entities/{quote(identifier, safe='')}", what="the entity")
        assert found
    screen.console.print_json(json.dumps(found["entity"]))


def stay(sandbox: Sandbox, function_name: str, directory: Path, screen: Screen) -> Never:
    """Wait for Ctrl-C, and print how another terminal can use the sandbox until then."""
    file = directory / "environment"
    file.write_text(exports(sandbox, function_name))
    screen.say("Everything keeps running until Ctrl-C. In another terminal:", "bold")
    screen.console.print(f"\n    . {file}\n    scripts/port-runner doctor\n", markup=False)
    while True:
        signal.pause()


def exports(sandbox: Sandbox, function_name: str) -> str:
    """Return shell lines that lead scripts/port-runner to this function, AWS and Port, and a client to Kafka."""
    kafka = sandbox.kafka
    variables = {
        **sandbox.environment,
        "PORT_API_URL": sandbox.port.url,
        "PORT_CLIENT_ID": sandbox.port.client_id,
        "PORT_CLIENT_SECRET": sandbox.port.client_secret,
        "PORT_RUNNER_FUNCTION": function_name,
        "KAFKA_BROKERS": ",".join(kafka.bootstrap_servers),
        "KAFKA_SECURITY_PROTOCOL": SECURITY_PROTOCOL,
        "KAFKA_SASL_MECHANISM": MECHANISM,
        "KAFKA_CA_FILE": str(kafka.ca_file),
        "KAFKA_USERNAME": kafka.username,
        "KAFKA_PASSWORD_SECRET": f"{function_name}/kafka-credentials",
        "KAFKA_RUNS_TOPIC": kafka.topic,
        "KAFKA_CHANGE_LOG_TOPIC": kafka.change_log_topic,
        "KAFKA_GROUP_PREFIX": kafka.group_prefix,
    }
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    return "unset AWS_PROFILE\n" + "".join(lines)


def watch(sandbox: Sandbox, port: PortConnection, screen: Screen, mapping: str) -> dict[str, Any]:
    """Execute the action, show its events, and return the ended run."""
    fake = sandbox.port
    view = RunView(began=time.time())
    published: list[Event] = []
    publish = fake.publish
    assert publish

    def publish_and_tell(topic: str, value: bytes) -> None:
        publish(topic, value)
        published.append(Event(time.time(), "Kafka", f"has the message, in {topic}"))

    fake.publish = publish_and_tell
    first = len(fake.requests) + 1
    with shown(view, screen) as add:
        run = port.call("POST", "/actions/create_vm/runs", {"properties": INPUTS}, what="create_vm")["run"]
        view.run_id, view.status = run["id"], run["status"]
        add(Event(fake.requests[first - 1].at, "Port", f"starts the run {view.run_id}"))
        for event in published:
            add(event)
        try:
            follow(fake, first, view, add)
        except DemoFailed as error:
            found = sandbox.aws("lambda").get_event_source_mapping(UUID=mapping)
            raise DemoFailed(
                f"{error} The event source mapping's last result: {found.get('LastProcessingResult')}"
            ) from error
    return fake.runs[view.run_id]


def read_log(sandbox: Sandbox, group: str) -> list[str]:
    """Return the lines of the function's log in CloudWatch, once it has the invocation's last line.

    Raise DemoFailed if that takes longer than LOG_SECONDS.
    """
    logs = sandbox.aws("logs")
    deadline = time.monotonic() + LOG_SECONDS
    while True:
        lines = [event["message"].rstrip() for event in logs.filter_log_events(logGroupName=group)["events"]]
        if any(line.startswith("REPORT ") for line in lines):
            return lines
        if time.monotonic() > deadline:
            raise DemoFailed(f"The invocation did not appear in the log group {group} within {LOG_SECONDS} s.")
        time.sleep(0.2)


def _failed(screen: Screen, directory: Path, reason: str) -> int:
    screen.say(f"The demo failed at “{screen.current}”: {reason}", "bold red")
    screen.say(f"The logs are in {directory}", "bold red")
    return 1


def _end(*_: object) -> None:
    """End the demo in order, and ignore further signals until then."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextmanager
def uninterrupted(screen: Screen) -> Iterator[None]:
    """Delay an interrupt until the end of the block."""
    received: list[int] = []

    def note(number: int, _: object) -> None:
        received.append(number)
        screen.say(
            "Terraform finishes first. If it stopped now, it would lose track of what it has just made.", "yellow"
        )

    for each in SIGNALS:
        signal.signal(each, note)
    try:
        yield
    finally:
        for each in SIGNALS:
            signal.signal(each, _end)
    if received:
        _end()


if __name__ == "__main__":
    sys.exit(main())
