"""Sends the records of a message to the function again, and reads from its log what happened to them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from port_runner import MessageError, MessagePaths
from port_runner.changes import CHANGE_LOG, read_change
from port_runner.messages import ForOthers, read_message
from port_runner_cli.clients.function import Answer, Function, invoke
from port_runner_cli.clients.kafka import KafkaMapping, make_event
from port_runner_cli.commands.failures.kept_message import KeptMessage, to_record
from port_runner_cli.output import COMMAND

type Json = dict[str, Any]


@dataclass(frozen=True)
class Resent:
    """The result of resending a message: `taken`, `kept again` (as a new message) or `not taken`."""

    outcome: Literal["taken", "kept again", "not taken"]
    text: str


def resend(
    message: KeptMessage, function: Function, mappings: Callable[[], Sequence[KafkaMapping]], paths: MessagePaths
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
