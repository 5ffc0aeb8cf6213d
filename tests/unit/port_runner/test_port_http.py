"""Requests to a fake Port: tokens, retries, time, errors, connections."""

import gzip
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from port_runner import (
    ConfigurationError,
    PortApiError,
    PortAuthenticationError,
    PortNotFoundError,
    PortUnavailableError,
    logs,
    port_http,
)
from port_runner.deadline import Call
from port_runner.port_api import PortClient
from port_runner.port_http import PortHttp
from port_runner.settings import Credentials
from port_runner_sandbox.certificates import make_certificates
from port_runner_sandbox.fake_port import FakePort, Received
from tests.support.port_client import TOKEN_PATH, make_client, sent, soon

RUN_PATH = "/v1/actions/runs/r_1"


class Clock:
    """Stands in for the client's `time`. It does not wait, and keeps the waiting times."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def time(self) -> float:
        return time.time() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.ahead += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(port_http, "time", clock)
    return clock


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose time zone is far from UTC."""
    with monkeypatch.context() as zone:
        zone.setenv("TZ", "Pacific/Kiritimati")
        time.tzset()
        yield
    time.tzset()


def token_calls(port: FakePort) -> list[Received]:
    return [each for each in port.requests if each.path == TOKEN_PATH]


def at_once(function: Callable[[], Any], times: int = 8) -> list[Any]:
    """Return the results of *function* in as many threads that start together."""
    together = threading.Barrier(times)

    def call() -> Any:
        together.wait()
        return function()

    with ThreadPoolExecutor(times) as pool:
        return [each.result() for each in [pool.submit(call) for _ in range(times)]]


# Tokens


def test_one_token_serves_all_calls(port: FakePort, client: PortClient) -> None:
    """The credentials are sent once, and every call bears the token that they gave."""
    for _ in range(3):
        client.get_run("r_1", until=soon())

    (call,) = token_calls(port)
    assert call.body == {"clientId": port.client_id, "clientSecret": port.client_secret}
    assert "Authorization" not in call.headers
    tokens = {each.headers["Authorization"] for each in port.requests if each is not call}
    assert len(tokens) == 1
    assert tokens.pop().startswith("Bearer ")


def test_many_threads_ask_for_one_token(port: FakePort, client: PortClient) -> None:
    """The first thread asks for a token, and the others wait for that token."""
    port.fail(TOKEN_PATH, delay=0.1)

    at_once(lambda: client.get_run("r_1", until=soon()))

    assert (len(token_calls(port)), len(sent(port))) == (1, 8)


def test_the_tokens_type_is_as_port_says(port: FakePort, client: PortClient) -> None:
    """The header is made of tokenType and accessToken, and Bearer where Port names no type."""
    kinds: list[Any] = ["", " ", 5, ["Other"], {}, True, "Oth\r\ner: x", "Öther"]
    answers: list[dict[str, Any]] = [{"tokenType": "Other"}, {}, *({"tokenType": kind} for kind in kinds)]
    for answer, expected in zip(answers, ["Other abc", *["Bearer abc"] * 9], strict=True):
        port.fail(TOKEN_PATH, status=200, body={"accessToken": "abc", "expiresIn": 0, **answer})
        port.fail(RUN_PATH, status=200, body={})
        client.get_run("r_1", until=soon())
        assert port.requests[-1].headers["Authorization"] == expected


def test_a_token_is_renewed_before_it_expires(port: FakePort, client: PortClient, clock: Clock) -> None:
    """A token is used until a minute before its end, so that none expires on the way."""
    port.expire_token()

    for clock.ahead, calls in ((0, 1), (10800 - 65, 1), (10800 - 55, 2)):
        client.get_run("r_1", until=clock.monotonic() + 5)
        assert len(token_calls(port)) == calls, clock.ahead


@pytest.mark.parametrize(
    ("life", "calls"),
    [
        (0, 2),
        (-5, 2),
        (30, 1),
        ("30", 1),
        (1e300, 1),
        (None, 2),
        ("soon", 2),
        ([30], 2),
        (float("nan"), 2),
        ("inf", 2),
        (-1e300, 2),
        pytest.param(10**400, 2, id="a number of 401 digits"),
    ],
)
def test_a_token_that_is_about_to_expire_is_used(port: FakePort, client: PortClient, life: Any, calls: int) -> None:
    """Port gives all who ask the same token, with little time left for the last: good for the call it was asked for."""
    token = requests.post(
        f"{port.url}{TOKEN_PATH}", json={"clientId": port.client_id, "clientSecret": port.client_secret}, timeout=5
    ).json()["accessToken"]
    port.requests.clear()

    answer = {"accessToken": token, "expiresIn": life, "tokenType": "Bearer"}
    with port.fail(TOKEN_PATH, status=200, body=answer, times=None):
        for _ in range(2):
            client.get_run("r_1", until=soon())

    assert (len(token_calls(port)), len(sent(port))) == (calls, 2)


def test_a_token_that_port_revoked_is_renewed_once(port: FakePort, client: PortClient) -> None:
    """401 means that the token is no longer good: one new token, and the call again."""
    client.get_run("r_1", until=soon())
    port.expire_token()
    port.requests.clear()

    client.get_run("r_1", until=soon())

    assert [(each.path, each.status) for each in port.requests] == [(RUN_PATH, 401), (TOKEN_PATH, 200), (RUN_PATH, 200)]


def test_threads_with_a_revoked_token_renew_it_once(port: FakePort, client: PortClient) -> None:
    """Of many calls that are answered 401 the first renews the token, the others use it."""
    client.get_run("r_1", until=soon())
    port.expire_token()
    port.requests.clear()

    at_once(lambda: client.get_run("r_1", until=soon()))

    assert len(token_calls(port)) == 1


def test_401_again_is_an_error(port: FakePort, client: PortClient) -> None:
    """If a new token does not help, there is no further retry."""
    port.fail(RUN_PATH, status=401, times=None)

    with pytest.raises(PortAuthenticationError) as caught:
        client.get_run("r_1", until=soon())

    assert caught.value.status == 401
    assert (len(token_calls(port)), len(sent(port))) == (2, 2)


def test_wrong_credentials_are_an_error_at_once(port: FakePort) -> None:
    """Port's refusal of the credentials is final, is said without them, and no call is made."""
    client = PortClient(port.url, lambda: Credentials("s3cret-id", "s3cret"))

    with pytest.raises(PortAuthenticationError) as caught:
        client.get_run("r_1", until=soon())

    assert (caught.value.status, caught.value.code) == (401, "invalid_credentials")
    assert "s3cret" not in str(caught.value)
    assert (len(token_calls(port)), sent(port)) == (1, [])


def test_rotated_credentials_are_found(port: FakePort) -> None:
    """Each new token is asked for with the credentials of that moment, so a rotation needs no new process."""
    port.add_run("r_1")
    credentials = [Credentials(port.client_id, "before"), Credentials(port.client_id, port.client_secret)]
    client = PortClient(port.url, lambda: credentials.pop(0))

    with pytest.raises(PortAuthenticationError):
        client.get_run("r_1", until=soon())

    assert client.get_run("r_1", until=soon())["id"] == "r_1"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"accessToken": ""},
        {"accessToken": 5},
        {"accessToken": " "},
        {"accessToken": "a\nb"},
        {"accessToken": "ž"},
        [],
        "<html>Sign in to the network</html>",
    ],
)
def test_an_answer_without_a_token_is_not_ports(port: FakePort, client: PortClient, body: Any) -> None:
    """A gateway that answers 200 with something else is no Port, and nothing is sent to it."""
    port.fail(TOKEN_PATH, status=200, body=body)

    with pytest.raises(PortUnavailableError, match="200 the answer held no token"):
        client.get_run("r_1", until=soon())
    assert sent(port) == []


def test_tokens_are_masked_in_the_log(port: FakePort, client: PortClient) -> None:
    """A token that was received can stand in no log line."""
    client.get_run("r_1", until=soon())
    token = port.requests[-1].headers["Authorization"].removeprefix("Bearer ")

    line = logs.JsonFormatter().format(logging.makeLogRecord({"msg": token}))

    assert json.loads(line)["message"] == "[redacted]"


# Retries


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("path", [RUN_PATH, TOKEN_PATH])
def test_what_may_pass_is_tried_again(port: FakePort, client: PortClient, clock: Clock, status: int, path: str) -> None:
    """Time-outs, rate limits and failures of Port's own are retried, those of the call for a token too."""
    port.fail(path, status=status, body="<html>s3cret</html>", times=2)

    assert client.get_run("r_1", until=clock.monotonic() + 5)["id"] == "r_1"

    assert [each.status for each in port.requests if each.path == path] == [status, status, 200]


@pytest.mark.parametrize("drop", ["before", "after"])
@pytest.mark.parametrize("path", [RUN_PATH, TOKEN_PATH])
def test_dropped_connections_are_tried_again(port: FakePort, client: PortClient, drop: Any, path: str) -> None:
    """A connection that ends without an answer is retried, whether or not the request was carried out."""
    port.fail(path, drop=drop)

    client.update_run("r_1", statusLabel="Half way", until=soon())

    assert port.runs["r_1"]["statusLabel"] == "Half way"
    assert len([each for each in port.requests if each.path == path]) == 2


@pytest.mark.parametrize("status", [301, 302, 304, 307, 400, 403, 404, 405, 409, 410, 413, 415, 422, 501])
def test_what_will_not_pass_is_not_tried_again(port: FakePort, client: PortClient, status: int) -> None:
    """Any other answer is final; a redirection too: it is no success, and is not followed with the token."""
    port.fail(RUN_PATH, status=status, headers={"Location": f"{port.url}/v1/organization"}, times=None)

    with pytest.raises(PortApiError) as caught:
        client.update_run("r_1", status="SUCCESS", until=soon())

    assert caught.value.status == status
    assert sent(port) == [("PATCH", RUN_PATH, status)]


@pytest.mark.parametrize("target", ["http://[", "//:x", "http://elsewhere:99999", "", "\x80", "mailto:x"])
def test_the_target_of_a_redirection_is_not_read(port: FakePort, client: PortClient, target: str) -> None:
    """A redirection is an answer, however its target is written."""
    port.fail(RUN_PATH, status=302, body={"error": "moved"}, headers={"Location": target}, times=None)

    with pytest.raises(PortApiError, match="302 moved"):
        client.get_run("r_1", until=soon())

    assert len(sent(port)) == 1


@pytest.mark.parametrize(
    "headers", [{"Content-Encoding": "gzip"}, {"Content-Encoding": "deflate, gzip"}, {"Content-Length": "3, 4"}]
)
def test_an_answer_that_cannot_be_read_is_tried_again(
    port: FakePort, client: PortClient, headers: dict[str, str]
) -> None:
    """Content that is not encoded as its headers say is no answer, and no fault of the environment either."""
    port.fail(RUN_PATH, status=200, body={"run": {"id": "r_2"}}, headers=headers)

    assert client.get_run("r_1", until=soon())["id"] == "r_1"

    assert len(sent(port)) == 2


def test_a_redirected_call_for_a_token_is_no_success(port: FakePort, client: PortClient) -> None:
    """The credentials are not sent to where an answer points."""
    port.fail(TOKEN_PATH, status=307, headers={"Location": f"{port.url}/elsewhere"}, times=None)

    with pytest.raises(PortApiError) as caught:
        client.get_run("r_1", until=soon())

    assert (caught.value.status, len(port.requests)) == (307, 1)


def test_waiting_grows_and_ends_with_the_time(port: FakePort, client: PortClient, clock: Clock) -> None:
    """Pauses double up to eight seconds, none ends beyond the time of the call, and the error is the last answer."""
    port.fail(RUN_PATH, status=503, times=None)
    until = clock.monotonic() + 60

    with pytest.raises(PortUnavailableError) as caught:
        client.get_run("r_1", until=until)

    longest = [min(0.1 * 2**number, 8) for number in range(len(clock.pauses))]
    assert all(most / 2 - 0.01 <= pause <= most for pause, most in zip(clock.pauses, longest, strict=True)), (
        clock.pauses
    )
    assert until - 8 <= clock.monotonic() < until
    assert len(sent(port)) == len(clock.pauses) + 1
    assert (caught.value.status, caught.value.trace_id) == (503, port.requests[-1].trace_id)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_says_how_long_to_wait(port: FakePort, client: PortClient, clock: Clock, status: int) -> None:
    """Nothing is sent before the seconds are over that Port asks for, and it goes before a limit's reset."""
    port.fail(RUN_PATH, status=status, headers={"Retry-After": "30", "x-ratelimit-reset": "5"})

    client.get_run("r_1", until=clock.monotonic() + 60)

    assert 29.9 < sum(clock.pauses) <= 30.6


@pytest.mark.parametrize("name", ["Retry-After", "x-ratelimit-reset"])
@pytest.mark.parametrize("as_epoch", [False, True])
def test_both_readings_of_a_wait(port: FakePort, client: PortClient, clock: Clock, name: str, as_epoch: bool) -> None:
    """Port's pages give the reset as seconds to wait and as seconds of the epoch: a large number is a moment."""
    value = time.time() + 30 if as_epoch else 30
    port.fail(RUN_PATH, status=429, headers={name: str(value), "x-ratelimit-limit": "1000"})

    client.get_run("r_1", until=clock.monotonic() + 60)

    assert 25 < sum(clock.pauses) <= 30.6


def test_a_date_says_until_when_to_wait(port: FakePort, client: PortClient, clock: Clock) -> None:
    """`Retry-After` has two forms: seconds, and a date."""
    moment = datetime.now(UTC) + timedelta(seconds=30)
    port.fail(RUN_PATH, status=503, headers={"Retry-After": format_datetime(moment, usegmt=True)})

    client.get_run("r_1", until=clock.monotonic() + 60)

    assert 25 < sum(clock.pauses) <= 30.1


@pytest.mark.parametrize("status", [520, 521, 522, 523, 524, 530])
def test_failures_of_the_network_in_front_of_port_are_retried(
    port: FakePort, client: PortClient, clock: Clock, status: int
) -> None:
    """These statuses say that Port could not be reached, so the request is sent again."""
    port.fail(RUN_PATH, status=status)

    client.get_run("r_1", until=clock.monotonic() + 60)

    assert [seen for _, _, seen in sent(port)] == [status, 200]


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (503, {"x-ratelimit-reset": "30"}),
        (429, {"x-ratelimit-reset": "20000"}),
        (429, {"Retry-After": "-5"}),
        (429, {"Retry-After": "soon", "x-ratelimit-reset": ""}),
        (429, {"Retry-After": "nan", "x-ratelimit-reset": "nan"}),
        (429, {"Retry-After": "inf", "x-ratelimit-reset": "-inf"}),
        (503, {"Retry-After": "Thu, 01 Jan 1970 00:30:00 GMT"}),
    ],
)
def test_what_says_nothing_of_waiting_is_passed_over(
    port: FakePort, client: PortClient, clock: Clock, status: int, headers: dict[str, str]
) -> None:
    """A rate limit's reset with another failure, a past moment or other text does not set the pause."""
    port.fail(RUN_PATH, status=status, headers=headers)

    client.get_run("r_1", until=clock.monotonic() + 60)

    assert [pause <= 0.1 for pause in clock.pauses] == [True]


def test_a_port_that_says_not_to_wait_is_not_rushed(port: FakePort, client: PortClient, clock: Clock) -> None:
    """Retry-After: 0 is no leave to send without pause: the pauses grow all the same."""
    port.fail(RUN_PATH, status=503, headers={"Retry-After": "0"}, times=None)

    with pytest.raises(PortUnavailableError):
        client.get_run("r_1", until=clock.monotonic() + 60)

    assert len(sent(port)) < 20


def test_a_wait_beyond_the_time_is_not_begun(port: FakePort, client: PortClient, clock: Clock) -> None:
    """If Port asks for a longer wait than there is time, the error is raised at once, so that Lambda retries."""
    port.fail(RUN_PATH, status=429, headers={"Retry-After": "61"})

    with pytest.raises(PortUnavailableError) as caught:
        client.get_run("r_1", until=clock.monotonic() + 60)

    assert (caught.value.status, clock.pauses) == (429, [])


# A rate limit

LIMITS: list[Callable[[], dict[str, str]]] = [
    lambda: {"Retry-After": "30"},
    lambda: {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)},
    lambda: {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=30)).replace("+0000", "-0000")},
    lambda: {"x-ratelimit-reset": "30"},
    lambda: {"x-ratelimit-reset": str(time.time() + 30)},
]


@pytest.mark.usefixtures("far_from_utc")
@pytest.mark.parametrize("headers", LIMITS)
@pytest.mark.parametrize("path", [RUN_PATH, TOKEN_PATH])
def test_a_rate_limit_is_for_every_request(
    port: FakePort,
    client: PortClient,
    clock: Clock,
    path: str,
    headers: Callable[[], dict[str, str]],
) -> None:
    """After a 429 nothing is sent before its moment, and each error says how many seconds are left until then."""
    port.fail(path, status=429, headers=headers())
    calls: list[Callable[[], Any]] = [
        lambda: client.get_run("r_1", until=clock.monotonic() + 10),
        lambda: client.update_run("r_1", statusLabel="Half way", until=clock.monotonic() + 10),
        lambda: client.add_run_log("r_1", "line", until=clock.monotonic() + 10),
    ]
    waits = []
    for call in calls:
        with pytest.raises(PortUnavailableError) as caught:
            call()
        assert caught.value.status == 429
        waits.append(caught.value.retry_after)
        clock.ahead += 5

    assert [wait is not None and 23 - 5 * number < wait <= 30 - 5 * number for number, wait in enumerate(waits)] == [
        True
    ] * 3
    assert [each.status for each in port.requests if each.path == path] == [429]

    clock.ahead += 15
    assert client.get_run("r_1", until=clock.monotonic() + 10)["id"] == "r_1"


def test_the_token_keeps_to_a_rate_limit_too(port: FakePort, client: PortClient, clock: Clock) -> None:
    """A limit that a run's request has met holds for the request for the next token."""
    port.fail(RUN_PATH, status=429, headers={"Retry-After": "600"})
    with pytest.raises(PortUnavailableError):
        client.get_run("r_1", until=clock.monotonic() + 5)
    client.http._token_until = 0.0

    with pytest.raises(PortUnavailableError, match="Port did not accept the credentials: 429 the rate limit"):
        client.http.log_in(until=clock.monotonic() + 5)

    assert len(token_calls(port)) == 1


def test_threads_wait_for_the_end_of_a_rate_limit(port: FakePort, client: PortClient) -> None:
    """Threads that have the time wait until Port's moment, and then get their answers."""
    port.fail(RUN_PATH, method="GET", status=429, headers={"Retry-After": "0.6"})
    with ThreadPoolExecutor() as pool:
        limited = pool.submit(lambda: client.get_run("r_1", until=soon(30)))
        while not client.http._limited_until:
            time.sleep(0.001)
        at_once(lambda: client.update_run("r_1", statusLabel="Half way", until=soon(30)))
        assert limited.result()["id"] == "r_1"

    refused, *others = [each for each in port.requests if each.path == RUN_PATH]
    assert [each.status for each in (refused, *others)] == [429, *[200] * 9]
    assert min(each.at for each in others) >= refused.at + 0.6


def test_threads_do_not_come_together_after_a_rate_limit(port: FakePort, client: PortClient, clock: Clock) -> None:
    """Requests are spread over a moment after the limit, also those of callers that waited for it themselves."""
    starts = []
    for _ in range(20):
        port.fail(RUN_PATH, status=429, headers={"Retry-After": "30"})
        with pytest.raises(PortUnavailableError) as caught:
            client.get_run("r_1", until=clock.monotonic() + 5)
        clock.pauses.clear()
        clock.sleep(caught.value.retry_after or 0)
        client.get_run("r_1", until=clock.monotonic() + 5)
        starts.append(round(sum(clock.pauses[1:]), 2))

    assert len(set(starts)) > 5
    assert max(starts) <= 0.5


def test_a_later_answer_does_not_shorten_a_rate_limit(port: FakePort, client: PortClient) -> None:
    """Of several limits that are met at the same time, the longest counts, for answers without a time too."""
    client.get_run("r_1", until=soon())
    port.fail(RUN_PATH, status=429, headers={"Retry-After": "60"}, delay=0.2)
    port.fail(RUN_PATH, status=429, headers={"Retry-After": "5"}, delay=0.3)
    port.fail(RUN_PATH, status=429, delay=0.4)

    def wait() -> float:
        with pytest.raises(PortUnavailableError) as caught:
            client.get_run("r_1", until=soon(3))
        return caught.value.retry_after or 0

    assert min(at_once(wait, 3)) > 50
    assert wait() > 50


def test_a_429_without_a_time_is_not_shared(port: FakePort, client: PortClient, clock: Clock) -> None:
    """If Port does not say how long to wait, only the thread that asked pauses."""
    with port.fail(RUN_PATH, status=429, times=None), pytest.raises(PortUnavailableError) as caught:
        client.get_run("r_1", until=clock.monotonic() + 20)
    assert (caught.value.status, caught.value.retry_after) == (429, None)
    clock.pauses.clear()

    client.get_run("r_1", until=clock.monotonic() + 5)

    assert clock.pauses == []


@pytest.mark.parametrize("asked", ["7200", "1e300", str(10**13)])
def test_an_absurd_limit_ends(port: FakePort, client: PortClient, clock: Clock, asked: str) -> None:
    """No value of Port's keeps this process from Port for longer than an invocation can last."""
    port.fail(RUN_PATH, status=429, headers={"Retry-After": asked})

    waits = []
    for clock.ahead in (0, 100):
        with pytest.raises(PortUnavailableError) as caught:
            client.get_run("r_1", until=clock.monotonic() + 60)
        waits.append(caught.value.retry_after or 0)

    assert waits[0] > 900
    assert 700 < waits[1] <= 800
    clock.ahead = 901
    assert client.get_run("r_1", until=clock.monotonic() + 60)["id"] == "r_1"


def test_the_pauses_of_one_thread_are_not_those_of_others(port: FakePort, client: PortClient, clock: Clock) -> None:
    """A thread that has failed often pauses for long, but what it shares is the time that Port asked for."""
    port.fail(RUN_PATH, status=503, times=8)
    port.fail(RUN_PATH, status=429, headers={"Retry-After": "1"}, times=None)
    with pytest.raises(PortUnavailableError) as caught:
        client.get_run("r_1", until=clock.monotonic() + 30)
    assert max(clock.pauses) > 3

    with pytest.raises(PortUnavailableError) as other:
        client.get_run("r_1", until=clock.monotonic() + 0.9)

    assert [each.value.retry_after is not None and each.value.retry_after <= 1.01 for each in (caught, other)] == [
        True
    ] * 2


def test_a_short_limit_is_not_rushed(port: FakePort, client: PortClient, clock: Clock) -> None:
    """A Port that asks to wait for a millisecond, again and again, is asked with growing pauses."""
    port.fail(RUN_PATH, status=429, headers={"Retry-After": "0.001"}, times=None)

    with pytest.raises(PortUnavailableError) as caught:
        client.get_run("r_1", until=clock.monotonic() + 60)

    assert caught.value.retry_after is not None
    assert caught.value.retry_after >= 0
    assert len(sent(port)) < 20


def test_a_thread_that_waits_for_a_limit_holds_up_nobody(port: FakePort, client: PortClient, clock: Clock) -> None:
    """While a thread with much time waits to ask for a token, one with little time gets its error."""
    waiting, over = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        waiting.set()
        over.wait(30)
        clock.ahead += seconds

    clock.sleep = sleep  # type: ignore[method-assign]
    port.fail(TOKEN_PATH, status=429, headers={"Retry-After": "30"})
    with ThreadPoolExecutor() as pool:
        patient = pool.submit(lambda: client.get_run("r_1", until=clock.monotonic() + 60))
        try:
            assert waiting.wait(30)
            with pytest.raises(PortUnavailableError) as caught:
                client.get_run("r_1", until=clock.monotonic() + 20)
            assert (caught.value.status, patient.done()) == (429, False)
        finally:
            over.set()
        assert patient.result()["id"] == "r_1"

    assert [each.status for each in token_calls(port)] == [429, 200]


@pytest.mark.parametrize("has_token", [False, True])
def test_the_wait_for_another_threads_token_ends_with_the_time(port: FakePort, has_token: bool) -> None:
    """A thread that needs the token for which another one asks gives up when its own time is over."""
    port.add_run("r_1")
    asking, answered = threading.Event(), threading.Event()
    answered.set()

    def credentials() -> Credentials:
        asking.set()
        answered.wait(30)
        return Credentials(port.client_id, port.client_secret)

    client = PortClient(port.url, credentials)
    if has_token:
        client.get_run("r_1", until=soon(30))
    asking.clear()
    answered.clear()
    with ThreadPoolExecutor() as pool:
        valid_until, client.http._token_until = client.http._token_until, 0.0
        first = pool.submit(lambda: client.get_run("r_1", until=soon(30)))
        try:
            assert asking.wait(30)
            client.http._token_until = valid_until  # as for a thread that took the token before, and learns of its end
            port.fail(RUN_PATH, status=401, times=1 if has_token else 0)
            with pytest.raises(PortUnavailableError, match="no time was left"):
                client.get_run("r_1", until=soon(1.5 if has_token else 0.1))
            assert not first.done()
        finally:
            answered.set()
        assert first.result()["id"] == "r_1"


def test_a_thread_that_is_stopped_holds_up_nobody(port: FakePort) -> None:
    """A handler whose time is up while it waits for another thread's token keeps no one from the next token."""
    port.add_run("r_1")
    asking, answered = threading.Event(), threading.Event()

    def credentials() -> Credentials:
        asking.set()
        answered.wait(30)
        return Credentials(port.client_id, port.client_secret)

    client = PortClient(port.url, credentials)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(lambda: client.get_run("r_1", until=soon(30)))
        try:
            assert asking.wait(30)
            stopped = Call(lambda: client.get_run("r_1", until=soon(30)))
            time.sleep(0.1)
            stopped.abandon()
        finally:
            answered.set()
        assert first.result()["id"] == "r_1"
    assert stopped.wait(30)

    client.http._token_until = 0.0
    assert client.get_run("r_1", until=soon())["id"] == "r_1"


# Time


def test_without_time_nothing_is_sent(port: FakePort, client: PortClient) -> None:
    """A call whose time is up before it began is an error, not a request."""
    with pytest.raises(PortUnavailableError, match="no time was left"):
        client.get_run("r_1", until=time.monotonic() - 1)

    assert port.requests == []


@pytest.mark.parametrize("path", [RUN_PATH, TOKEN_PATH])
def test_a_port_that_does_not_answer_takes_no_more_than_the_time(port: FakePort, client: PortClient, path: str) -> None:
    """The wait for an answer ends with the time of the call."""
    port.fail(path, delay=5, times=None)

    began = time.monotonic()
    with pytest.raises(PortUnavailableError) as caught:
        client.get_run("r_1", until=soon(0.4))

    assert 0.3 < time.monotonic() - began < 3
    assert (caught.value.status, str(caught.value)) == (None, "Port did not read the run: ReadTimeout")


def test_a_port_that_is_not_there(clock: Clock) -> None:
    """Refused connections are retried while there is time, then said."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    client = PortClient(address, lambda: Credentials("id", "s3cret"))

    with pytest.raises(PortUnavailableError) as caught:
        client.get_run("r_1", until=clock.monotonic() + 5)

    assert len(clock.pauses) >= 3
    assert str(caught.value) == "Port did not read the run: ConnectionError"


# Errors


def test_an_error_has_ports_code_and_trace_id_and_no_content(port: FakePort, client: PortClient) -> None:
    """Status, code and trace id lead to the cause; what was sent and Port's prose about it stay out of the text."""
    port.fail(RUN_PATH, status=422, body={"ok": False, "error": "invalid_request", "message": "s3cret is no status"})

    with pytest.raises(PortApiError) as caught:
        client.update_run("r_1", status="s3cret", until=soon())

    error = caught.value
    assert (error.operation, error.status, error.code) == ("update the run", 422, "invalid_request")
    assert error.trace_id == port.requests[-1].trace_id
    assert str(error) == f"Port did not update the run: 422 invalid_request (trace id {error.trace_id})"


@pytest.mark.parametrize(
    "body",
    [
        "<html>s3cret</html>",
        b"\xff\xfes3cret",
        "",
        '{"error": "s3cret',
        [1],
        {"error": {"s3cret": 1}},
        {"error": "s3cret ran out"},
    ],
)
def test_error_bodies_of_any_kind(port: FakePort, client: PortClient, body: Any) -> None:
    """A gateway's page, a cut off body, prose for a code: the error has the status, and nothing of the rest."""
    port.fail(RUN_PATH, status=400, body=body)

    with pytest.raises(PortApiError) as caught:
        client.get_run("r_1", until=soon())

    assert (caught.value.status, caught.value.code) == (400, None)
    assert str(caught.value) == f"Port did not read the run: 400 (trace id {port.requests[-1].trace_id})"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "missing_permissions", PortAuthenticationError),
        (403, None, PortAuthenticationError),
        (403, "has_dependents", PortApiError),
        (403, "required_relation", PortApiError),
        (404, "not_found", PortNotFoundError),
        (422, "run_exhausted", PortApiError),
        (429, "rate_limit", PortUnavailableError),
        (500, "internal_error", PortUnavailableError),
    ],
)
def test_kinds_of_errors(port: FakePort, client: PortClient, status: int, code: str | None, kind: type) -> None:
    """Missing permissions, temporary failures and refusals of content are different errors."""
    port.fail(RUN_PATH, status=status, body={"ok": False, "error": code}, headers={"Retry-After": "60"})

    with pytest.raises(PortApiError) as caught:
        client.get_run("r_1", until=soon())

    assert type(caught.value) is kind


@pytest.mark.parametrize("body", [[], "text", "<html>maintenance</html>", '{"ok": tr', "[" * 100_000, b"\xff\xfe{}"])
def test_a_success_that_is_not_ports_json_is_no_answer(port: FakePort, client: PortClient, body: Any) -> None:
    """A page of a proxy with status 200 is not taken for Port's yes."""
    port.fail(RUN_PATH, status=200, body=body)

    with pytest.raises(PortUnavailableError) as caught:
        client.update_run("r_1", status="SUCCESS", until=soon())

    assert str(caught.value).startswith("Port did not update the run: 200 the answer was not Port's JSON")


def test_the_detail_of_an_error_is_for_its_operator_alone(port: FakePort, client: PortClient) -> None:
    """Port's own words are a field of the error, and part of neither its text nor a log line."""
    port.fail(RUN_PATH, status=422, body={"error": "invalid_request", "message": "s3cret is not a status"})

    with pytest.raises(PortApiError) as caught:
        client.update_run("r_1", status="s3cret", until=soon())

    error = caught.value
    assert error.detail == "invalid_request: s3cret is not a status"
    assert "s3cret" not in f"{error} {error!r} {error.args} {logs.error_of(error)}"


@pytest.mark.parametrize("body", [{"ok": True}, {"ok": True, "run": None}])
def test_a_success_without_a_run_is_an_empty_run(port: FakePort, client: PortClient, body: Any) -> None:
    """A field that Port leaves out of an answer costs no further request."""
    port.fail(RUN_PATH, status=200, body=body)

    assert client.get_run("r_1", until=soon()) == {}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (gzip.compress('{"run": {"id": "ř"}}'.encode(), mtime=0), {"Content-Encoding": "gzip"}),
        (b'{"run": {"id": "\xc5\x99"}}', {"Content-Type": "text/plain; charset=iso-8859-1"}),
        (b'{"run": {"id": "\xc5\x99"}}', {"Content-Type": "application/json; charset=rot13"}),
        (b'\xef\xbb\xbf{"run": {"id": "\xc5\x99"}}', {}),
    ],
)
def test_an_answer_is_json_however_it_is_packed(
    port: FakePort, client: PortClient, body: bytes, headers: dict[str, str]
) -> None:
    """A compressed answer is unpacked, and JSON is UTF-8, even if the headers call it something else."""
    port.fail(RUN_PATH, status=200, body=body, headers=headers)

    assert client.get_run("r_1", until=soon()) == {"id": "ř"}


# What is sent


def test_bodies_are_json(port: FakePort, client: PortClient) -> None:
    """Text of any script arrives as it was written, and the client names itself."""
    client.update_run("r_1", statusLabel="hotovo ✓", link=["https://a"], until=soon())

    assert port.requests[-1].body == {"statusLabel": "hotovo ✓", "link": ["https://a"]}
    assert port.requests[-1].headers["Content-Type"] == "application/json"
    assert port.requests[-1].headers["User-Agent"] == "port-runner"


def test_what_is_no_json_is_not_sent(port: FakePort, client: PortClient) -> None:
    """A body that JSON has no word for is the caller's mistake, and is not sent as something else."""
    for value in (float("nan"), object()):
        with pytest.raises((ValueError, TypeError)):
            client.upsert_entity("vm", {"properties": {"x": value}}, run_id=None, merge=True, until=soon())

    assert sent(port) == []


# Connections


def test_one_connection_serves_all_calls(port: FakePort, client: PortClient) -> None:
    """Calls one after another share one kept-alive connection, that for the token too."""
    for _ in range(10):
        client.get_run("r_1", until=soon())

    assert len({each.connection for each in port.requests}) == 1


def test_threads_keep_their_connections(port: FakePort) -> None:
    """As many connections as calls at once, and no more when the same threads call again."""
    port.add_run("r_1")
    client = make_client(port, connections=8)
    port.fail(RUN_PATH, delay=0.05, times=8)

    at_once(lambda: client.get_run("r_1", until=soon()))
    at_once(lambda: [client.get_run("r_1", until=soon()) for _ in range(3)])

    assert len({each.connection for each in port.requests}) <= 8


class LittlePort(ThreadingHTTPServer):
    """Answers everything with a token and a run; *forgetful*, it closes connections without a word about it.

    It reads from the connections in *silenced*, but does not answer them.
    """

    daemon_threads = True

    def __init__(self, *, forgetful: bool = False, delay: float = 0) -> None:
        super().__init__(("127.0.0.1", 0), _LittleConnection)
        self.forgetful = forgetful
        self.delay = delay
        self.connections: list[Any] = []
        self.silenced: set[Any] = set()
        self.closed = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _LittleConnection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LittlePort

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.connections.append(self.client_address)
        if self.client_address in self.server.silenced:
            self.server.closed.wait(60)
            self.close_connection = True
            return
        time.sleep(self.server.delay)
        answer = json.dumps({"accessToken": "token", "expiresIn": 100, "run": {"id": "r_1"}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        self.close_connection = self.close_connection or self.server.forgetful

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None: ...


@contextmanager
def serving[S: ThreadingHTTPServer](server: S) -> Iterator[S]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_connection_that_was_closed_meanwhile_is_survived() -> None:
    """Port closes what is idle for long, without a word: the next call opens a new one and succeeds at once."""
    with serving(LittlePort(forgetful=True)) as server:
        client = PortClient(f"http://127.0.0.1:{server.port}", lambda: Credentials("id", "secret"))
        for _ in range(3):
            assert client.get_run("r_1", until=soon()) == {"id": "r_1"}
            time.sleep(0.02)

    assert len(set(server.connections)) == 4


class OddPort(ThreadingHTTPServer):
    """Gives a token, and answers everything else with *pieces*, which may have no end. Then it hangs up."""

    daemon_threads = True

    def __init__(self, headers: Mapping[str, str], pieces: Callable[[], Iterator[bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _OddConnection)
        self.headers = headers
        self.pieces = pieces
        self.answers = 0
        self.complete = 0

    def client(self) -> PortClient:
        return PortClient(f"http://127.0.0.1:{self.server_address[1]}", lambda: Credentials("id", "secret"))


class _OddConnection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OddPort

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = json.dumps({"accessToken": "token", "expiresIn": 10800}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        self.server.answers += 1
        self.close_connection = True
        self.send_response(200)
        for header in self.server.headers.items():
            self.send_header(*header)
        self.end_headers()
        with suppress(OSError):  # the client has hung up
            for piece in self.server.pieces():
                self.wfile.write(piece)
            self.server.complete += 1

    def log_message(self, format: str, *args: Any) -> None: ...


def test_an_answer_that_never_ends_takes_no_more_than_the_time() -> None:
    """An answer that comes byte by byte is given up in time for another try: no byte starts a new time-out."""

    def bytes_without_end() -> Iterator[bytes]:
        while True:
            yield b" "
            time.sleep(0.02)

    with serving(OddPort({}, bytes_without_end)) as server, pytest.raises(PortUnavailableError) as caught:
        server.client().get_run("r_1", until=soon(2.5))

    assert caught.value.status is None
    assert server.answers > 1


def test_a_very_large_answer_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is larger than any of Port's is not read to its end."""
    monkeypatch.setattr(port_http, "LARGEST_ANSWER_BYTES", 1_000_000)

    def spaces_without_end() -> Iterator[bytes]:
        while True:
            yield b" " * 10_000

    with serving(OddPort({}, spaces_without_end)) as server, pytest.raises(PortUnavailableError, match="not Port's"):
        server.client().get_run("r_1", until=soon(60))

    assert (server.answers, server.complete) == (1, 0)


@pytest.mark.parametrize(
    ("headers", "piece"),
    [
        ({"Content-Length": "100"}, b'{"run": {"id": "r_1"}}'),
        ({"Transfer-Encoding": "chunked"}, b'14\r\n{"run": {"id": "r_1"'),
        ({"Transfer-Encoding": "chunked"}, b'16\r\n{"run": {"id": "r_1"}}\r\n'),
    ],
)
def test_half_of_an_answer_is_none(headers: dict[str, str], piece: bytes) -> None:
    """An answer whose connection ends before it is complete is asked for again, even if what came looks whole."""
    with serving(OddPort(headers, lambda: iter([piece]))) as server, pytest.raises(PortUnavailableError) as caught:
        server.client().get_run("r_1", until=soon(2))

    assert caught.value.status is None
    assert server.answers > 1


def test_an_answer_in_chunks_is_whole() -> None:
    """An answer whose length was not known when it began is put together."""
    pieces = [b'c\r\n{"run": {"id\r\n', b'a\r\n": "r_1"}}\r\n', b"0\r\n\r\n"]
    with serving(OddPort({"Transfer-Encoding": "chunked"}, lambda: iter(pieces))) as server:
        assert server.client().get_run("r_1", until=soon()) == {"id": "r_1"}


def test_a_silent_connection_leaves_time_for_a_new_one(port: FakePort, client: PortClient) -> None:
    """A request without an answer is sent again, over another connection, before its time is over."""
    client.get_run("r_1", until=soon())
    with port.fail(RUN_PATH, delay=60):
        assert client.get_run("r_1", until=soon(4))["id"] == "r_1"

    first, silent, new = [each for each in port.requests if each.path == RUN_PATH]
    assert first.connection == silent.connection != new.connection


def test_idle_connections_that_went_silent_are_not_tried_one_by_one(clock: Clock) -> None:
    """After one silence no idle connection is used: a network forgets all of them together."""
    with serving(LittlePort(delay=0.3)) as server, ThreadPoolExecutor() as pool:
        client = PortClient(f"http://127.0.0.1:{server.port}", lambda: Credentials("id", "secret"))
        at_once(lambda: client.get_run("r_1", until=soon(30)))
        server.silenced.update(server.connections)
        server.connections.clear()
        assert len(server.silenced) > 1

        def sleep(seconds: float) -> None:  # another thread comes first, and is busy with a connection for some time
            clock.pauses.append(seconds)
            pool.submit(lambda: client.get_run("r_1", until=soon(30)))
            while len(server.connections) < 2:
                time.sleep(0.001)

        clock.sleep = sleep  # type: ignore[method-assign]
        assert client.get_run("r_1", until=soon(4)) == {"id": "r_1"}
        server.closed.set()

    assert [connection in server.silenced for connection in server.connections] == [True, False, False]


@pytest.mark.parametrize(
    ("seconds", "expected"), [(900, [10, 10]), (20, [10, 5]), (10, [5, 2.5]), (3, [1.5, 1]), (1.5, [1]), (0.4, [0.4])]
)
def test_a_try_takes_half_of_the_time_at_most(
    port: FakePort, client: PortClient, clock: Clock, monkeypatch: pytest.MonkeyPatch, seconds: float, expected: Any
) -> None:
    """A try gets half of what is left, but a second if there is one, and ten at most."""
    client.http.log_in(until=soon())
    patience: list[float] = []

    def silent(*_: object, timeout: tuple[float, float], **__: object) -> None:
        patience.append(timeout[1])
        clock.ahead += timeout[1]
        raise requests.ReadTimeout

    monkeypatch.setattr(client.http.session, "request", silent)
    with pytest.raises(PortUnavailableError):
        client.get_run("r_1", until=clock.monotonic() + seconds)

    assert patience[: len(expected)] == pytest.approx(expected, abs=0.2)
    assert sum(patience) <= seconds


def test_without_retries_a_request_has_all_of_its_time(port: FakePort) -> None:
    """A command that sends each request once does not cut its answer off halfway."""
    http = PortHttp(port.url, lambda: Credentials(port.client_id, port.client_secret), retries=False)
    with port.fail("/v1/organization", delay=1.2):
        assert http.request("read it", "GET", "/organization", until=soon(2.3))["ok"] is True


def test_a_netrc_does_not_replace_the_token(
    port: FakePort, client: PortClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A .netrc entry for the host is not used."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password else\ndefault login user password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    client.get_run("r_1", until=soon())

    assert ["Authorization" in each.headers for each in port.requests] == [False, True]
    assert port.requests[-1].headers["Authorization"].startswith("Bearer ")


class Proxy(ThreadingHTTPServer):
    """Passes requests on, and keeps the addresses that it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ProxyConnection)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _ProxyConnection(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        target = urlsplit(self.path)
        connection = HTTPConnection(target.netloc, timeout=5)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection.request(self.command, target.path, body, dict(self.headers))
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        self.send_response(response.status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None: ...


def test_the_environments_proxy_is_used(port: FakePort, client: PortClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY and NO_PROXY mean what they mean everywhere."""
    with serving(Proxy()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        client.get_run("r_1", until=soon())
        assert proxy.asked == [f"{port.url}{TOKEN_PATH}", f"{port.url}{RUN_PATH}"]

        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        client.get_run("r_1", until=soon())

    assert (len(proxy.asked), len(sent(port))) == (2, 2)


PROXIES = [
    "http://",
    ":",
    "[",
    "http://user:s3cret@[::1",
    "http://user:s3cret@proxy:99999",
    "http://user:s3cret@proxy:port",
    "http://user:s3cret@proxy..example:3128",
    "http://user:s3cr\u0435t@127.0.0.1:1",  # a Cyrillic letter in the password
    f"http://s3cret{'x' * 64}.example",
    " http://s3cret:3128 ",
    "ftp://s3cret:3128",
    "socks5://s3cret:1080",
]


@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize("name", ["HTTP_PROXY", "all_proxy"])
def test_a_proxy_that_is_no_address_is_named(
    port: FakePort, client: PortClient, clock: Clock, monkeypatch: pytest.MonkeyPatch, name: str, proxy: str
) -> None:
    """No try can succeed, so the error comes at once, with the variable and without its value, even in its causes."""
    monkeypatch.setenv(name, proxy)

    with pytest.raises(ConfigurationError, match=f"^{name} must be the address of an HTTP proxy, such as ") as caught:
        client.get_run("r_1", until=clock.monotonic() + 60)

    assert "s3cr" not in f"{caught.value} {logs.error_of(caught.value)}"
    assert (clock.pauses, port.requests) == ([], [])


@pytest.mark.parametrize("host", ["*.port.io", ".port.io", "api..port.io", "api.port.io:99999", "x" * 64, "[::1"])
def test_a_port_that_is_no_address_is_named(clock: Clock, host: str) -> None:
    """An address that no request can be sent to is a wrong setting, not a Port that is away."""
    client = PortClient(f"https://{host}", lambda: Credentials("id", "secret"))

    with pytest.raises(ConfigurationError, match=r"^PORT_API_URL must be the address of Port"):
        client.get_run("r_1", until=clock.monotonic() + 60)

    assert clock.pauses == []


def test_a_value_that_no_request_can_hold_is_not_the_environments_fault(port: FakePort, client: PortClient) -> None:
    """A wrong value in a call is its caller's mistake, and the environment is not blamed for it."""
    with pytest.raises(UnicodeEncodeError):
        client.upsert_entity("vm", {}, run_id="\ud800", merge=True, until=soon())

    assert port.requests == []


@pytest.fixture
def secure_port(tmp_path: Path) -> Iterator[LittlePort]:
    """A Port behind TLS, and its certificates in tmp_path."""
    certificates = make_certificates(tmp_path)
    (tmp_path / "authority.pem").write_text(certificates.authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    server = LittlePort()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield server


def test_a_certificate_authority_of_ones_own(
    secure_port: LittlePort, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's or a private link's authority is named by REQUESTS_CA_BUNDLE; without it TLS is refused."""
    address = f"https://localhost:{secure_port.port}"
    with pytest.raises(PortUnavailableError, match="SSLError"):
        PortClient(address, lambda: Credentials("id", "secret")).get_run("r_1", until=clock.monotonic() + 5)
    assert secure_port.connections == []

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    client = PortClient(address, lambda: Credentials("id", "secret"))
    assert client.get_run("r_1", until=clock.monotonic() + 5) == {"id": "r_1"}


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("content", [None, "", "s3cret", "-----BEGIN CERTIFICATE-----\ns3cret\n", "-----BEGIN X-----"])
def test_a_file_without_certificates_is_named(
    secure_port: LittlePort,
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: str | None,
) -> None:
    """A variable that names no file, or one that holds no certificate, is a wrong setting: there is no retry."""
    if content is not None:
        (tmp_path / "mine.pem").write_text(content)
    monkeypatch.setenv(name, str(tmp_path / "mine.pem"))
    client = PortClient(f"https://localhost:{secure_port.port}", lambda: Credentials("id", "secret"))

    with pytest.raises(ConfigurationError, match=f"^{name} must name a readable file") as caught:
        client.get_run("r_1", until=clock.monotonic() + 5)

    assert "s3cret" not in str(caught.value)
    assert (clock.pauses, secure_port.connections) == ([], [])


def test_certificates_that_do_not_fit_are_no_wrong_file(
    secure_port: LittlePort, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder, or a file with other authorities, can be read: it is only that Port is not trusted."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "authority.pem").write_text(make_certificates(other).authority)
    for path in (other, other / "authority.pem"):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
        client = PortClient(f"https://localhost:{secure_port.port}", lambda: Credentials("id", "secret"))
        with pytest.raises(PortUnavailableError, match="SSLError"):
            client.get_run("r_1", until=clock.monotonic() + 5)


def test_missing_certificates_of_the_library_itself(
    secure_port: LittlePort, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the system that requests lets through is like any other failure to reach Port."""
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", "/nowhere")
    client = PortClient(f"https://localhost:{secure_port.port}", lambda: Credentials("id", "secret"))

    with pytest.raises(PortUnavailableError, match="OSError"):
        client.get_run("r_1", until=clock.monotonic() + 5)
