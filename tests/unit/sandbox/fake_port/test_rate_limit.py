"""The fake Port limits requests when a test asks for it, with Port's headers."""

import time

import pytest

from port_runner_sandbox.fake_port import RateLimit
from tests.unit.sandbox.fake_port.client import Client


def test_requests_above_the_limit_are_429(client: Client) -> None:
    """The headers count down with each answer. Then requests get 429 with the seconds to wait, and change nothing."""
    run_id = client.execute()
    client.port.rate_limit = RateLimit(2, period_seconds=60)
    remaining = [client.call("GET", "/organization").headers["x-ratelimit-remaining"] for _ in range(2)]
    assert remaining == ["1", "0"]
    answer = client.call("PATCH", f"/actions/runs/{run_id}", {"status": "SUCCESS"})
    assert (answer.status_code, answer.json()["ok"]) == (429, False)
    assert (answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-period"]) == ("2", "60")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert abs(int(answer.headers["x-ratelimit-reset"]) - time.time()) <= 61
    assert client.port.runs[run_id]["status"] == "IN_PROGRESS"
    assert client.port.requests[-1].status == 429
    client.port.rate_limit = None
    assert "x-ratelimit-limit" not in client.call("GET", "/organization").headers


def test_reset_has_two_forms(client: Client) -> None:
    """The reset can be told as the seconds that are left, as older clients of Port read it."""
    client.port.rate_limit = RateLimit(1, period_seconds=60, reset="seconds")
    assert 1 <= int(client.call("GET", "/organization").headers["x-ratelimit-reset"]) <= 60


@pytest.mark.parametrize("period", [0.3, 1])
def test_limit_begins_again(client: Client, period: float) -> None:
    """After the time that the answer names, requests are taken again."""
    client.port.rate_limit = RateLimit(1, period_seconds=period)
    client.call("GET", "/organization")
    while (answer := client.call("GET", "/organization")).status_code == 429:
        time.sleep(int(answer.headers["retry-after"]))
    assert answer.ok


def test_fault_keeps_the_headers_of_the_limit(client: Client) -> None:
    """Requests that meet a fault count too, and a fault may replace the headers."""
    client.port.rate_limit = RateLimit(5)
    client.port.fail("/v1/org", status=503, headers={"x-ratelimit-reset": "7"})
    answer = client.call("GET", "/organization")
    assert (answer.headers["x-ratelimit-remaining"], answer.headers["x-ratelimit-reset"]) == ("4", "7")
