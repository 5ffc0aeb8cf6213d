"""The starts of runs: the invocation that works on a run, and how often the run was started.

Lambda can deliver a record twice, also while the first delivery is still at work. The journal in the run's log tells
the second one until when the first can live.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from .bounded import BoundedDict
from .deadline import Deadline
from .errors import PortRunnerError
from .journal import Entry, GivenBack, Started
from .logs import log
from .run import ActionRun
from .run_api import RunApi, RunState

REMEMBERED_RUNS = 1000
# While another invocation is at work, the run is read at growing intervals: it may end long before its time.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 8.0
# If the other invocation outlives this one, this one waits only so long: the next delivery can wait as well.
PATIENCE_SECONDS = 5.0
GIVE_BACK_SECONDS = 3.0


class Starts:
    """Decides whether a run can be started, and notes each start in the run's journal."""

    def __init__(self) -> None:
        # What this process knows and the journal perhaps does not: no handler works on a start, as the entry says.
        self._given_back: BoundedDict[str, tuple[Started, GivenBack]] = BoundedDict(REMEMBERED_RUNS)
        self._in_work: set[str] = set()
        self._changed = threading.Condition()

    @contextmanager
    def alone(self, run_id: str, until: float) -> Iterator[bool]:
        """Keep other threads from the run, and yield whether another thread was at work on it before.

        Two records of one event can name the same run. Raises ``PortRunnerError`` if the other thread takes too long.
        """
        with self._changed:
            had_to_wait = run_id in self._in_work
            if not self._changed.wait_for(lambda: run_id not in self._in_work, max(0.0, until - time.monotonic())):
                raise PortRunnerError("another record of its run is still being processed")
            self._in_work.add(run_id)
        try:
            yield had_to_wait
        finally:
            with self._changed:
                self._in_work.discard(run_id)
                self._changed.notify_all()

    def last_entry(self, run_id: str, state: RunState, run_api: RunApi, *, until: float) -> Entry | None:
        """Return the journal's newest entry about the run, or ``None`` if it was never started.

        The journal is read only if the run has a label: each start sets one.
        """
        if state.label is None:
            return None
        entry = run_api.last_entry(run_id, until=until)
        started, given_back = self._given_back.get(run_id) or (None, None)
        return given_back if entry is not None and entry == started else entry

    def wait_for_other(self, started: Started, pauses: int, deadline: Deadline) -> None:
        """Wait a while for the invocation that may be at work. Raises ``PortRunnerError`` if it may take too long.

        *pauses* is the number of earlier calls for the same run.
        """
        now = time.monotonic()
        ends_in_time = now + started.seconds_left < deadline.work
        until = deadline.work if ends_in_time else min(deadline.work, deadline.began + PATIENCE_SECONDS)
        log.info("run.in_work_elsewhere", request=started.request, seconds=round(started.seconds_left, 1))
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(pauses, 10), LONGEST_PAUSE_SECONDS, started.seconds_left)
        time.sleep(max(0.0, min(pause, until - now)))
        if now + pause >= until:
            raise PortRunnerError(f"another invocation may be at work on its run for {started.seconds_left:.0f} s")

    def mark(self, started: Started, run: ActionRun[Any], *, until: float) -> None:
        """Note in Port that the handler is about to start. In this process, the start counts from ``began`` on."""
        self._given_back[run.id] = started, GivenBack(started.number - 1)
        run._run_api.start(run.id, started, run._log_url, until=until)

    def began(self, run: ActionRun[Any]) -> None:
        """Count the marked start: its handler runs."""
        self._given_back.discard(run.id)

    def give_back(self, started: Started, reason: str, run: ActionRun[Any], *, until: float) -> None:
        """Let the next delivery start the run at once. If Port does not answer, only this process knows of it.

        The start counts if its handler began. *reason* is for people.
        """
        not_begun = self._given_back.get(run.id)
        entry = not_begun[1] if not_begun is not None else GivenBack(started.number)
        self._given_back[run.id] = started, entry
        with suppress(PortRunnerError):
            run._run_api.give_back(run.id, entry, reason, until=min(until, time.monotonic() + GIVE_BACK_SECONDS))
