"""Faults change the fake Port's answers as a test asks."""

import threading
from typing import Any

import pytest
import requests

from tests.unit.sandbox.fake_port.client import ENTITIES, Client


def test_fault_answers_in_place_of_port_as_often_as_told(client: Client) -> None:
    """A fault with a status answers `times` requests, which are not carried out."""
    run_id = client.execute()
    fault = client.port.fail("/v1/actions/runs", method="PATCH", status=503, times=2)
    url = f"/actions/runs/{run_id}"
    assert client.call("GET", url).status_code == 200
    for _ in range(2):
        assert client.refused("PATCH", url, {"status": "SUCCESS"})[0] == 503
        assert client.port.runs[run_id]["status"] == "IN_PROGRESS"
    assert client.call("PATCH", url, {"status": "SUCCESS"}).status_code == 200
    assert fault.used == 2


def test_fault_stays_until_it_is_removed(client: Client) -> None:
    """With times=None, a fault stays until the end of its with statement."""
    with client.port.fail("/v1/", status=500, times=None):
        assert {client.call("GET", "/organization").status_code for _ in range(3)} == {500}
    assert client.call("GET", "/organization").status_code == 200


def test_fault_has_a_body_and_headers_of_its_own(client: Client) -> None:
    """A fault can have its own body, such as a gateway's HTML, and headers, such as those of rate limits."""
    client.port.fail("/v1/org", status=502, body="<html>bad gateway</html>")
    answer = client.call("GET", "/organization")
    assert (answer.status_code, answer.text) == (502, "<html>bad gateway</html>")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["X-Trace-Id"]
    client.port.fail("/v1/org", status=429, body={"ok": False}, headers={"Retry-After": "3"})
    answer = client.call("GET", "/organization")
    assert (answer.status_code, answer.json(), answer.headers["Retry-After"]) == (429, {"ok": False}, "3")
    client.port.fail("/v1/org", headers={"x-ratelimit-remaining": "0"})
    answer = client.call("GET", "/organization")
    assert (answer.status_code, answer.headers["x-ratelimit-remaining"]) == (200, "0")
    with pytest.raises(ValueError, match="needs a status"):
        client.port.fail("/v1/org", body="x")


def test_page_in_place_of_json(client: Client) -> None:
    """A fault can answer a page of HTML with status 200, as a proxy does. The request is not carried out."""
    run_id = client.execute()
    client.port.fail("/v1/actions/runs", html=True)
    answer = client.call("PATCH", f"/actions/runs/{run_id}", {"status": "SUCCESS"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html")
    assert answer.text.startswith("<!doctype html>")
    assert client.port.runs[run_id]["status"] == "IN_PROGRESS"
    client.port.fail("/v1/actions/runs", html=True, status=503)
    assert client.call("GET", f"/actions/runs/{run_id}").status_code == 503


def test_path_of_a_fault_may_be_a_pattern(client: Client) -> None:
    """A fault's path is a regular expression for the beginning of the raw path."""
    client.ok("POST", ENTITIES, {"identifier": "a/b"})
    client.port.fail(r"/v1/blueprints/[^/]+/entities/a%2Fb$", status=500, times=None)
    assert client.call("GET", f"{ENTITIES}/a%2Fb").status_code == 500
    assert client.call("GET", f"{ENTITIES}/a").status_code == 404


def test_delayed_answer(client: Client) -> None:
    """A delay comes before the request is carried out, and does not delay other connections."""
    client.port.fail("/v1/actions/runs/", delay=1)
    run_id = client.execute()
    slow = threading.Thread(target=client.ok, args=("GET", f"/actions/runs/{run_id}"))
    slow.start()
    client.port.wait_until(lambda: client.port.requests[-1].path.endswith(run_id))
    delayed = client.port.requests[-1]
    other = Client(client.port)
    other.ok("PATCH", f"/actions/runs/{run_id}", {"statusLabel": "meanwhile"})
    assert delayed.status is None
    slow.join()
    assert delayed.status == 200


@pytest.mark.parametrize(("drop", "status", "stored"), [("before", None, "IN_PROGRESS"), ("after", 200, "SUCCESS")])
def test_dropped_connection(client: Client, drop: Any, status: int | None, stored: str) -> None:
    """The connection is closed without an answer, before the request is carried out or after."""
    run_id = client.execute()
    client.port.fail("/v1/actions/runs", drop=drop)
    with pytest.raises(requests.ConnectionError):
        client.call("PATCH", f"/actions/runs/{run_id}", {"status": "SUCCESS"})
    assert client.port.requests[-1].status == status
    assert client.port.runs[run_id]["status"] == stored
    assert client.call("GET", f"/actions/runs/{run_id}").status_code == 200


def test_faults_are_met_in_order(client: Client) -> None:
    """If several faults match, the first that is not used up applies."""
    client.port.fail("/v1/org", status=500)
    client.port.fail("/v1/org", status=429)
    assert [client.call("GET", "/organization").status_code for _ in range(3)] == [500, 429, 200]
