"""One request to Port: the token, the connection, retries within the time that is left, and refusals.

Facts: https://docs.port.io/api-reference/port-api. A token lives for three hours. Port gives the same token to all who
ask with the same credentials, so ``expiresIn`` can be short. Every answer carries ``X-Trace-Id``.
"""

import json
import math
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from . import logs
from .errors import (
    ConfigurationError,
    PortApiError,
    PortAuthenticationError,
    PortNotFoundError,
    PortUnavailableError,
)
from .logs import log
from .settings import DEFAULT_PORT_API_URL, Credentials

if TYPE_CHECKING:
    import requests

CONNECT_SECONDS = 3.05
READ_SECONDS = 10.0
# One try may take this share of the time that is left, so that a silent connection leaves time for another one.
TRY_SHARE = 0.5
SHORTEST_TRY_SECONDS = 1.0
# Port's answers are far smaller. Memory is not for an answer without an end.
LARGEST_ANSWER_BYTES = 32 * 1024 * 1024
PIECE_BYTES = 64 * 1024
# 520 to 524 and 530 are those of the network in front of Port.
RETRIED = frozenset({408, 429, 500, 502, 503, 504, *range(520, 525), 530})
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 8.0
TOO_MANY_REQUESTS = 429
# No invocation lives longer. A longer wait is not believed, so it cannot keep a process from Port for good.
LONGEST_LIMIT_SECONDS = 15 * 60.0
# Threads that wait for the end of the same limit send their requests within this time after it.
LIMIT_SPREAD_SECONDS = 0.5
# A token is renewed while it is still valid, so that it cannot expire on its way to Port.
TOKEN_MARGIN_SECONDS = 60.0
# Port gives `x-ratelimit-reset` as seconds to wait or as seconds of the epoch. A wait is never this long.
SMALLEST_EPOCH = 10_000
# Port's codes for a 403 that does not depend on the caller's permissions.
ABOUT_RELATIONS = ("required_relation", "has_dependents")
NOT_PORTS_JSON = "the answer was not Port's JSON"


class _Answer(NamedTuple):
    """An answer of Port, or of a proxy in front of it."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_success(self) -> bool:
        """Return whether Port did what it was asked. A redirection is not an answer of Port."""
        return 200 <= self.status < 300

    def json_object(self) -> Mapping[str, Any] | None:
        """Return the JSON object, which is empty for an empty answer. Return ``None`` for anything else."""
        if not self.content:
            return {}
        try:
            content = json.loads(self.content)
        except (ValueError, RecursionError):
            return None
        return content if isinstance(content, dict) else None


class PortHttp:
    """Sends requests to Port. Safe for several threads.

    *connections* are kept alive. An answer may take *read_seconds*, or half of the time if that is less. Without
    *retries* each request is sent once, with all of the time, and again only if Port did not accept the token.

    A rate limit is shared: after a 429 that says how long to wait, no thread sends anything before that moment.
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
        self._token_lock = threading.RLock()
        self._limited_until = 0.0
        self._limit_lock = threading.Lock()

    @cached_property
    def session(self) -> "requests.Session":
        """The session of every request. The first request gets a token while the others wait, so one is made."""
        import requests  # slow to import, and most events hold nothing for this function
        from requests.adapters import HTTPAdapter

        class Session(requests.Session):
            def get_redirect_target(self, resp: requests.Response) -> None:
                """Take a redirection as an answer like any other, and do not try to read its target."""

        session = Session()
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
        self._valid_token(_Retries("accept the credentials", until, allowed=self._retries))

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
        answer by then, or does not want a request before then (status 429, with ``retry_after``),
        ``PortAuthenticationError`` if the credentials are wrong or do not allow the request, ``PortNotFoundError`` for
        what does not exist, ``PortApiError`` for other refusals, and ``ConfigurationError`` if a variable of the
        environment makes every request fail.
        """
        query_text = _query(query)
        content = None if body is None else _json(body)
        refreshed = False
        retries = _Retries(operation, until, allowed=self._retries)
        while True:
            token = self._valid_token(retries)
            self._keep_to_limit(retries)
            retries.wait()
            answer = self._send(method, path, retries, token=token, query=query_text, content=content)
            if answer is None:
                continue
            if answer.status == 401 and not refreshed:
                refreshed = True
                self._forget(token)
                continue
            if answer.is_success:
                return _accepted(operation, answer)
            raise _refusal(operation, answer)

    def _send(
        self,
        method: str,
        path: str,
        retries: "_Retries",
        *,
        token: str | None,
        query: str = "",
        content: bytes | None = None,
    ) -> _Answer | None:
        """Send the request once. Return ``None`` if it is to be sent again, after the waits for that.

        Raises ``ConfigurationError`` if no try can succeed.
        """
        import requests
        from urllib3.exceptions import HTTPError

        patience = retries.patience(self._read_seconds)
        end = time.monotonic() + patience
        try:
            with self.session.request(
                method,
                f"{self._url}/v1{path}",
                params=query,
                data=content,
                headers={
                    **({} if content is None else {"Content-Type": "application/json"}),
                    **({} if token is None else {"Authorization": token}),
                },
                timeout=(min(CONNECT_SECONDS, patience), patience),
                allow_redirects=False,
                stream=True,
            ) as response:
                answer = _Answer(response.status_code, response.headers, _content(response, end))
        except (OSError, ValueError, HTTPError) as error:  # requests lets a few errors through as they are
            problem = _configuration_problem(error, self._url)
            if problem is not None:
                raise ConfigurationError(problem) from None
            if isinstance(error, requests.ReadTimeout):  # the idle connections may have gone silent too
                self.session.close()
            retries.failed(retries.failure(reason=type(error).__name__, detail=_root_cause(error)))
            return None
        if answer.status not in RETRIED:
            return answer
        failure = _refusal(retries.operation, answer)
        if answer.status == TOO_MANY_REQUESTS:
            self._share_limit(failure)
        retries.failed(failure)
        return None

    def _share_limit(self, failure: PortApiError) -> None:
        """Keep all threads from sending anything for as long as Port asked. *failure* says how long that still is."""
        now = time.monotonic()
        with self._limit_lock:
            left = self._limited_until - now
            if left > (failure.retry_after or 0.0):  # another thread was told to wait for longer
                failure.retry_after = left
            elif failure.retry_after:
                self._limited_until = now + min(failure.retry_after, LONGEST_LIMIT_SECONDS)

    def _keep_to_limit(self, retries: "_Retries") -> None:
        """Wait for the end of a rate limit. Raises ``PortUnavailableError`` if that would be too late."""
        waited_for = 0.0
        while (limit := self._limited_until) > waited_for:  # it may have grown in the meantime
            retries.wait_for_limit(limit)
            waited_for = limit

    def _valid_token(self, retries: "_Retries") -> str:
        while time.monotonic() >= self._token_until:
            self._keep_to_limit(retries)
            try:  # one thread asks, the others use its token
                while not self._token_lock.acquire(timeout=retries.left()):
                    pass
                if time.monotonic() >= self._token_until and (token := self._new_token(retries)) is not None:
                    return token
            finally:  # a thread can also be stopped right after it got the lock
                with suppress(RuntimeError):  # the lock is another thread's
                    self._token_lock.release()
        return self._token

    def _new_token(self, retries: "_Retries") -> str | None:
        """Ask Port for a token. Return ``None`` if that must wait for a rate limit: without the lock, then."""
        credentials = self.credentials(reread=True)
        content = _json({"clientId": credentials.client_id, "clientSecret": credentials.client_secret})
        answer = None
        while answer is None:
            if time.monotonic() < self._limited_until:
                return None
            retries.wait()
            answer = self._send("POST", "/auth/access_token", retries, token=None, content=content)
        if not answer.is_success:
            raise _refusal(retries.operation, answer)
        said = answer.json_object() or {}
        access_token = _header_text(said.get("accessToken"))
        if access_token is None:
            raise retries.failure(status=answer.status, reason="the answer held no token")
        logs.mask(access_token)
        self._token = f"{_header_text(said.get('tokenType')) or 'Bearer'} {access_token}"
        seconds = _life(said.get("expiresIn"))
        # A token with less than the margin to live is used for this call, then renewed.
        self._token_until = time.monotonic() + max(seconds - TOKEN_MARGIN_SECONDS, min(seconds, 1.0))
        return self._token

    def _forget(self, token: str) -> None:
        if token == self._token:
            self._token_until = 0.0


class _Retries:
    """Decides when one request is sent again."""

    def __init__(self, operation: str, until: float, *, allowed: bool) -> None:
        self.operation = operation
        self._until = until
        self._allowed = allowed
        self._tries = 0
        self._next_try = 0.0

    def left(self) -> float:
        """Return the seconds until the end. Raises ``PortUnavailableError`` if no time is left."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise self.failure(reason="no time was left")
        return left

    def patience(self, most: float) -> float:
        """Return the seconds that the next try may take, *most* at most. Raises as ``left`` does."""
        left = self.left()
        share = max(left * TRY_SHARE, SHORTEST_TRY_SECONDS) if self._allowed else left
        return min(share, left, most)

    def failure(self, **facts: Any) -> PortUnavailableError:
        """Return the error for a request that got no answer of Port."""
        return PortUnavailableError(self.operation, **facts)

    def failed(self, failure: PortApiError) -> None:
        """Choose the moment of the next try. Raises *failure* if that would be too late."""
        delay = min(FIRST_DELAY_SECONDS * 2**self._tries, LONGEST_DELAY_SECONDS) * random.uniform(0.5, 1.0)
        self._tries += 1
        if failure.retry_after:
            delay = max(delay, failure.retry_after + random.uniform(0, FIRST_DELAY_SECONDS))
        self._next_try = time.monotonic() + delay
        if not self._allowed or self._next_try >= self._until:
            raise failure
        log.debug(
            "port.retry",
            operation=self.operation,
            status=failure.status,
            reason=failure.reason,
            delay_seconds=round(delay, 3),
        )

    def wait(self) -> None:
        """Wait until the moment of the next try."""
        pause = self._next_try - time.monotonic()
        if pause > 0:
            time.sleep(pause)

    def wait_for_limit(self, limit: float) -> None:
        """Wait until *limit*, and a little longer. Raises ``PortUnavailableError`` if that would be too late."""
        now = time.monotonic()
        if now < limit and (limit >= self._until or not self._allowed):
            raise self.failure(status=TOO_MANY_REQUESTS, reason="the rate limit is not over", retry_after=limit - now)
        pause = limit - now + random.uniform(0, min(LIMIT_SPREAD_SECONDS, max(0.0, self._until - limit) / 2))
        if pause > 0:
            log.debug("port.limited", operation=self.operation, delay_seconds=round(pause, 3))
            time.sleep(pause)


def _content(response: "requests.Response", end: float) -> bytes:
    """Read the answer's content, until *end* at the latest: the time-out of requests starts again with each piece."""
    import requests
    from urllib3.exceptions import ReadTimeoutError

    content = bytearray()
    try:
        while piece := response.raw.read1(PIECE_BYTES, decode_content=True):
            content += piece
            if len(content) > LARGEST_ANSWER_BYTES:
                break
            if time.monotonic() >= end:
                raise requests.ReadTimeout("the answer took too long")
    except ReadTimeoutError as error:
        raise requests.ReadTimeout(error) from error
    return bytes(content)


def _header_text(value: Any) -> str | None:
    """Return a text that can be part of a header, or ``None`` for anything else."""
    return value.strip() or None if isinstance(value, str) and value.isascii() and value.isprintable() else None


def _life(value: Any) -> float:
    """Return ``expiresIn`` as seconds. A token that lives for an unknown time is used once."""
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return seconds if 0 < seconds < math.inf else 0.0


def _asked_delay(answer: _Answer) -> float | None:
    """Return the seconds that Port asks to wait, in ``Retry-After`` or in one of ``x-ratelimit-reset``'s two forms."""
    names = ("Retry-After", "x-ratelimit-reset") if answer.status == TOO_MANY_REQUESTS else ("Retry-After",)
    for name in names:
        seconds = _seconds_in(answer.headers.get(name, ""))
        if seconds is not None:
            return max(0.0, seconds)
    return None


def _seconds_in(text: str) -> float | None:
    """Return the seconds that a header names: as a number, or until a moment, as an HTTP date or in the epoch."""
    try:
        value = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):  # absent, or something else
            return None
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - time.time()
    if not math.isfinite(value):
        return None
    return value - time.time() if value > SMALLEST_EPOCH else value


def _refusal(operation: str, answer: _Answer) -> PortApiError:
    content = answer.json_object() or {}
    code, message = content.get("error"), content.get("message")
    kind: type[PortApiError] = PortApiError
    if answer.status in RETRIED:
        kind = PortUnavailableError
    elif answer.status == 404:
        kind = PortNotFoundError
    elif answer.status == 401 or (answer.status == 403 and code not in ABOUT_RELATIONS):
        kind = PortAuthenticationError
    return kind(
        operation,
        status=answer.status,
        code=code if isinstance(code, str) and code.replace("_", "").isalnum() else None,
        trace_id=answer.headers.get("X-Trace-Id"),
        detail=": ".join(str(part) for part in (code, message) if part),
        retry_after=_asked_delay(answer),
    )


def _accepted(operation: str, answer: _Answer) -> Mapping[str, Any]:
    """Return the content of a success. Raises ``PortUnavailableError`` if it is not Port's, such as a proxy's page."""
    content = answer.json_object()
    if content is None:
        raise PortUnavailableError(operation, status=answer.status, reason=NOT_PORTS_JSON)
    return content


def _configuration_problem(error: Exception, url: str) -> str | None:
    """Return what to correct in the environment if *error* would come back at every try. The text has no values."""
    import requests

    if isinstance(error, ValueError) and not isinstance(error, requests.exceptions.InvalidHeader):  # of the answer
        kinds = (f"{url.partition(':')[0]}_proxy", "all_proxy")
        proxies = sorted(name for name, value in os.environ.items() if name.lower() in kinds and value)
        if not proxies:
            return f"PORT_API_URL must be the address of Port, such as {DEFAULT_PORT_API_URL}"
        return (
            f"{' and '.join(proxies)} must be the address of an HTTP proxy, such as http://proxy.example.com:3128, "
            "and PORT_API_URL that of Port"
        )
    if isinstance(error, requests.exceptions.SSLError) or not isinstance(error, requests.RequestException):
        return _certificates_problem()
    return None


def _certificates_problem() -> str | None:
    """Return what is wrong with the file of certificates that the environment names."""
    import ssl
    from pathlib import Path

    name = next((name for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if os.environ.get(name)), None)
    if name is None or Path(os.environ[name]).is_dir():
        return None
    try:
        ssl.create_default_context(cafile=os.environ[name])
    except OSError:
        return (
            f"{name} must name a readable file that holds the certificates of authorities in PEM format. "
            "Without the variable, the usual authorities are trusted"
        )
    return None


def _root_cause(error: BaseException | None) -> str:
    """Return the text of the first error in the chain, which names the network's reason."""
    while error is not None and error.__context__ is not None:
        error = error.__context__
    return str(error)


def _query(query: Mapping[str, Any] | None) -> str:
    """Return *query* as text, without values of ``None``. Port accepts only lower-case booleans."""
    return urlencode(
        {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in (query or {}).items()
            if value is not None
        }
    )


def _json(body: Mapping[str, Any]) -> bytes:
    """Return *body* as JSON. Raises ``ValueError`` or ``TypeError`` for what JSON does not have."""
    return json.dumps(body, allow_nan=False).encode()


def _no_netrc(request: "requests.PreparedRequest") -> "requests.PreparedRequest":
    """Keep requests from replacing our own Authorization by that of a .netrc file."""
    return request
