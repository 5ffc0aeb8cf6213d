"""Calls about one run: action runs and workflow node runs have different calls and words in Port."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .errors import PortApiError
from .journal import Entry, GivenBack, HandedOver, Started, last_entry, not_an_entry
from .logs import log
from .outcomes import Failure, InProgress, Success, list_links
from .port_api import PortClient

IN_PROGRESS = "IN_PROGRESS"
# A declined approval ends a run too.
ENDED = frozenset({"SUCCESS", "FAILURE", "DECLINED"})
NODE_RESULTS = {"SUCCESS": "SUCCESS", "FAILURE": "FAILED"}
RUNNING = "Running"
# Port's code for a change of a run that has ended.
RUN_EXHAUSTED = "run_exhausted"


@dataclass(frozen=True)
class RunState:
    """A run as Port has it. A value that Port does not give is ``None``."""

    status: str = IN_PROGRESS
    label: str | None = None
    summary: str | None = None
    links: Sequence[str] = ()
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

    @property
    def can_be_read(self) -> bool:
        """Return whether Port has calls that read such a run and its log."""

    def entity_run_id(self, run_id: str) -> str | None:
        """Return the id of the run that entities can refer to, or ``None``."""

    def read(self, run_id: str, *, until: float) -> RunState:
        """Return the run as Port has it."""

    def last_entry(self, run_id: str, *, until: float) -> Entry | None:
        """Return the newest entry of the run's journal."""

    def start(self, run_id: str, started: Started, log_url: str | None, *, until: float) -> None:
        """Add the entry to the run's journal, and show that the run is running."""

    def give_back(self, run_id: str, entry: GivenBack, reason: str, *, until: float) -> None:
        """Add the entry to the run's journal. *reason* is for people."""

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

    def hand_over(self, run_id: str, outcome: InProgress, links: Sequence[str], *, label: str, until: float) -> None:
        """Hand the run over to another system. *label* is the label that the run had last from this function."""

    def end(self, run_id: str, outcome: Success | Failure, links: Sequence[str], *, until: float) -> None:
        """End the run, with its summary, label and links."""


class ActionRunApi:
    """An action run: ``/v1/actions/runs``. The status is set only to end it, because Port starts it as IN_PROGRESS."""

    def __init__(self, port: PortClient) -> None:
        self._port = port

    @property
    def can_be_read(self) -> bool:
        return True

    def entity_run_id(self, run_id: str) -> str | None:
        return run_id

    def read(self, run_id: str, *, until: float) -> RunState:
        run = self._port.get_run(run_id, until=until)
        inputs, links = run.get("properties"), run.get("link")
        return RunState(
            status=run.get("status") or IN_PROGRESS,
            label=run.get("statusLabel"),
            summary=run.get("summary"),
            links=list_links(links) if isinstance(links, str | list) else (),
            action=_identifier(run.get("action")),
            blueprint=_identifier(run.get("blueprint")),
            entity_identifier=_identifier(run.get("entity")),
            inputs=inputs if isinstance(inputs, Mapping) else None,
        )

    def last_entry(self, run_id: str, *, until: float) -> Entry | None:
        return last_entry(lambda offset: self._port.run_log(run_id, offset=offset, until=until))

    def start(self, run_id: str, started: Started, log_url: str | None, *, until: float) -> None:
        self._port.add_run_log(run_id, started.text(log_url), statusLabel=RUNNING, until=until)

    def give_back(self, run_id: str, entry: GivenBack, reason: str, *, until: float) -> None:
        self._port.add_run_log(run_id, entry.text(reason), until=until)

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
        self._port.add_run_log(run_id, not_an_entry(text), until=until)

    def hand_over(self, run_id: str, outcome: InProgress, links: Sequence[str], *, label: str, until: float) -> None:
        # The entry first: if the rest is lost, the next delivery leaves the run alone all the same.
        self._port.add_run_log(run_id, HandedOver().text(), until=until)
        state = self.read(run_id, until=until)
        if state.has_ended:
            return
        changes = _given(
            # A fast system may have set its own already. Port keeps only what was sent last.
            label=outcome.label if state.label in (None, label) else None,
            links=[*state.links, *(link for link in links if link not in state.links)] if outcome.link else None,
            external_run_id=outcome.external_run_id,
        )
        if changes:
            self.note(run_id, until=until, **changes)

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

    @property
    def can_be_read(self) -> bool:
        return False

    def entity_run_id(self, run_id: str) -> str | None:  # noqa: ARG002
        return None  # entities refer only to action runs

    def read(self, run_id: str, *, until: float) -> RunState:  # noqa: ARG002
        return RunState()

    def last_entry(self, run_id: str, *, until: float) -> Entry | None:  # noqa: ARG002
        return None

    def start(self, run_id: str, started: Started, log_url: str | None, *, until: float) -> None:  # noqa: ARG002
        self._update(run_id, {}, _given(statusLabel=RUNNING, links=list_links(log_url)), until)

    def give_back(self, run_id: str, entry: GivenBack, reason: str, *, until: float) -> None:
        """Do nothing. Port has no call that reads the log of a node run, so no delivery would find the entry."""

    def note(
        self,
        run_id: str,
        *,
        until: float,
        label: str | None = None,
        links: Sequence[str] | None = None,
        external_run_id: str | None = None,
    ) -> None:
        self._update(run_id, {}, _given(statusLabel=label, links=links, externalRunId=external_run_id), until)

    def add_lines(self, run_id: str, text: str, *, until: float) -> None:
        self._port.add_node_run_log(run_id, text, until=until)

    def hand_over(
        self,
        run_id: str,
        outcome: InProgress,
        links: Sequence[str],
        *,
        label: str,  # noqa: ARG002
        until: float,
    ) -> None:
        self.note(run_id, label=outcome.label, links=links, external_run_id=outcome.external_run_id, until=until)

    def end(self, run_id: str, outcome: Success | Failure, links: Sequence[str], *, until: float) -> None:
        published = _given(
            status="COMPLETED",
            result=NODE_RESULTS[outcome.status],
            output=_given(summary=outcome.summary),
            logs=[{"logLevel": "INFO", "log": outcome.summary}] if outcome.summary else None,
        )
        self._update(run_id, published, _given(statusLabel=outcome.label, links=links), until)

    def _update(self, run_id: str, published: Mapping[str, Any], unpublished: Mapping[str, Any], until: float) -> None:
        """Send both, or only the *published* fields if Port refuses the others.

        Port's contract names status, result, output and logs. Its own integrations also send a label, links and an
        external id.
        """
        try:
            self._port.update_node_run(run_id, until=until, **published, **unpublished)
        except PortApiError as error:
            if not is_refusal(error) or error.code == RUN_EXHAUSTED or not unpublished:
                raise
            log.warning("run.not_shown", fields=sorted(unpublished), status=error.status, code=error.code)
            if published:
                self._port.update_node_run(run_id, until=until, **published)


def _identifier(value: Any) -> str | None:
    """Return the identifier in an object, or the value itself in the older of Port's two forms of a run."""
    identifier = value.get("identifier") if isinstance(value, Mapping) else value
    return identifier if isinstance(identifier, str) else None


def is_refusal(error: PortApiError) -> bool:
    """Return whether Port would refuse the same request again, for its content or for the state of its run."""
    return error.status in (400, 410, 413, 422)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
