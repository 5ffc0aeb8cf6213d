"""`check`: find differences between Port's actions and the handlers of this project."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from port_runner import MessagePaths
from port_runner.routing import Route, route_for
from port_runner_cli.clients.port import PortAccess, PortConnection, port_options
from port_runner_cli.commands.action_json import DeclaredInput, Json, declared_inputs
from port_runner_cli.commands.setup import read_definitions
from port_runner_cli.output import COMMAND, CommandFailed, NotCheckable, Output, output_option
from port_runner_cli.project import load_runner
from port_runner_cli.sample_message import message_problem, sample_message

# The organization in sample messages.
ORGANIZATION = "org_sample"

PEOPLE_SAY = {
    "string": "text",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
}
THEN_SET_UP = f"`{COMMAND} action-json` and `{COMMAND} setup` bring the handler's inputs into Port"


@dataclass(frozen=True)
class Disagreement:
    """A difference between an action and its handler, and what to do about it."""

    action: str
    problem: str
    advice: str


def disagreements(
    actions: Sequence[Json], routes: Sequence[Route], paths: MessagePaths, *, all_actions: bool = True
) -> Iterator[Disagreement]:
    """Compare actions as Port defines them with the handlers. Without `all_actions`, only these actions count."""
    taken: set[int] = set()
    for action in actions:
        route = _route_of(action, routes)
        if route is not None:
            taken.add(id(route))
        yield from _about_action(action, route, routes, paths)
    for route in routes if all_actions else ():
        if id(route) not in taken:
            yield Disagreement(
                route.identifier,
                f"{route.name} takes its runs{_of(route)}, and there is no such action",
                f"Make it with `{COMMAND} action-json {route.identifier} --output FILE` and `{COMMAND} setup FILE`, or "
                "remove the handler.",
            )


def _of(route: Route) -> str:
    said = [text for text in (route.operation, route.blueprint and f"on {route.blueprint}") if text]
    return f" ({' '.join(said)})" if said else ""


def _trigger(action: Json) -> Json:
    trigger = action.get("trigger")
    return trigger if isinstance(trigger, dict) else {}


def _route_of(action: Json, routes: Sequence[Route]) -> Route | None:
    trigger = _trigger(action)
    return route_for(routes, str(action["identifier"]), trigger.get("operation"), trigger.get("blueprintIdentifier"))


def _about_action(
    action: Json, route: Route | None, routes: Sequence[Route], paths: MessagePaths
) -> Iterator[Disagreement]:
    identifier = str(action["identifier"])
    method = action.get("invocationMethod", {})
    if route is None:
        if method.get("type") == "KAFKA":
            yield Disagreement(identifier, *_without_handler(action, routes))
        return
    if method.get("type") != "KAFKA":
        yield Disagreement(
            identifier,
            f"it is invoked by {method.get('type')}, so {route.name} will never see a run of it",
            f"Take the invocationMethod that `{COMMAND} action-json` prints.",
        )
        return
    self_service = _trigger(action).get("type") == "self-service"
    user_inputs = _trigger(action).get("userInputs", {}) if self_service else {}
    if route.inputs is not None and self_service:
        for problem in _about_inputs(user_inputs, declared_inputs(route.inputs)):
            yield Disagreement(identifier, *problem)
    for problem in _about_payload(action, method.get("payload"), routes, paths):
        yield Disagreement(identifier, *problem)


def _without_handler(action: Json, routes: Sequence[Route]) -> tuple[str, str]:
    trigger = _trigger(action)
    named = [route for route in routes if route.identifier == action["identifier"]]
    if named:
        return (
            f"it is {trigger.get('operation')} on {trigger.get('blueprintIdentifier') or 'no blueprint'}, and "
            f"{', '.join(f'{route.name} takes{_of(route)} only' for route in named)}",
            "Change the operation or the blueprint in the action or in the handler's @router.action(…).",
        )
    return (
        "no handler takes it, so its runs never end",
        f'Write one: @router.action("{action["identifier"]}", inputs=…). If another program takes them, name the '
        "actions that are to be checked.",
    )


# Inputs


def _about_inputs(user_inputs: Json, declared: Sequence[DeclaredInput]) -> Iterator[tuple[str, str]]:
    defined = user_inputs.get("properties", {})
    required = user_inputs.get("required", [])
    for each in declared:
        if each.name not in defined:
            consequence = "every run fails" if each.required else "no one can fill it in"
            yield f"the input {each.name} of {each.field} is missing in Port: {consequence}", f"{THEN_SET_UP}."
            continue
        yield from _about_input(each, defined[each.name])
        if isinstance(required, list):  # otherwise JQ decides, in Port's form
            yield from _about_requiredness(each, each.name in required)
    for name in defined:
        if name not in {each.name for each in declared}:
            yield (
                f"no field takes the input {name}, so what people enter is lost",
                "Add a field to the handler's dataclass, or remove the input in Port.",
            )


def _about_requiredness(declared: DeclaredInput, required: bool) -> Iterator[tuple[str, str]]:
    if declared.required and not required:
        yield (
            f"the input {declared.name} may be left out in Port, and {declared.field} must be given",
            "Give the field a default, or make the input required in Port.",
        )
    if required and not declared.required:
        yield (
            f"the input {declared.name} is required in Port, and {declared.field} may be left out",
            "Make the input optional in Port, or remove the field's default.",
        )


def _about_input(declared: DeclaredInput, defined: Json) -> Iterator[tuple[str, str]]:
    takes = {kind for definition in declared.definitions for kind in _arrives_as(definition)}
    if not takes & _arrives_as(defined):
        yield (
            f"the input {declared.name} is {_words(_arrives_as(defined))} in Port, and {declared.field} takes "
            f"{_words(takes)}",
            f"Change the field's type, or let Port have its type: {THEN_SET_UP}.",
        )
        return
    if len(declared.definitions) != 1:
        return
    [definition] = declared.definitions
    yield from _about_secrecy(declared, bool(definition.get("encryption")), bool(defined.get("encryption")))
    yield from _about_choices(declared, definition.get("enum"), defined.get("enum"))
    items, defined_items = definition.get("items"), defined.get("items")
    if isinstance(items, dict) and isinstance(defined_items, dict) and "type" in defined_items:
        name = f"{declared.name}[]"
        of_items = DeclaredInput(name, f"{declared.field}[]", [items], required=False, default=None)
        yield from _about_input(of_items, defined_items)


def _arrives_as(definition: Mapping[str, Any]) -> set[str]:
    """Return the JSON types of such an input. An entity is its identifier or its object, depending on the payload."""
    return {str(definition.get("type"))} | ({"object"} if definition.get("format") == "entity" else set())


def _words(types: set[str]) -> str:
    return " or ".join(sorted(PEOPLE_SAY.get(each, each) for each in types))


def _about_secrecy(declared: DeclaredInput, secret: bool, encrypted: bool) -> Iterator[tuple[str, str]]:
    if encrypted and not secret:
        yield (
            f"the input {declared.name} is secret in Port, and {declared.field} would be printed",
            "Declare the field as Secret[str], or Secret[dict[str, Any]] for an object.",
        )
    if secret and not encrypted:
        yield (
            f"the input {declared.name} is not encrypted in Port, and {declared.field} is a Secret",
            f'Give the input "encryption": "aes256-gcm": {THEN_SET_UP}.',
        )


def _about_choices(declared: DeclaredInput, takes: Any, offers: Any) -> Iterator[tuple[str, str]]:
    if takes is None or isinstance(offers, dict):  # any text fits, or JQ makes the choices in Port's form
        return
    if offers is None:
        yield (
            f"the input {declared.name} is free in Port, and {declared.field} takes only {_listed(takes)}",
            f"Let Port offer these: {THEN_SET_UP}.",
        )
        return
    if refused := [value for value in offers if value not in takes]:
        yield (
            f"the input {declared.name} offers {_listed(refused)} in Port, which {declared.field} refuses",
            f"Add it to the field's choices, or remove it in Port: {THEN_SET_UP}.",
        )
    if missing := [value for value in takes if value not in offers]:
        yield (
            f"the input {declared.name} does not offer {_listed(missing)} in Port, which {declared.field} takes",
            f"Remove it from the field's choices, or offer it in Port: {THEN_SET_UP}.",
        )


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(str(value) for value in values)


# The payload


def _about_payload(
    action: Json, payload: Any, routes: Sequence[Route], paths: MessagePaths
) -> Iterator[tuple[str, str]]:
    advice = f"Take the payload that `{COMMAND} action-json` prints."
    if not payload:
        yield "it has no payload, and what Port sends then is not documented", advice
        return
    try:
        problem = message_problem(action, sample_message(action, ORGANIZATION), routes, paths)
    except NotCheckable as error:
        yield error.message, "Try the payload in Port. The other checks of this action are complete."
        return
    if problem is not None:
        yield problem, f'It needs "runId": "{{{{ .run.id }}}}", and the inputs that Port encrypts. {advice}'


# The command


def actions_in_port(port: PortConnection, identifiers: Sequence[str] = ()) -> list[Json]:
    """Return the named actions as Port has them, or all actions. Raises CommandFailed."""
    found = port.call("GET", "/actions", query={"version": "v2"}, what="to list the actions").get("actions")
    if not isinstance(found, list):
        raise CommandFailed(f"Port at {port.url} did not list its actions. Check the address.")
    return _named([action for action in found if isinstance(action, dict)], identifiers, f"Port at {port.url}")


def _named(actions: Sequence[Json], identifiers: Sequence[str], where: str) -> list[Json]:
    known = {str(action.get("identifier")): action for action in actions}
    if missing := [identifier for identifier in identifiers if identifier not in known]:
        raise CommandFailed(
            f"{where} has no action {', '.join(missing)}. Make it with `{COMMAND} action-json` and `{COMMAND} setup`."
        )
    return [known[identifier] for identifier in identifiers or known]


@click.command()
@click.argument("actions", nargs=-1)
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Check the actions of this JSON file or folder, and do not ask Port. May be given several times.",
)
@port_options
@output_option
def check(actions: tuple[str, ...], files: tuple[Path, ...], access: PortAccess, output: Output) -> None:
    """List the differences between Port's actions and the handlers.

    Without ACTIONS, every action that Port invokes over Kafka is checked, and every handler must have an action. The
    exit code is 1 if there is a difference.
    """
    runner = load_runner()
    if files:
        read = [definition.content for definition in read_definitions(files) if definition.kind == "action"]
        checked = _named(read, actions, " and ".join(str(file) for file in files))
    else:
        with access.connect() as port:
            checked = actions_in_port(port, actions)
    found = list(disagreements(checked, runner.routes, runner.message_paths, all_actions=not actions))
    for each in found:
        output.say(f"{each.action}: {each.problem}. {each.advice}", "red")
    if not found:
        output.say("Actions and handlers agree.", "green")
    output.document([asdict(each) for each in found])
    if found:
        raise SystemExit(1)
