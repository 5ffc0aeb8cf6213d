"""The time that is left in an invocation, and a call that cannot exceed it."""

import contextvars
import ctypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# The time for the answer to Lambda, and for a record to the failure queue, at the very end.
RESERVE_SECONDS = 0.3
# If an invocation has little time, a share of it is used instead.
SMALLEST_SHARE = 0.5
# Without any margin, handlers would work until after the time for reports.
SMALLEST_MARGIN_SECONDS = 1.0
RESERVE_SHARE = 0.1
# The time that a handler's thread may take to leave after it was told to.
LEAVE_SECONDS = 0.1


class TimeIsUp(BaseException):
    """Raised inside a handler whose time is up. Not an ``Exception``, so ``except Exception`` does not catch it."""


@dataclass(frozen=True)
class Deadline:
    """Moments of ``time.monotonic()``: a handler may run until *work*, Port may be called until *report*.

    The invocation ends at *end*. *began* is the moment at which its work began.
    """

    began: float
    work: float
    report: float
    end: float

    @classmethod
    def after(cls, seconds: float, *, margin: float) -> "Deadline":
        """Return the deadline of an invocation with *seconds* left. The last *margin*, at most half, is for reports."""
        began = time.monotonic()
        end = began + seconds
        margin = max(margin, SMALLEST_MARGIN_SECONDS)
        return cls(
            began=began,
            work=end - min(margin, seconds * SMALLEST_SHARE),
            report=end - min(RESERVE_SECONDS, seconds * RESERVE_SHARE),
            end=end,
        )

    @property
    def work_seconds(self) -> float:
        """The seconds that are left for handlers. Negative after *work*."""
        return self.work - time.monotonic()

    @property
    def all_work_seconds(self) -> float:
        """The seconds that the invocation had for handlers when it began."""
        return self.work - self.began

    @property
    def end_of_epoch(self) -> float:
        """The end of the invocation in seconds of the epoch, which other invocations can compare with their clock."""
        return time.time() + self.end - time.monotonic()


class Call:
    """A call of *function* in its own thread, so that the caller can stop waiting for it.

    ``TimeIsUp`` is raised in an abandoned thread: at once while it runs Python code, or when its sleep or system call
    returns. The thread then only leaves, even if it wakes up in a later invocation.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._finished = threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="handler", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # every error is for the caller
            self._error = error
        finally:
            self._finished.set()

    def wait(self, seconds: float) -> bool:
        """Wait at most *seconds* and return whether the call has finished."""
        return self._finished.wait(max(0.0, seconds))

    def result(self) -> Any:
        """Return the function's result, or raise its error."""
        if self._error is not None:
            raise self._error
        return self._result

    def abandon(self) -> bool:
        """Make the thread leave, and return whether it has left already."""
        if self._thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(TimeIsUp))
        return self._finished.wait(LEAVE_SECONDS)
