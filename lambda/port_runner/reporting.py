"""Reports the outcomes of runs to Port, and remembers those that Port does not have yet."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .bounded import BoundedDict
from .deadline import Deadline
from .errors import PortApiError, PortNotFoundError
from .logs import log
from .metrics import Metrics
from .outcomes import Failure, InProgress, Outcome, Success
from .run import ActionRun
from .run_api import RUN_EXHAUSTED, RunApi, is_refusal

# The share of the time that log lines may take. The report of the end, which comes after them, matters more.
LOG_PATIENCE_SECONDS = 3.0
LOG_SHARE = 1 / 3
REMEMBERED_RUNS = 1000


@dataclass(frozen=True)
class Unreported:
    """The outcome of a run could not be sent to Port yet."""

    run: ActionRun[Any]
    outcome: Outcome


class Reporter:
    """Reports outcomes. What Port cannot be told now is told at the next delivery to this process."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._unreported: BoundedDict[str, Unreported] = BoundedDict(REMEMBERED_RUNS)

    def unreported(self, run_id: str) -> Unreported | None:
        """Return the outcome of the run if this process knows one that Port does not have."""
        return self._unreported.get(run_id)

    def report(self, run: ActionRun[Any], outcome: Outcome, deadline: Deadline) -> None:
        """Send the log lines that are left, then the outcome. Raises ``PortApiError`` if Port could not be told."""
        self._unreported[run.id] = Unreported(run, outcome)
        now = time.monotonic()
        run._log.close(now + min((deadline.report - now) * LOG_SHARE, LOG_PATIENCE_SECONDS))
        try:
            reported = _send(run, outcome, deadline.report)
        except PortApiError as error:
            log.critical("run.not_reported", error=error, outcome=outcome.status)
            raise
        self._unreported.discard(run.id)
        if reported:
            log.info("run.reported", status=outcome.status)
            self._metrics.run_ended(
                run._route_identifier or run.action,
                outcome.status,
                handler_seconds=run._handler_seconds,
                delivery_seconds=run._delivery_seconds,
            )


def _send(run: ActionRun[Any], outcome: Outcome, until: float) -> bool:
    """Send *outcome*. Return whether Port has it, or ``False`` if the run does not exist or had ended before."""
    refusal = PortApiError("take the outcome")
    for form, links in _forms(run, outcome):
        try:
            _end_or_hand_over(run, form, links, until)
        except (TypeError, ValueError) as error:  # the outcome cannot be written as JSON
            log.error("run.outcome_refused", error=error)
        except PortNotFoundError:
            log.error("run.unknown_to_port")
            return False
        except PortApiError as error:
            if not is_refusal(error):
                raise
            if _has_ended(run, error, until):
                return _is_shown(run, form, until)
            log.error("run.outcome_refused", error=error, status=error.status, code=error.code)
            refusal = error
        else:
            return True
    if not run._run_api.can_be_read:
        log.info("run.not_in_progress")  # the likeliest reason for a refusal of even the shortest report
        return False
    raise refusal


def _forms(run: ActionRun[Any], outcome: Outcome) -> Iterator[tuple[Outcome, Sequence[str]]]:
    """Return the outcome in shorter and shorter forms, each with its links.

    A run must end, or be handed over, even if Port refuses its texts or links. A link that Port refuses must not cost
    the summary.
    """
    links = run._links_with(outcome.link)
    yield outcome, links
    if links:
        yield replace(outcome, link=None), []
    if isinstance(outcome, InProgress):
        yield InProgress(), []
    else:
        yield Success() if isinstance(outcome, Success) else Failure("What went wrong could not be shown."), []


def _end_or_hand_over(run: ActionRun[Any], outcome: Outcome, links: Sequence[str], until: float) -> None:
    run_api: RunApi = run._run_api
    if isinstance(outcome, InProgress):
        run_api.hand_over(run.id, outcome, links, label=run._label, until=until)
    else:
        run_api.end(run.id, outcome, links, until=until)


def _has_ended(run: ActionRun[Any], refusal: PortApiError, until: float) -> bool:
    """Return whether a report was refused because the run has ended."""
    return refusal.code == RUN_EXHAUSTED or run._run_api.read(run.id, until=until).has_ended


def _is_shown(run: ActionRun[Any], outcome: Outcome, until: float) -> bool:
    """Return whether the run ended as *outcome* says. Then Port's answer to an earlier try was lost."""
    state = run._run_api.read(run.id, until=until)
    shown: Mapping[str, Any] = {"status": state.status, "label": state.label, "summary": state.summary}
    if shown == {
        "status": outcome.status,
        "label": outcome.label,
        "summary": None if isinstance(outcome, InProgress) else outcome.summary,
    }:
        return True
    log.info("run.not_in_progress", status=state.status)
    return False
