"""The life of one run: find it in Port, note its start, call its handler, end it.

The run is read first because a record can be delivered twice, and because the answer shows that Port is reachable
before anything happens.
"""

import itertools
import json
import keyword
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from . import logs
from .deadline import Call, Deadline
from .errors import ActionError, InputError, PortApiError, PortRunnerError, PortUnavailableError
from .failure_queue import FailureQueue
from .handler_errors import failure_of, interrupted, unavailable, unexpected
from .journal import Entry, GivenBack, HandedOver, Started
from .logs import log
from .messages import RunRequest
from .metrics import Metrics
from .outcomes import Failure, InProgress, Outcome, Success
from .port_api import PortClient
from .reporting import Reporter
from .routing import Route
from .run import ActionRun
from .run_api import RunApi, RunState, is_refusal
from .run_finder import Found, RunFinder, run_ids
from .secret_inputs import Decryptor, decrypted
from .settings import Credentials, Settings
from .signature import Verdict, verify
from .starts import Starts

# Lambda redelivers a record if Port does not answer before the handler runs, so a long wait is not useful.
PATIENCE_BEFORE_HANDLER_SECONDS = 10.0
# Reading and marking a run takes some of an invocation's time, so no handler can have all of it.
LARGEST_SHARE = 0.8
# The share of the invocation's time that must be left for a handler that does not say what it needs.
SHARE_WITHOUT_TIMEOUT = 0.5
# A call of Port in a handler gives up when the time is up. The handler then has a moment to end by itself.
LAST_MOMENT_SECONDS = 0.2
LAST_MOMENT_SHARE = 0.1
# The time for the log lines of a handler that starts again later.
LAST_LINES_SECONDS = 1.0
# The state of a run is read again if it was read longer ago.
FRESH_SECONDS = 2.0
# A record may arrive before Port shows its run.
NEW_RECORD_SECONDS = 30.0


class Lifecycle:
    """Brings runs to their end: each in one call of ``process``, or in several calls if Port cannot be reached."""

    def __init__(
        self,
        routes: Sequence[Route],
        port: PortClient,
        failures: FailureQueue,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        self._finder = RunFinder(routes, port, asks_about_all=settings.unknown_actions == "fail")
        self._port = port
        self._failures = failures
        self._metrics = metrics
        self._reporter = Reporter(metrics)
        self._starts = Starts()
        self._settings = settings
        private_key = settings.client_side_private_key if settings.client_side_private_key_secret_arn else None
        self._decryptor = Decryptor(settings.encryption_secret, private_key)

    def find(self, run_request: RunRequest, deadline: Deadline) -> Found | None:
        """Return the run in Port, or ``None`` if it is not for this function, or if Port does not know it."""
        if self._finder.is_for_others(run_request):
            return None
        return _patiently(lambda until: self._finder.find(run_request, until), deadline)

    def process(self, run_request: RunRequest, deadline: Deadline, *, found: Found | None = None) -> None:
        """End the run, or leave it to others if it is not for this function. *found* is a result of ``find``.

        Raises ``PortRunnerError`` if Lambda must redeliver the record.
        """
        if self._finder.is_for_others(run_request):
            log.warning("action.unknown", stub=_stub(run_request.action or "…"))
            return
        for run_id in run_ids(run_request):
            unreported = self._reporter.unreported(run_id)
            if unreported is not None:
                self._reporter.report(unreported.run, unreported.outcome, deadline)
                return
        found = found or _patiently(lambda until: self._finder.find(run_request, until), deadline)
        if found is None:
            self._keep_unknown(run_request)
            return
        run_id = found.run_request.run_id
        with logs.fields(run_id=run_id), self._starts.alone(run_id, deadline.work) as had_to_wait:
            is_fresh = not had_to_wait and time.monotonic() - found.at < FRESH_SECONDS
            self._process_found(found.run_request, found.state if is_fresh else None, deadline)

    def give_up(self, run_request: RunRequest, reason: str, deadline: Deadline) -> Mapping[str, Any] | None:
        """End the run of a record that is given up, if Port answers. Return an outcome that Port does not have.

        A run that was handed over, or that another invocation may be at work on, is left alone.
        """
        unreported = self._unreported(run_request)
        if unreported is not None:
            return unreported
        until = min(deadline.report, time.monotonic() + PATIENCE_BEFORE_HANDLER_SECONDS)
        with suppress(PortRunnerError):
            found = self._finder.find(run_request, until)
            if found is None or not found.state.is_in_progress or not self._finder.routes_of(found.run_request):
                return None
            run = self._run_of(found.run_request, until)
            last = self._starts.last_entry(run.id, found.state, run._run_api, until=until)
            if isinstance(last, HandedOver) or (isinstance(last, Started) and last.seconds_left > 0):
                return None
            when = "it was started" if last is None else "it was done"
            self._reporter.report(run, Failure(f"The run was given up before {when}: {reason}."), deadline)
        return self._unreported(run_request)

    def _process_found(self, run_request: RunRequest, state: RunState | None, deadline: Deadline) -> None:
        """Process the run that Port has. *state* is its state, or ``None`` if that may have changed since."""
        run_api = self._finder.api_of(run_request)
        for pauses in itertools.count():
            if state is None:
                state = _patiently(lambda until: run_api.read(run_request.run_id, until=until), deadline)
            if state.has_ended:
                log.info("run.not_in_progress", status=state.status)
                return
            if self._is_unhandled(run_request):
                return
            if not state.is_in_progress:
                raise PortRunnerError(f"its run is {state.status} in Port, and not in progress yet")
            last = self._last_entry(run_request.run_id, state, run_api, deadline)
            if isinstance(last, HandedOver):
                log.info("run.handed_over_before")
                return
            problem = self._signature_problem(run_request)
            if problem is not None:
                self._refuse(run_request, problem, last, deadline)
                return
            if not isinstance(last, Started) or last.seconds_left <= 0:
                run = self._run_of(run_request, deadline.work)
                self._reporter.report(run, self._outcome(run, run_request, last, deadline), deadline)
                return
            self._starts.wait_for_other(last, pauses, deadline)
            state = None

    def _last_entry(self, run_id: str, state: RunState, run_api: RunApi, deadline: Deadline) -> Entry | None:
        return _patiently(lambda until: self._starts.last_entry(run_id, state, run_api, until=until), deadline)

    def _refuse(self, run_request: RunRequest, problem: str, last: Entry | None, deadline: Deadline) -> None:
        """Keep a message that cannot be trusted. It must not end a run that was started."""
        self._failures.keep(run_request.record, problem)
        if last is None:
            failure = Failure(f"The message of this run was refused: {problem}.")
            self._reporter.report(self._run_of(run_request, deadline.work), failure, deadline)

    def _run_of(self, run_request: RunRequest, until: float) -> ActionRun[Any]:
        run_api = self._finder.api_of(run_request)
        return ActionRun(run_request, self._port, run_api, until=until, log_url=self._settings.log_url)

    def _unreported(self, run_request: RunRequest) -> Mapping[str, Any] | None:
        """Return the outcome that Port does not have yet, for a person to read."""
        for run_id in run_ids(run_request):
            unreported = self._reporter.unreported(run_id)
            if unreported is not None:
                return {"status": unreported.outcome.status, **vars(unreported.outcome)}
        return None

    # Before the handler

    def _is_unhandled(self, run_request: RunRequest) -> bool:
        if self._finder.routes_of(run_request):
            return False
        if run_request.is_workflow_node:
            log.debug("record.skipped", reason="it is the run of a workflow's node")
            return True
        log.warning("action.unknown", stub=_stub(run_request.action or "…"))
        return self._settings.unknown_actions == "ignore"

    def _keep_unknown(self, run_request: RunRequest) -> None:
        """Keep a record whose run Port does not know. A new record is redelivered first: the run may appear."""
        age = run_request.record.age
        if age is not None and age < NEW_RECORD_SECONDS:
            raise PortRunnerError("Port does not know its run yet")
        self._failures.keep(run_request.record, "Port does not know its run")

    def _signature_problem(self, run_request: RunRequest) -> str | None:
        """Return the reason not to trust the message, or ``None`` if it can be trusted."""
        mode = self._settings.verify_signature
        if mode == "off":
            return None
        text = run_request.record.text()
        verdict = _verdict(text, self._port.http.credentials())
        if verdict is Verdict.INVALID:  # the secret may have been rotated
            verdict = _verdict(text, self._port.http.credentials(reread=True))
        if verdict is Verdict.INVALID:
            return "its signature is wrong"
        if verdict is Verdict.ABSENT and mode == "required":
            return "it is not signed"
        return None

    def _outcome(
        self, run: ActionRun[Any], run_request: RunRequest, last: Started | GivenBack | None, deadline: Deadline
    ) -> Outcome:
        routes = self._finder.routes_of(run_request)
        if not routes:
            return Failure(f"Nothing here handles the action {run_request.action}.")
        if len(routes) > 1:
            log.warning("run.operation_unknown", handlers=[route.name for route in routes])
            return Failure(
                f"The message does not say for which operation of {run_request.action} it is, and there are several "
                "handlers. Add the operation to the payload of the action: {{ .trigger.operation }}."
            )
        [route] = routes
        run._route_identifier = route.identifier
        starts = last.number if isinstance(last, Started) else last.starts if last is not None else 0
        if starts >= route.max_starts:
            log.warning("run.interrupted", starts=starts)
            return interrupted(starts)
        if deadline.work_seconds < _needed_seconds(route, deadline):
            raise PortRunnerError("too little of the invocation's time is left to start its handler")
        failure = self._read_inputs(run, run_request, route, deadline)
        if failure is not None:
            return failure
        return self._start(run, route, starts, deadline)

    def _read_inputs(
        self, run: ActionRun[Any], run_request: RunRequest, route: Route, deadline: Deadline
    ) -> Failure | None:
        """Set the run's inputs. Return a failure if they do not fit.

        A dataclass can have code of the handler's author, which may raise anything or never end.
        """

        def read() -> Any:
            inputs, message = run_request.inputs or {}, run_request.message
            return route.read_inputs(decrypted(inputs, message, self._decryptor, declared=route.secret_inputs))

        call = Call(read)
        if not call.wait(deadline.work_seconds):
            log.error("run.timed_out", handler=route.name, handler_has_left=call.abandon())
            return Failure("Timed out while the inputs were checked.")
        try:
            run.inputs = call.result()
        except InputError as error:
            log.warning("run.inputs_do_not_fit", input=error.input)
            return Failure(str(error))
        except BaseException as error:
            if isinstance(error, PortRunnerError) and not isinstance(error, ActionError):
                raise
            return failure_of(error)
        return None

    # The handler

    def _start(self, run: ActionRun[Any], route: Route, starts: int, deadline: Deadline) -> Outcome:
        """Start the handler and return its outcome. *starts* is the number of starts so far."""
        try:
            started, call = self._begin(run, route, starts, deadline)
        except PortApiError as error:
            if not is_refusal(error):
                raise
            log.error("run.not_marked", error=error, status=error.status, code=error.code)
            return Failure(f"The action was not started: {error}.")
        log.info("run.started", handler=route.name, start=started.number)
        self._metrics.run_started(route.identifier)
        try:
            return self._outcome_of(call, run, route, deadline)
        except PortUnavailableError as error:
            if started.number >= route.max_starts:
                return failure_of(error)
            log.warning("run.given_back", error=error, start=started.number)
            run._log.close(min(deadline.report, time.monotonic() + LAST_LINES_SECONDS))
            self._starts.give_back(started, f"{error}. It starts again.", run, until=deadline.report)
            raise

    def _begin(self, run: ActionRun[Any], route: Route, starts: int, deadline: Deadline) -> tuple[Started, Call]:
        """Note the start in the run's journal, then call the handler."""
        started = Started(starts + 1, str(logs.field("request_id") or "by-hand"), round(deadline.end_of_epoch, 3))
        try:
            _patiently(lambda until: self._starts.mark(started, run, until=until), deadline)
            if deadline.work_seconds < _needed_seconds(route, deadline) / 2:
                raise PortRunnerError("no time was left to start its handler")
            run._until = min(deadline.work, time.monotonic() + (route.timeout or deadline.all_work_seconds))
            run._log.open(run._until)
            call = Call(lambda: route.handler(run))  # raises if no thread can start
        except Exception as error:
            if not (isinstance(error, PortApiError) and is_refusal(error)):
                self._starts.give_back(started, "The handler was not started.", run, until=deadline.report)
            raise
        self._starts.began(run)
        return started, call

    def _outcome_of(self, call: Call, run: ActionRun[Any], route: Route, deadline: Deadline) -> Outcome:
        """Return the outcome of the handler. After its time is up, it can reach neither Port nor the next event.

        Raises ``PortUnavailableError`` if an idempotent handler failed because Port did not answer.
        """
        last_moment = min(LAST_MOMENT_SECONDS, (deadline.report - deadline.work) * LAST_MOMENT_SHARE)
        finished = call.wait(run._until - time.monotonic()) or call.wait(last_moment)
        run._end()
        run._handler_seconds = time.monotonic() - call.began
        if not finished:
            log.error("run.timed_out", seconds=round(run._handler_seconds, 1), handler_has_left=call.abandon())
            return Failure(f"Timed out after {run._handler_seconds:.0f} s.")
        try:
            outcome = call.result()
        except BaseException as error:  # also SystemExit, which ends the handler but not the function
            if route.idempotent and (reason := unavailable(error)) is not None:
                raise reason from None
            return failure_of(error)
        if outcome is None:
            return Success()
        if not isinstance(outcome, Success | InProgress):
            log.error("run.outcome_unknown", handler=route.name, kind=type(outcome).__name__)
            return unexpected(None)
        return outcome


def _patiently[T](step: Callable[[float], T], deadline: Deadline) -> T:
    """Return ``step(until)``. While Port limits the rate of requests, wait as long as the invocation has time."""
    while True:
        try:
            return step(min(deadline.work, time.monotonic() + PATIENCE_BEFORE_HANDLER_SECONDS))
        except PortUnavailableError as error:
            wait = error.retry_after
            if error.status != 429 or wait is None or wait >= deadline.work_seconds:
                raise
            log.info("port.rate_limited", operation=error.operation, seconds=round(wait, 1))
            time.sleep(wait)


def _needed_seconds(route: Route, deadline: Deadline) -> float:
    """Return the time that must be left to start the handler. A later delivery has all of an invocation's time."""
    if route.timeout is None:
        return deadline.all_work_seconds * SHARE_WITHOUT_TIMEOUT
    return min(route.timeout, deadline.all_work_seconds * LARGEST_SHARE)


def _verdict(text: str, credentials: Credentials) -> Verdict:
    """Return the verdict on a message's signature, which may be by any of the organization's clients."""
    verdicts = [verify(text, secret) for secret in credentials.secrets]
    return Verdict.VALID if Verdict.VALID in verdicts else verdicts[0]


def _stub(action: str) -> str:
    """Return code for the missing handler, to paste into a module of handlers."""
    function = re.sub(r"\W", "_", action)
    if not function.isidentifier() or keyword.iskeyword(function):
        function = f"run_{function}"
    return (
        f"@router.action({json.dumps(action)})\ndef {function}(run: ActionRun[Mapping[str, Any]]) -> Success:\n    ..."
    )
