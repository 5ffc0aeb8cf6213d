"""The connection to Port: its address, its credentials, its answers."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import requests

from port_runner_cli.clients.aws import asking_aws, aws_client
from port_runner_cli.output import CommandFailed, SettingsError

DEFAULT_URL = "https://api.port.io"
# Seconds to connect, and to wait for an answer.
TIMEOUT = (5, 30)

LOOPBACK = ("localhost", "127.0.0.1", "::1")
VARIABLES = ("PORT_CLIENT_ID", "PORT_CLIENT_SECRET")


class PortUnavailable(CommandFailed):
    """Port did not answer, or has a fault: the same request may succeed later."""


class PortRefused(CommandFailed):
    """Port refused a request; `status` is HTTP's, `code` Port's own word."""

    def __init__(self, message: str, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class PortAccess:
    """Where Port is, and where its credentials come from."""

    url: str
    credentials_file: Path | None = None
    credentials_secret_arn: str | None = None

    def connect(self, environment: Mapping[str, str] = os.environ) -> "PortConnection":
        """Log in. Raises SettingsError before Port is asked, CommandFailed when it refuses."""
        url = base_url(self.url)
        return PortConnection(url, *self.credentials(environment))

    def credentials(self, environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
        """Client id and client secret. Raises SettingsError, and CommandFailed where AWS does not give the secret."""
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
    """Add the options that say where Port is and who asks; they reach a command as `access`."""

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
    """Port's address without a trailing slash and `/v1`. Raises SettingsError."""
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
    """Port's API with a token; a context manager. Every method raises CommandFailed."""

    def __init__(self, url: str, client_id: str, client_secret: str) -> None:
        self.url = base_url(url)
        self._session = requests.Session()
        # A proxy of the environment cannot reach this machine.
        self._session.trust_env = urlsplit(self.url).hostname not in LOOPBACK
        self._credentials = {"clientId": client_id, "clientSecret": client_secret}
        self._log_in()

    def __enter__(self) -> "PortConnection":
        return self

    def __exit__(self, *exception: object) -> None:
        self._session.close()

    def call(
        self, method: str, path: str, body: Any = None, *, what: str, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Send one request and return the answer's JSON; `what` it is about stands in an error's text."""
        return self._accepted(self._send(method, path, body, query), what)

    def find(self, path: str, *, what: str) -> dict[str, Any] | None:
        """What is there, or None where Port says 404."""
        response = self._send("GET", path, None, None)
        return None if response.status_code == 404 else self._accepted(response, what)

    def _log_in(self) -> None:
        self._session.auth = None
        response = self._request("POST", "/auth/access_token", self._credentials, None)
        token = self._accepted(response, "the credentials").get("accessToken")
        if not isinstance(token, str):
            raise CommandFailed(self._not_port(response))
        self._session.auth = _Bearer(token)

    def _send(self, method: str, path: str, body: Any, query: Mapping[str, str] | None) -> requests.Response:
        response = self._request(method, path, body, query)
        if response.status_code != 401:
            return response
        # A token may be as good as over when Port hands it out: it gives the same one until it ends.
        self._log_in()
        return self._request(method, path, body, query)

    def _request(self, method: str, path: str, body: Any, query: Mapping[str, str] | None) -> requests.Response:
        try:
            return self._session.request(method, f"{self.url}/v1{path}", json=body, params=query, timeout=TIMEOUT)
        except requests.Timeout as error:
            raise PortUnavailable(f"Port at {self.url} did not answer in time. Try again.") from error
        except requests.RequestException as error:
            raise PortUnavailable(
                f"Port at {self.url} cannot be reached ({_root(error)}). Check the address and the network."
            ) from error

    def _accepted(self, response: requests.Response, what: str) -> dict[str, Any]:
        try:
            document = response.json()
        except ValueError:
            document = None
        if response.ok and isinstance(document, dict):
            return document
        if response.ok:
            raise CommandFailed(self._not_port(response))
        refusal = document if isinstance(document, dict) else {}
        text = self._refusal(response, refusal, what)
        if response.status_code == 429 or response.status_code >= 500:
            raise PortUnavailable(text)
        raise PortRefused(text, response.status_code, str(refusal.get("error", "")))

    def _not_port(self, response: requests.Response) -> str:
        return (
            f"What answers at {self.url} does not seem to be Port: it sent {response.status_code} without the JSON "
            "that Port would send. Check the address."
        )

    def _refusal(self, response: requests.Response, document: dict[str, Any], what: str) -> str:
        reason = ": ".join(str(document[key]) for key in ("error", "message") if document.get(key))
        status = f"{response.status_code} {reason}".strip()
        text = f"Port at {self.url} refused {what} ({status}). {_advice(response)}"
        trace_id = response.headers.get("X-Trace-Id")
        return f"{text} Port's trace id is {trace_id}." if trace_id else text


class _Bearer(requests.auth.AuthBase):
    # As `auth`, so that no entry of a .netrc file takes its place.
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _advice(response: requests.Response) -> str:
    if response.status_code == 401:
        return (
            "Check PORT_CLIENT_ID and PORT_CLIENT_SECRET, and that the address is that of their region: "
            "https://api.port.io for the EU, https://api.us.port.io for the US."
        )
    if response.status_code == 403:
        return "The credentials lack a permission, or Port does not allow this machine's IP address."
    if response.status_code == 404:
        return "Check the identifier, and that the credentials are those of the right organization."
    if response.status_code == 429:
        wait = response.headers.get("Retry-After")
        return f"There were too many requests. Try again {f'in {wait} s' if wait else 'later'}."
    if response.status_code >= 500:
        return "That is a fault on Port's side. Try again later."
    return "Correct what was sent and run this again."


def _root(error: BaseException) -> str:
    while error.__context__ is not None:
        error = error.__context__
    return str(error)
