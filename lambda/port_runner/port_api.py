"""Port's API: a token, one kept-alive session, retries within the time that is left, and the calls a run needs.

Facts: https://docs.port.io/api-reference/port-api. A token lives for three hours and is the same for all who ask
with the same credentials, so ``expiresIn`` can be short; every answer carries ``X-Trace-Id``.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from . import logs
from .errors import PortApiError, PortAuthenticationError, PortUnavailableError
from .logs import log
from .settings import Credentials

if TYPE_CHECKING:
    import requests

CONNECT_SECONDS = 3.05
READ_SECONDS = 10.0
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 8.0
# A token is renewed while it still works, so that none expires on its way to Port.
TOKEN_MARGIN_SECONDS = 60.0
# `x-ratelimit-reset` is given in seconds to wait and as seconds of the epoch; nobody waits for hours.
SMALLEST_EPOCH = 10_000
# What Port refuses with 403 whoever asks.
ABOUT_RELATIONS = ("required_relation", "has_dependents")
BULK_SIZE = 20
LOG_PAGE = 50


@dataclass(frozen=True)
class Entity:
    """An entity as Port holds it."""

    blueprint: str
    identifier: str
    title: str | None
    properties: Mapping[str, Any]
    relations: Mapping[str, Any]

    @classmethod
    def from_answer(cls, blueprint: str, content: Mapping[str, Any]) -> "Entity":
        return cls(
            blueprint=str(content.get("blueprint") or blueprint),
            identifier=str(content.get("identifier")),
            title=content.get("title"),
            properties=content.get("properties") or {},
            relations=content.get("relations") or {},
        )


class PortClient:
    """Calls Port. Safe for several threads.

    Every call takes *until*, a moment of ``time.monotonic()`` by which it and its retries have ended, and raises
    ``PortUnavailableError`` when Port did not answer by then, ``PortAuthenticationError`` where its
    credentials are wrong or do not allow the call, and ``PortApiError`` for what else Port refuses.
    """

    def __init__(self, url: str, credentials: Callable[[], Credentials], *, connections: int = 16) -> None:
        self._url = url
        self._read_credentials = credentials
        self._connections = connections
        self._credentials: Credentials | None = None
        self._token = ""
        self._token_until = 0.0
        self._token_lock = threading.Lock()

    @cached_property
    def _session(self) -> "requests.Session":
        """The session of every call. The first call asks for a token while the others wait, so one is made."""
        import requests  # slow to import, and most events hold nothing for this function
        from requests.adapters import HTTPAdapter

        session = requests.Session()
        session.headers["User-Agent"] = "port-runner"
        session.auth = _no_netrc
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=self._connections, max_retries=0))
        return session

    def credentials(self, *, anew: bool = False) -> Credentials:
        """The credentials in use; read *anew* they may have been rotated since."""
        if anew or self._credentials is None:
            self._credentials = self._read_credentials()
        return self._credentials

    # Runs

    def get_run(self, run_id: str, *, until: float) -> Mapping[str, Any]:
        """The run as Port has it."""
        answer = self.call("read the run", "GET", _path("actions", "runs", run_id), until=until)
        run = answer.get("run")
        return run if isinstance(run, Mapping) else {}

    def update_run(self, run_id: str, *, until: float, **changes: Any) -> None:
        """Set ``status`` (SUCCESS or FAILURE: the run is then read-only), ``statusLabel``, ``link``, ``summary``…"""
        self.call("update the run", "PATCH", _path("actions", "runs", run_id), body=changes, until=until)

    def add_run_log(self, run_id: str, message: str, *, until: float, **more: Any) -> None:
        """Add a line to the run's log; *more* may hold ``statusLabel``."""
        path = _path("actions", "runs", run_id, "logs")
        self.call("add to the run's log", "POST", path, body={"message": message, **more}, until=until)

    def run_log(self, run_id: str, *, until: float) -> list[str]:
        """Every message of the run's log."""
        messages: list[str] = []
        while True:
            answer = self.call(
                "read the run's log",
                "GET",
                _path("actions", "runs", run_id, "logs"),
                query={"limit": LOG_PAGE, "offset": len(messages)},
                until=until,
            )
            page = answer.get("runLogs") or []
            messages += [str(entry.get("message")) for entry in page]
            if len(page) < LOG_PAGE:
                return messages

    def update_node_run(self, node_run_id: str, *, until: float, **changes: Any) -> None:
        """Set ``status`` (COMPLETED, with a ``result``: SUCCESS or FAILED), ``statusLabel``, ``links``, ``output``…"""
        path = _path("workflows", "nodes", "runs", node_run_id)
        self.call("update the workflow node's run", "PATCH", path, body=changes, until=until)

    def add_node_run_log(self, node_run_id: str, message: str, *, until: float) -> None:
        """Add a line to the log of a workflow node's run."""
        path = _path("workflows", "nodes", "runs", node_run_id, "logs")
        body = {"logs": [{"level": "INFO", "message": message}]}
        self.call("add to the log of the workflow node's run", "POST", path, body=body, until=until)

    # Entities

    def upsert_entity(
        self, blueprint: str, content: Mapping[str, Any], *, run_id: str | None, merge: bool, until: float
    ) -> Entity:
        """Create the entity or change the one there is; without *merge* what is not named is cleared."""
        answer = self.call(
            "save the entity",
            "POST",
            _path("blueprints", blueprint, "entities"),
            query={"upsert": True, "merge": merge, "run_id": run_id},
            body=content,
            until=until,
        )
        return Entity.from_answer(blueprint, {**content, **(answer.get("entity") or {})})

    def upsert_entities(
        self,
        blueprint: str,
        contents: Sequence[Mapping[str, Any]],
        *,
        run_id: str | None,
        merge: bool,
        until: float,
    ) -> list[tuple[int, int | None, str | None]]:
        """Save many, twenty a request; returns the refused ones as (index in *contents*, status, error code)."""
        refused: list[tuple[int, int | None, str | None]] = []
        for start in range(0, len(contents), BULK_SIZE):
            answer = self.call(
                "save the entities",
                "POST",
                _path("blueprints", blueprint, "entities", "bulk"),
                query={"upsert": True, "merge": merge, "run_id": run_id},
                body={"entities": list(contents[start : start + BULK_SIZE])},
                until=until,
            )
            refused += [
                (start + int(error.get("index", 0)), error.get("statusCode"), error.get("error"))
                for error in answer.get("errors") or []
            ]
        return refused

    def update_entity(
        self, blueprint: str, identifier: str, changes: Mapping[str, Any], *, run_id: str | None, until: float
    ) -> Entity:
        """Change what *changes* names of an entity that exists; ``None`` clears."""
        answer = self.call(
            "update the entity",
            "PATCH",
            _path("blueprints", blueprint, "entities", identifier),
            query={"run_id": run_id},
            body=changes,
            until=until,
        )
        return Entity.from_answer(blueprint, {"identifier": identifier, **(answer.get("entity") or {})})

    def get_entity(self, blueprint: str, identifier: str, *, until: float) -> Entity | None:
        """The entity, or ``None`` where there is none."""
        path = _path("blueprints", blueprint, "entities", identifier)
        try:
            answer = self.call("read the entity", "GET", path, until=until)
        except PortApiError as error:
            if error.status == 404:
                return None
            raise
        return Entity.from_answer(blueprint, answer.get("entity") or {})

    def delete_entity(
        self, blueprint: str, identifier: str, *, delete_dependents: bool, run_id: str | None, until: float
    ) -> None:
        """Delete the entity; one that is not there is deleted already."""
        try:
            self.call(
                "delete the entity",
                "DELETE",
                _path("blueprints", blueprint, "entities", identifier),
                query={"delete_dependents": delete_dependents, "run_id": run_id},
                until=until,
            )
        except PortApiError as error:
            if error.status != 404:
                raise

    # One request

    def call(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        until: float,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """Send one request, with a token, again and again while that may help; returns the answer's JSON object.

        *operation* says in an error what was asked for (``save the entity``), *path* begins behind ``/v1``.
        """
        refreshed = False
        retries = _Retries(operation, until)
        while True:
            token = self._valid_token(operation, until)
            response = self._send(method, path, retries, token=token, query=query, body=body)
            if response is None:
                continue
            if response.status_code == 401 and not refreshed:
                refreshed = True
                self._forget(token)
                continue
            if _succeeded(response):
                return _content(response)
            raise _refusal(operation, response)

    def _send(
        self,
        method: str,
        path: str,
        retries: "_Retries",
        *,
        token: str | None,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> "requests.Response | None":
        """One try; ``None`` after a failure that another may mend, once it is time for that other."""
        import requests

        left = retries.left()
        try:
            response = self._session.request(
                method,
                f"{self._url}/v1{path}",
                params=_query(query),
                data=None if body is None else json.dumps(body, allow_nan=False).encode(),
                headers={
                    **({} if body is None else {"Content-Type": "application/json"}),
                    **({} if token is None else {"Authorization": token}),
                },
                timeout=(min(CONNECT_SECONDS, left), min(READ_SECONDS, left)),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            retries.wait(None, reason=type(error).__name__)
            return None
        if response.status_code in RETRIED:
            retries.wait(response, reason=None)
            return None
        return response

    def _valid_token(self, operation: str, until: float) -> str:
        if time.monotonic() < self._token_until:
            return self._token
        with self._token_lock:  # one thread asks, the others take what it got
            if time.monotonic() >= self._token_until:
                self._renew_token(operation, until)
            return self._token

    def _renew_token(self, operation: str, until: float) -> None:
        credentials = self.credentials(anew=True)
        body = {"clientId": credentials.client_id, "clientSecret": credentials.client_secret}
        retries = _Retries(operation, until)
        response = None
        while response is None:
            response = self._send("POST", "/auth/access_token", retries, token=None, body=body)
        if not _succeeded(response):
            raise _refusal(operation, response)
        content = _content(response)
        access_token = content.get("accessToken")
        if not isinstance(access_token, str) or not access_token:
            raise PortUnavailableError(operation, status=response.status_code, reason="the answer held no token")
        logs.mask(access_token)
        life = content.get("expiresIn")
        seconds = float(life) if isinstance(life, int | float) else 0.0
        # A token with less than the margin to live is used for this call, then renewed.
        self._token = f"{content.get('tokenType') or 'Bearer'} {access_token}"
        self._token_until = time.monotonic() + max(seconds - TOKEN_MARGIN_SECONDS, min(seconds, 1.0))

    def _forget(self, token: str) -> None:
        with self._token_lock:
            if token == self._token:
                self._token_until = 0.0


class _Retries:
    """When one request may be tried again."""

    def __init__(self, operation: str, until: float) -> None:
        self._operation = operation
        self._until = until
        self._tries = 0

    def left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise PortUnavailableError(self._operation, reason="no time was left")
        return left

    def wait(self, response: "requests.Response | None", *, reason: str | None) -> None:
        """Wait until the next try; raises ``PortUnavailableError`` where that would be too late."""
        delay = min(FIRST_DELAY_SECONDS * 2**self._tries, LONGEST_DELAY_SECONDS) * random.uniform(0.5, 1.0)
        self._tries += 1
        asked = _asked_delay(response)
        if asked is not None:
            delay = max(delay, asked + random.uniform(0, FIRST_DELAY_SECONDS))
        if time.monotonic() + delay >= self._until:
            if response is None:
                raise PortUnavailableError(self._operation, reason=reason)
            raise _refusal(self._operation, response)
        log.debug(
            "port.retry",
            operation=self._operation,
            status=None if response is None else response.status_code,
            reason=reason,
            delay_seconds=round(delay, 3),
        )
        time.sleep(delay)


def _asked_delay(response: "requests.Response | None") -> float | None:
    """The seconds that Port asks to wait: ``Retry-After``, else ``x-ratelimit-reset`` in either of its readings."""
    if response is None:
        return None
    for name in ("Retry-After", "x-ratelimit-reset"):
        if name != "Retry-After" and response.status_code != 429:
            continue
        try:
            value = float(response.headers.get(name, ""))
        except ValueError:  # absent, or a date
            continue
        if value > SMALLEST_EPOCH:
            value -= time.time()
        if value == value:
            return max(0.0, value)
    return None


def _succeeded(response: "requests.Response") -> bool:
    """Whether Port did what it was asked for; a redirection comes from something else, or for another address."""
    return 200 <= response.status_code < 300


def _refusal(operation: str, response: "requests.Response") -> PortApiError:
    code = _content(response).get("error")
    kind: type[PortApiError] = PortApiError
    if response.status_code in RETRIED:
        kind = PortUnavailableError
    elif response.status_code == 401 or (response.status_code == 403 and code not in ABOUT_RELATIONS):
        kind = PortAuthenticationError
    return kind(
        operation,
        status=response.status_code,
        code=code if isinstance(code, str) and code.replace("_", "").isalnum() else None,
        trace_id=response.headers.get("X-Trace-Id"),
    )


def _content(response: "requests.Response") -> Mapping[str, Any]:
    """The answer's JSON object; empty where it is something else, as a gateway's error page is."""
    try:
        content = response.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _query(query: Mapping[str, Any] | None) -> dict[str, str]:
    """*query* without what is ``None``; Port takes booleans in lower case only."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in (query or {}).items()
        if value is not None
    }


def _path(*segments: str) -> str:
    """A path of *segments*, each percent-encoded whole: identifiers may hold ``/``, ``+``, ``:`` and ``@``."""
    for segment in segments:
        if segment in ("", ".", ".."):  # they would name another path
            raise ValueError(f"{segment!r} cannot be an identifier in Port")
    return "".join("/" + quote(segment, safe="") for segment in segments)


def _no_netrc(request: "requests.PreparedRequest") -> "requests.PreparedRequest":
    """Stands where requests would else put what a .netrc says over our own Authorization."""
    return request
