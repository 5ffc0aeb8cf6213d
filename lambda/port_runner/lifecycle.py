"""What becomes of one run: read it, mark it as started, call its handler, end it.

Reading comes first because a record can come twice, and because it proves that Port is there before anything has
happened. The mark tells the next delivery that the handler may have begun. The end is remembered until Port has it.
"""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import logs
from .deadline import Call, Deadline
from .errors import ActionError, InputError, PortApiError, PortRunnerError
from .failure_queue import FailureQueue
from .logs import log
from .messages import Invocation
from .outcomes import Failure, InProgress, Outcome, Success
from .port_api import PortClient
from .routing import Route, route_for
from .run import ActionRun
from .settings import Settings

IN_PROGRESS = "IN_PROGRESS"
HANDED_OVER = "Handed over: what goes on elsewhere ends this run."
# Lambda delivers again what Port did not answer for before the handler ran, so waiting for long is of no use there.
PATIENCE_BEFORE_HANDLER_SECONDS = 10.0
LOG_INTERVAL_SECONDS = 1.0
LONGEST_LOG_MESSAGE = 100_000
# Of the time for the report, what log lines may take of it.
LOG_SHARE = 1 / 3
REMEMBERED_RUNS = 1000


@dataclass(frozen=True)
class NotStarted:
    """Remembered of a run whose start mark may have reached Port, while its handler certainly did not start.

    *label* is that mark: if the run bears another, somebody else has started it since.
    """

    label: str


@dataclass(frozen=True)
class Unreported:
    """Remembered of a run whose outcome could not be sent."""

    run: ActionRun[Any]
    outcome: Outcome


class Lifecycle:
    """Brings runs to their end, each in one call of ``advance``, or in several where Port cannot be reached."""

    def __init__(self, routes: Sequence[Route], port: PortClient, failures: FailureQueue, settings: Settings) -> None:
        self._routes = routes
        self._port = port
        self._failures = failures
        self._settings = settings
        self._memory: OrderedDict[str, NotStarted | Unreported] = OrderedDict()
        self._memory_lock = threading.Lock()

    def advance(self, invocation: Invocation, deadline: Deadline) -> None:
        """End the run, or find that it is not ours to end.

        Raises ``PortRunnerError`` when its record must come again.
        """
        memory = self._memory.get(invocation.run_id)
        if isinstance(memory, Unreported):
            self._report(memory.run, memory.outcome, deadline)
            return
        if invocation.action is not None and self._is_left_to_others(invocation):
            return
        until = min(deadline.work, time.monotonic() + PATIENCE_BEFORE_HANDLER_SECONDS)
        state = self._read_run(invocation, until)
        if state is None:
            return
        if _has_ended(state):
            log.info("run.not_in_progress", status=state.get("status"))
            return
        invocation = _completed(invocation, state)
        if self._is_left_to_others(invocation):
            return
        label = state.get("statusLabel")
        started = bool(label) and not (isinstance(memory, NotStarted) and memory.label == label)
        if started and self._was_handed_over(invocation.run_id, until):
            log.info("run.handed_over_before")
            return
        run: ActionRun[Any] = ActionRun(invocation, self._port, until=deadline.work, log_url=self._settings.log_url)
        self._report(run, self._outcome(run, invocation, started, until, deadline), deadline)

    def unreported(self, run_id: str) -> Mapping[str, Any] | None:
        """The outcome that Port has not been told yet, for a person to read."""
        memory = self._memory.get(run_id)
        return _described(memory.outcome) if isinstance(memory, Unreported) else None

    # Before the handler

    def _is_left_to_others(self, invocation: Invocation) -> bool:
        if self._route(invocation) is not None:
            return False
        log.warning("action.unknown", stub=_stub(invocation.action or "…"))
        return self._settings.unknown_actions == "ignore"

    def _route(self, invocation: Invocation) -> Route | None:
        if invocation.action is None:
            return None
        return route_for(self._routes, invocation.action, invocation.operation, invocation.blueprint)

    def _read_run(self, invocation: Invocation, until: float) -> Mapping[str, Any] | None:
        """The run as Port has it; ``None``, and its record is kept, for a run that Port does not know."""
        try:
            return self._port.get_run(invocation.run_id, until=until)
        except PortApiError as error:
            if error.status != 404:
                raise
            self._failures.keep(invocation.record, "Port does not know its run")
            return None

    def _was_handed_over(self, run_id: str, until: float) -> bool:
        """A run's log only grows, so whatever the pipeline does with label and links cannot hide this line."""
        return HANDED_OVER in self._port.run_log(run_id, until=until)

    def _outcome(
        self, run: ActionRun[Any], invocation: Invocation, started: bool, until: float, deadline: Deadline
    ) -> Outcome:
        route = self._route(invocation)
        if route is None:
            return Failure(f"Nothing here handles the action {invocation.action}.")
        if started and not route.idempotent:
            log.warning("run.interrupted")
            return Failure("The run was interrupted: the function that worked on it ended before it was done.")
        try:
            run.inputs = route.read_inputs(invocation.inputs or {})
        except InputError as error:
            log.warning("run.inputs_do_not_fit", input=error.input)
            return Failure(str(error))
        try:
            self._mark_started(run, until)
        except PortApiError as error:
            if error.status not in (400, 422):
                raise
            log.error("run.not_marked", error=error, status=error.status, code=error.code)
            return Failure(f"The action was not started: {error}.")
        if deadline.work_seconds <= 0:
            raise PortRunnerError("no time was left to start the handler")
        self._forget(run.id)
        return self._call(run, route, deadline)

    def _mark_started(self, run: ActionRun[Any], until: float) -> None:
        """Set the label by which the next delivery would know that the handler may have begun."""
        label = f"Started ({logs.field('request_id') or 'by hand'})"
        links = run._links_with(None)
        self._remember(run.id, NotStarted(label))
        self._port.update_run(run.id, until=until, statusLabel=label, **({"link": links} if links else {}))

    # The handler

    def _call(self, run: ActionRun[Any], route: Route, deadline: Deadline) -> Outcome:
        """The handler's outcome; once its time is up, what it still does reaches neither Port nor the next event."""
        log.info("run.started", handler=route.name)
        began = time.monotonic()
        call = Call(lambda: route.handler(run))
        while not call.wait(min(LOG_INTERVAL_SECONDS, deadline.work_seconds)):
            if deadline.work_seconds <= 0:
                run._end()
                seconds = time.monotonic() - began
                log.error("run.timed_out", seconds=round(seconds, 1), handler_has_left=call.abandon())
                return Failure(f"Timed out after {seconds:.0f} s.")
            self._send_lines(run, until=deadline.work)
        run._end()
        try:
            outcome = call.result()
        except ActionError as error:
            log.warning("run.action_failed", kind=type(error).__name__)
            return Failure(str(error) or "The action failed.")
        except BaseException as error:  # SystemExit too: it ends the handler, not the function
            log.error("run.failed_unexpectedly", error=error)
            return _unexpected(error)
        if outcome is None:
            return Success()
        if not isinstance(outcome, Success | InProgress):
            log.error("run.outcome_unknown", handler=route.name, kind=type(outcome).__name__)
            return _unexpected(None)
        return outcome

    # The report

    def _report(self, run: ActionRun[Any], outcome: Outcome, deadline: Deadline) -> None:
        """Tell Port how the run went; until that is done, the process remembers it."""
        self._remember(run.id, Unreported(run, outcome))
        now = time.monotonic()
        self._send_lines(run, until=now + (deadline.report - now) * LOG_SHARE)
        try:
            self._send(run, outcome, deadline.report)
        except PortApiError as error:
            log.critical("run.not_reported", error=error, outcome=_described(outcome)["status"])
            raise
        self._forget(run.id)

    def _send(self, run: ActionRun[Any], outcome: Outcome, until: float) -> None:
        try:
            if isinstance(outcome, InProgress):
                self._hand_over(run, outcome, until)
            else:
                self._end(run, outcome, until)
        except PortApiError as error:
            if error.status == 404:
                log.error("run.unknown_to_port")
            elif error.status in (400, 422) and _has_ended(self._port.get_run(run.id, until=until)):
                log.info("run.not_in_progress")
            else:
                raise

    def _hand_over(self, run: ActionRun[Any], outcome: InProgress, until: float) -> None:
        changes: dict[str, Any] = {}
        if outcome.link:
            changes["link"] = run._links_with(outcome.link)
        if outcome.external_run_id:
            changes["externalRunId"] = outcome.external_run_id
        if changes:
            self._port.update_run(run.id, until=until, **changes)
        self._port.add_run_log(run.id, HANDED_OVER, statusLabel=outcome.label, until=until)
        log.info("run.handed_over")

    def _end(self, run: ActionRun[Any], outcome: Success | Failure, until: float) -> None:
        status = _described(outcome)["status"]
        links = run._links_with(outcome.link)
        shown = {
            "statusLabel": outcome.label,
            **({"link": links} if links else {}),
            **({"summary": outcome.summary} if outcome.summary else {}),
        }
        try:
            self._port.update_run(run.id, until=until, status=status, **shown)
        except PortApiError as error:
            if error.status not in (400, 413, 422) or _has_ended(self._port.get_run(run.id, until=until)):
                raise
            # What is shown with the status was refused, a link that is none say; the run must end nevertheless.
            log.error("run.outcome_refused", error=error, status=error.status, code=error.code)
            self._port.update_run(run.id, until=until, status=status)
        log.info("run.ended", status=status)

    def _send_lines(self, run: ActionRun[Any], *, until: float) -> None:
        """Send the log lines that are waiting, as one entry of the run's log; they never make an action fail."""
        lines = run._take_lines()
        if not lines:
            return
        try:
            self._port.add_run_log(run.id, "\n".join(lines)[:LONGEST_LOG_MESSAGE], until=until)
        except PortApiError as error:
            log.warning("run.log_not_sent", status=error.status, lines=len(lines))
            if error.status is None or error.status >= 500:
                run._put_back(lines)

    # What the process remembers

    def _remember(self, run_id: str, what: NotStarted | Unreported) -> None:
        with self._memory_lock:
            self._memory[run_id] = what
            if len(self._memory) > REMEMBERED_RUNS:
                self._memory.popitem(last=False)

    def _forget(self, run_id: str) -> None:
        with self._memory_lock:
            self._memory.pop(run_id, None)


def _has_ended(state: Mapping[str, Any]) -> bool:
    return bool(state.get("status", IN_PROGRESS) != IN_PROGRESS)


def _completed(invocation: Invocation, state: Mapping[str, Any]) -> Invocation:
    """*invocation* with what its message left out, from the run itself, in either of the forms that Port gives it."""
    action = state.get("action")
    identifier = action.get("identifier") if isinstance(action, Mapping) else action
    properties = state.get("properties")
    return replace(
        invocation,
        action=invocation.action or (identifier if isinstance(identifier, str) else None),
        inputs=invocation.inputs if invocation.inputs is not None else (properties or {}),
    )


def _stub(action: str) -> str:
    """The handler that is missing, to be pasted into a module of handlers."""
    function = re.sub(r"\W", "_", action)
    return f'@router.action("{action}")\ndef {function}(run: ActionRun[Mapping[str, Any]]) -> Success:\n    ...'


def _described(outcome: Outcome) -> dict[str, Any]:
    status = {Success: "SUCCESS", Failure: "FAILURE", InProgress: IN_PROGRESS}[type(outcome)]
    return {"status": status, **vars(outcome)}


def _unexpected(error: BaseException | None) -> Failure:
    """What Port shows of a defect: nothing of its text, and where to find more."""
    said = f"The action failed: {error}." if isinstance(error, PortApiError) else "The action failed unexpectedly."
    request_id = logs.field("request_id")
    return Failure(f"{said} The function's log has more, under the request {request_id}." if request_id else said)
