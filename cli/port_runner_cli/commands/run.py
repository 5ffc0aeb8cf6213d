"""`run`: execute an action in Port, and follow its run to its end."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import click

from port_runner_cli.clients.port import PortAccess, PortConnection, PortRefused, PortUnavailable, port_options
from port_runner_cli.output import COMMAND, INTERRUPTED, CommandFailed, Output, SettingsError, output_option

type Json = dict[str, Any]

ENDED = ("SUCCESS", "FAILURE", "DECLINED")
POLL_SECONDS = 1.0
# The most lines that Port returns at once.
PAGE = 50

NOT_IN_TIME = 3

LIKE = {"string": "text", "number": "2.5", "boolean": "true", "array": '["a", "b"]', "object": '{"a": 1}'}


# Inputs


def inputs_of(action: Json, given: Mapping[str, str], from_file: Mapping[str, Any], secret: Mapping[str, str]) -> Json:
    """Return the inputs to send.

    The texts `given` and `secret` get the types that the action declares. Raises SettingsError.
    """
    user_inputs = action["trigger"].get("userInputs", {})
    defined = user_inputs.get("properties", {})
    for name in [*from_file, *given, *secret]:
        if name not in defined:
            known = ", ".join(defined) or "none"
            raise SettingsError(f"{action['identifier']} has no input {name}. Its inputs are: {known}.")
        encryption = defined[name].get("encryption")
        if encryption and encryption != "aes256-gcm":
            raise SettingsError(
                f"The input {name} is encrypted in the browser, for a key that only you have. Run "
                f"{action['identifier']} in Port's own form."
            )
    for name in given:
        if defined[name].get("encryption"):
            raise SettingsError(
                f"The input {name} is secret, and all users of the machine can see arguments. Give it with "
                f"--inputs-file, with --secret-env {name}=VARIABLE, or with --secret-prompt {name}."
            )
    texts = {**given, **secret}
    inputs = {**from_file, **{name: _typed(name, text, defined[name], name in secret) for name, text in texts.items()}}
    required = user_inputs.get("required", [])
    missing = [
        name
        for name in (required if isinstance(required, list) else ())
        if name not in inputs and "default" not in defined.get(name, {})
    ]
    if missing:
        raise SettingsError(f"{action['identifier']} needs {_asked_for(missing, defined)}.")
    return inputs


def _asked_for(missing: Sequence[str], defined: Mapping[str, Json]) -> str:
    return " ".join(
        f"--secret-prompt {name}"
        if defined.get(name, {}).get("encryption")
        else f"--input {name}={_example(defined.get(name, {}))}"
        for name in missing
    )


def _example(definition: Json) -> str:
    choices = definition.get("enum")
    if isinstance(choices, list):
        return "|".join(str(choice) for choice in choices)
    return f"<{definition.get('type', 'text')}>"


def _typed(name: str, text: str, definition: Json, secret: bool) -> Any:
    kind = definition.get("type")
    if kind == "string":
        return text
    try:
        value = json.loads(text, parse_constant=_no_number)
    except ValueError:
        value = None
    expected = {"number": int | float, "boolean": bool, "array": list, "object": dict}.get(str(kind), object)
    if value is None or not isinstance(value, expected) or (kind == "number" and isinstance(value, bool)):
        got = "" if secret else f", not {text}"
        raise SettingsError(f"The input {name} is of the type {kind}: it looks like {LIKE.get(str(kind))}{got}.")
    return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def _pairs(arguments: Sequence[str], option: str) -> dict[str, str]:
    pairs = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not (name and equals):
            # The given text may be a secret in the wrong place.
            raise SettingsError(f"{option} takes NAME=VALUE; one has no name or no equals sign.")
        pairs[name] = value
    return pairs


def _from_file(file: Any) -> dict[str, Any]:
    try:
        inputs = json.load(file, parse_constant=_no_number)
    except ValueError as error:
        raise SettingsError(f"The inputs in {file.name} are not JSON: {error}.") from error
    if not isinstance(inputs, dict):
        raise SettingsError(f'The inputs in {file.name} must be a JSON object: {{"name": value, …}}.')
    return inputs


def _secrets(from_environment: Mapping[str, str], prompted: Sequence[str]) -> dict[str, str]:
    if unset := [variable for variable in from_environment.values() if not os.environ.get(variable)]:
        raise SettingsError(f"{' and '.join(unset)} is not set in the environment.")
    found = {name: os.environ[variable] for name, variable in from_environment.items()}
    return found | {name: click.prompt(name, hide_input=True, err=True) for name in prompted}


# The run


@dataclass
class Followed:
    """The known state of a run, and its output. `began` is a moment of the monotonic clock."""

    port: PortConnection
    output: Output
    run: Json
    began: float
    lines: list[Json] = field(default_factory=list)
    unreachable: bool = False

    @property
    def identifier(self) -> str:
        return str(self.run["id"])

    @property
    def ended(self) -> bool:
        return self.run.get("status") in ENDED

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def tell(self, what: str, text: str, style: str = "") -> None:
        first = f"{self.seconds:7.1f} s  {what:<7} "
        self.output.say(first + text.replace("\n", "\n" + " " * len(first)), style)

    def look(self) -> None:
        """Ask Port for the run and its log, and show what is new. An outage is reported once, and waited out."""
        try:
            run = self._get()
            for line in self._new_lines():
                self.lines.append(line)
                self.tell("log", str(line.get("message", "")))
        except PortUnavailable as error:
            if not self.unreachable:
                self.output.say(f"{error} Asking again.", "yellow")
            self.unreachable = True
            return
        self.unreachable = False
        self._show_changes(run)
        self.run = run

    def _get(self) -> Json:
        path = f"/actions/runs/{quote(self.identifier, safe='')}"
        answer = self.port.call("GET", path, query={"version": "v2"}, what=f"to show the run {self.identifier}")
        run = answer.get("run")
        return run if isinstance(run, dict) else self.run

    def _show_changes(self, run: Json) -> None:
        if run.get("status") != self.run.get("status") and run.get("status") not in ENDED:
            self.tell("status", str(run.get("status")))
        if run.get("statusLabel") and run["statusLabel"] != self.run.get("statusLabel"):
            self.tell("label", run["statusLabel"], "cyan")
        for link in list_links(run):
            if link not in list_links(self.run):
                self.tell("link", link)

    def _new_lines(self) -> list[Json]:
        """Return the log lines that are new, oldest first. Port does not document the order in which it lists them."""
        seen = {line.get("id") for line in self.lines}
        found = self._pages(len(seen))
        if any(line.get("id") in seen for line in found):  # the newest lines come first
            found = self._pages(0, until=seen)
        new = {line.get("id"): line for line in found if line.get("id") not in seen}
        return sorted(new.values(), key=lambda line: str(line.get("createdAt")))

    def _pages(self, offset: int, until: set[Any] | None = None) -> list[Json]:
        found: list[Json] = []
        while True:
            query = {"limit": str(PAGE), "offset": str(offset + len(found))}
            path = f"/actions/runs/{quote(self.identifier, safe='')}/logs"
            page = self.port.call("GET", path, query=query, what="to show the run's log").get("runLogs", [])
            found += page
            if len(page) < PAGE or any(line.get("id") in (until or ()) for line in page):
                return found


def list_links(run: Json) -> list[str]:
    """Return a run's links. Port has one or several."""
    link = run.get("link") or []
    return [link] if isinstance(link, str) else list(link)


def follow(followed: Followed, timeout: float) -> None:
    """Show the run until it has ended or the time is up."""
    with followed.output.waiting("Waiting for the run"):
        while True:
            followed.look()
            if followed.ended or followed.seconds >= timeout:
                return
            time.sleep(min(POLL_SECONDS, max(0.0, timeout - followed.seconds)))


def affected_entities(port: PortConnection, run_id: str) -> list[Json]:
    """Return action, blueprint and identifier of each entity that the run changed, from Port's audit log.

    The result is empty without the permission to read the audit log.
    """
    query = {"run_id": run_id, "resources": "entity", "limit": "100"}
    with suppress(PortRefused, PortUnavailable):
        answer = port.call("GET", "/audit-log", query=query, what="to show the audit log")
        # Port documents the fields of a record, but not the name of the list.
        records = next((value for value in answer.values() if isinstance(value, list)), [])
        contexts = [(record.get("action"), record.get("context") or {}) for record in records]
        found = [
            {"action": action, "blueprint": context.get("blueprint"), "identifier": context.get("entity")}
            for action, context in contexts
            if context.get("entity")
        ]
        return [each for index, each in enumerate(found) if each not in found[:index]]
    return []


# The command


@click.command()
@click.argument("action")
@click.option("--input", "given", multiple=True, metavar="NAME=VALUE", help="An input. May be given several times.")
@click.option("--inputs-file", type=click.File(), metavar="FILE", help="Inputs as a JSON object; - reads stdin.")
@click.option(
    "--secret-env", multiple=True, metavar="NAME=VARIABLE", help="A secret input, from this environment variable."
)
@click.option("--secret-prompt", multiple=True, metavar="NAME", help="A secret input, asked for without showing it.")
@click.option("--entity", metavar="IDENTIFIER", help="The entity that a DAY-2 or DELETE action is for.")
@click.option("--run-as", metavar="EMAIL", help="Email address of the Port user who becomes the run's author.")
@click.option("--no-follow", is_flag=True, help="Start the run without following it.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=900, show_default=True, help="Seconds to follow it for."
)
@port_options
@output_option
def run(
    action: str,
    given: tuple[str, ...],
    inputs_file: Any,
    secret_env: tuple[str, ...],
    secret_prompt: tuple[str, ...],
    entity: str | None,
    run_as: str | None,
    no_follow: bool,
    timeout: float,
    access: PortAccess,
    output: Output,
) -> None:
    """Execute an action in Port and follow its run.

    Input values are read as the action declares them: numbers, true or false, JSON for lists and objects. A secret
    input is never an argument.

    The exit code is 0 if the run ended in SUCCESS, 1 in FAILURE, and 3 if it had not ended when the time was up.
    """
    texts, variables = _pairs(given, "--input"), _pairs(secret_env, "--secret-env")
    from_file = _from_file(inputs_file) if inputs_file else {}
    with access.connect() as port:
        definition = _action(port, action)
        _check_entity(definition, entity)
        secret = _secrets(variables, secret_prompt)
        inputs = inputs_of(definition, texts, from_file, secret)
        started = execute(port, definition, inputs, entity=entity, run_as=run_as)
        followed = Followed(port, output, started, time.monotonic())
        output.say(f"{action} runs as {followed.identifier}", "bold")
        if no_follow:
            output.document({"id": followed.identifier, "action": action, "status": started.get("status")})
            return
        try:
            follow(followed, timeout)
        except KeyboardInterrupt:
            output.say(f"No longer following. The run {followed.identifier} continues.", "yellow")
            raise SystemExit(INTERRUPTED) from None
        code = _conclude(followed, action)
    raise SystemExit(code)


def _action(port: PortConnection, identifier: str) -> Json:
    found = port.find(f"/actions/{quote(identifier, safe='')}", what=f"action {identifier}")
    action = (found or {}).get("action")
    if not isinstance(action, dict):
        raise CommandFailed(
            f"Port at {port.url} has no action {identifier}. Make it with `{COMMAND} setup`, or check the name and "
            "whose credentials these are."
        )
    if action.get("trigger", {}).get("type") != "self-service":
        raise CommandFailed(f"{identifier} is an automation: Port itself starts it, at its event.")
    return action


def _check_entity(action: Json, entity: str | None) -> None:
    trigger = action["trigger"]
    if trigger.get("operation") == "CREATE" and entity is not None:
        raise SettingsError(f"{action['identifier']} is a CREATE action: it takes no --entity.")
    if trigger.get("operation") != "CREATE" and trigger.get("blueprintIdentifier") and entity is None:
        raise SettingsError(
            f"{action['identifier']} is a {trigger.get('operation')} action: say with --entity for which "
            f"{trigger['blueprintIdentifier']}."
        )


def execute(port: PortConnection, action: Json, inputs: Json, *, entity: str | None, run_as: str | None) -> Json:
    """Start a run and return it as Port does. Raises CommandFailed. Its text contains no secret input."""
    path = f"/actions/{quote(action['identifier'], safe='')}/runs"
    body = {"properties": inputs, **({"entity": entity} if entity else {})}
    query = {"run_as": run_as} if run_as else None
    try:
        started = port.call("POST", path, body, query=query, what=f"to run {action['identifier']}").get("run")
    except CommandFailed as error:
        defined = action["trigger"]["userInputs"].get("properties", {})
        secret = [text for name in inputs if defined[name].get("encryption") for text in _texts(inputs[name])]
        if not secret:
            raise
        message = error.message
        for text in secret:  # Port's answer may repeat a value that does not fit
            message = message.replace(text, "***")
        raise CommandFailed(message) from None
    if not isinstance(started, dict) or "id" not in started:
        raise CommandFailed(f"Port at {port.url} did not say which run it started. Look into its runs.")
    return started


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        return [text for each in (value.values() if isinstance(value, dict) else value) for text in _texts(each)]
    return [str(value)] if value not in ("", None) else []


def _conclude(followed: Followed, action: str) -> int:
    run, output = followed.run, followed.output
    entities = affected_entities(followed.port, followed.identifier) if followed.ended else []
    for entity in entities:
        followed.tell("entity", f"{entity['blueprint']}/{entity['identifier']} {entity['action']}")
    if followed.ended:
        style = "bold green" if run["status"] == "SUCCESS" else "bold red"
        output.say(f"{run['status']} after {followed.seconds:.1f} s", style)
        if run.get("summary"):
            output.say(str(run["summary"]))
    else:
        output.say(
            f"The run {followed.identifier} has not ended within {followed.seconds:.0f} s. It continues. "
            f"If nothing has arrived at the function, `{COMMAND} doctor` says why.",
            "yellow",
        )
    output.document(
        {
            "id": followed.identifier,
            "action": action,
            "status": run.get("status"),
            "statusLabel": run.get("statusLabel"),
            "summary": run.get("summary"),
            "links": list_links(run),
            "logs": [line.get("message") for line in followed.lines],
            "entities": entities,
            "seconds": round(followed.seconds, 1),
        }
    )
    return {"SUCCESS": 0}.get(str(run["status"]), 1) if followed.ended else NOT_IN_TIME
