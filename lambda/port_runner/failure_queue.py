"""The SQS queue of complete records that could be neither reported to Port nor retried. A person reads it."""

import json
from collections.abc import Mapping
from typing import Any

from .bounded import BoundedDict
from .kafka import Record
from .logs import log
from .metrics import Metrics

# SQS accepts 1 MiB. Until August 2025 it accepted 256 KiB, and some emulators still do.
LARGEST_MESSAGE = 256 * 1024
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

        A record or an outcome that is too large for SQS is left out. The record's place in Kafka is always kept.
        Raises the errors of boto3 if the queue does not accept the message, so that nothing is lost silently.
        """
        if record.place in self._kept:  # redelivered because of another record in its batch
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
            import boto3  # slow to import, and most functions never use the queue
            from botocore.config import Config

            quick = Config(connect_timeout=2, read_timeout=3, retries={"total_max_attempts": 2})
            self._client = boto3.client("sqs", config=quick)
        return self._client
