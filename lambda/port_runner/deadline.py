"""The time that is left in an invocation, and a call that cannot exceed it."""

import contextvars
import ctypes
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from opcode import opmap
from types import FrameType
from typing import Any

# The time for the answer to Lambda, and for a record to the failure queue, at the very end.
RESERVE_SECONDS = 0.3
# If an invocation has little time, a share of it is used instead.
SMALLEST_SHARE = 0.5
# Without any margin, handlers would work until after the time for reports.
SMALLEST_MARGIN_SECONDS = 1.0
RESERVE_SHARE = 0.1
# The time that a handler's thread may take to leave after it was told to, and the time between two looks at it.
LEAVE_SECONDS = 0.1
LOOK_SECONDS = 0.005
# The times that a thread may catch `TimeIsUp` and continue, in one call of `abandon`.
MOST_THROWS = 5

MOST_CAUSES = 10
# The instruction at the entry of a function. With another argument, it is where a generator continues.
ENTRY = bytes([opmap["RESUME"], 0])

# Modules, and packages with all of their modules, in which an exception would harm the whole process.
UNSAFE_MODULES = frozenset(
    {
        "importlib",  # a module stays half imported, and its lock held
        "_frozen_importlib",  # the same, under the names that it has before `importlib` is imported
        "_frozen_importlib_external",
        "threading",  # the lock of a condition, an event or a semaphore stays held
        "queue",  # the same
        "concurrent",  # a pool that several handlers use loses its work or its workers
        "logging",  # a line is half written
        "http.cookiejar",  # takes its lock before the `try` that releases it; the session with Port has one
        "tempfile",  # the same, at its first use
    }
)


class TimeIsUp(BaseException):
    """Raised inside a handler whose time is up. Not an ``Exception``, so ``except Exception`` does not catch it."""

    def __init__(self) -> None:
        """Note where it is raised: Python makes the exception in the handler's thread, at that place."""
        super().__init__()
        call: Call | None = getattr(_of_this_thread, "call", None)
        if call is None:
            return
        frame = sys._getframe(1)
        if _is_at_entry(frame):
            _finish_exit(frame, self)
        call._was_raised()


@dataclass(frozen=True)
class Deadline:
    """Two moments of ``time.monotonic()``: a handler may run until *work*, Port may be called until *report*."""

    work: float
    report: float

    @classmethod
    def after(cls, seconds: float, *, margin: float) -> "Deadline":
        """Return the deadline of an invocation with *seconds* left. The last *margin*, at most half, is for reports."""
        end = time.monotonic() + seconds
        margin = max(margin, SMALLEST_MARGIN_SECONDS)
        return cls(
            work=end - min(margin, seconds * SMALLEST_SHARE),
            report=end - min(RESERVE_SECONDS, seconds * RESERVE_SHARE),
        )

    @property
    def work_seconds(self) -> float:
        """The seconds that are left for handlers. Negative after *work*."""
        return self.work - time.monotonic()


class Call:
    """A call of *function* in its own thread, so that the caller can stop waiting for it.

    ``TimeIsUp`` is raised in an abandoned thread: at once while it runs Python code, or when its sleep or system call
    returns. The thread then only leaves, even if it wakes up in a later invocation. While it is where an exception
    would harm the process, nothing is raised in it.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._result: Any = None
        self._error: BaseException | None = None
        self._pending = False  # `TimeIsUp` is on its way into the thread
        self._context = contextvars.copy_context()
        self._thread = threading.Thread(target=self._context.run, args=(self._run,), name="handler", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        _of_this_thread.call = self
        try:
            try:
                self._result = self._function()
            except BaseException as error:  # every error is for the caller
                self._error = error
            for _ in range(2):  # a loop is where Python raises a `TimeIsUp` that comes too late
                pass
        except TimeIsUp:
            pass

    def wait(self, seconds: float) -> bool:
        """Wait at most *seconds* and return whether the call has finished."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def result(self) -> Any:
        """Return the function's result, or raise its error."""
        if self._error is not None:
            raise self._error
        return self._result

    def abandon(self) -> bool:
        """Make the thread leave, and return whether it has left already."""
        throws, until = 0, time.monotonic() + LEAVE_SECONDS
        while not self.wait(LOOK_SECONDS):
            if throws < MOST_THROWS and not self._pending and self._can_be_thrown_into():
                throws += 1
                self._throw()
            elif time.monotonic() >= until:
                return False
        return True

    def _can_be_thrown_into(self) -> bool:
        ident = self._thread.ident or 0
        frame = sys._current_frames().get(ident)
        if frame is None or frame.f_code is _RUN or _is_unsafe(frame):  # in `_run` itself, the function has ended
            return False
        return not _is_about_time(sys._current_exceptions().get(ident))

    def _throw(self) -> None:
        # This thread has just got the GIL, and loses it to another no sooner than after 5 ms. So the other thread is
        # still where it was seen. It does not raise the exception there, but at the next of these places: the entry of
        # a function, the end of a loop's round, or after a call of a function in C. From outside the unsafe modules,
        # it can get as far as the entry of one of their functions, where that has not locked anything yet.
        # ``TimeIsUp`` itself sees to the exception to this rule.
        self._pending = True
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident or 0), ctypes.py_object(TimeIsUp))

    def _was_raised(self) -> None:
        self._pending = False


_RUN = Call._run.__code__
_of_this_thread = threading.local()


def _is_unsafe(frame: FrameType | None) -> bool:
    """Return whether an exception would do harm in a handler's thread at *frame*: there, or in a caller of it."""
    while frame is not None and frame.f_code is not _RUN:
        module = str(frame.f_globals.get("__name__"))
        if module in UNSAFE_MODULES or module.partition(".")[0] in UNSAFE_MODULES or module == __name__:
            return True
        if frame.f_code.co_name in ("__enter__", "__exit__"):  # by half, what is changed would not be restored
            return True
        frame = frame.f_back
    return frame is None  # the thread is not in the handler


def _is_at_entry(frame: FrameType) -> bool:
    return frame.f_code.co_code[frame.f_lasti : frame.f_lasti + 2] == ENTRY


def _finish_exit(frame: FrameType, time_is_up: TimeIsUp) -> None:
    """Call the ``__exit__`` at whose entry *time_is_up* is raised, as if it had been raised in the block before.

    After a block that ended without an exception, nothing would call it again: a condition would stay locked.
    """
    code = frame.f_code
    if code.co_name != "__exit__" or code.co_argcount == 0:
        return
    manager = frame.f_locals[code.co_varnames[0]]
    function = getattr(type(manager), "__exit__", None)
    if function is not None and getattr(function, "__code__", None) is code:
        with suppress(BaseException):
            function(manager, TimeIsUp, time_is_up, None)


def _is_about_time(error: BaseException | None) -> bool:
    """Return whether a thread that handles *error* is on its way out after ``TimeIsUp``."""
    for _ in range(MOST_CAUSES):  # causes can form a circle
        if error is None or isinstance(error, TimeIsUp):
            break
        error = error.__context__
    return isinstance(error, TimeIsUp)
