"""`failures`: show the records in the failure queue, and send them to the function again."""

import base64
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, wraps
from types import TracebackType
from typing import Any, Literal, Self

import click
from rich import box
from rich.table import Table

from port_runner import MessageError, MessagePaths
from port_runner.changes import CHANGE_LOG, read_change
from port_runner.kafka import Record
from port_runner.messages import ForOthers, RunRequest, parsed, read_message
from port_runner.secret_inputs import without_secrets
from port_runner_cli.clients.aws import asking_aws, aws_client
from port_runner_cli.clients.function import (
    Answer,
    Function,
    failure_queue_of,
    function_option,
    invoke,
    read_function,
    read_mappings,
)
from port_runner_cli.clients.kafka import KafkaMapping, make_event, read_records
from port_runner_cli.output import COMMAND, CommandFailed, OrderedGroup, Output, SettingsError, output_option
from port_runner_cli.project import load_runner

# Seconds that a message stays hidden if this process is killed. Otherwise it is given back at the end.
HIDDEN_SECONDS = 120
# The longest time for which SQS hides a message.
LONGEST_HIDDEN_SECONDS = 12 * 3600
# With a wait, SQS asks all its servers. Without one, an answer can be empty although there is a message.
WAIT_SECONDS = 1
AT_ONCE = 10
SHORT_ID = 8

type Json = dict[str, Any]


# What is kept


@dataclass(frozen=True)
class Place:
    """The records of one partition, by their offsets."""

    topic: str
    partition: int
    first: int
    last: int

    def __str__(self) -> str:
        offsets = str(self.first) if self.first == self.last else f"{self.first} to {self.last}"
        return f"{self.topic}-{self.partition}@{offsets}"


@dataclass(frozen=True)
class Kept:
    """A message of the queue: a record that the function kept, or Lambda's message about a batch that it gave up.

    `sent` is in seconds of the epoch.
    """

    id: str
    receipt: str
    sent: float
    body: Any

    @property
    def reason(self) -> str:
        if self.is_batch:
            condition = self.body.get("requestContext", {}).get("condition")
            return f"Lambda gave the batch up: {condition}"
        return str(self.body.get("reason")) if self.places else "this is no record of ours, nor one of Lambda's"

    @property
    def is_batch(self) -> bool:
        """Return whether the message is Lambda's own about a batch, with offsets and without content.

        https://docs.aws.amazon.com/lambda/latest/dg/kafka-on-failure-destination.html
        """
        return isinstance(self.body, dict) and isinstance(self.body.get("KafkaBatchInfo"), dict)

    @property
    def places(self) -> list[Place]:
        """The places of its records in Kafka. Empty for a message that neither the function nor Lambda wrote."""
        try:
            if not self.is_batch:
                offset = int(self.body["offset"])
                return [Place(str(self.body["topic"]), int(self.body["partition"]), offset, offset)]
            batches = self.body["KafkaBatchInfo"]["recordsInfo"].items()
            # In the key, `topic-partition`, the topic may contain dashes too.
            return [
                Place(
                    group.rpartition("-")[0],
                    int(group.rpartition("-")[2]),
                    int(batch["firstRecordOffset"]),
                    int(batch["lastRecordOffset"]),
                )
                for group, batch in batches
            ]
        except (AttributeError, KeyError, TypeError, ValueError):
            return []

    def records(self, mappings: Callable[[], Sequence[KafkaMapping]]) -> list[Json]:
        """Return its records in the format of a Kafka event, read from Kafka if it has only places.

        Raises CommandFailed.
        """
        if not self.places:
            raise CommandFailed(f"{self.id} is neither a record that the function kept nor one of Lambda's.")
        if not self.is_batch and isinstance(self.body.get("record"), dict):
            return [self.body["record"]]
        found: list[Json] = []
        for place in self.places:
            mapping = next((each for each in mappings() if each.topic == place.topic), None)
            if mapping is None:
                raise CommandFailed(
                    f"The function has no mapping for {place.topic}, so Kafka cannot be reached as that would. "
                    "Name the function with --function."
                )
            found += read_records(mapping, place.topic, place.partition, place.first, place.last)
        return found


def to_record(content: Json) -> Record:
    """Return a record of an event as the runner reads it."""
    topic, partition = str(content["topic"]), int(content["partition"])
    return Record(topic, partition, int(content["offset"]), f"{topic}-{partition}", content=content)


def run_and_action(content: Json, paths: MessagePaths) -> tuple[str | None, str | None]:
    """Return the run and the action that a record names."""
    with suppress(MessageError):
        read = read_message(to_record(content), paths)
        if isinstance(read, RunRequest):
            return read.run_id, read.action
    return None, None


# The queue


@dataclass
class Queue:
    """The messages of an SQS queue. They are hidden from others while they are in use, and given back at the end."""

    url: str
    _held: dict[str, Kept] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._client = aws_client("sqs")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A message that cannot be given back becomes visible by itself.
        with suppress(CommandFailed):
            self.hide(list(self._held.values()), 0)

    def take(self) -> list[Kept]:
        """Return every message, oldest first. Raises CommandFailed."""
        while new := [each for each in self._receive() if each.id not in self._held]:
            self._held |= {each.id: each for each in new}
        return sorted(self._held.values(), key=lambda each: each.sent)

    def _receive(self) -> list[Kept]:
        with asking_aws(f"The queue {self.url} cannot be read"):
            answer = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=AT_ONCE,
                VisibilityTimeout=HIDDEN_SECONDS,
                WaitTimeSeconds=WAIT_SECONDS,
                MessageSystemAttributeNames=["SentTimestamp"],
            )
        return [_kept(message) for message in answer.get("Messages", [])]

    def hide(self, messages: Sequence[Kept], seconds: int) -> None:
        """Keep messages hidden for `seconds` from now. 0 gives them back at once. Raises CommandFailed."""
        for start in range(0, len(messages), AT_ONCE):
            entries = [
                {"Id": str(number), "ReceiptHandle": message.receipt, "VisibilityTimeout": seconds}
                for number, message in enumerate(messages[start : start + AT_ONCE])
            ]
            with asking_aws(f"Messages of the queue {self.url} cannot be held"):
                self._client.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)
        if seconds == 0:
            for message in messages:
                self._held.pop(message.id, None)

    def remove(self, message: Kept) -> None:
        """Remove a message for good. Raises CommandFailed."""
        with asking_aws(f"{message.id} cannot be removed from the queue"):
            self._client.delete_message(QueueUrl=self.url, ReceiptHandle=message.receipt)
        self._held.pop(message.id, None)


def _kept(message: Json) -> Kept:
    try:
        body = json.loads(message["Body"])
    except ValueError:
        body = message["Body"]
    return Kept(
        id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        sent=int(message.get("Attributes", {}).get("SentTimestamp", 0)) / 1000,
        body=body,
    )


def chosen(messages: Sequence[Kept], ids: Sequence[str]) -> list[Kept]:
    """Return the messages whose ids begin with these. Raises SettingsError for a missing or ambiguous id."""
    found: dict[str, Kept] = {}
    for wanted in ids:
        fitting = [each for each in messages if each.id.startswith(wanted.lower())]
        if len(fitting) != 1:
            problem = "is not in the queue" if not fitting else f"begins the ids of {len(fitting)} messages"
            raise SettingsError(f"{wanted} {problem}. `{COMMAND} failures list` shows what there is.")
        found[fitting[0].id] = fitting[0]
    return list(found.values())


# Resending


@dataclass(frozen=True)
class Resent:
    """The result of resending a message: `taken`, `kept again` (as a new message) or `not taken`."""

    outcome: Literal["taken", "kept again", "not taken"]
    text: str


def resend(
    message: Kept, function: Function, mappings: Callable[[], Sequence[KafkaMapping]], paths: MessagePaths
) -> Resent:
    """Give the message's records to the function one after the other, until it does not take one.

    Records of a batch that are for another consumer are left out, because the function would skip them without a log
    line. Raises CommandFailed if there is nothing to send, or if the function cannot be invoked.
    """
    told = []
    again = ""
    for content in message.records(mappings):
        if _is_of_others(content, paths):
            continue
        answer = invoke(function.arn, make_event([content]))
        refusal = _refusal(answer)
        fate = Resent("not taken", refusal) if refusal is not None else _fate(content, answer.log)
        if fate.outcome == "not taken":
            return fate
        if fate.outcome == "kept again":
            again = fate.text
        told.append(fate.text)
    return Resent("kept again", again) if again else Resent("taken", ", ".join(dict.fromkeys(told)))


def _is_of_others(content: Json, paths: MessagePaths) -> bool:
    record = to_record(content)
    with suppress(MessageError):
        read = read_change(record) if record.topic.endswith(CHANGE_LOG) else read_message(record, paths)
        return isinstance(read, ForOthers)
    return False


def _refusal(answer: Answer) -> str | None:
    payload = answer.payload if isinstance(answer.payload, Mapping) else {}
    if answer.failed:
        return str(payload.get("errorMessage") or payload.get("errorType") or "the function failed")
    if payload.get("batchItemFailures"):
        return "the function wants it again later: its log says why"
    return None


# Events after which a record is done, and events after which nothing was done about it.
DONE = {
    "run.reported": "ended in {status}",
    "run.not_in_progress": "had ended before",
    "run.handed_over_before": "was handed over before",
    "change.handled": "was handled by {handler}",
}
NOT_DONE = {
    "record.given_up": "the function gave it up, for it has no queue: {reason}",
    # A process does not keep the same record twice, so this message may be the only copy.
    "record.kept_before": "{reason}",
    "action.unknown": "no handler takes it",
}


def _fate(content: Json, log: str) -> Resent:
    """Return what the end of the function's log says about a record.

    The success of the invocation is not enough: a record that is given up is consumed too.
    """
    place = (content["topic"], content["partition"], content["offset"])
    for line in _json_lines(log):
        if (line.get("topic"), line.get("partition"), line.get("offset")) != place:
            continue
        event = str(line.get("event"))
        values = {name: line.get(name) for name in ("status", "reason", "handler")}
        if event == "record.kept":
            return Resent("kept again", str(line.get("reason")))
        if event in NOT_DONE:
            return Resent("not taken", NOT_DONE[event].format(**values))
        if event in DONE:
            what = line.get("run_id") or line.get("entity") or "it"
            return Resent("taken", f"{what} {DONE[event].format(**values)}")
    return Resent(
        "not taken",
        "the invocation succeeded, but the end of its log does not say what happened to the record; LOG_LEVEL may hide "
        f"it. See what Port shows of the run; then `{COMMAND} failures remove` does the rest.",
    )


def _json_lines(text: str) -> Iterator[Json]:
    for line in text.splitlines():
        with suppress(ValueError):
            content = json.loads(line)
            if isinstance(content, dict):
                yield content


# What is shown


def summary(message: Kept, paths: MessagePaths) -> Json:
    """Return a message in a few words."""
    record = message.body.get("record") if message.places and not message.is_batch else None
    run_id, action = run_and_action(record, paths) if isinstance(record, dict) else (None, None)
    return {
        "id": message.id,
        "kept_at": _moment(message.sent),
        "places": [str(place) for place in message.places],
        "run_id": run_id,
        "action": action,
        "reason": message.reason,
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def show_list(found: Sequence[Json], output: Output) -> None:
    """Return a table on a terminal, and a line for each message elsewhere."""
    rows = [
        (
            each["id"][:SHORT_ID],
            each["kept_at"],
            each["action"] or "-",
            each["run_id"] or "-",
            ", ".join(each["places"]) or "-",
            each["reason"],
        )
        for each in found
    ]
    if not output.live:
        for row in rows:
            output.say("  ".join(row))
        return
    table = Table("id", "kept at", "action", "run", "place", "reason", box=box.SIMPLE)
    for row in rows:
        table.add_row(*row)
    output.show(table)


def content_of(record: Json, secret_inputs: Collection[str]) -> Any:
    """Return a record's content with secret inputs and headers masked. If it is not JSON, return only its length."""
    try:
        return without_secrets(parsed(to_record(record)), secret_inputs)
    except MessageError as error:
        value = record.get("value")
        size = len(base64.b64decode(value)) if isinstance(value, str) else 0
        return f"{size} bytes: {error.reason}"


def _handlers(output: Output) -> tuple[frozenset[str], MessagePaths]:
    """Return the inputs that the handlers declare as secret, and the places where the runner looks for parts."""
    try:
        runner = load_runner()
    except SettingsError as error:
        output.say(f"{error.message} Until then, only what the message itself calls secret is masked.", "yellow")
        return frozenset(), MessagePaths()
    return frozenset(name for route in runner.routes for name in route.secret_inputs or ()), runner.message_paths


# The commands


@click.group(cls=OrderedGroup)
def failures() -> None:
    """Show the failure queue, and resend its messages.

    The queue keeps records that could be neither run nor reported. With a failure destination, it also keeps the
    batches that Lambda gave up. Looking at messages removes nothing.
    """


def queue_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for the queue and the function.

    The queue is passed as `queue_url`, a function that returns it.
    """

    @function_option
    @click.option("--queue-url", metavar="URL", help="The queue. Default: the function's failure queue.")
    @wraps(command)
    def with_queue(*arguments: Any, function_name: str, queue_url: str | None, **options: Any) -> Any:
        url = queue_url or failure_queue_of(function_name)
        return command(*arguments, function_name=function_name, queue_url=url, **options)

    return with_queue


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
        found = [summary(message, paths) for message in queue.take()]
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
        [message] = chosen(queue.take(), [id])
    document = summary(message, paths)
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
    document["messages"] = [content_of(record, secret_inputs) for record in records]
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


def _selected(queue: Queue, ids: Sequence[str], every: bool) -> list[Kept]:
    """Return the selected messages. The others are given back at once."""
    found = queue.take()
    messages = found if every else chosen(found, ids)
    queue.hide([each for each in found if each not in messages], 0)
    return messages


def _resent(
    message: Kept, function: Function, mappings: Callable[[], Sequence[KafkaMapping]], paths: MessagePaths
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
        show_list([summary(message, paths) for message in messages], output)
        if messages and not yes:
            click.confirm(f"Remove {len(messages)} for good?", abort=True, err=True)
        for message in messages:
            queue.remove(message)
    output.say(f"{len(messages)} removed.")
    output.document([message.id for message in messages])
