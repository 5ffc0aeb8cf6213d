"""The failure queue in SQS. Looking at it removes nothing."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from port_runner_cli.clients.aws import asking_aws, aws_client
from port_runner_cli.commands.failures.kept_message import KeptMessage
from port_runner_cli.output import COMMAND, CommandFailed, SettingsError

# Seconds that a message stays hidden if this process is killed. Otherwise it is given back at the end.
HIDDEN_SECONDS = 120
# With a wait, SQS asks all its servers. Without one, an answer can be empty although there is a message.
WAIT_SECONDS = 1
AT_ONCE = 10

type Json = dict[str, Any]


@dataclass
class Queue:
    """The messages of an SQS queue. They are hidden from others while they are in use, and given back at the end."""

    url: str
    _held: dict[str, KeptMessage] = field(default_factory=dict)

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

    def take(self) -> list[KeptMessage]:
        """Return every message, oldest first. Raises CommandFailed."""
        while new := [each for each in self._receive() if each.id not in self._held]:
            self._held |= {each.id: each for each in new}
        return sorted(self._held.values(), key=lambda each: each.sent)

    def _receive(self) -> list[KeptMessage]:
        with asking_aws(f"The queue {self.url} cannot be read"):
            answer = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=AT_ONCE,
                VisibilityTimeout=HIDDEN_SECONDS,
                WaitTimeSeconds=WAIT_SECONDS,
                MessageSystemAttributeNames=["SentTimestamp"],
            )
        return [_kept(message) for message in answer.get("Messages", [])]

    def hide(self, messages: Sequence[KeptMessage], seconds: int) -> None:
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

    def remove(self, message: KeptMessage) -> None:
        """Remove a message for good. Raises CommandFailed."""
        with asking_aws(f"{message.id} cannot be removed from the queue"):
            self._client.delete_message(QueueUrl=self.url, ReceiptHandle=message.receipt)
        self._held.pop(message.id, None)


def _kept(message: Json) -> KeptMessage:
    try:
        body = json.loads(message["Body"])
    except ValueError:
        body = message["Body"]
    return KeptMessage(
        id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        sent=int(message.get("Attributes", {}).get("SentTimestamp", 0)) / 1000,
        body=body,
    )


def select_messages(messages: Sequence[KeptMessage], ids: Sequence[str]) -> list[KeptMessage]:
    """Return the messages whose ids begin with these. Raises SettingsError for a missing or ambiguous id."""
    found: dict[str, KeptMessage] = {}
    for wanted in ids:
        fitting = [each for each in messages if each.id.startswith(wanted.lower())]
        if len(fitting) != 1:
            problem = "is not in the queue" if not fitting else f"begins the ids of {len(fitting)} messages"
            raise SettingsError(f"{wanted} {problem}. `{COMMAND} failures list` shows what there is.")
        found[fitting[0].id] = fitting[0]
    return list(found.values())
