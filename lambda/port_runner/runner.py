"""The main path: one Kafka event in, and each record either consumed or reported for redelivery.

``lifecycle`` processes one run.
"""

import contextvars
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from . import logs
from .bounded import BoundedDict
from .changes import CHANGE_LOG, Change, ChangeLog, ChangeRoute, add_change_route, read_change
from .deadline import Deadline, end_process_if_harmed
from .errors import MessageError, PortRunnerError, RecordsNotConsumed
from .failure_queue import FailureQueue
from .kafka import Record, records_from_event
from .lifecycle import Lifecycle
from .logs import log
from .messages import ForOthers, MessagePaths, RunRequest, parsed, read_message
from .metrics import Metrics
from .port_api import PortClient
from .routing import ActionRouter, Route, add_route
from .run_finder import Found
from .secret_inputs import without_secrets
from .settings import Settings
from .version import VERSION

# An invocation from a test or a shell has no deadline.
SECONDS_WITHOUT_CONTEXT = 300.0
type Reading = RunRequest | Change | ForOthers | MessageError

# An old record is not given up at its first failure: a backlog may meet a short outage.
FAILING_SECONDS = 600.0
REMEMBERED_FAILURES = 10_000
TIME_WAS_UP = "the invocation's time was up"


class Runner:
    """Handles the events of a Kafka event source mapping with the handlers of the included routers.

    The environment is read at the first event, so a module that builds a runner can be imported anywhere.
    """

    def __init__(self, *, message_paths: MessagePaths | None = None) -> None:
        self._paths = message_paths or MessagePaths()
        self._routes: list[Route] = []
        self._change_routes: list[ChangeRoute] = []
        self._processor: RecordProcessor | None = None

    def include(self, router: ActionRouter) -> None:
        """Include the handlers of *router*. Raises ``RegistrationError`` if two handlers take the same runs."""
        for route in router.routes:
            add_route(self._routes, route)
        for change_route in router.change_routes:
            add_change_route(self._change_routes, change_route)

    @property
    def routes(self) -> Sequence[Route]:
        """The handlers of actions with what each takes."""
        return tuple(self._routes)

    @property
    def message_paths(self) -> MessagePaths:
        """The places in a message at which the runner looks for its parts."""
        return self._paths

    def lambda_handler(self, event: Any, context: Any) -> Mapping[str, Any] | None:
        """Handle one event; this is the function's entry point.

        If the mapping accepts partial batch responses (``REPORT_BATCH_ITEM_FAILURES``), return the records that Lambda
        must redeliver. Otherwise raise ``RecordsNotConsumed``, and Lambda redelivers the whole batch. Raises
        ``ConfigurationError``, before anything is done, if the environment is not valid.
        """
        end_process_if_harmed()
        if self._processor is None:
            self._processor = RecordProcessor(
                Settings.from_environment(), self._routes, self._change_routes, self._paths
            )
        seconds = context.get_remaining_time_in_millis() / 1000 if context else SECONDS_WITHOUT_CONTEXT
        with logs.fields(request_id=getattr(context, "aws_request_id", None)):
            records = records_from_event(event)
            self._processor.show(context, records)
            return self._processor.process(records, seconds)


@dataclass
class Delivery:
    """A record on its way through one invocation.

    *redelivery_reason* says why Lambda must deliver it again, ``None`` once it is consumed.
    """

    record: Record
    reading: Reading
    found: Found | None = None
    redelivery_reason: str | None = TIME_WAS_UP

    @property
    def lane(self) -> str:
        """The key of the records that are processed one after the other. Records of other lanes run in parallel."""
        if self.found is not None:
            return self.found.run_request.ordering_key
        if isinstance(self.reading, RunRequest | Change):
            return self.reading.ordering_key
        return self.record.place


class RecordProcessor:
    """Processes the records of one event after the other, within the time of each invocation."""

    def __init__(
        self,
        settings: Settings,
        routes: Sequence[Route],
        change_routes: Sequence[ChangeRoute],
        paths: MessagePaths,
    ) -> None:
        logs.configure(settings.log_level)
        self._settings = settings
        self._paths = paths
        metrics = Metrics(settings.function_name)
        self._failures = FailureQueue(settings.failure_queue_url, metrics)
        port = PortClient(settings.port_api_url, settings.credentials, connections=2 * settings.max_concurrency)
        self._lifecycle = Lifecycle(routes, port, self._failures, metrics, settings)
        self._change_log = ChangeLog(change_routes, port, self._failures)
        self._first_failures: BoundedDict[str, float] = BoundedDict(REMEMBERED_FAILURES)
        self._secret_inputs = frozenset(name for route in routes for name in route.secret_inputs or ())
        if settings.log_messages:
            log.warning("function.logs_messages", advice="LOG_MESSAGES is for development only")
        log.info("function.started", version=VERSION, actions=sorted({route.identifier for route in routes}))

    def show(self, context: Any, records: Iterable[Record]) -> None:
        """Log the complete messages and the context if LOG_MESSAGES asks for it. Secret inputs stay masked."""
        if not self._settings.log_messages:
            return
        log.info("invocation.received", context=context)
        for record in records:
            with suppress(MessageError), logs.fields(topic=record.topic, offset=record.offset):
                log.info("message.received", message=without_secrets(parsed(record), self._secret_inputs))

    def process(self, records: Iterable[Record], seconds: float) -> Mapping[str, Any] | None:
        """Process *records* within *seconds*. Report records for redelivery as ``Runner.lambda_handler`` does."""
        deadline = Deadline.after(seconds, margin=self._settings.deadline_margin_seconds)
        deliveries = [Delivery(record, self._read(record)) for record in records]
        self._find_entities(deliveries, deadline)
        self._in_parallel(_lanes(deliveries), lambda lane: self._run_lane(lane, deadline), deadline)
        unfinished = [delivery for delivery in deliveries if delivery.redelivery_reason is not None]
        if not unfinished:
            return None
        if self._settings.report_batch_item_failures:
            return {"batchItemFailures": [{"itemIdentifier": delivery.record.identifier} for delivery in unfinished]}
        raise RecordsNotConsumed(
            [f"{each.record.place} ({each.redelivery_reason})" for each in unfinished], of=len(deliveries)
        )

    def _read(self, record: Record) -> Reading:
        try:
            if record.topic.endswith(CHANGE_LOG):
                return read_change(record)
            return read_message(record, self._paths)
        except MessageError as error:
            return error

    def _find_entities(self, deliveries: Sequence[Delivery], deadline: Deadline) -> None:
        """Find the runs in Port whose messages do not name their entities: runs of one entity are done in order."""
        unnamed = [each for each in deliveries if isinstance(each.reading, RunRequest) and each.reading.names_no_entity]
        if len(deliveries) > 1:
            self._in_parallel(unnamed, lambda delivery: self._find(delivery, deadline), deadline)

    def _find(self, delivery: Delivery, deadline: Deadline) -> None:
        if isinstance(delivery.reading, RunRequest):
            with suppress(Exception):  # it is tried again, and told, when the record is processed
                delivery.found = self._lifecycle.find(delivery.reading, deadline)

    def _in_parallel[T](self, items: Sequence[T], process: Callable[[T], None], deadline: Deadline) -> None:
        """Call *process* with each of *items*, in several threads."""
        waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
        for item in items:
            waiting.put(item)

        def work() -> None:
            while True:
                try:
                    item = waiting.get_nowait()
                except queue.Empty:
                    return
                process(item)

        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(work,), name="lane", daemon=True)
            for _ in range(min(len(items), self._settings.max_concurrency))
        ]
        started: list[threading.Thread] = []
        for thread in threads:
            try:
                thread.start()
            except RuntimeError:  # the process has no room for another thread: those that run work all lanes
                if not started:
                    raise
                log.warning("function.threads_limited", started=len(started), wanted=len(threads))
                break
            started.append(thread)
        for thread in started:
            thread.join(max(0.0, deadline.report - time.monotonic()))

    def _run_lane(self, lane: Sequence[Delivery], deadline: Deadline) -> None:
        for position, delivery in enumerate(lane):
            if deadline.work_seconds <= 0:
                return
            delivery.redelivery_reason = self._consume(delivery, deadline)
            if delivery.redelivery_reason is not None:
                for later in lane[position + 1 :]:  # they may not overtake it
                    later.redelivery_reason = f"it follows {delivery.record.place}"
                return

    def _consume(self, delivery: Delivery, deadline: Deadline) -> str | None:
        """Process one record. Return the reason for its redelivery, or ``None`` if it is consumed."""
        record, reading = delivery.record, delivery.reading
        with logs.fields(topic=record.topic, partition=record.partition, offset=record.offset):
            try:
                if isinstance(reading, MessageError):
                    self._failures.keep(record, reading.reason)
                elif isinstance(reading, ForOthers):
                    log.debug("record.skipped", reason=reading.reason)
                elif isinstance(reading, Change):
                    with logs.fields(blueprint=reading.blueprint, entity=reading.identifier):
                        self._change_log.process(reading, deadline)
                else:
                    with logs.fields(run_id=reading.run_id, action=reading.action):
                        self._lifecycle.process(reading, deadline, found=delivery.found)
                return None
            except PortRunnerError as error:
                reason = str(error)
                log.error("record.not_consumed", reason=reason)
            except Exception as error:  # a defect of ours, or SQS: no reason to lose a record
                reason = type(error).__name__
                log.error("record.not_consumed", error=error)
            return self._give_up_if_old(delivery, reason, deadline)

    def _give_up_if_old(self, delivery: Delivery, reason: str, deadline: Deadline) -> str | None:
        """Give up a record that is old and has failed for some time. Return the reason for its redelivery otherwise."""
        record, reading = delivery.record, delivery.reading
        age, limit = record.age, self._settings.maximum_record_age_seconds
        now = time.monotonic()
        first_failure = self._first_failures.get(record.place)
        if first_failure is None:
            self._first_failures[record.place] = first_failure = now
        if age is None or age <= limit or now - first_failure < min(limit, FAILING_SECONDS):
            return reason
        try:
            outcome = self._lifecycle.give_up(reading, reason, deadline) if isinstance(reading, RunRequest) else None
            self._failures.keep(record, f"given up after {age:.0f} s: {reason}", outcome=outcome)
        except Exception as error:
            log.error("record.not_kept", error=error)
            return type(error).__name__
        return None


def _lanes(deliveries: Sequence[Delivery]) -> list[list[Delivery]]:
    lanes: dict[str, list[Delivery]] = {}
    for delivery in deliveries:
        lanes.setdefault(delivery.lane, []).append(delivery)
    return list(lanes.values())
