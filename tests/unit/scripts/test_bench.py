"""The measurements of `make bench` measure what they claim to measure."""

import ssl
import time
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from port_runner.testing import kafka_event, run_message
from port_runner_sandbox.fake_port import FakePort
from scripts.bench import plain_handler
from scripts.bench.__main__ import cells, markdown
from scripts.bench.measurements import MEASUREMENTS, Row, Sizes
from scripts.bench.slow_port import COUNTS
from scripts.bench.workbench import ROUND_TRIP_SECONDS, Workbench, workbench
from tests.support.project import ROOT

TINY = Sizes(processes=1, warm_runs=2, plain_runs=1, batch=2, batches=1, event_bytes=20_000, decodings=1, records=1000)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """A workbench with the function's sources, and with this environment's packages instead of the layer."""
    packages = Path(requests.__file__).parents[1]
    with workbench(tmp_path_factory.mktemp("bench"), [ROOT / "lambda", packages]) as bed:
        yield bed


def rows_of(bed: Workbench, name: str) -> dict[str, Row]:
    return {row.what: row for row in MEASUREMENTS[name](bed, TINY)}


def test_cold_start_imports_what_the_event_needs(bed: Workbench) -> None:
    """A record for another consumer imports nothing heavy. A run imports `requests`, and boto3 for a secret."""
    assert [name[name.index("(") :] for name in rows_of(bed, "cold start")] == [
        "(imports nothing heavy)",
        "(imports requests)",
        "(imports boto3 and requests)",
    ]


def test_warm_run_keeps_its_token_and_connection(bed: Workbench) -> None:
    """A warm run makes four requests over the open connection. The plain handler opens one for each request."""
    rows = rows_of(bed, "warm runs")
    assert (rows["requests of a warm run"].ours, rows["requests of a warm run"].reference) == (4, 4)
    assert (rows["connections of a warm run"].ours, rows["connections of a warm run"].reference) == (0, 4)
    assert (rows["token calls of a warm run"].ours, rows["token calls of a warm run"].reference) == (0, 2)
    assert rows["warm run"].ours >= 1000 * 4 * ROUND_TRIP_SECONDS


@pytest.mark.parametrize("name", ["batches", "decoding", "memory"])
def test_other_measurements_work(bed: Workbench, name: str) -> None:
    """Each measurement gives figures for the function and for its reference."""
    rows = rows_of(bed, name)
    assert len(rows) == 2
    assert all(row.ours > 0 and row.reference > 0 for row in rows.values())


def test_new_connection_costs_two_round_trips_more(bed: Workbench) -> None:
    """On the far port, a new connection costs a round trip for TCP and one for TLS. A kept connection does not."""
    port = urlsplit(bed.far).port
    connection = HTTPSConnection("127.0.0.1", port, context=ssl.create_default_context(cafile=bed.authorities))
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        connection.request("GET", COUNTS)
        connection.getresponse().read()
        seconds.append(time.perf_counter() - began)
    connection.close()
    assert seconds[0] >= 3 * ROUND_TRIP_SECONDS
    assert ROUND_TRIP_SECONDS <= min(seconds[1:]) < 2 * ROUND_TRIP_SECONDS


def test_plain_handler_does_its_work(port: FakePort, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain handler works: it saves an entity for each run and ends the run."""
    monkeypatch.setattr(plain_handler, "URL", f"{port.url}/v1")
    monkeypatch.setenv("PORT_CLIENT_ID", port.client_id)
    monkeypatch.setenv("PORT_CLIENT_SECRET", port.client_secret)
    inputs = {"cpu": 2, "memory": 4, "storage": 50, "region": "eu-west-1"}
    for run_id in ("r_1", "r_2"):
        port.add_run(run_id, "create_vm")

    plain_handler.lambda_handler(
        kafka_event(*[run_message("create_vm", inputs, run_id=run_id) for run_id in ("r_1", "r_2")]), None
    )

    assert [port.runs[run_id]["status"] for run_id in ("r_1", "r_2")] == ["SUCCESS", "SUCCESS"]
    assert set(port.entities) == {("vm", "vm-r_1"), ("vm", "vm-r_2")}
    assert [len({each.connection for each in port.requests}), len(port.requests)] == [8, 8]


def test_aims_are_judged() -> None:
    """An aim applies to the ratio, or to our figure if there is no ratio. The table says if it is met."""
    rows = [
        Row("time", "plain", 300, 120, "ms", ratio=0.4, most=1 / 3),
        Row("rate", "plain", 2, 90, "runs/s", ratio=45, least=40),
        Row("calls", "plain", 2, 0, most=0),
        Row("no aim", "plain", 1.5, 3, "MB", ratio=2),
    ]
    assert [row.met for row in rows] == [False, True, True, None]
    assert [cells(row)[-1] for row in rows] == ["≤ 0.33 missed", "≥ 40 met", "≤ 0 met", ""]
    assert markdown(rows).splitlines()[2] == "| time | plain | 300 ms | 120 ms | 0.40 | ≤ 0.33 missed |"
