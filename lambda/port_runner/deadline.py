"""The time that is left in an invocation, and a call that cannot exceed it."""

import contextvars
import ctypes
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from opcode import opmap
from types import FrameType
from typing import Any

from .logs import log

# The time for the answer to Lambda, and for a record to the failure queue, at the very end.
RESERVE_SECONDS = 0.3
# If an invocation has little time, a share of it is used instead.
SMALLEST_SHARE = 0.5
# Without any margin, handlers would work until after the time for reports.
SMALLEST_MARGIN_SECONDS = 1.0
RESERVE_SHARE = 0.1
# The time that a handler's thread may take to leave after it was told to, and again at the next event, when there is
# more time, and a fresh process costs more. It is looked at again and again.
LEAVE_SECONDS = 0.1
LEAVE_LATER_SECONDS = 1.0
LOOK_SECONDS = 0.005
# The times that a thread may catch `TimeIsUp` and continue, in one call of `abandon`.
MOST_THROWS = 5

MOST_CAUSES = 10
MOST_FRAMES = 50
# The instruction at the entry of a function. With another argument, it is where a generator continues.
ENTRY = bytes([opmap["RESUME"], 0])
ADVICE = (
    "A handler's thread did not end when its time was up, so this process ends, and Lambda delivers the event to a new "
    "one. Give each wait in the handler a timeout that fits into run.seconds_left, and let TimeIsUp pass."
)

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
        frame: FrameType | None = sys._getframe(1)
        if frame is not None and _is_at_entry(frame):
            _finish_exit(frame, self)
            frame = frame.f_back  # the function was not begun
        call._was_raised(harmful=_is_unsafe(frame))


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
    returns. The thread then only leaves, even if it wakes up in a later invocation. While it is where an exception
    would harm the process, nothing is raised in it.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._result: Any = None
        self._error: BaseException | None = None
        self._pending = False  # `TimeIsUp` is on its way into the thread
        self._harmful = False  # it was raised where it harms the process
        self._context = contextvars.copy_context()
        self._thread = threading.Thread(target=self._context.run, args=(self._run,), name="handler", daemon=True)
        self.began = time.monotonic()
        """The moment of ``time.monotonic()`` just before the function began."""
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
        has_left = self._make_leave(LEAVE_SECONDS)
        if not has_left or self._harmful:
            _abandoned.append(self)
        if not has_left and not self._pending:
            with suppress(RuntimeError):  # the process has no room for another thread: the next event looks again
                threading.Thread(target=self._keep_looking, name="leave", daemon=True).start()
        return has_left

    def _keep_looking(self) -> None:
        """Make the thread leave as soon as it can be thrown into, so that it does not continue the handler's work."""
        while not self._make_leave(LEAVE_LATER_SECONDS) and not self._pending:
            pass

    def _make_leave(self, seconds: float, *, interrupt_cleanup: bool = False) -> bool:
        """Raise ``TimeIsUp`` in the thread until it leaves, within *seconds*. Return whether it has left.

        Without *interrupt_cleanup*, a thread that handles a ``TimeIsUp`` is left alone.
        """
        throws, until = 0, time.monotonic() + seconds
        while not self.wait(LOOK_SECONDS):
            if throws < MOST_THROWS and not self._pending and self._can_be_thrown_into(interrupt_cleanup):
                throws += 1
                self._throw()
            elif time.monotonic() >= until:
                return False
        return True

    def _can_be_thrown_into(self, interrupt_cleanup: bool) -> bool:
        ident = self._thread.ident or 0
        frame = sys._current_frames().get(ident)
        if frame is None or frame.f_code is _RUN or _is_unsafe(frame):  # in `_run` itself, the function has ended
            return False
        return interrupt_cleanup or not _is_about_time(sys._current_exceptions().get(ident))

    def _throw(self) -> None:
        # This thread has just got the GIL, and loses it to another no sooner than after 5 ms. So the other thread is
        # still where it was seen. It does not raise the exception there, but at the next of these places: the entry of
        # a function, the end of a loop's round, or after a call of a function in C. From outside the unsafe modules,
        # it can get as far as the entry of one of their functions, where that has not locked anything yet.
        # ``TimeIsUp`` itself sees to the exception to this rule, and to what a slow machine makes of the 5 ms.
        self._pending = True
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident or 0), ctypes.py_object(TimeIsUp))

    def _was_raised(self, *, harmful: bool) -> None:
        self._pending = False
        self._harmful = self._harmful or harmful

    def _is_harmless(self) -> bool:
        """Make the thread leave, and return whether the process can work on.

        A thread that is still in the sleep or system call in which it was thrown into leaves as soon as that returns.
        """
        if self._harmful:
            return False
        if self._pending and self._thread.is_alive():
            return True
        return self._make_leave(LEAVE_LATER_SECONDS, interrupt_cleanup=True) and not self._harmful

    def _log_harm(self) -> None:
        frame = sys._current_frames().get(self._thread.ident or 0) if self._thread.is_alive() else None
        stack = [] if frame is None else list(traceback.walk_stack(frame))[:MOST_FRAMES]
        frames = [f"{each.f_code.co_filename}:{line} {each.f_code.co_name}" for each, line in reversed(stack)]
        log.critical("function.ends_itself", frames=frames, advice=ADVICE)


_RUN = Call._run.__code__
_of_this_thread = threading.local()
_abandoned: list[Call] = []


def end_process_if_harmed() -> None:
    """End the process if a handler's thread, abandoned in an earlier event, can harm it. Lambda starts a fresh one.

    Call it before an event is touched: Lambda then delivers the event to the fresh process.
    """
    for call in _abandoned[:]:
        if not call._is_harmless():
            call._context.copy().run(call._log_harm)  # with the fields of its run
            sys.stdout.flush()
            os._exit(1)
        if not call._thread.is_alive():
            _abandoned.remove(call)


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
