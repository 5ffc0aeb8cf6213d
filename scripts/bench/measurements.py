"""The measurements and their results as rows of a table."""

import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from port_runner.testing import kafka_event, run_message
from scripts.bench.workbench import ROOT, Workbench

MEGABYTE = 1024 * 1024
PLAIN = "plain handler"
# The bytes of a record in an event, without its value.
RECORD_BYTES = 150


@dataclass(frozen=True)
class Sizes:
    """The number of repetitions and the amount of data of each measurement."""

    processes: int = 15
    warm_runs: int = 30
    plain_runs: int = 10
    batch: int = 100
    batches: int = 5
    event_bytes: int = 6 * MEGABYTE
    decodings: int = 7
    records: int = 10_000


QUICK = Sizes(
    processes=3, warm_runs=5, plain_runs=2, batch=20, batches=1, event_bytes=MEGABYTE, decodings=2, records=1000
)


@dataclass(frozen=True)
class Row:
    """A row of the table.

    *most* and *least* are aims. They apply to *ratio* (ours to the reference), or to *ours* if there is no ratio.
    """

    what: str
    against: str
    reference: float
    ours: float
    unit: str = ""
    ratio: float | None = None
    most: float | None = None
    least: float | None = None

    @property
    def met(self) -> bool | None:
        """Return True if the aim is met, and ``None`` if the row has no aim."""
        value = self.ours if self.ratio is None else self.ratio
        if self.most is not None:
            return value <= self.most
        return None if self.least is None else value >= self.least


def compared(what: str, against: str, reference: float, ours: float, unit: str, **aims: float) -> Row:
    """Return a row that compares two figures by their ratio."""
    return Row(what, against, reference, ours, unit, ours / reference, **aims)


def cold_start(workbench: Workbench, sizes: Sizes) -> Iterator[Row]:
    """Measure from a process's start to the end of its first event, against a process that only imports `requests`."""
    foreign = kafka_event(_recorded("agent_webhook_day2"))
    ours = kafka_event(run_message("measured"))
    starts: dict[str, Callable[[], tuple[float, list[str]]]] = {
        "": lambda: workbench.cold_start("requests"),
        "a record of others is handled": lambda: workbench.cold_start("function", event=foreign),
        "a run's handler begins": lambda: workbench.cold_start("function", event=ours),
        "a run's handler begins, Port's credentials in a secret": lambda: workbench.cold_start(
            "function", event=ours, secret=True
        ),
    }
    results: dict[str, list[tuple[float, list[str]]]] = {name: [] for name in starts}
    for _ in range(sizes.processes):
        for name, start in starts.items():  # in turns, so that other load on the machine affects all
            results[name].append(start())
    medians = {name: statistics.median(seconds for seconds, _ in each) for name, each in results.items()}
    reference = medians.pop("")
    for name, median in medians.items():
        modules = " and ".join(results[name][0][1]) or "nothing heavy"
        what = f"cold start until {name} (imports {modules})"
        yield compared(what, "import requests", 1000 * reference, 1000 * median, "ms")


def warm_runs(workbench: Workbench, sizes: Sizes) -> Iterator[Row]:
    """Measure one run in a process that has handled other runs, with Port far away."""
    plain = workbench.run_case("warm_runs", far=True, handler="plain", action="save_vm", runs=sizes.plain_runs)
    ours = workbench.run_case("warm_runs", far=True, handler="ours", action="save_vm", runs=sizes.warm_runs)
    shipped = workbench.run_case("warm_runs", far=True, handler="ours", action="create_vm", runs=sizes.warm_runs)
    for name, most in (("requests", 4), ("connections", 0), ("token calls", 0)):
        yield Row(f"{name} of a warm run", PLAIN, plain[name], ours[name], most=most)
    reference = 1000 * statistics.median(plain["seconds"])
    for what, result, aims in (
        ("warm run", ours, {"most": 1 / 3}),
        (f"warm run that writes to its log too ({shipped['requests']:g} requests)", shipped, {}),
    ):
        yield compared(what, PLAIN, reference, 1000 * statistics.median(result["seconds"]), "ms", **aims)


def batches(workbench: Workbench, sizes: Sizes) -> Iterator[Row]:
    """Measure the runs per second of an event with many runs, with Port far away."""
    runs = sizes.batch

    def rate(handler: str, partitions: int, repeats: int) -> float:
        result = workbench.run_case(
            "batches", far=True, handler=handler, action="save_vm", runs=runs, partitions=partitions, repeats=repeats
        )
        return float(runs / statistics.median(result["seconds"]))

    reference = rate("plain", 1, 1)  # it takes one record after the other, so partitions make no difference
    for partitions, where in ((16, "16 partitions"), (1, "one partition")):
        ours = rate("ours", partitions, sizes.batches)
        yield compared(f"batch of {runs} runs over {where}", PLAIN, reference, ours, "runs/s", least=40)


def decoding(workbench: Workbench, sizes: Sizes) -> Iterator[Row]:
    """Measure reading an event of Lambda's largest size into messages, against only `json.loads` and `b64decode`."""
    for tags in (20, 27_000):
        message = _recorded("create_vm_v1")
        message["payload"]["properties"]["tags"] = [{"name": f"tag-{n}", "value": n} for n in range(tags)]
        size = len(json.dumps(message))
        count = max(1, int(sizes.event_bytes / (size * 4 / 3 + RECORD_BYTES)))
        result = workbench.run_case("decoding", message=message, messages=count, repeats=sizes.decodings)
        medians = {name: 1000 * statistics.median(result[name]) for name in ("plain", "ours")}
        what = f"decoding a {_size(result['event_bytes'])} event, messages of {_size(size)}"
        yield compared(what, "json.loads, b64decode", medians["plain"], medians["ours"], "ms")


def memory(workbench: Workbench, sizes: Sizes) -> Iterator[Row]:
    """Measure the process's memory after all records, against its memory after a tenth of them."""
    result = workbench.run_case("memory", tracing=True, foreign=_recorded("agent_webhook_day2"), records=sizes.records)
    before, after = result["after_a_tenth"], result["after_all"]
    for name, what in (("python", "memory held"), ("peak", "the most memory used")):
        what = f"{what} after {sizes.records:,} records"
        yield compared(what, f"after {sizes.records // 10:,}", before[name] / MEGABYTE, after[name] / MEGABYTE, "MB")


MEASUREMENTS: dict[str, Callable[[Workbench, Sizes], Iterator[Row]]] = {
    "cold start": cold_start,
    "warm runs": warm_runs,
    "batches": batches,
    "decoding": decoding,
    "memory": memory,
}


def _recorded(name: str) -> Any:
    return json.loads((ROOT / "tests" / "events" / f"{name}.json").read_text())


def _size(size: float) -> str:
    return f"{size / MEGABYTE:.1f} MB" if size >= MEGABYTE / 2 else f"{size / 1024:.1f} kB"
