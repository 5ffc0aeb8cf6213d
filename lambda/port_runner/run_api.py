"""Calls about one run: action runs and workflow node runs have different calls and words in Port."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .errors import PortApiError
from .outcomes import Failure, InProgress, Success
from .port_api import PortClient

IN_PROGRESS = "IN_PROGRESS"
# A declined approval ends a run too.
ENDED = frozenset({"SUCCESS", "FAILURE", "DECLINED"})
NODE_RESULTS = {"SUCCESS": "SUCCESS", "FAILURE": "FAILED"}
HANDED_OVER = "Handed over: what goes on elsewhere ends this run."  # english: ok


@dataclass(frozen=True)
class RunState:
    """A run as Port has it. A value that Port does not give is ``None``."""

    status: str = IN_PROGRESS
    label: str | None = None
    action: str | None = None
    blueprint: str | None = None
    entity_identifier: str | None = None
    inputs: Mapping[str, Any] | None = None

    @property
    def has_ended(self) -> bool:
        """Return whether the run is over, so that Port accepts no more reports about it."""
        return self.status in ENDED

    @property
    def is_in_progress(self) -> bool:
        """Return whether the run is in progress. A run that waits for an approval is not, and has not ended either."""
        return self.status == IN_PROGRESS


class RunApi(Protocol):
    """The calls about one kind of run. Every call takes *until* and raises as ``PortClient`` does."""

    def entity_run_id(self, run_id: str) -> str | None:
        """Return the id of the run that entities can refer to, or ``None``."""

    def read(self, run_id: str, *, until: float) -> RunState:
        """Return the run as Port has it."""

    def was_handed_over(self, run_id: str, *, until: float) -> bool:
        """Return whether a handler has handed the run over, so that another system will end it."""

    def has_ended(self, run_id: str, *, until: float) -> bool:
        """Return whether the run has ended. Called after Port refused a report about it."""

    def note(
        self,
        run_id: str,
        *,
        until: float,
        label: str | None = None,
        links: Sequence[str] | None = None,
        external_run_id: str | None = None,
    ) -> None:
        """Update the label, links or external id of a run in progress."""

    def add_lines(self, run_id: str, text: str, *, until: float) -> None:
        """Add *text* to the run's log."""

    def hand_over(self, run_id: str, outcome: InProgress, links: Sequence[str], *, until: float) -> None:
        """Hand the run over to another system."""

    def end(self, run_id: str, outcome: Success | Failure, links: Sequence[str], *, until: float) -> None:
        """End the run, with its summary, label and links."""


class ActionRunApi:
    """An action run: ``/v1/actions/runs``. The status is set only to end it, because Port starts it as IN_PROGRESS."""

    def __init__(self, port: PortClient) -> None:
        self._port = port

    def entity_run_id(self, run_id: str) -> str | None:
        return run_id

    def read(self, run_id: str, *, until: float) -> RunState:
        run = self._port.get_run(run_id, until=until)
        inputs = run.get("properties")
        return RunState(
            status=run.get("status") or IN_PROGRESS,
            label=run.get("statusLabel"),
            action=_identifier(run.get("action")),
            blueprint=_identifier(run.get("blueprint")),
            entity_identifier=_identifier(run.get("entity")),
            inputs=inputs if isinstance(inputs, Mapping) else None,
        )

    def was_handed_over(self, run_id: str, *, until: float) -> bool:
        # A run's log only grows, so nothing that the pipeline does with label and links can hide this line.
        return HANDED_OVER in self._port.run_log(run_id, until=until)

    def has_ended(self, run_id: str, *, until: float) -> bool:
        return self.read(run_id, until=until).has_ended

    def note(
        self,
        run_id: str,
        *,
        until: float,
        label: str | None = None,
        links: Sequence[str] | None = None,
        external_run_id: str | None = None,
    ) -> None:
        changes = _given(statusLabel=label, link=links, externalRunId=external_run_id)
        self._port.update_run(run_id, until=until, **changes)

    def add_lines(self, run_id: str, text: str, *, until: float) -> None:
        self._port.add_run_log(run_id, text, until=until)

    def hand_over(self, run_id: str, outcome: InProgress, links: Sequence[str], *, until: float) -> None:
        if outcome.link or outcome.external_run_id:
            self.note(run_id, links=links, external_run_id=outcome.external_run_id, until=until)
        self._port.add_run_log(run_id, HANDED_OVER, statusLabel=outcome.label, until=until)

    def end(self, run_id: str, outcome: Success | Failure, links: Sequence[str], *, until: float) -> None:
        shown = _given(statusLabel=outcome.label, link=links, summary=outcome.summary)
        self._port.update_run(run_id, until=until, status=outcome.status, **shown)


class NodeRunApi:
    """A workflow node run: ``/v1/workflows/nodes/runs``.

    It ends as ``COMPLETED`` with a result, ``SUCCESS`` or ``FAILED``. Port has no call that reads such a run, so an
    earlier start cannot be detected.
    """

    def __init__(self, port: PortClient) -> None:
        self._port = port

    def entity_run_id(self, run_id: str) -> str | None:  # noqa: ARG002
        return None  # entities refer only to action runs

    def read(self, run_id: str, *, until: float) -> RunState:  # noqa: ARG002
        return RunState()

    def was_handed_over(self, run_id: str, *, until: float) -> bool:  # noqa: ARG002
        return False

    def has_ended(self, run_id: str, *, until: float) -> bool:  # noqa: ARG002
        return True  # the likeliest reason for a refused report; no call can tell the others apart

    def note(
        self,
        run_id: str,
        *,
        until: float,
        label: str | None = None,
        links: Sequence[str] | None = None,
        external_run_id: str | None = None,
    ) -> None:
        changes = _given(statusLabel=label, links=links, externalRunId=external_run_id)
        self._port.update_node_run(run_id, until=until, **changes)

    def add_lines(self, run_id: str, text: str, *, until: float) -> None:
        self._port.add_node_run_log(run_id, text, until=until)

    def hand_over(self, run_id: str, outcome: InProgress, links: Sequence[str], *, until: float) -> None:
        self.note(run_id, label=outcome.label, links=links, external_run_id=outcome.external_run_id, until=until)

    def end(self, run_id: str, outcome: Success | Failure, links: Sequence[str], *, until: float) -> None:
        shown = _given(
            statusLabel=outcome.label,
            links=links,
            output=_given(summary=outcome.summary),
            logs=[{"logLevel": "INFO", "log": outcome.summary}] if outcome.summary else None,
        )
        self._port.update_node_run(run_id, until=until, **self._status(outcome), **shown)

    def _status(self, outcome: Success | Failure) -> dict[str, str]:
        return {"status": "COMPLETED", "result": NODE_RESULTS[outcome.status]}


def _identifier(value: Any) -> str | None:
    """Return the identifier in an object, or the value itself in the older of Port's two forms of a run."""
    identifier = value.get("identifier") if isinstance(value, Mapping) else value
    return identifier if isinstance(identifier, str) else None


def is_refusal(error: PortApiError) -> bool:
    """Return whether Port would refuse the same request again, for its content or for the state of its run."""
    return error.status in (400, 410, 413, 422)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
