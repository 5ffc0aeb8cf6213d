"""The SQS queue of complete records that could be neither reported to Port nor retried. A person reads it."""

import json
from collections.abc import Mapping
from typing import Any

from .bounded import BoundedDict
from .kafka import Record
from .logs import log
from .metrics import Metrics

# Of SQS, in bytes. Queues that were made with a smaller limit, and some emulators, accept less.
LARGEST_MESSAGE = 1024 * 1024
# The code for a message that is larger than its queue accepts, of SQS and of LocalStack.
TOO_LARGE = ("InvalidParameterValue", "InvalidParameterValueException")
# What is left out of a message that is too large, in this order.
LARGE_PARTS = ("record", "outcome")
REMEMBERED_RECORDS = 1000


class FailureQueue:
    """Sends records to the SQS queue at *url*. Without a queue, only an ERROR line in the log is left of a record."""

    def __init__(self, url: str | None, metrics: Metrics) -> None:
        self._url = url
        self._metrics = metrics
        self._client: Any = None
        self._kept: BoundedDict[str, None] = BoundedDict(REMEMBERED_RECORDS)

    def keep(self, record: Record, reason: str, *, outcome: Mapping[str, Any] | None = None) -> None:
        """Keep *record* with the reason. *outcome* is the unreported outcome of a run that did finish.

        A record or an outcome that is too large for the queue is left out, and the log says so. The record's place in
        Kafka is always kept. Raises the errors of boto3 if the queue does not accept the message, so that nothing is
        lost silently.
        """
        identity = record.identity
        if identity in self._kept:  # redelivered because of another record in its batch
            log.info("record.kept_before", reason=reason)
            return
        if self._url is None:
            log.error("record.given_up", reason=reason)
        else:
            left_out = self._send(self._url, record, reason, outcome)
            log.error("record.kept", reason=reason, left_out=left_out)
        self._metrics.failure_kept()
        self._kept[identity] = None

    def _send(self, url: str, record: Record, reason: str, outcome: Mapping[str, Any] | None) -> Mapping[str, int]:
        """Send all that the queue accepts. Return the parts that were left out, with their size in bytes."""
        body: dict[str, Any] = {
            "reason": reason,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record.timestamp,
            "record": record.content,
            **({} if outcome is None else {"outcome": outcome}),
        }
        left_out: dict[str, int] = {}
        parts = [name for name in LARGE_PARTS if body.get(name) is not None]
        while not self._fits(url, body, is_last=not parts):
            name = parts.pop(0)
            left_out[name] = len(_encoded(body[name]))
            body[name] = None
        return left_out

    def _fits(self, url: str, body: Mapping[str, Any], *, is_last: bool) -> bool:
        """Send *body* and return ``True``, or ``False`` if it is too large and something can still be left out."""
        from botocore.exceptions import ClientError

        message = _encoded(body)
        if len(message) > LARGEST_MESSAGE and not is_last:
            return False
        try:
            self._sqs().send_message(QueueUrl=url, MessageBody=message.decode())
        except ClientError as error:
            if is_last or error.response["Error"]["Code"] not in TOO_LARGE:
                raise
            return False
        return True

    def _sqs(self) -> Any:
        if self._client is None:
            import boto3  # slow to import, and most functions never use the queue
            from botocore.config import Config

            quick = Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 2})
            self._client = boto3.client("sqs", config=quick)
        return self._client


def _encoded(value: Any) -> bytes:
    return json.dumps(value, default=str).encode()
