"""The lines that a handler writes to its run's log, on their way to Port."""

import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable

from .errors import PortRunnerError, PortUnavailableError
from .logs import log

# In characters, each of which takes up to twelve bytes in JSON. Port accepts 1 MiB.
LONGEST_TEXT = 80_000
# The first line is sent at once. Then the pauses double, so that a long run sends about one request a second.
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
# The time that one request may take while the handler works.
PATIENCE_SECONDS = 3.0


class RunLog:
    """Sends lines in a thread of its own while the handler works, so that the handler does not wait for Port.

    *send* takes a text and the moment of ``time.monotonic()`` until which Port may be called. It raises
    ``PortRunnerError``. Lines keep their order. A failure here never fails the action.
    """

    def __init__(self, send: Callable[[str, float], None]) -> None:
        self._send = send
        self._lines: deque[str] = deque()
        self._added = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._until: float | None = None

    @property
    def waiting(self) -> list[str]:
        """The lines that were not sent yet."""
        return list(self._lines)

    def open(self, until: float) -> None:
        """Send lines as they are added, until the moment *until*. Before this call, they only wait."""
        self._until = until

    def add(self, line: str) -> None:
        """Add a line."""
        self._lines.append(line)
        self._added.set()
        if self._thread is None and self._until is not None:
            self._start()

    def close(self, until: float) -> None:
        """Send what is left, until the moment *until*. Lines that Port cannot take by then wait for another call."""
        self._closed.set()
        self._added.set()
        if self._thread is not None:
            self._thread.join(max(0.0, until - time.monotonic()))
            if self._thread.is_alive():  # its lines come first, so nothing more can be sent now
                log.warning("run.log_not_sent", lines=len(self._lines))
                return
            self._thread = None
        self._send_lines(until)

    def _start(self) -> None:
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._work,), name="run log", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the process has no room for another thread: the lines are sent at the end
            return
        self._thread = thread

    def _work(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._closed.is_set():
            self._added.wait()
            self._added.clear()
            if self._closed.is_set():
                return
            self._send_lines(min(self._until or 0.0, time.monotonic() + PATIENCE_SECONDS))
            self._closed.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _send_lines(self, until: float) -> None:
        """Send the waiting lines as one entry, or as several if they are long."""
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        text = "\n".join(lines)
        while text:
            try:
                self._send(text[:LONGEST_TEXT], until)
            except PortRunnerError as error:
                log.warning("run.log_not_sent", error=error, characters=len(text))
                if isinstance(error, PortUnavailableError):
                    self._lines.appendleft(text)
                return
            text = text[LONGEST_TEXT:]
