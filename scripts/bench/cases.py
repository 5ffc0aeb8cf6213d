"""The measurements that run inside a process of the function; see ``CASES``.

usage: python -m scripts.bench.cases CASE < ARGUMENTS    the arguments are one JSON object, and so is the result
"""

import base64
import gc
import itertools
import json
import os
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

import lambda_function
from port_runner import ActionRouter, ActionRun, MessagePaths, Secret, Success
from port_runner.kafka import records_from_event
from port_runner.messages import read_message
from port_runner.testing import LambdaContext, kafka_event, run_message
from scripts.bench import plain_handler

INPUTS = {"cpu": 2, "memory": 4, "storage": 50, "region": "eu-west-1"}
SECONDS = 600.0
# The share of a topic's records that are for this function.
SHARE_OF_OURS = 0.1
EVENT_RECORDS = 100

router = ActionRouter()
numbers = itertools.count()


@router.action("save_vm")
def save_vm(run: ActionRun[Mapping[str, Any]]) -> Success:
    """Do the same work as the plain handler."""
    inputs = run.inputs
    run.upsert_entity(
        "vm",
        identifier=f"vm-{run.id}",
        title=f"VM in {inputs['region']}",
        properties={
            "cpu_cores": inputs["cpu"],
            "memory_size": inputs["memory"],
            "storage_size": inputs["storage"],
            "region": inputs["region"],
            "deployed": "Deploying",
        },
    )
    return Success()


@dataclass(frozen=True)
class Account:
    """The inputs of `open_account`, with a secret."""

    password: Secret[str]


@router.action("open_account", inputs=Account)
def open_account(run: ActionRun[Account]) -> None:
    """Use a secret, a log line and an entity: everything that a process could keep in memory by mistake."""
    run.log("Opening the account")
    run.upsert_entity("account", identifier=run.id)


lambda_function.runner.include(router)
HANDLERS: dict[str, Callable[[Any, Any], Any]] = {
    "plain": plain_handler.lambda_handler,
    "ours": lambda_function.lambda_handler,
}


def event_of_runs(count: int, *, action: str, partitions: int = 1) -> dict[str, Any]:
    """Return an event with *count* new runs, spread over *partitions*."""
    event = kafka_event()
    for partition in range(partitions):
        messages = [
            run_message(action, INPUTS, run_id=_new_run_id(action)) for _ in range(partition, count, partitions)
        ]
        event["records"] |= kafka_event(*messages, partition=partition)["records"]
    return event


def _new_run_id(action: str) -> str:
    """Return an id that tells the stand-in for Port which action's run it is."""
    return f"{action}-{next(numbers):016}"


def warm_runs(handler: str, action: str, runs: int) -> dict[str, Any]:
    """Handle *runs* invocations with one run each. Return the seconds of each, and what Port counted for each run."""
    _handle(handler, event_of_runs(1, action=action))
    seconds, counts = _handled(handler, [event_of_runs(1, action=action) for _ in range(runs)], runs)
    return {"seconds": seconds, **{name: count / runs for name, count in counts.items()}}


def batches(handler: str, action: str, runs: int, partitions: int, repeats: int) -> dict[str, Any]:
    """Return the seconds that a warm process takes for an event of many runs."""
    warm_up = event_of_runs(1 if handler == "plain" else runs, action=action, partitions=partitions)
    _handle(handler, warm_up)
    events = [event_of_runs(runs, action=action, partitions=partitions) for _ in range(repeats)]
    seconds, _ = _handled(handler, events, runs * repeats)
    return {"seconds": seconds}


def decoding(message: Any, messages: int, repeats: int) -> dict[str, Any]:
    """Return the seconds to read an event of equal messages, and the seconds to only decode them."""
    event = kafka_event(*[message] * messages)
    values = [record["value"] for records in event["records"].values() for record in records]
    paths = MessagePaths()

    def ours() -> None:
        for record in records_from_event(event):
            read_message(record, paths)

    def plain() -> None:
        for value in values:
            json.loads(base64.b64decode(value))

    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(repeats):  # in turns, so that other load on the machine affects both
        seconds["ours"].append(_seconds(ours))
        seconds["plain"].append(_seconds(plain))
    return {**seconds, "event_bytes": len(json.dumps(event))}


def memory(foreign: Any, records: int) -> dict[str, Any]:
    """Return the bytes that Python holds and the process's peak, after a tenth of *records* and after all of them."""
    ours = int(EVENT_RECORDS * SHARE_OF_OURS)
    held: list[dict[str, int]] = []
    events = records // EVENT_RECORDS
    for number in range(1, events + 1):
        messages = [
            run_message("open_account", {"password": f"password-{next(numbers)}"}, run_id=_new_run_id("open_account"))
            for _ in range(ours)
        ]
        _handle("ours", kafka_event(*messages, *[foreign] * (EVENT_RECORDS - ours)))
        if number in (events // 10, events):
            gc.collect()
            held.append({"python": tracemalloc.get_traced_memory()[0], "peak": _peak_bytes()})
    return {"after_a_tenth": held[0], "after_all": held[1]}


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _handled(handler: str, events: Sequence[Any], runs: int) -> tuple[list[float], dict[str, int]]:
    """Return the seconds for each event, and what Port counted. Exit with an error unless all *runs* succeeded."""
    before = _counts()
    seconds = [_handle(handler, event) for event in events]
    after = _counts()
    counts = {name: after[name] - before[name] for name in after}
    if counts["successes"] != runs:
        sys.exit(f"Of {runs} runs {counts['successes']} succeeded.")
    return seconds, counts


def _handle(handler: str, event: Any) -> float:
    return _seconds(lambda: HANDLERS[handler](event, LambdaContext(SECONDS)))


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _counts() -> dict[str, int]:
    counts: dict[str, int] = requests.get(os.environ["COUNTS_URL"], timeout=10).json()
    return counts


CASES: dict[str, Callable[..., dict[str, Any]]] = {
    "warm_runs": warm_runs,
    "batches": batches,
    "decoding": decoding,
    "memory": memory,
}


def main() -> None:
    output = sys.stdout
    with Path(os.devnull).open("w") as nowhere:  # for the function's log
        sys.stdout = nowhere
        result = CASES[sys.argv[1]](**json.load(sys.stdin))
    json.dump(result, output)


if __name__ == "__main__":
    main()
