"""`action-json`: write an action's definition for Port from the dataclass of its handler's inputs."""

import dataclasses
import enum
import inspect
import json
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from port_runner.field_types import FieldType, Kind, field_type
from port_runner.routing import Route
from port_runner.secret_inputs import AES256_GCM
from port_runner_cli.output import CommandFailed, SettingsError
from port_runner_cli.project import load_runner

type Json = dict[str, Any]

OPERATIONS = ("CREATE", "DAY-2", "DELETE")
TYPES = ("string", "number", "boolean", "object", "array")
PLAIN = {Kind.TEXT: "string", Kind.WHOLE_NUMBER: "number", Kind.NUMBER: "number", Kind.BOOLEAN: "boolean"}
CHOICES = {str: "string", int: "number", float: "number", bool: "boolean"}
# The parts that the file keeps for an input whose type has changed.
FOR_PEOPLE = ("title", "description", "icon")

# With this payload, a message has everything that the runner looks for, in the places where it looks first.
PAYLOAD: Json = {
    "action": "{{ .action.identifier }}",
    "resourceType": "run",
    "status": "TRIGGERED",
    "trigger": "{{ .trigger | {by, origin, at} }}",
    "context": {
        "entity": "{{ .entity.identifier }}",
        "blueprint": "{{ .action.blueprint }}",
        "runId": "{{ .run.id }}",
    },
    "payload": {
        "entity": "{{ if .entity == {} then null else .entity end }}",
        "action": {"invocationMethod": {"type": "KAFKA"}, "trigger": "{{ .trigger.operation }}"},
        "properties": "{{ .inputs }}",
        "censoredProperties": "{{ .action.encryptedProperties }}",
    },
}


@dataclasses.dataclass(frozen=True)
class DeclaredInput:
    """An input as a handler's dataclass declares it.

    `definitions` are Port's definitions of inputs that fit the field: one, or several if the field's type allows
    several types. `default` is None if there is no default that Port's form can show.
    """

    name: str
    field: str
    definitions: Sequence[Json]
    required: bool
    default: Any


def declared_inputs(inputs: type) -> list[DeclaredInput]:
    """Return the inputs of a handler's dataclass, in its order."""
    hints = typing.get_type_hints(inputs)
    return [
        _declared_input(field, field_type(hints[field.name], f"{inputs.__qualname__}.{field.name}"), inputs)
        for field in dataclasses.fields(inputs)
        if field.init
    ]


def _declared_input(field: dataclasses.Field[Any], of: FieldType, inputs: type) -> DeclaredInput:
    return DeclaredInput(
        name=str(field.metadata.get("input", field.name)),
        field=f"{inputs.__name__}.{field.name}",
        definitions=_definitions(of, field.metadata.get("blueprint")),
        required=not _has_default(field) and not of.takes_none,
        default=_default(field),
    )


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _default(field: dataclasses.Field[Any]) -> Any:
    default = field.default
    if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    default = default.value if isinstance(default, enum.Enum) else default
    return default if isinstance(default, str | int | float | bool | list | dict) and default not in ([], {}) else None


def _definitions(of: FieldType, blueprint: str | None) -> list[Json]:
    """Return Port's definitions of the inputs that this field type takes, without title and default."""
    match of.kind:
        case Kind.ANY:
            return [{"type": kind} for kind in TYPES]
        case Kind.SECRET:
            return [{**each, "encryption": AES256_GCM} for each in _definitions(of.parts[0], blueprint)]
        case Kind.UNION:
            members = [part for part in of.parts if part.kind is not Kind.NONE]
            return _distinct(each for member in members for each in _definitions(member, blueprint))
        case Kind.CHOICE:
            return _choices(value for value, _ in of.choices)
        case Kind.DATACLASS if of.dataclass and _is_entity(of.dataclass):
            return [{"type": "string", "format": "entity", **({"blueprint": blueprint} if blueprint else {})}]
        case Kind.DATACLASS | Kind.DICT:
            return [{"type": "object"}]
        case Kind.LIST:
            items = [] if of.parts[0].kind is Kind.ANY else _definitions(of.parts[0], blueprint)
            return [{"type": "array", **({"items": items[0]} if len(items) == 1 else {})}]
        case Kind.NONE:
            return []
        case _:
            return [{"type": PLAIN[of.kind]}]


def _is_entity(inputs: type) -> bool:
    return any(field.name == "identifier" and field.init for field in dataclasses.fields(inputs))


def _choices(values: Iterable[Any]) -> list[Json]:
    by_type: dict[str, list[Any]] = {}
    for value in values:
        if type(value) in CHOICES:
            by_type.setdefault(CHOICES[type(value)], []).append(value)
    # A checkbox needs no list of its two values.
    return [{"type": kind} if kind == "boolean" else {"type": kind, "enum": by_type[kind]} for kind in by_type]


def _distinct(definitions: Iterable[Json]) -> list[Json]:
    return [json.loads(text) for text in dict.fromkeys(json.dumps(each) for each in definitions)]


def action_definition(route: Route, *, operation: str | None = None, blueprint: str | None = None) -> Json:
    """Return the action of a handler, with its inputs and a payload that has everything the runner looks for.

    `operation` and `blueprint` are for a handler that takes any. Raises CommandFailed for inputs that Port does not
    have.
    """
    inputs = declared_inputs(route.inputs) if route.inputs else []
    description = inspect.cleandoc(route.handler.__doc__ or "").partition("\n")[0].rstrip(".")
    blueprint = route.blueprint or blueprint
    return {
        "identifier": route.identifier,
        "title": _title(route.identifier),
        **({"description": description} if description else {}),
        "trigger": {
            "type": "self-service",
            "operation": route.operation or operation or "CREATE",
            **({"blueprintIdentifier": blueprint} if blueprint else {}),
            "userInputs": {
                "properties": {each.name: _input_definition(each) for each in inputs},
                "required": [each.name for each in inputs if each.required],
                "order": [each.name for each in inputs],
            },
        },
        "invocationMethod": {"type": "KAFKA", "payload": PAYLOAD},
    }


def _input_definition(declared: DeclaredInput) -> Json:
    if not declared.definitions:
        raise CommandFailed(
            f"{declared.field} takes nothing that people can enter in Port: give the field another type, or choices "
            "that are text, numbers, or true and false."
        )
    if len(declared.definitions) > 1:
        raise CommandFailed(
            f"{declared.field} takes more than one type, and an input in Port has one: give the field the type that "
            "people are to enter."
        )
    [definition] = declared.definitions
    items = definition.get("items", {})
    if "entity" in (definition.get("format"), items.get("format")) and "blueprint" not in {**definition, **items}:
        raise CommandFailed(
            f"{declared.field} is an entity, and Port must know of which blueprint. Say so in the dataclass: "
            'field(metadata={"blueprint": "…"}).'
        )
    default = {} if declared.default is None else {"default": declared.default}
    return {"type": definition["type"], "title": _title(declared.name), **definition, **default}


def _title(name: str) -> str:
    words = name.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]


def merged(definition: Json, existing: Json) -> Json:
    """Return `definition` merged over an older one. Parts that a handler does not define come from the older one.

    These are titles, descriptions, choices that narrow a free text, the order, and the payload.
    """
    inputs, older = definition["trigger"]["userInputs"], existing["trigger"].get("userInputs", {})
    known = older.get("properties", {})
    required = older.get("required")
    user_inputs = {
        **older,
        "properties": {
            name: _merged_input(inputs["properties"][name], known.get(name, {}))
            for name in [*(name for name in known if name in inputs["properties"]), *inputs["properties"]]
        },
        # A JQ condition cannot come from a dataclass.
        "required": required if isinstance(required, dict) else _ordered(inputs["required"], required or []),
    }
    if "steps" not in older:
        user_inputs["order"] = _ordered(inputs["order"], older.get("order", []))
    method = existing["invocationMethod"]
    return {
        **definition,
        **existing,
        "trigger": {**definition["trigger"], **existing["trigger"], "userInputs": user_inputs},
        "invocationMethod": method if method.get("payload") else definition["invocationMethod"],
    }


def _merged_input(definition: Json, existing: Json) -> Json:
    same_type = existing.get("type") == definition["type"]
    kept = {key: value for key, value in existing.items() if same_type or key in FOR_PEOPLE}
    if "encryption" not in definition:
        kept.pop("encryption", None)
    return {**definition, **kept, **{key: value for key, value in definition.items() if key not in FOR_PEOPLE}}


def _ordered(names: Sequence[str], older: Sequence[str]) -> list[str]:
    return [*(name for name in older if name in names), *(name for name in names if name not in older)]


@click.command("action-json")
@click.argument("identifier")
@click.option("--operation", type=click.Choice(OPERATIONS), help="The operation of the action. Default: CREATE.")
@click.option("--blueprint", metavar="IDENTIFIER", help="The blueprint whose entities the action is about.")
@click.option(
    "--output",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write into this file. If it exists, it keeps the titles, descriptions and choices that people put in.",
)
def action_json(identifier: str, operation: str | None, blueprint: str | None, file: Path | None) -> None:
    """Write an action's JSON for Port from its handler.

    The action is the one of the handler registered for IDENTIFIER. Its inputs are the fields of the handler's
    dataclass. Prints the JSON, or writes it into a file for `setup`. It is safe to run this again.
    """
    route = _route(load_runner().routes, identifier, operation, blueprint)
    definition = action_definition(route, operation=operation, blueprint=blueprint)
    if file is None:
        click.echo(_text(definition), nl=False)
        return
    existing = _existing(file, identifier)
    if existing is not None:
        asked = {"operation": operation or route.operation, "blueprintIdentifier": blueprint or route.blueprint}
        definition = merged(definition, existing)
        definition["trigger"].update({key: value for key, value in asked.items() if value})
    outcome = "written" if existing is None else "unchanged" if definition == existing else "updated"
    if definition != existing:
        try:
            file.write_text(_text(definition))
        except OSError as error:
            raise SettingsError(f"{file} cannot be written: {error.strerror}.") from error
    click.echo(f"{file}: {outcome}")


def _text(definition: Json) -> str:
    return json.dumps(definition, indent=2, ensure_ascii=False) + "\n"


def _existing(file: Path, identifier: str) -> Json | None:
    from port_runner_cli.commands.setup import read_definitions

    if not file.exists():
        return None
    [definition] = read_definitions([file])
    if definition.kind != "action" or definition.identifier != identifier:
        raise SettingsError(f"{file} holds the {definition.name}. Name another file for the action {identifier}.")
    if definition.content.get("trigger", {}).get("type") != "self-service":
        raise SettingsError(f"{file} holds an action that people do not start, so it has no inputs. Name another file.")
    return definition.content


def _route(routes: Sequence[Route], identifier: str, operation: str | None, blueprint: str | None) -> Route:
    named = [route for route in routes if route.identifier == identifier]
    if not named:
        known = ", ".join(sorted({route.identifier for route in routes})) or "none"
        raise SettingsError(
            f"No handler is registered for {identifier}; there are: {known}. Register one with "
            f'@router.action("{identifier}", inputs=…) and include its router in lambda/lambda_function.py.'
        )
    fitting = [
        route
        for route in named
        if operation in (None, route.operation or operation) and blueprint in (None, route.blueprint or blueprint)
    ]
    if len(fitting) != 1:
        takes = "; ".join(f"{route.name} takes {_taken(route)}" for route in named)
        raise SettingsError(f"{takes}. Name one of these with --operation and --blueprint.")
    return fitting[0]


def _taken(route: Route) -> str:
    return f"{route.operation or 'any operation'} on {route.blueprint or 'any blueprint'}"
