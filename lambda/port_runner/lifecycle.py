"""The life of one run: find it in Port, note its start, call its handler, end it.

The run is read first because a record can be delivered twice, and because the answer shows that Port is reachable
before anything happens.
"""

import itertools
import json
import keyword
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from . import logs
from .bounded import BoundedDict
from .deadline import Call, Deadline
from .errors import ActionError, InputError, PortApiError, PortNotFoundError, PortRunnerError, PortUnavailableError
from .failure_queue import FailureQueue
from .journal import Entry, GivenBack, HandedOver, Started
from .logs import log
from .messages import RunRequest, find_inputs
from .metrics import Metrics
from .outcomes import Failure, InProgress, Outcome, Success
from .port_api import PortClient
from .reporting import Reporter
from .routing import Route, routes_for
from .run import ActionRun
from .run_api import ActionRunApi, NodeRunApi, RunApi, RunState, is_refusal
from .run_log import LONGEST_TEXT
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
# The time for the log lines of a handler that starts again later.
LAST_LINES_SECONDS = 1.0
# Of the ids in a message that may be the run's, how many are tried.
MOST_RUN_IDS = 10
# The state of a run is read again if it was read longer ago.
FRESH_SECONDS = 2.0
# An action's operation can be edited in Port.
KNOWN_OPERATION_SECONDS = 300.0
REMEMBERED_ACTIONS = 1000
# A record may arrive before Port shows its run.
NEW_RECORD_SECONDS = 30.0


@dataclass(frozen=True)
class Found:
    """A run request as the run in Port is, with the run's state at the moment *at* of ``time.monotonic()``."""

    run_request: RunRequest
    state: RunState
    at: float


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
        self._routes = routes
        self._port = port
        self._action_runs = ActionRunApi(port)
        self._node_runs = NodeRunApi(port)
        self._failures = failures
        self._metrics = metrics
        self._reporter = Reporter(metrics)
        self._starts = Starts()
        self._operations: BoundedDict[str, tuple[str | None, float]] = BoundedDict(REMEMBERED_ACTIONS)
        self._settings = settings
        private_key = settings.client_side_private_key if settings.client_side_private_key_secret_arn else None
        self._decryptor = Decryptor(settings.encryption_secret, private_key)

    def find(self, run_request: RunRequest, deadline: Deadline) -> Found | None:
        """Return the run in Port, or ``None`` if it is not for this function, or if Port does not know it."""
        if self._is_for_others(run_request):
            return None
        return _patiently(lambda until: self._find(run_request, until), deadline)

    def process(self, run_request: RunRequest, deadline: Deadline, *, found: Found | None = None) -> None:
        """End the run, or leave it to others if it is not for this function. *found* is a result of ``find``.

        Raises ``PortRunnerError`` if Lambda must redeliver the record.
        """
        if self._is_for_others(run_request):
            log.warning("action.unknown", stub=_stub(run_request.action or "…"))
            return
        for run_id in _run_ids(run_request):
            unreported = self._reporter.unreported(run_id)
            if unreported is not None:
                self._reporter.report(unreported.run, unreported.outcome, deadline)
                return
        found = found or _patiently(lambda until: self._find(run_request, until), deadline)
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
            found = self._find(run_request, until)
            if found is None or not found.state.is_in_progress or not self._routes_of(found.run_request):
                return None
            run = self._run_of(found.run_request, until)
            last = self._starts.last_entry(run.id, found.state, run._run_api, until=until)
            if isinstance(last, HandedOver) or (isinstance(last, Started) and last.seconds_left > 0):
                return None
            when = "it was started" if last is None else "it was done"
            self._reporter.report(run, Failure(f"The run was given up before {when}: {reason}."), deadline)
        return self._unreported(run_request)

    def _find(self, run_request: RunRequest, until: float) -> Found | None:
        """Return the first of the message's runs that has a handler here, or else the first that Port knows."""
        first = None
        for run_id in _run_ids(run_request):
            candidate = replace(run_request, run_id=run_id)
            state = self._read_run(candidate, until)
            if state is None:
                continue
            candidate = self._with_operation(_completed(candidate, state), until)
            found = Found(candidate, state, time.monotonic())
            if self._routes_of(candidate):
                return found
            first = first or found
        return first

    def _with_operation(self, run_request: RunRequest, until: float) -> RunRequest:
        """Add the operation of the run's action if a handler depends on it. Neither message nor run may tell it."""
        action = run_request.action
        if (
            action is None
            or run_request.operation
            or all(route.operation is None for route in self._routes_of(run_request))
        ):
            return run_request
        known = self._operations.get(action)
        if known is None or time.monotonic() - known[1] > KNOWN_OPERATION_SECONDS:
            try:
                known = self._port.get_operation(action, until=until), time.monotonic()
            except PortUnavailableError:
                raise
            except PortApiError as error:  # the credentials may lack the permission to read actions
                log.warning("action.not_read", error=error, status=error.status)
                known = None, time.monotonic()
            self._operations[action] = known
        return replace(run_request, operation=known[0])

    def _process_found(self, run_request: RunRequest, state: RunState | None, deadline: Deadline) -> None:
        """Process the run that Port has. *state* is its state, or ``None`` if that may have changed since."""
        run_api = self._api_of(run_request)
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
        run_api = self._api_of(run_request)
        return ActionRun(run_request, self._port, run_api, until=until, log_url=self._settings.log_url)

    def _unreported(self, run_request: RunRequest) -> Mapping[str, Any] | None:
        """Return the outcome that Port does not have yet, for a person to read."""
        for run_id in _run_ids(run_request):
            unreported = self._reporter.unreported(run_id)
            if unreported is not None:
                return {"status": unreported.outcome.status, **vars(unreported.outcome)}
        return None

    # Before the handler

    def _is_for_others(self, run_request: RunRequest) -> bool:
        """Return whether the message alone says that no handler here takes its run. Then Port is not asked."""
        if not run_request.is_envelope or run_request.action is None or self._settings.unknown_actions == "fail":
            return False
        if run_request.is_workflow_node:
            return False
        if run_request.blueprint is None:
            return not any(route.may_be_named(run_request.action) for route in self._routes)
        return not self._routes_of(run_request)

    def _is_unhandled(self, run_request: RunRequest) -> bool:
        if self._routes_of(run_request):
            return False
        if run_request.is_workflow_node:
            log.debug("record.skipped", reason="it is the run of a workflow's node")
            return True
        log.warning("action.unknown", stub=_stub(run_request.action or "…"))
        return self._settings.unknown_actions == "ignore"

    def _routes_of(self, run_request: RunRequest) -> Sequence[Route]:
        """Return the handler of the run. Return several if only the operation, which is not known, would tell."""
        if run_request.action is None:
            return ()
        routes = [route for route in self._routes if route.workflow_nodes or not run_request.is_workflow_node]
        return routes_for(routes, run_request.action, run_request.operation, run_request.blueprint)

    def _api_of(self, run_request: RunRequest) -> RunApi:
        return self._node_runs if run_request.is_workflow_node else self._action_runs

    def _read_run(self, run_request: RunRequest, until: float) -> RunState | None:
        """Return the run as Port has it, or ``None`` if Port does not know it, or does not take its id."""
        try:
            return self._api_of(run_request).read(run_request.run_id, until=until)
        except PortNotFoundError:
            return None
        except PortApiError as error:
            if not is_refusal(error):
                raise
            return None

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
        routes = self._routes_of(run_request)
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
            return _interrupted(starts)
        if deadline.work_seconds < _needed_seconds(route, deadline):
            raise PortRunnerError("too little of the invocation's time is left to start its handler")
        try:
            run.inputs = route.read_inputs(
                decrypted(run_request.inputs or {}, run_request.message, self._decryptor, declared=route.secret_inputs)
            )
        except InputError as error:
            log.warning("run.inputs_do_not_fit", input=error.input)
            return Failure(str(error))
        except ActionError as error:  # from a dataclass that checks its own fields
            return _failure_of(error)
        except PortRunnerError:
            raise
        except Exception as error:  # from a dataclass that checks its own fields
            return _failure_of(error)
        return self._start(run, route, starts, deadline)

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
            return self._outcome_of(call, run, route)
        except PortUnavailableError as error:
            if started.number >= route.max_starts:
                return _failure_of(error)
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

    def _outcome_of(self, call: Call, run: ActionRun[Any], route: Route) -> Outcome:
        """Return the outcome of the handler. After its time is up, it can reach neither Port nor the next event.

        Raises ``PortUnavailableError`` if an idempotent handler failed because Port did not answer.
        """
        began = time.monotonic()
        finished = call.wait(run._until - began) or call.wait(LAST_MOMENT_SECONDS)
        run._end()
        run._handler_seconds = time.monotonic() - began
        if not finished:
            log.error("run.timed_out", seconds=round(run._handler_seconds, 1), handler_has_left=call.abandon())
            return Failure(f"Timed out after {run._handler_seconds:.0f} s.")
        try:
            outcome = call.result()
        except BaseException as error:  # also SystemExit, which ends the handler but not the function
            if route.idempotent and (unavailable := _unavailable(error)) is not None:
                raise unavailable from None
            return _failure_of(error)
        if outcome is None:
            return Success()
        if not isinstance(outcome, Success | InProgress):
            log.error("run.outcome_unknown", handler=route.name, kind=type(outcome).__name__)
            return _unexpected(None)
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


def _interrupted(starts: int) -> Failure:
    if starts == 1:
        return Failure("The run was interrupted: the function that worked on it ended before it was done.")
    return Failure(f"The run was interrupted {starts} times: each time, the function ended before it was done.")


def _verdict(text: str, credentials: Credentials) -> Verdict:
    """Return the verdict on a message's signature, which may be by any of the organization's clients."""
    verdicts = [verify(text, secret) for secret in credentials.secrets]
    return Verdict.VALID if Verdict.VALID in verdicts else verdicts[0]


def _run_ids(run_request: RunRequest) -> Iterator[str]:
    """Return the ids in the message that are tried, in order."""
    return itertools.islice(itertools.chain([run_request.run_id], run_request.other_run_ids()), MOST_RUN_IDS)


def _completed(run_request: RunRequest, state: RunState) -> RunRequest:
    """Return *run_request* as the run in Port is. The message supplies only what Port leaves out."""
    return replace(
        run_request,
        action=state.action or run_request.action,
        blueprint=state.blueprint or run_request.blueprint,
        entity_identifier=state.entity_identifier or run_request.entity_identifier,
        inputs=_inputs(run_request, state),
    )


def _inputs(run_request: RunRequest, state: RunState) -> Mapping[str, Any]:
    if run_request.inputs is not None and (run_request.has_certain_inputs or not state.inputs):
        return run_request.inputs
    return state.inputs or find_inputs(run_request.message)


def _stub(action: str) -> str:
    """Return code for the missing handler, to paste into a module of handlers."""
    function = re.sub(r"\W", "_", action)
    if not function.isidentifier() or keyword.iskeyword(function):
        function = f"run_{function}"
    return (
        f"@router.action({json.dumps(action)})\ndef {function}(run: ActionRun[Mapping[str, Any]]) -> Success:\n    ..."
    )


def _failure_of(error: BaseException) -> Failure:
    """Return the failure that Port shows for an error of a handler or of its inputs."""
    action_errors = _action_errors(error)
    if not action_errors:
        log.error("run.failed_unexpectedly", error=error)
        return _unexpected(error)
    log.warning("run.action_failed", kind=type(action_errors[0]).__name__)
    if isinstance(error, BaseExceptionGroup) and (others := error.split(ActionError)[1]) is not None:
        log.error("run.failed_unexpectedly", error=others)
    return Failure("\n".join(_text_of(each) for each in action_errors)[:LONGEST_TEXT])


def _action_errors(error: BaseException) -> list[ActionError]:
    """Return the errors whose texts are for Port. A handler with a task group raises several at once."""
    if isinstance(error, ActionError):
        return [error]
    if isinstance(error, BaseExceptionGroup):
        return [found for each in error.exceptions for found in _action_errors(each)]
    return []


def _unavailable(error: BaseException) -> PortUnavailableError | None:
    """Return the error of a Port that did not answer, if the handler failed for that reason alone."""
    if isinstance(error, PortUnavailableError):
        return error
    if isinstance(error, BaseExceptionGroup):
        found = [_unavailable(each) for each in error.exceptions]
        return None if None in found else found[0]
    return None


def _text_of(error: ActionError) -> str:
    text = ""
    with suppress(Exception):  # a class of the handler's author may have its own __str__
        text = str(error)
    return text or "The action failed."


def _unexpected(error: BaseException | None) -> Failure:
    """Return the failure that Port shows for a defect: the request's id, but no text of the error."""
    said = f"The action failed: {error}." if isinstance(error, PortApiError) else "The action failed unexpectedly."
    request_id = logs.field("request_id")
    return Failure(f"{said} The function's log has more, under the request {request_id}." if request_id else said)
