"""The time of an invocation, and calls that cannot exceed it."""

import asyncio
import importlib
import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from port_runner import ActionRouter, ActionRun, Runner
from port_runner.deadline import RESERVE_SECONDS, Call, Deadline, TimeIsUp, end_process_if_harmed
from port_runner.testing import LambdaContext, kafka_event, run_message
from tests.support.function_under_test import Function
from tests.support.project import ROOT


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


def ended(call: Call) -> bool:
    """Abandon *call*, and return whether its thread ends, now or as soon as it may."""
    return any(call.abandon() for _ in range(50))


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
        assert ended(call)
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


# Where an exception would harm the process


def package(folder: Path, name: str) -> None:
    """Write a package whose import takes some milliseconds, and whose modules import each other."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("".join(f"from .part{part} import value{part}\n" for part in PARTS))
    for part in PARTS:
        first = f"from .part{part - 1} import value{part - 1}\n" if part else ""
        rest = f"for count in range(20_000):\n    pass\nvalue{part} = {part}\n"
        (folder / name / f"part{part}.py").write_text(first + rest)


PARTS = range(6)


def test_an_import_is_not_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler's time can be up during the first import of a package. The next handler can then import it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = [f"lazily_imported_{number}" for number in range(20)]
    for name in names:
        package(tmp_path, name)
    importlib.invalidate_caches()

    def handler(name: str) -> None:
        importlib.import_module(name)
        while True:
            pass

    for name in names:
        call = Call(partial(handler, name))
        call.wait(random.uniform(0, 0.015))
        assert ended(call)
        module = importlib.import_module(name)
        assert [getattr(getattr(module, f"part{part}"), f"value{part}") for part in PARTS] == list(PARTS)


def pause() -> None:
    """A function of a handler's own, in the middle of a locked block."""


class Locks:
    """Everything that a handler can lock, and whether it is free again."""

    def __init__(self) -> None:
        self.lock, self.again, self.condition = threading.Lock(), threading.RLock(), threading.Condition()
        self.semaphore = threading.BoundedSemaphore(1)
        self.queue: queue.Queue[int] = queue.Queue(maxsize=2)
        self.held = False

    @contextmanager
    def holding(self) -> Iterator[None]:
        self.held = True
        try:
            yield
        finally:
            self.held = False

    def with_a_lock(self) -> None:
        with self.lock:
            pause()

    def with_a_lock_that_can_be_taken_twice(self) -> None:
        with self.again, self.again:
            pause()

    def with_a_condition(self) -> None:
        with self.condition:
            pause()
            self.condition.notify_all()
            pause()

    def with_a_semaphore(self) -> None:
        with self.semaphore:
            pause()

    def with_a_queue(self) -> None:
        self.queue.put(1)
        self.queue.get()

    def with_a_context_manager(self) -> None:
        with self.holding():
            pause()

    def are_free(self) -> bool:
        locks = (self.lock, self.again, self.condition, self.semaphore, self.queue.mutex)
        return not self.held and all(lock.acquire(blocking=False) for lock in locks)


@pytest.mark.parametrize("use", [name for name in vars(Locks) if name.startswith("with_")])
def test_no_lock_stays_held(use: str) -> None:
    """Wherever a handler is interrupted, what it has locked is free after that."""

    def handler(locks: Locks) -> None:
        while True:
            getattr(locks, use)()

    for _ in range(12):
        locks = Locks()
        call = Call(partial(handler, locks))
        call.wait(random.uniform(0, 0.005))
        assert ended(call)
        assert locks.are_free()


def test_a_context_manager_ends_once_whatever_happens() -> None:
    """The end of a `with` block that is interrupted is not skipped, and not called twice."""

    class Counted:
        begun = ended = 0

        def __enter__(self) -> None:
            Counted.begun += 1

        def __exit__(self, *error: object) -> None:
            Counted.ended += 1

    def handler() -> None:
        while True:
            with Counted():
                pause()

    for _ in range(40):
        call = Call(handler)
        call.wait(random.uniform(0, 0.003))
        assert ended(call)
        assert Counted.begun == Counted.ended


def test_a_handler_does_not_continue_after_a_wait() -> None:
    """A thread that waits where nothing may be raised in it leaves as soon as the wait ends, without a next event."""
    waiting: queue.Queue[int] = queue.Queue()

    def handler() -> None:
        waiting.get()
        while True:
            pass

    call = Call(handler)
    call.wait(0.01)
    assert call.abandon() is False
    waiting.put(1)

    assert call.wait(10)
    with pytest.raises(TimeIsUp):
        call.result()


def test_a_cleanup_is_not_interrupted() -> None:
    """A handler may clean up when its time is up: it is interrupted once."""
    cleaned: list[str] = []

    def handler() -> None:
        try:
            while True:
                pass
        finally:
            began = time.monotonic()
            while time.monotonic() < began + 0.03:
                pass
            cleaned.append("up")

    call = Call(handler)
    call.wait(0.01)

    assert ended(call)
    assert cleaned == ["up"]


def test_a_busy_event_loop_stops() -> None:
    """An asyncio loop catches `TimeIsUp` in some places, and is then told again: its tasks do not continue."""
    rounds = [0]

    async def busy() -> None:
        while True:
            rounds[0] += 1
            await asyncio.sleep(0)

    async def handler() -> None:
        await asyncio.gather(busy(), busy())

    def has_stopped(call: Call) -> bool:
        call.abandon()
        before = rounds[0]
        return call.wait(0.05) or rounds[0] == before

    for _ in range(10):
        call = Call(lambda: asyncio.run(handler()))
        call.wait(random.uniform(0.01, 0.02))
        assert any(has_stopped(call) for _ in range(20))


# The next event


def in_module(name: str, code: str) -> Callable[[], None]:
    """Return the function `act` of a module called *name*."""
    namespace: dict[str, Any] = {"__name__": name, "TimeIsUp": TimeIsUp}
    exec(code, namespace)
    act: Callable[[], None] = namespace["act"]
    return act


class ProcessEnded(Exception):
    pass


@pytest.fixture
def no_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception instead of the end of the tests' process."""

    def end(status: int) -> None:
        raise ProcessEnded(status)

    monkeypatch.setattr(os, "_exit", end)


@pytest.mark.usefixtures("no_exit")
@pytest.mark.parametrize("module", ["queue", "importlib._bootstrap", "http.cookiejar", "concurrent.futures.thread"])
def test_an_exception_in_an_unsafe_place_ends_the_process(module: str) -> None:
    """If a thread was interrupted where that does harm after all, the process ends, though the thread has left."""
    call = Call(in_module(module, "def act():\n    raise TimeIsUp"))
    assert call.wait(5)
    call.abandon()

    with pytest.raises(ProcessEnded, match="1"):
        end_process_if_harmed()


@pytest.mark.usefixtures("no_exit")
@pytest.mark.parametrize("module", ["queue", "handlers.queue", "queues"])
def test_an_exception_at_the_entry_of_a_function_does_no_harm(module: str) -> None:
    """A thread that is interrupted before a function of an unsafe module begins has left nothing behind."""
    act = in_module(module, "def act():\n    pass")

    def handler() -> None:
        while True:
            act()

    for _ in range(20):
        call = Call(handler)
        call.wait(random.uniform(0, 0.003))
        assert ended(call)
        end_process_if_harmed()


def wait_for_a_queue() -> None:
    queue.Queue[int]().get()


def wait_for_an_event() -> None:
    threading.Event().wait()


def wait_for_a_thread() -> None:
    thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
    thread.start()
    thread.join()


def catch_everything() -> None:
    while True:
        with suppress(BaseException):
            time.sleep(0.001)


def compute() -> None:
    while True:
        pass


def sleep() -> None:
    time.sleep(30)


def clean_up_without_end() -> None:
    try:
        compute()
    finally:
        compute()


def wait_for_a_queue_for_a_moment() -> None:
    with suppress(queue.Empty):
        queue.Queue[int]().get(timeout=1.8)
    compute()


def handle_two_events(hang: str) -> None:
    """Handle an event whose handler hangs, and then another, as Lambda would: in a process of its own."""
    router = ActionRouter()

    @router.action("hang")
    def handle(run: ActionRun[Mapping[str, Any]]) -> None:
        print("hangs\n", end="")  # in one piece, between the lines of other threads
        globals()[hang]()

    @router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None: ...

    runner = Runner()
    runner.include(router)
    runner.lambda_handler(kafka_event(run_message("hang", run_id="r_1")), LambdaContext(2.4))
    time.sleep(1)  # Lambda pauses a process between two events, and the clock runs on
    runner.lambda_handler(kafka_event(run_message("resize", run_id="r_2")), LambdaContext(20))


def two_events(function: Function, hang: str) -> subprocess.CompletedProcess[str]:
    function.port.add_run("r_1", "hang")
    function.port.add_run("r_2", "resize")
    code = f"from {__name__} import handle_two_events; handle_two_events({hang!r})"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert [end["status"] for end in function.ends("r_1")] == ["FAILURE"], process.stderr
    return process


@pytest.mark.parametrize("hang", [wait_for_a_queue, wait_for_an_event, wait_for_a_thread, catch_everything])
def test_a_process_with_a_thread_that_can_do_harm_ends_itself(function: Function, hang: Callable[[], None]) -> None:
    """A thread that would continue a handler's work in a later event ends the process before that is touched."""
    process = two_events(function, hang.__name__)

    assert process.returncode == 1
    assert "hangs" in process.stdout.splitlines()
    lines = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]
    [line] = [line for line in lines if line.get("event") == "function.ends_itself"]
    assert (line["level"], line["run_id"], line["action"]) == ("CRITICAL", "r_1", "hang")
    assert any(frame.endswith(f" {hang.__name__}") for frame in line["frames"])
    assert "timeout" in line["advice"]
    assert lines[-1] == line
    assert not [each for each in function.port.requests if "r_2" in each.path]


@pytest.mark.parametrize("hang", [sleep, clean_up_without_end, wait_for_a_queue_for_a_moment])
def test_a_process_whose_threads_leave_lives_on(function: Function, hang: Callable[[], None]) -> None:
    """A thread that has left by the next event, leaves then, or leaves once its system call returns, does no harm."""
    process = two_events(function, hang.__name__)

    assert process.returncode == 0, process.stdout
    assert "function.ends_itself" not in process.stdout
    assert [end["status"] for end in function.ends("r_2")] == ["SUCCESS"]
