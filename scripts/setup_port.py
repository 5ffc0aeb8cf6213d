"""Create or update blueprints and actions in Port from JSON files. Safe to run again."""

import difflib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import click
import requests

DEFINITIONS = Path(__file__).with_name("port")
DEFAULT_URL = "https://api.port.io"
# Seconds to connect, and to wait for an answer.
TIMEOUT = (5, 30)

LOOPBACK = ("localhost", "127.0.0.1", "::1")
# What Port adds to a definition and does not take back.
READ_ONLY = {"id", "createdAt", "createdBy", "updatedAt", "updatedBy"}

Kind = Literal["blueprint", "action"]
Outcome = Literal["unchanged", "created", "updated", "would be created", "would be updated"]


class SetupError(Exception):
    """Something is wrong with the settings, the files, or Port; the text says what, and what to do."""


class SettingsError(SetupError):
    """A setting or a file is wrong; Port was not asked."""


@dataclass(frozen=True)
class Definition:
    """A blueprint or an action as a file has it."""

    kind: Kind
    content: dict[str, Any]
    file: Path

    @property
    def name(self) -> str:
        return f"{self.kind} {self.content['identifier']}"


def read_definitions(paths: Sequence[Path] = (DEFINITIONS,)) -> list[Definition]:
    """The definitions in files and in folders of *.json, blueprints first: actions refer to them.

    Raises SettingsError.
    """
    files = [file for path in paths for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    definitions = [_read_definition(file) for file in files]
    return sorted(definitions, key=lambda definition: definition.kind == "action")


def _read_definition(file: Path) -> Definition:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise SettingsError(f"{file} is not JSON: {error}.") from error
    if isinstance(content, dict) and isinstance(content.get("identifier"), str):
        if "schema" in content:
            return Definition("blueprint", content, file)
        if "invocationMethod" in content:
            return Definition("action", content, file)
    raise SettingsError(
        f"{file} is neither a blueprint nor an action: a blueprint has an identifier and a schema, "
        "an action an identifier and an invocationMethod."
    )


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
    """Port's API with a token; a context manager. Every method raises SetupError."""

    def __init__(self, url: str, client_id: str, client_secret: str) -> None:
        self.url = base_url(url)
        self._session = requests.Session()
        # A proxy of the environment cannot reach this machine.
        self._session.trust_env = urlsplit(self.url).hostname not in LOOPBACK
        credentials = {"clientId": client_id, "clientSecret": client_secret}
        token = self.call("POST", "/auth/access_token", credentials, what="the credentials")["accessToken"]
        self._session.auth = _Bearer(token)

    def __enter__(self) -> "PortConnection":
        return self

    def __exit__(self, *exception: object) -> None:
        self._session.close()

    def call(self, method: str, path: str, body: Any = None, *, what: str) -> dict[str, Any]:
        """Send one request and return the answer's JSON; `what` it is about stands in an error's text."""
        return self._accepted(self._send(method, path, body), what)

    def find(self, path: str, *, what: str) -> dict[str, Any] | None:
        """What is there, or None where Port says 404."""
        response = self._send("GET", path, None)
        return None if response.status_code == 404 else self._accepted(response, what)

    def _send(self, method: str, path: str, body: Any) -> requests.Response:
        try:
            return self._session.request(method, f"{self.url}/v1{path}", json=body, timeout=TIMEOUT)
        except requests.Timeout as error:
            raise SetupError(f"Port at {self.url} did not answer in time. Try again.") from error
        except requests.RequestException as error:
            raise SetupError(
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
            raise SetupError(
                f"What answers at {self.url} does not seem to be Port: it sent {response.status_code} "
                "without a JSON object. Check the address."
            )
        raise SetupError(self._refusal(response, document if isinstance(document, dict) else {}, what))

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
    if response.status_code == 429:
        wait = response.headers.get("Retry-After")
        return f"There were too many requests. Try again {f'in {wait} s' if wait else 'later'}."
    if response.status_code >= 500:
        return "That is a fault on Port's side. Try again later."
    return "Correct the file and run this again."


def _root(error: BaseException) -> str:
    while error.__context__ is not None:
        error = error.__context__
    return str(error)


def connect(url: str, environment: Mapping[str, str] = os.environ) -> PortConnection:
    """Log in with PORT_CLIENT_ID and PORT_CLIENT_SECRET of the environment. Raises SetupError."""
    names = ("PORT_CLIENT_ID", "PORT_CLIENT_SECRET")
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise SettingsError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set. Put your "
            "organization's credentials into the environment; Port shows them in its menu under Credentials."
        )
    return PortConnection(url, *(environment[name] for name in names))


def set_up(
    port: PortConnection,
    definitions: Sequence[Definition],
    *,
    dry_run: bool = False,
    tell: Callable[[str], None] = click.echo,
) -> list[tuple[Definition, Outcome]]:
    """Bring each definition into Port, telling of each what became of it and, before that, how it differed.

    What a blueprint in Port has besides the file's stays: people add to their catalog. An action becomes
    what the file says. Raises SetupError.
    """
    outcomes = []
    for definition in definitions:
        outcome = _set_up_one(port, definition, dry_run, tell)
        tell(f"{definition.name}: {click.style(outcome, bold=outcome != 'unchanged')}")
        outcomes.append((definition, outcome))
    return outcomes


def _set_up_one(port: PortConnection, definition: Definition, dry_run: bool, tell: Callable[[str], None]) -> Outcome:
    collection = f"/{definition.kind}s"
    path = f"{collection}/{quote(definition.content['identifier'], safe='')}"
    found = port.find(path, what=definition.name)
    if found is None:
        if dry_run:
            return "would be created"
        port.call("POST", collection, definition.content, what=definition.name)
        return "created"
    current = {key: value for key, value in found[definition.kind].items() if key not in READ_ONLY}
    wanted = wanted_definition(definition, current)
    if wanted == current:
        return "unchanged"
    tell(difference(current, wanted, definition))
    if dry_run:
        return "would be updated"
    body = wanted if definition.kind == "blueprint" else definition.content
    port.call("PUT", path, body, what=definition.name)
    return "updated"


def wanted_definition(definition: Definition, current: dict[str, Any]) -> dict[str, Any]:
    """What Port would hold after an update; equal to `current` if there is nothing to do."""
    if definition.kind == "blueprint":
        return {**current, **_merged(current, definition.content)}
    said = {key: value for key, value in current.items() if key in definition.content or value is not False}
    unsaid = {key: value for key, value in current.items() if key not in said}
    return {**_settled(definition.content, said), **unsaid}


def _merged(theirs: Any, mine: Any) -> Any:
    if not (isinstance(theirs, dict) and isinstance(mine, dict)):
        return mine
    return {**theirs, **{key: _merged(theirs.get(key), value) for key, value in mine.items()}}


def _settled(mine: Any, theirs: Any) -> Any:
    """`mine`, with what Port left out or put in for being empty as `theirs` has it."""
    if not (isinstance(mine, dict) and isinstance(theirs, dict)):
        return mine
    settled = {
        # A payload is the user's own document: there, empty is not the same as absent.
        key: value if key == "payload" else _settled(value, theirs.get(key))
        for key, value in mine.items()
        if key in theirs or not _empty(value)
    }
    return {**settled, **{key: value for key, value in theirs.items() if key not in mine and _empty(value)}}


def _empty(value: Any) -> bool:
    return value is None or value == {} or value == []


def difference(current: dict[str, Any], wanted: dict[str, Any], definition: Definition) -> str:
    """What an update changes, as a unified diff in colour."""

    def lines(content: dict[str, Any]) -> list[str]:
        return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False).splitlines()

    changes = difflib.unified_diff(
        lines(current), lines(wanted), f"{definition.name} in Port", str(definition.file), lineterm=""
    )
    colours = {"+": "green", "-": "red", "@": "cyan"}
    return "\n".join(click.style(line, fg=colours.get(line[0])) for line in changes)


@click.command()
@click.argument("definitions", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--port-url",
    envvar="PORT_API_URL",
    default=DEFAULT_URL,
    show_default=True,
    help="Port's API; https://api.us.port.io in the US. PORT_API_URL sets it too.",
)
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
def main(definitions: tuple[Path, ...], port_url: str, dry_run: bool) -> None:
    """Create or update blueprints and actions in Port.

    DEFINITIONS are JSON files, or folders of them; without any, those of scripts/port are taken. Credentials
    come from PORT_CLIENT_ID and PORT_CLIENT_SECRET in the environment. Before something that exists is
    changed, the difference is shown. It is safe to run this again.
    """
    try:
        found = read_definitions(definitions or (DEFINITIONS,))
        with connect(port_url) as port:
            click.echo(f"Port at {port.url}")
            set_up(port, found, dry_run=dry_run)
    except SetupError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2 if isinstance(error, SettingsError) else 1) from error


if __name__ == "__main__":
    main()
