"""One request to Port: the token, the connection, retries within the time that is left, and refusals.

Facts: https://docs.port.io/api-reference/port-api. A token lives for three hours. Port gives the same token to all who
ask with the same credentials, so ``expiresIn`` can be short. Every answer carries ``X-Trace-Id``.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import logs
from .errors import PortApiError, PortAuthenticationError, PortNotFoundError, PortUnavailableError
from .logs import log
from .settings import Credentials

if TYPE_CHECKING:
    import requests

CONNECT_SECONDS = 3.05
READ_SECONDS = 10.0
# 520 to 524 and 530 are those of the network in front of Port.
RETRIED = frozenset({408, 429, 500, 502, 503, 504, *range(520, 525), 530})
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 8.0
# A token is renewed while it is still valid, so that it cannot expire on its way to Port.
TOKEN_MARGIN_SECONDS = 60.0
# Port gives `x-ratelimit-reset` as seconds to wait or as seconds of the epoch. A wait is never this long.
SMALLEST_EPOCH = 10_000
# Port's codes for a 403 that does not depend on the caller's permissions.
ABOUT_RELATIONS = ("required_relation", "has_dependents")
NOT_PORTS_JSON = "the answer was not Port's JSON"


class PortHttp:
    """Sends requests to Port. Safe for several threads.

    *connections* are kept alive. An answer may take *read_seconds*. Without *retries* each request is sent once, and
    again only if Port did not accept the token.
    """

    def __init__(
        self,
        url: str,
        credentials: Callable[[], Credentials],
        *,
        connections: int = 16,
        read_seconds: float = READ_SECONDS,
        retries: bool = True,
    ) -> None:
        self._url = url
        self._read_credentials = credentials
        self._connections = connections
        self._read_seconds = read_seconds
        self._retries = retries
        self._credentials: Credentials | None = None
        self._token = ""
        self._token_until = 0.0
        self._token_lock = threading.Lock()

    @cached_property
    def session(self) -> "requests.Session":
        """The session of every request. The first request gets a token while the others wait, so one is made."""
        import requests  # slow to import, and most events hold nothing for this function
        from requests.adapters import HTTPAdapter

        session = requests.Session()
        session.headers["User-Agent"] = "port-runner"
        session.auth = _no_netrc
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=self._connections, max_retries=0))
        return session

    def credentials(self, *, reread: bool = False) -> Credentials:
        """Return the credentials in use. With *reread*, read them again: they may have been rotated."""
        if reread or self._credentials is None:
            self._credentials = self._read_credentials()
        return self._credentials

    def log_in(self, *, until: float) -> None:
        """Get a token now, unless there is a valid one. Raises ``PortApiError``."""
        self._valid_token("accept the credentials", until)

    def request(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        until: float,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """Send one request with a token, retry it while that may help, and return the answer's JSON object.

        *operation* names the request in an error (``save the entity``). *path* follows ``/v1``. *until* is a moment of
        ``time.monotonic()``: the request and its retries end by then. Raises ``PortUnavailableError`` if Port does not
        answer by then, ``PortAuthenticationError`` if the credentials are wrong or do not allow the request,
        ``PortNotFoundError`` for what does not exist, and ``PortApiError`` for other refusals.
        """
        refreshed = False
        retries = _Retries(operation, until, allowed=self._retries)
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
                return _accepted(operation, response)
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
        """Send the request once. Return ``None`` if it is to be sent again, after the wait for that."""
        import requests

        left = retries.left()
        try:
            response = self.session.request(
                method,
                f"{self._url}/v1{path}",
                params=_query(query),
                data=None if body is None else json.dumps(body, allow_nan=False).encode(),
                headers={
                    **({} if body is None else {"Content-Type": "application/json"}),
                    **({} if token is None else {"Authorization": token}),
                },
                timeout=(min(CONNECT_SECONDS, left), min(self._read_seconds, left)),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            retries.wait(None, error=error)
            return None
        if response.status_code in RETRIED:
            retries.wait(response)
            return None
        return response

    def _valid_token(self, operation: str, until: float) -> str:
        if time.monotonic() < self._token_until:
            return self._token
        with self._token_lock:  # one thread asks, the others use its token
            if time.monotonic() >= self._token_until:
                self._renew_token(operation, until)
            return self._token

    def _renew_token(self, operation: str, until: float) -> None:
        credentials = self.credentials(reread=True)
        body = {"clientId": credentials.client_id, "clientSecret": credentials.client_secret}
        retries = _Retries(operation, until, allowed=self._retries)
        response = None
        while response is None:
            response = self._send("POST", "/auth/access_token", retries, token=None, body=body)
        if not _succeeded(response):
            raise _refusal(operation, response)
        content = _json_object(response) or {}
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
    """Decides when one request is sent again."""

    def __init__(self, operation: str, until: float, *, allowed: bool) -> None:
        self._operation = operation
        self._until = until
        self._allowed = allowed
        self._tries = 0

    def left(self) -> float:
        """Return the seconds until the end. Raises ``PortUnavailableError`` if no time is left."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise PortUnavailableError(self._operation, reason="no time was left")
        return left

    def wait(self, response: "requests.Response | None", *, error: Exception | None = None) -> None:
        """Wait until the next try. Raises ``PortUnavailableError`` if that would be too late."""
        delay = min(FIRST_DELAY_SECONDS * 2**self._tries, LONGEST_DELAY_SECONDS) * random.uniform(0.5, 1.0)
        self._tries += 1
        asked = _asked_delay(response)
        if asked is not None:
            delay = max(delay, asked + random.uniform(0, FIRST_DELAY_SECONDS))
        reason = None if error is None else type(error).__name__
        if not self._allowed or time.monotonic() + delay >= self._until:
            if response is None:
                raise PortUnavailableError(self._operation, reason=reason, detail=_root_cause(error))
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
    """Return the seconds that Port asks to wait, in ``Retry-After`` or in one of ``x-ratelimit-reset``'s two forms."""
    if response is None:
        return None
    for name in ("Retry-After", "x-ratelimit-reset"):
        if name != "Retry-After" and response.status_code != 429:
            continue
        value = _seconds_or_moment(response.headers.get(name, ""))
        if value is not None:
            return max(0.0, value - time.time() if value > SMALLEST_EPOCH else value)
    return None


def _seconds_or_moment(text: str) -> float | None:
    """Return the number in a header: seconds, or seconds of the epoch, also if it is an HTTP date."""
    try:
        value = float(text)
    except ValueError:
        try:
            return parsedate_to_datetime(text).timestamp()
        except (ValueError, TypeError, OverflowError):  # absent, or something else
            return None
    return value if value == value else None


def _succeeded(response: "requests.Response") -> bool:
    """Return whether Port did what it was asked. A redirection is not an answer of Port."""
    return 200 <= response.status_code < 300


def _refusal(operation: str, response: "requests.Response") -> PortApiError:
    content = _json_object(response) or {}
    code, message = content.get("error"), content.get("message")
    kind: type[PortApiError] = PortApiError
    if response.status_code in RETRIED:
        kind = PortUnavailableError
    elif response.status_code == 404:
        kind = PortNotFoundError
    elif response.status_code == 401 or (response.status_code == 403 and code not in ABOUT_RELATIONS):
        kind = PortAuthenticationError
    return kind(
        operation,
        status=response.status_code,
        code=code if isinstance(code, str) and code.replace("_", "").isalnum() else None,
        trace_id=response.headers.get("X-Trace-Id"),
        detail=": ".join(str(part) for part in (code, message) if part),
        retry_after=_asked_delay(response),
    )


def _accepted(operation: str, response: "requests.Response") -> Mapping[str, Any]:
    """Return the content of a success. Raises ``PortUnavailableError`` if it is not Port's, such as a proxy's page."""
    content = _json_object(response)
    if content is None:
        raise PortUnavailableError(operation, status=response.status_code, reason=NOT_PORTS_JSON)
    return content


def _json_object(response: "requests.Response") -> Mapping[str, Any] | None:
    """Return the answer's JSON object, which is empty for an empty answer. Return ``None`` for anything else."""
    if not response.content:
        return {}
    try:
        content = response.json()
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _root_cause(error: BaseException | None) -> str:
    """Return the text of the first error in the chain, which names the network's reason."""
    while error is not None and error.__context__ is not None:
        error = error.__context__
    return str(error)


def _query(query: Mapping[str, Any] | None) -> dict[str, str]:
    """Return *query* without values of ``None``. Port accepts only lower-case booleans."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in (query or {}).items()
        if value is not None
    }


def _no_netrc(request: "requests.PreparedRequest") -> "requests.PreparedRequest":
    """Keep requests from replacing our own Authorization by that of a .netrc file."""
    return request
