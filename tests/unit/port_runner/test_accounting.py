"""Each record is accounted for exactly once, and the function raises only its documented errors."""

import base64
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from port_runner import ActionFailed, ActionRouter, ActionRun, Runner
from port_runner.testing import LambdaContext, run_message
from port_runner_sandbox.fake_port import FakePort
from tests.support.project import ROOT

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
RUN_IDS = st.sampled_from([f"r_{number}" for number in range(4)] + ["r_unknown", "wfnr_abcdefghij012345", "", "../x"])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Draw a record's value: often a run of ours, or a bent one, sometimes any JSON."""
    kind = draw(st.sampled_from(["run", "bent", "json", "bytes"]))
    if kind == "bytes":
        return draw(st.binary(max_size=60))
    if kind == "json":
        return json.dumps(draw(JSON)).encode()
    message = run_message(
        draw(st.sampled_from(["fine", "fails", "breaks", "odd", "unhandled"])),
        draw(st.dictionaries(st.text(max_size=8), JSON, max_size=3)),
        run_id=draw(RUN_IDS),
        blueprint=draw(st.none() | st.just("vm")),
        entity=draw(st.none() | st.sampled_from(["vm-1", ".."])),
    )
    if kind == "bent":
        path = draw(
            st.sampled_from([("action",), ("context",), ("payload",), ("payload", "action"), ("resourceType",)])
        )
        part = message
        for name in path[:-1]:
            part = part[name]
        part[path[-1]] = draw(JSON)
    return json.dumps(message).encode()


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "partition": st.integers(0, 2),
            "value": st.none() | messages().map(lambda value: base64.b64encode(value).decode()),
        },
        optional={
            "key": st.none() | st.text(max_size=8),
            "headers": st.lists(st.dictionaries(st.text(max_size=5), st.lists(st.integers(-128, 255)))) | st.none(),
            "timestamp": st.integers() | st.none(),
        },
    ),
    max_size=6,
)


@pytest.fixture(scope="module")
def port() -> Iterator[FakePort]:
    with FakePort() as port:
        yield port


@pytest.fixture
def runner(port: FakePort, monkeypatch: pytest.MonkeyPatch) -> Runner:
    for name, value in {
        "PORT_API_URL": port.url,
        "PORT_CLIENT_ID": port.client_id,
        "PORT_CLIENT_SECRET": port.client_secret,
        "LOG_LEVEL": "DEBUG",
        "REPORT_BATCH_ITEM_FAILURES": "true",
        "MAXIMUM_RECORD_AGE_SECONDS": "1e30",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("FAILURE_QUEUE_URL", raising=False)
    router = ActionRouter()

    @router.action("fine")
    def fine(run: ActionRun[Mapping[str, Any]]) -> None: ...

    @router.action("fails")
    def fails(run: ActionRun[Mapping[str, Any]]) -> None:
        raise ActionFailed("No.")

    @router.action("breaks")
    def breaks(run: ActionRun[Mapping[str, Any]]) -> None:
        raise RuntimeError

    @router.action("odd")
    def odd(run: ActionRun[Mapping[str, Any]]) -> Any:
        return 7

    runner = Runner()
    runner.include(router)
    return runner


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=RECORDS, unavailable=st.booleans())
def test_each_record_is_accounted_for_once(
    runner: Runner, port: FakePort, capsys: pytest.CaptureFixture[str], contents: list[Any], unavailable: bool
) -> None:
    """A record is reported, skipped, left alone, given up or named for redelivery: exactly one of these."""
    for number in range(4):
        port.runs.pop(f"r_{number}", None)
        port.add_run(f"r_{number}", "fine")
    event: dict[str, Any] = {"records": {}}
    for offset, content in enumerate(contents):
        group = f"org_test.runs-{content['partition']}"
        event["records"].setdefault(group, []).append({"topic": "org_test.runs", "offset": offset, **content})
    capsys.readouterr()

    fault = port.fail("/v1/actions", status=503, times=None) if unavailable else None
    try:
        answer = runner.lambda_handler(event, LambdaContext(0.3 if unavailable else 30))
    finally:
        if fault:
            fault.remove()

    again = [item["itemIdentifier"]["offset"] for item in (answer or {"batchItemFailures": []})["batchItemFailures"]]
    settled = {
        "run.reported",
        "run.not_in_progress",
        "run.unknown_to_port",
        "record.skipped",
        "record.given_up",
        "record.kept_before",
        "action.unknown",
    }
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    said = [line["offset"] for line in lines if line.get("event") in settled]
    assert Counter(said + again) == Counter(range(len(contents)))
    for number in range(4):
        ends = [each for each in port.requests if each.path.endswith(f"/r_{number}") and each.method == "PATCH"]
        assert len([each for each in ends if "status" in (each.body or {}) and each.status == 200]) <= 1
    port.requests.clear()


def test_recorded_messages_are_json() -> None:
    """Every recorded message can be read."""
    files = list((ROOT / "tests" / "events").glob("*.json"))
    assert files
    for file in files:
        json.loads(file.read_text())
