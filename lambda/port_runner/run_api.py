"""How Port is told of a run: an action's run and the run of a workflow's node have calls and words of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .errors import PortApiError
from .outcomes import Failure, InProgress, Success
from .port_api import PortClient

IN_PROGRESS = "IN_PROGRESS"
NODE_RESULTS = {"SUCCESS": "SUCCESS", "FAILURE": "FAILED"}
HANDED_OVER = "Handed over: what goes on elsewhere ends this run."


@dataclass(frozen=True)
class RunState:
    """A run as Port has it; what Port does not say is ``None``."""

    status: str = IN_PROGRESS
    label: str | None = None
    action: str | None = None
    blueprint: str | None = None
    entity_identifier: str | None = None
    inputs: Mapping[str, Any] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing can be reported of it any more."""
        return self.status != IN_PROGRESS


class RunApi(Protocol):
    """What one kind of run can be told. Every call takes the moment *until* and raises as ``PortClient`` does."""

    def run_id_of_entities(self, run_id: str) -> str | None:
        """The run that entities can be tied to."""

    def read(self, run_id: str, *, until: float) -> RunState:
        """The run as Port has it."""

    def was_handed_over(self, run_id: str, *, until: float) -> bool:
        """Whether a handler has left the run to something else, which will end it."""

    def has_ended(self, run_id: str, *, until: float) -> bool:
        """Whether the run has ended, asked after Port refused a report about it."""

    def note(
        self,
        run_id: str,
        *,
        until: float,
        label: str | None = None,
        links: Sequence[str] | None = None,
        external_run_id: str | None = None,
    ) -> None:
        """Show how the run goes on."""

    def add_lines(self, run_id: str, text: str, *, until: float) -> None:
        """Add *text* to the run's log."""

    def hand_over(self, run_id: str, outcome: InProgress, links: Sequence[str], *, until: float) -> None:
        """Leave the run to something else."""

    def end(self, run_id: str, outcome: Success | Failure, links: Sequence[str], *, until: float) -> None:
        """End the run with all there is to show."""


class ActionRunApi:
    """The run of an action: ``/v1/actions/runs``. Its status is never set but to end it: it is in progress already."""

    def __init__(self, port: PortClient) -> None:
        self._port = port

    def run_id_of_entities(self, run_id: str) -> str | None:
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
        # A run's log only grows, so whatever the pipeline does with label and links cannot hide this line.
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
    """The run of a workflow's node: ``/v1/workflows/nodes/runs``.

    It is ``COMPLETED`` with a result, of which the bad one is ``FAILED``. Port has no call that reads such a run, so
    whether one was started before cannot be known.
    """

    def __init__(self, port: PortClient) -> None:
        self._port = port

    def run_id_of_entities(self, run_id: str) -> str | None:  # noqa: ARG002
        return None  # entities are tied to the runs of actions only

    def read(self, run_id: str, *, until: float) -> RunState:  # noqa: ARG002
        return RunState()

    def was_handed_over(self, run_id: str, *, until: float) -> bool:  # noqa: ARG002
        return False

    def has_ended(self, run_id: str, *, until: float) -> bool:  # noqa: ARG002
        return True  # the likeliest reason for refusing a report, and no other can be made sure of

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
    """Of an object, or in the older of Port's two forms of a run of the identifier itself."""
    identifier = value.get("identifier") if isinstance(value, Mapping) else value
    return identifier if isinstance(identifier, str) else None


def is_refusal(error: PortApiError) -> bool:
    """Whether Port would refuse the same request again, for what it holds or for the state of its run."""
    return error.status in (400, 413, 422)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
