"""The connection to Port: address, credentials and requests."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from port_runner import ConfigurationError, PortApiError, PortNotFoundError, PortUnavailableError
from port_runner.port_http import PortHttp
from port_runner.settings import Credentials
from port_runner_cli.clients.aws import asking_aws, aws_client
from port_runner_cli.output import CommandFailed, SettingsError

DEFAULT_URL = "https://api.port.io"
# Seconds that Port may take for an answer.
READ_SECONDS = 30.0

LOOPBACK = ("localhost", "127.0.0.1", "::1")
VARIABLES = ("PORT_CLIENT_ID", "PORT_CLIENT_SECRET")


class PortUnavailable(CommandFailed):
    """Port did not answer, or has a fault. The same request may succeed later."""


class PortRefused(CommandFailed):
    """Port refused a request. The same request would be refused again."""


@dataclass(frozen=True)
class PortAccess:
    """The address of Port, and the source of its credentials."""

    url: str
    credentials_file: Path | None = None
    credentials_secret_arn: str | None = None

    def connect(self, environment: Mapping[str, str] = os.environ) -> "PortConnection":
        """Log in. Raises SettingsError before a request is sent, and CommandFailed if Port refuses."""
        url = base_url(self.url)
        return PortConnection(url, *self.credentials(environment))

    def credentials(self, environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
        """Return client id and client secret. Raises SettingsError, or CommandFailed if AWS refuses the secret."""
        if self.credentials_file is not None:
            return _credentials_in(_text_of(self.credentials_file), str(self.credentials_file))
        arn = self.credentials_secret_arn or environment.get("PORT_CREDENTIALS_SECRET_ARN")
        if arn:
            with asking_aws(f"The secret {arn} with Port's credentials cannot be read"):
                secret = aws_client("secretsmanager", arn).get_secret_value(SecretId=arn)
            return _credentials_in(secret.get("SecretString", ""), f"The secret {arn}")
        missing = [name for name in VARIABLES if not environment.get(name)]
        if missing:
            raise SettingsError(
                f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set. Put your organization's "
                "credentials into the environment (Port shows them in its menu under Credentials), or name a file "
                "with --credentials-file or a secret with --credentials-secret-arn."
            )
        client_id, client_secret = (environment[name] for name in VARIABLES)
        return client_id, client_secret


def _text_of(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}.") from error


def _credentials_in(text: str, where: str) -> tuple[str, str]:
    try:
        content = json.loads(text)
        client_id, client_secret = content["client_id"], content["client_secret"]
    except (ValueError, KeyError, TypeError):
        client_id = client_secret = None
    if not (isinstance(client_id, str) and isinstance(client_secret, str) and client_id and client_secret):
        raise SettingsError(f'{where} must hold a JSON object: {{"client_id": "…", "client_secret": "…"}}.')
    return client_id, client_secret


def port_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for Port's address and credentials. They are passed as `access`."""

    @click.option(
        "--port-url",
        envvar="PORT_API_URL",
        default=DEFAULT_URL,
        show_default=True,
        metavar="URL",
        help="Port's API; https://api.us.port.io in the US. PORT_API_URL sets it too.",
    )
    @click.option(
        "--credentials-file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help='Port\'s credentials as JSON: {"client_id": "…", "client_secret": "…"}.',
    )
    @click.option(
        "--credentials-secret-arn",
        metavar="ARN",
        help="Secret in AWS that holds the same JSON. PORT_CREDENTIALS_SECRET_ARN sets it too.",
    )
    @wraps(command)
    def with_access(
        *arguments: Any,
        port_url: str,
        credentials_file: Path | None,
        credentials_secret_arn: str | None,
        **options: Any,
    ) -> Any:
        if credentials_file is not None and credentials_secret_arn is not None:
            raise click.UsageError("Give --credentials-file or --credentials-secret-arn, not both.")
        access = PortAccess(port_url, credentials_file, credentials_secret_arn)
        return command(*arguments, access=access, **options)

    return with_access


def base_url(url: str) -> str:
    """Return Port's address without a trailing slash and `/v1`. Raises SettingsError."""
    base = url.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    parts = urlsplit(base)
    if parts.scheme == "https" and parts.hostname and not parts.query:
        return base
    if parts.scheme == "http" and parts.hostname in LOOPBACK:
        return base
    raise SettingsError(
        f"{url!r} is no address of Port. Use {DEFAULT_URL}, https://api.us.port.io, or another https:// "
        "address; http:// is taken for this machine only."
    )


class PortConnection:
    """Port's API for commands, logged in; a context manager.

    Each request is sent once: the person who runs the command decides about another try. Every method raises
    CommandFailed.
    """

    def __init__(self, url: str, client_id: str, client_secret: str) -> None:
        self.url = base_url(url)
        credentials = Credentials(client_id, client_secret)
        self._http = PortHttp(self.url, lambda: credentials, read_seconds=READ_SECONDS, retries=False)
        # A proxy of the environment cannot reach this machine.
        self._http.session.trust_env = urlsplit(self.url).hostname not in LOOPBACK
        with self._explained("the credentials"):
            self._http.log_in(until=_deadline())

    def __enter__(self) -> "PortConnection":
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.session.close()

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        what: str,
        query: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Send one request and return the answer's JSON. An error's text says that Port refused `what`."""
        with self._explained(what):
            return self._request(method, path, body, query)

    def find(self, path: str, *, what: str) -> dict[str, Any] | None:
        """Return the answer's JSON, or None if Port answers 404."""
        with self._explained(what):
            try:
                return self._request("GET", path, None, None)
            except PortNotFoundError:
                return None

    def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        return dict(self._http.request(f"accept {method}", method, path, until=_deadline(), query=query, body=body))

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn an error of Port's API into a sentence for the person who runs the command."""
        try:
            yield
        except PortApiError as error:
            kind = PortUnavailable if _is_unavailable(error) else PortRefused
            raise kind(self._sentence(error, what)) from error
        except ConfigurationError as error:  # a proxy or a certificate's file in the environment
            raise SettingsError(f"{error}.") from error
        except ValueError as error:  # a file may hold NaN, which Python reads and JSON does not have
            raise CommandFailed(f"Nothing was sent to Port ({what}): {error}. Correct the value.") from error

    def _sentence(self, error: PortApiError, what: str) -> str:
        if error.status is None and (not error.detail or (error.reason or "").endswith("Timeout")):
            return f"Port at {self.url} did not answer in time. Try again."
        if error.status is None:
            return f"Port at {self.url} cannot be reached ({error.detail}). Check the address and the network."
        if error.status < 400:  # a proxy's page, or a redirection to another address
            return (
                f"{self.url} does not seem to be Port: it answered {error.status} without Port's JSON. "
                "Check the address."
            )
        return self._refusal(error, what)

    def _refusal(self, error: PortApiError, what: str) -> str:
        answer = f"{error.status} {error.detail}".strip()
        text = f"Port at {self.url} refused {what} ({answer}). {_advice(error)}"
        return f"{text} Port's trace id is {error.trace_id}." if error.trace_id else text


def _deadline() -> float:
    """Return the moment of `time.monotonic()` by which a request has ended."""
    return time.monotonic() + READ_SECONDS


def _is_unavailable(error: PortApiError) -> bool:
    """Return whether the same request may succeed later. A proxy before Port has more statuses than are retried."""
    return isinstance(error, PortUnavailableError) or (error.status or 0) >= 500


def _advice(error: PortApiError) -> str:
    if error.status == 401:
        return (
            "Check PORT_CLIENT_ID and PORT_CLIENT_SECRET, and that the address is that of their region: "
            "https://api.port.io for the EU, https://api.us.port.io for the US."
        )
    if error.status == 403:
        return "The credentials lack a permission, or Port does not allow this machine's IP address."
    if isinstance(error, PortNotFoundError):
        return "Check the identifier, and that the credentials are those of the right organization."
    if error.status == 429:
        wait = "later" if error.retry_after is None else f"in {error.retry_after:.0f} s"
        return f"There were too many requests. Try again {wait}."
    if _is_unavailable(error):
        return "Port has a fault. Try again later."
    return "Correct what was sent and run this again."
