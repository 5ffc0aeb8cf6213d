"""The life of one run: read it, mark it as started, call its handler, end it.

The run is read first because a record can be delivered twice, and because the answer shows that Port is reachable
before anything happens. The mark tells the next delivery that the handler may have started. The outcome is remembered
until Port has it.
"""

import itertools
import json
import keyword
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from . import logs
from .bounded import BoundedDict
from .deadline import Call, Deadline
from .errors import ActionError, InputError, PortApiError, PortNotFoundError, PortRunnerError, PortUnavailableError
from .failure_queue import FailureQueue
from .logs import log
from .messages import RunRequest, find_inputs
from .metrics import Metrics
from .outcomes import Failure, InProgress, Outcome, Success
from .port_api import PortClient
from .routing import Route, routes_for
from .run import ActionRun
from .run_api import ActionRunApi, NodeRunApi, RunApi, RunState, is_refusal
from .secret_inputs import Decryptor, decrypted
from .settings import Credentials, Settings
from .signature import Verdict, verify

# Lambda redelivers a record if Port does not answer before the handler runs, so a long wait is not useful.
PATIENCE_BEFORE_HANDLER_SECONDS = 10.0
LOG_INTERVAL_SECONDS = 1.0
# In characters, each of which takes up to twelve bytes in JSON. Port accepts 1 MiB.
LONGEST_TEXT = 80_000
# The share of the time that log lines may take. The report of the end, which comes after them, matters more.
LOG_PATIENCE_SECONDS = 3.0
LOG_SHARE = 1 / 3
REMEMBERED_RUNS = 1000
# Of the ids in a message that may be the run's, how many are tried.
MOST_RUN_IDS = 10
# A record may arrive before Port shows its run.
NEW_RECORD_SECONDS = 30.0


@dataclass(frozen=True)
class NotStarted:
    """The start mark may have reached Port, but the handler never ran. A redelivery may run it.

    *label* is that mark. If the run has another label, another process has started it since.
    """

    label: str


@dataclass(frozen=True)
class Unreported:
    """The outcome of a run could not be sent to Port yet."""

    run: ActionRun[Any]
    outcome: Outcome


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
        self._settings = settings
        private_key = settings.client_side_private_key if settings.client_side_private_key_secret_arn else None
        self._decryptor = Decryptor(settings.encryption_secret, private_key)
        self._memory: BoundedDict[str, NotStarted | Unreported] = BoundedDict(REMEMBERED_RUNS)

    def process(self, run_request: RunRequest, deadline: Deadline) -> None:
        """End the run, or leave it to others if it is not for this function.

        Raises ``PortRunnerError`` if Lambda must redeliver the record.
        """
        if self._is_for_others(run_request):
            log.warning("action.unknown", stub=_stub(run_request.action or "…"))
            return
        for run_id in _run_ids(run_request):
            memory = self._memory.get(run_id)
            if isinstance(memory, Unreported):
                self._report(memory.run, memory.outcome, deadline)
                return
        until = min(deadline.work, time.monotonic() + PATIENCE_BEFORE_HANDLER_SECONDS)
        found = self._find(run_request, until)
        if found is None:
            self._keep_unknown(run_request)
            return
        candidate, state = found
        with logs.fields(run_id=candidate.run_id):
            self._process_found(candidate, state, until, deadline)

    def give_up(self, run_request: RunRequest, reason: str, deadline: Deadline) -> Mapping[str, Any] | None:
        """End the run of a record that is given up, if Port answers. Return an outcome that Port does not have.

        A run that was started, here or elsewhere, is left alone: a handler may still work on it.
        """
        unreported = self._unreported(run_request)
        if unreported is not None:
            return unreported
        until = min(deadline.report, time.monotonic() + PATIENCE_BEFORE_HANDLER_SECONDS)
        with suppress(PortRunnerError):
            found = self._find(run_request, until)
            if found is None or not found[1].is_in_progress or found[1].label or not self._routes_of(found[0]):
                return None
            candidate = found[0]
            run: ActionRun[Any] = ActionRun(
                candidate, self._port, self._api_of(candidate), until=until, log_url=self._settings.log_url
            )
            self._report(run, Failure(f"The run was given up before it was started: {reason}."), deadline)
        return self._unreported(run_request)

    def _find(self, run_request: RunRequest, until: float) -> tuple[RunRequest, RunState] | None:
        """Return the first of the message's runs that has a handler here, or else the first that Port knows."""
        found = None
        for run_id in _run_ids(run_request):
            candidate = replace(run_request, run_id=run_id)
            state = self._read_run(candidate, until)
            if state is None:
                continue
            candidate = _completed(candidate, state)
            if self._routes_of(candidate):
                return candidate, state
            found = found or (candidate, state)
        return found

    def _process_found(self, run_request: RunRequest, state: RunState, until: float, deadline: Deadline) -> None:
        """Process the run that Port has."""
        if state.has_ended:
            log.info("run.not_in_progress", status=state.status)
            return
        if self._is_unhandled(run_request):
            return
        if not state.is_in_progress:
            raise PortRunnerError(f"its run is {state.status} in Port, and not in progress yet")
        memory = self._memory.get(run_request.run_id)
        run_api = self._api_of(run_request)
        problem = self._signature_problem(run_request)
        started = bool(state.label) and not (isinstance(memory, NotStarted) and memory.label == state.label)
        if started and run_api.was_handed_over(run_request.run_id, until=until):
            log.info("run.handed_over_before")
            return
        run: ActionRun[Any] = ActionRun(
            run_request, self._port, run_api, until=deadline.work, log_url=self._settings.log_url
        )
        if problem is not None:
            self._failures.keep(run_request.record, problem)
            if not started:  # a forged message must not end a run that is in progress
                self._report(run, Failure(f"The message of this run was refused: {problem}."), deadline)
            return
        self._report(run, self._outcome(run, run_request, started, until, deadline), deadline)

    def _unreported(self, run_request: RunRequest) -> Mapping[str, Any] | None:
        """Return the outcome that Port does not have yet, for a person to read."""
        for run_id in _run_ids(run_request):
            memory = self._memory.get(run_id)
            if isinstance(memory, Unreported):
                return {"status": memory.outcome.status, **vars(memory.outcome)}
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
        self, run: ActionRun[Any], run_request: RunRequest, started: bool, until: float, deadline: Deadline
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
        if started and not route.idempotent:
            log.warning("run.interrupted")
            return Failure("The run was interrupted: the function that worked on it ended before it was done.")
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
        try:
            self._mark_started(run, until)
        except PortApiError as error:
            if not is_refusal(error):
                raise
            log.error("run.not_marked", error=error, status=error.status, code=error.code)
            return Failure(f"The action was not started: {error}.")
        if deadline.work_seconds <= 0:
            raise PortRunnerError("no time was left to start the handler")
        return self._call(run, route, deadline)

    def _mark_started(self, run: ActionRun[Any], until: float) -> None:
        """Set the label that tells the next delivery that the handler may have started."""
        label = f"Started ({logs.field('request_id') or 'by hand'})"
        self._memory[run.id] = NotStarted(label)
        run._run_api.note(run.id, label=label, links=run._links_with(None), until=until)

    # The handler

    def _call(self, run: ActionRun[Any], route: Route, deadline: Deadline) -> Outcome:
        """Return the handler's outcome. After its time is up, the handler can reach neither Port nor the next event."""
        began = time.monotonic()
        call = Call(lambda: route.handler(run))  # raises if no thread can start: then a redelivery may run it
        self._memory.discard(run.id)
        log.info("run.started", handler=route.name)
        self._metrics.run_started(route.identifier)
        while not call.wait(min(LOG_INTERVAL_SECONDS, deadline.work_seconds)):
            if deadline.work_seconds <= 0:
                run._end()
                seconds = time.monotonic() - began
                log.error("run.timed_out", seconds=round(seconds, 1), handler_has_left=call.abandon())
                run._handler_seconds = seconds
                return Failure(f"Timed out after {seconds:.0f} s.")
            self._send_lines(run, until=min(deadline.work, time.monotonic() + LOG_PATIENCE_SECONDS))
        run._handler_seconds = time.monotonic() - began
        run._end()
        try:
            outcome = call.result()
        except BaseException as error:  # also SystemExit, which ends the handler but not the function
            return _failure_of(error)
        if outcome is None:
            return Success()
        if not isinstance(outcome, Success | InProgress):
            log.error("run.outcome_unknown", handler=route.name, kind=type(outcome).__name__)
            return _unexpected(None)
        return outcome

    # The report

    def _report(self, run: ActionRun[Any], outcome: Outcome, deadline: Deadline) -> None:
        """Report the outcome to Port. The process remembers it until Port has it."""
        self._memory[run.id] = Unreported(run, outcome)
        now = time.monotonic()
        self._send_lines(run, until=now + min((deadline.report - now) * LOG_SHARE, LOG_PATIENCE_SECONDS))
        try:
            self._send(run, outcome, deadline.report)
        except PortApiError as error:
            log.critical("run.not_reported", error=error, outcome=outcome.status)
            raise
        self._memory.discard(run.id)

    def _send(self, run: ActionRun[Any], outcome: Outcome, until: float) -> None:
        run_api = run._run_api
        try:
            self._send_with_or_without_texts(run, outcome, until)
        except PortNotFoundError:
            log.error("run.unknown_to_port")
        except PortApiError as error:
            if not (is_refusal(error) and run_api.has_ended(run.id, until=until)):
                raise
            log.info("run.not_in_progress")
        else:
            log.info("run.reported", status=outcome.status)
            self._metrics.run_ended(
                run.action,
                outcome.status,
                handler_seconds=run._handler_seconds,
                delivery_seconds=run._delivery_seconds,
            )

    def _send_with_or_without_texts(self, run: ActionRun[Any], outcome: Outcome, until: float) -> None:
        """Send *outcome*. If Port refuses its texts or links, for example an invalid link, send it without them.

        A run must end, or be handed over, even if the handler's texts are not valid.
        """
        run_api = run._run_api
        try:
            _end_or_hand_over(run_api, run.id, outcome, run._links_with(outcome.link), until)
        except (TypeError, ValueError) as error:  # the outcome cannot be written as JSON
            log.error("run.outcome_refused", error=error)
        except PortApiError as error:
            if not is_refusal(error) or run_api.has_ended(run.id, until=until):
                raise
            log.error("run.outcome_refused", error=error, status=error.status, code=error.code)
        else:
            return
        _end_or_hand_over(run_api, run.id, _without_texts(outcome), [], until)

    def _send_lines(self, run: ActionRun[Any], *, until: float) -> None:
        """Send the waiting log lines as one entry of the run's log. A failure here never fails the action."""
        text = "\n".join(run._take_lines())
        while text:
            try:
                run._run_api.add_lines(run.id, text[:LONGEST_TEXT], until=until)
            except PortApiError as error:
                log.warning("run.log_not_sent", status=error.status, characters=len(text))
                if isinstance(error, PortUnavailableError):
                    run._put_back(text)
                return
            text = text[LONGEST_TEXT:]


def _verdict(text: str, credentials: Credentials) -> Verdict:
    """Return the verdict on a message's signature, which may be by any of the organization's clients."""
    verdicts = [verify(text, secret) for secret in credentials.secrets]
    return Verdict.VALID if Verdict.VALID in verdicts else verdicts[0]


def _end_or_hand_over(run_api: RunApi, run_id: str, outcome: Outcome, links: Sequence[str], until: float) -> None:
    if isinstance(outcome, InProgress):
        run_api.hand_over(run_id, outcome, links, until=until)
    else:
        run_api.end(run_id, outcome, links, until=until)


def _without_texts(outcome: Outcome) -> Outcome:
    """Return *outcome* without the handler's texts and links."""
    if isinstance(outcome, InProgress):
        return InProgress()
    return Success() if isinstance(outcome, Success) else Failure("What went wrong could not be shown.")


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
