"""Where records go that can neither be told to Port nor be tried again: whole into an SQS queue, for a person."""

import json
from collections.abc import Mapping
from typing import Any

from .bounded import BoundedDict
from .kafka import Record
from .logs import log
from .metrics import Metrics

# What SQS takes is 1 MiB; until August 2025 it was a quarter of it, and some emulators still hold to that.
LARGEST_MESSAGE = 256 * 1024
REMEMBERED_RECORDS = 1000


class FailureQueue:
    """Keeps records in the SQS queue at *url*; without a queue, an ERROR in the log is all that is left of one."""

    def __init__(self, url: str | None, metrics: Metrics) -> None:
        self._url = url
        self._metrics = metrics
        self._client: Any = None
        self._kept: BoundedDict[str, None] = BoundedDict(REMEMBERED_RECORDS)

    def keep(self, record: Record, reason: str, *, outcome: Mapping[str, Any] | None = None) -> None:
        """Keep *record* and why it is here; *outcome* is what could not be reported of a run that did finish.

        A record or an outcome that is too large for SQS is left out: the record's place in Kafka still says where
        it is. Raises what boto3 raises when the queue does not take it: nothing may be lost silently.
        """
        if record.place in self._kept:  # another record of its batch made it come again
            log.info("record.kept_before", reason=reason)
            return
        if self._url is None:
            log.error("record.given_up", reason=reason)
        else:
            self._send(self._url, record, reason, outcome)
            log.error("record.kept", reason=reason)
        self._metrics.failure_kept()
        self._kept[record.place] = None

    def _send(self, url: str, record: Record, reason: str, outcome: Mapping[str, Any] | None) -> None:
        body = {
            "reason": reason,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record.timestamp,
            "record": record.content,
            **({} if outcome is None else {"outcome": outcome}),
        }
        text = json.dumps(body, default=str)
        for name in ("record", "outcome"):
            if len(text) > LARGEST_MESSAGE:
                text = json.dumps(body := {**body, name: None}, default=str)
        self._sqs().send_message(QueueUrl=url, MessageBody=text)

    def _sqs(self) -> Any:
        if self._client is None:
            import boto3  # slow to import, and most functions never need the queue
            from botocore.config import Config

            quick = Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 2})
            self._client = boto3.client("sqs", config=quick)
        return self._client
