"""The commands: list, show, resend and remove."""

import json
from collections.abc import Callable, Sequence
from functools import cache, wraps
from typing import Any

import click

from port_runner import MessagePaths
from port_runner_cli.clients.function import (
    Function,
    function_option,
    read_failure_queue_url,
    read_function,
    read_mappings,
)
from port_runner_cli.clients.kafka import KafkaMapping, make_event
from port_runner_cli.commands.failures.display import SHORT_ID, masked_content, show_list, summarize
from port_runner_cli.commands.failures.kept_message import KeptMessage
from port_runner_cli.commands.failures.queue import HIDDEN_SECONDS, Queue, select_messages
from port_runner_cli.commands.failures.resend import Resent, resend
from port_runner_cli.output import COMMAND, CommandFailed, OrderedGroup, Output, SettingsError, output_option
from port_runner_cli.project import load_runner

# The longest time for which SQS hides a message.
LONGEST_HIDDEN_SECONDS = 12 * 3600


@click.group(cls=OrderedGroup)
def failures() -> None:
    """Show the failure queue, and resend its messages.

    The queue keeps records that could be neither run nor reported. With a failure destination, it also keeps the
    batches that Lambda gave up. Looking at messages removes nothing.
    """


def queue_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for the queue and the function. They are passed as `queue_url` and `function_name`."""

    @function_option
    @click.option("--queue-url", metavar="URL", help="The queue. Default: the function's failure queue.")
    @wraps(command)
    def with_queue(*arguments: Any, function_name: str, queue_url: str | None, **options: Any) -> Any:
        url = queue_url or read_failure_queue_url(function_name)
        return command(*arguments, function_name=function_name, queue_url=url, **options)

    return with_queue


def _handlers(output: Output) -> tuple[frozenset[str], MessagePaths]:
    """Return the inputs that the handlers declare as secret, and the places where the runner looks for parts."""
    try:
        runner = load_runner()
    except SettingsError as error:
        output.say(f"{error.message} Until then, only what the message itself calls secret is masked.", "yellow")
        return frozenset(), MessagePaths()
    return frozenset(name for route in runner.routes for name in route.secret_inputs or ()), runner.message_paths


def _some(ids: Sequence[str], every: bool) -> None:
    if bool(ids) == every:
        raise click.UsageError("Give ids, or --all.")


@failures.command("list")
@queue_options
@output_option
def list_failures(function_name: str, queue_url: str, output: Output) -> None:
    """List the messages of the queue, oldest first."""
    del function_name
    _, paths = _handlers(output)
    with Queue(queue_url) as queue, output.waiting("Reading the queue"):
        found = [summarize(message, paths) for message in queue.take()]
    show_list(found, output)
    if not found:
        output.say("The queue is empty.", "green")
    output.document(found)


@failures.command()
@click.argument("id")
@click.option(
    "--event",
    is_flag=True,
    help=f"Print the Kafka event that `resend` would send, for `{COMMAND} local`. Nothing in it is masked.",
)
@queue_options
@output_option
def show(id: str, event: bool, function_name: str, queue_url: str, output: Output) -> None:
    """Show one message: why it is in the queue, and its content.

    Secret inputs and headers are masked. If the queue has only the place of a record, the record is read from Kafka.
    """
    secret_inputs, paths = _handlers(output)
    with Queue(queue_url) as queue, output.waiting("Reading the queue"):
        [message] = select_messages(queue.take(), [id])
    document = summarize(message, paths)
    try:
        with output.waiting("Reading Kafka"):
            records = message.records(lambda: read_mappings(read_function(function_name)))
    except CommandFailed as error:
        if event:
            raise
        records, document["not_fetched"] = [], error.message
    if event:
        click.echo(json.dumps(make_event(records), indent=2))
        return
    document["messages"] = [masked_content(record, secret_inputs) for record in records]
    if isinstance(message.body, dict) and "outcome" in message.body:
        document["outcome"] = message.body["outcome"]
    for name, value in document.items():
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        output.say(f"{name.replace('_', ' ')}: {text}")
    output.document(document)


@failures.command("resend")
@click.argument("ids", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Everything that is in the queue now.")
@queue_options
@output_option
def resend_failures(ids: tuple[str, ...], every: bool, function_name: str, queue_url: str, output: Output) -> None:
    """Send messages to the function again.

    Their records are sent as Kafka events. A message is removed when the function is done with all of its records;
    otherwise it stays in the queue. Sending a message twice does no harm: a run that has ended is not run again. The
    exit code is 1 if a message was not taken, or was kept again.
    """
    _some(ids, every)
    function = read_function(function_name)
    mappings = cache(lambda: read_mappings(function))
    _, paths = _handlers(output)
    outcomes = []
    with Queue(queue_url) as queue:
        with output.waiting("Reading the queue"):
            messages = _selected(queue, ids, every)
        seconds = min(LONGEST_HIDDEN_SECONDS, (function.timeout + HIDDEN_SECONDS) * max(1, len(messages)))
        queue.hide(messages, seconds)
        for message in messages:
            with output.waiting(f"Waiting for {function.name} to take {message.id[:SHORT_ID]}"):
                resent = _resent(message, function, mappings, paths)
            if resent.outcome != "not taken":
                queue.remove(message)
            style = {"taken": "green", "kept again": "yellow"}.get(resent.outcome, "red")
            output.say(f"{message.id[:SHORT_ID]}: {resent.outcome}{': ' if resent.text else ''}{resent.text}", style)
            outcomes.append({"id": message.id, "outcome": resent.outcome, "text": resent.text})
    if not outcomes:
        output.say("The queue is empty.", "green")
    output.document(outcomes)
    if any(each["outcome"] != "taken" for each in outcomes):
        raise SystemExit(1)


def _selected(queue: Queue, ids: Sequence[str], every: bool) -> list[KeptMessage]:
    """Return the selected messages. The others are given back at once."""
    found = queue.take()
    messages = found if every else select_messages(found, ids)
    queue.hide([each for each in found if each not in messages], 0)
    return messages


def _resent(
    message: KeptMessage, function: Function, mappings: Callable[[], Sequence[KafkaMapping]], paths: MessagePaths
) -> Resent:
    try:
        return resend(message, function, mappings, paths)
    except CommandFailed as error:  # other messages may still succeed
        return Resent("not taken", error.message)


@failures.command()
@click.argument("ids", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Everything that is in the queue now.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@queue_options
@output_option
def remove(ids: tuple[str, ...], every: bool, yes: bool, function_name: str, queue_url: str, output: Output) -> None:
    """Remove messages permanently, without running anything."""
    del function_name
    _some(ids, every)
    _, paths = _handlers(output)
    with Queue(queue_url) as queue:
        with output.waiting("Reading the queue"):
            messages = _selected(queue, ids, every)
        show_list([summarize(message, paths) for message in messages], output)
        if messages and not yes:
            click.confirm(f"Remove {len(messages)} for good?", abort=True, err=True)
        for message in messages:
            queue.remove(message)
    output.say(f"{len(messages)} removed.")
    output.document([message.id for message in messages])
