"""The time of an invocation, and calls that cannot exceed it."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from port_runner.deadline import RESERVE_SECONDS, Call, Deadline, TimeIsUp


def after(seconds: float, margin: float) -> tuple[float, float]:
    """Return how long a handler may run and Port may be called, in an invocation with *seconds* left."""
    now = time.monotonic()
    deadline = Deadline.after(seconds, margin=margin)
    return deadline.work - now, deadline.report - now


@pytest.mark.parametrize(
    ("seconds", "margin", "work", "report"),
    [
        (60, 2, 58, 60 - RESERVE_SECONDS),
        (60, 50, 30, 60 - RESERVE_SECONDS),
        (60, 0, 59, 60 - RESERVE_SECONDS),
        (1, 2, 0.5, 0.9),
    ],
    ids=["ordinary", "margin above half", "no margin", "short invocation"],
)
def test_the_end_of_an_invocation_is_for_reports(seconds: float, margin: float, work: float, report: float) -> None:
    """Handlers get everything but the margin, at least half. Reports get everything but a reserve."""
    assert after(seconds, margin) == pytest.approx((work, report), abs=0.05)


def test_the_time_for_work_runs_out() -> None:
    """The seconds that are left for handlers become negative."""
    now = time.monotonic()

    assert Deadline(began=now, work=now - 1, report=now, end=now).work_seconds == pytest.approx(-1, abs=0.05)


def test_a_call_returns_the_functions_result() -> None:
    """A function that ends in time gives its result."""
    call = Call(lambda: 42)

    assert call.wait(5)
    assert call.result() == 42


@pytest.mark.parametrize(
    "error", [ValueError("s3cret"), SystemExit(3), KeyboardInterrupt()], ids=lambda e: type(e).__name__
)
def test_a_call_raises_the_functions_error(error: BaseException) -> None:
    """Every error of the function is raised to the caller, also those that are not an Exception."""

    def fail() -> None:
        raise error

    call = Call(fail)

    assert call.wait(5)
    with pytest.raises(type(error)) as caught:
        call.result()
    assert caught.value is error


def spin(stop: threading.Event) -> None:
    while not stop.is_set():
        pass


def spin_and_catch_exceptions(stop: threading.Event) -> None:
    while not stop.is_set():
        with suppress(Exception):
            spin(stop)


@pytest.mark.parametrize("function", [spin, spin_and_catch_exceptions])
def test_an_abandoned_call_leaves_at_once(function: Callable[[threading.Event], Any]) -> None:
    """Python code is interrupted by TimeIsUp, also inside `except Exception`."""
    stop = threading.Event()
    call = Call(lambda: function(stop))
    try:
        assert not call.wait(0.05)
        call.abandon()
        assert call.wait(5)
        with pytest.raises(TimeIsUp):
            call.result()
    finally:
        stop.set()


def test_an_abandoned_sleep_is_not_waited_for() -> None:
    """A thread in a system call is told to leave, and the caller continues."""
    call = Call(lambda: time.sleep(2))
    began = time.monotonic()

    assert call.abandon() is False
    assert time.monotonic() - began < 1
