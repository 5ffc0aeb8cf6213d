"""How much of the invocation's time is left, and a call that cannot use more of it than it may."""

import contextvars
import ctypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# What the answer to Lambda, and a record for the failure queue, need at the very end.
RESERVE_SECONDS = 0.3
# A part of what the invocation got is enough where that is little.
SMALLEST_SHARE = 0.5
RESERVE_SHARE = 0.1
# How long a handler's thread may take to leave once it was told to.
LEAVE_SECONDS = 0.1


class TimeIsUp(BaseException):
    """Raised inside a handler whose time is up. No ``Exception``, so that ``except Exception`` does not hold it."""


@dataclass(frozen=True)
class Deadline:
    """Two moments of ``time.monotonic()``: until *work* a handler may run, until *report* Port may be told of it."""

    work: float
    report: float

    @classmethod
    def after(cls, seconds: float, *, margin: float) -> "Deadline":
        """For an invocation that has *seconds* left, of which the last *margin*, but at most half, are for reports."""
        end = time.monotonic() + seconds
        return cls(
            work=end - min(margin, seconds * SMALLEST_SHARE),
            report=end - min(RESERVE_SECONDS, seconds * RESERVE_SHARE),
        )

    @property
    def work_seconds(self) -> float:
        """What is left for handlers; negative when it is used up."""
        return self.work - time.monotonic()


class Call:
    """*function* called in a thread of its own, so that its caller can stop waiting for it.

    The thread is abandoned with ``TimeIsUp`` raised in it: at once if it runs Python code, or as soon as the sleep or
    the system call that it is in returns. It does nothing more then but leave, whatever invocation it wakes up in.
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
        except BaseException as error:  # whatever it is, it is the caller's to see
            self._error = error
        finally:
            self._finished.set()

    def wait(self, seconds: float) -> bool:
        """Whether the call has finished, after waiting for it at most *seconds*."""
        return self._finished.wait(max(0.0, seconds))

    def result(self) -> Any:
        """What the function returned; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._result

    def abandon(self) -> bool:
        """Make the thread leave, and say whether it has left already."""
        if self._thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(TimeIsUp))
        return self._finished.wait(LEAVE_SECONDS)
