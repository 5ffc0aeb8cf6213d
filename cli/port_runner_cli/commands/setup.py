"""`setup`: create blueprints and actions in Port from JSON files. It is safe to run this again."""

import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import click

from port_runner_cli.clients.port import PortAccess, PortConnection, port_options
from port_runner_cli.json_file import read_json
from port_runner_cli.output import Output, SettingsError, output_option
from port_runner_cli.project import definitions_folder

# Fields that Port adds to a definition and does not accept back.
READ_ONLY = {"id", "createdAt", "createdBy", "updatedAt", "updatedBy"}

Kind = Literal["blueprint", "action"]
Outcome = Literal["unchanged", "created", "updated", "would be created", "would be updated"]
# A function that prints a text in one of rich's styles.
type Tell = Callable[[str, str], None]


@dataclass(frozen=True)
class Definition:
    """A blueprint or an action, as in a file."""

    kind: Kind
    content: dict[str, Any]
    file: Path

    @property
    def identifier(self) -> str:
        return str(self.content["identifier"])

    @property
    def name(self) -> str:
        return f"{self.kind} {self.identifier}"


@dataclass(frozen=True)
class Change:
    """The result for a definition, and the difference to Port's. There are no lines if Port had nothing."""

    definition: Definition
    outcome: Outcome
    difference: Sequence[str] = ()


def read_definitions(paths: Sequence[Path] = ()) -> list[Definition]:
    """Return the definitions in files and in folders of *.json. Blueprints come first, because actions refer to them.

    Without paths, read those of the project's port/. Raises SettingsError.
    """
    files = [
        file
        for path in paths or [definitions_folder()]
        for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])
    ]
    definitions = [_read_definition(file) for file in files]
    return sorted(definitions, key=lambda definition: definition.kind == "action")


def _read_definition(file: Path) -> Definition:
    content = read_json(file)
    if isinstance(content, dict) and isinstance(content.get("identifier"), str):
        if "schema" in content:
            return Definition("blueprint", content, file)
        if "invocationMethod" in content:
            return Definition("action", content, file)
    raise SettingsError(
        f"{file} is neither a blueprint nor an action: a blueprint has an identifier and a schema, "
        "an action an identifier and an invocationMethod."
    )


def set_up(
    port: PortConnection, definitions: Sequence[Definition], *, dry_run: bool = False, tell: Tell
) -> list[Change]:
    """Bring each definition into Port. Report each result and, before a change, the difference.

    Other parts of a blueprint in Port stay, because people extend their catalog. An action becomes what its file
    says. Raises CommandFailed.
    """
    changes = []
    for definition in definitions:
        change = _set_up_one(port, definition, dry_run, tell)
        tell(f"{definition.name}: {change.outcome}", "" if change.outcome == "unchanged" else "bold")
        changes.append(change)
    return changes


def _set_up_one(port: PortConnection, definition: Definition, dry_run: bool, tell: Tell) -> Change:
    collection = f"/{definition.kind}s"
    path = f"{collection}/{quote(definition.identifier, safe='')}"
    found = port.find(path, what=definition.name)
    if found is None:
        if not dry_run:
            port.call("POST", collection, definition.content, what=definition.name)
        return Change(definition, "would be created" if dry_run else "created")
    current = {key: value for key, value in found[definition.kind].items() if key not in READ_ONLY}
    wanted = wanted_definition(definition, current)
    if wanted == current:
        return Change(definition, "unchanged")
    lines = difference(current, wanted, definition)
    for line in lines:
        tell(line, {"+": "green", "-": "red", "@": "cyan"}.get(line[0], ""))
    if not dry_run:
        body = wanted if definition.kind == "blueprint" else definition.content
        port.call("PUT", path, body, what=definition.name)
    return Change(definition, "would be updated" if dry_run else "updated", lines)


def wanted_definition(definition: Definition, current: dict[str, Any]) -> dict[str, Any]:
    """Return what Port would hold after an update. It equals `current` if there is nothing to do."""
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
    """Return `mine` with the empty values that Port leaves out or adds, as in `theirs`."""
    if not (isinstance(mine, dict) and isinstance(theirs, dict)):
        return mine
    settled = {
        # A payload is the user's own document: there, an empty value differs from a missing one.
        key: value if key == "payload" else _settled(value, theirs.get(key))
        for key, value in mine.items()
        if key in theirs or not _empty(value)
    }
    return {**settled, **{key: value for key, value in theirs.items() if key not in mine and _empty(value)}}


def _empty(value: Any) -> bool:
    return value is None or value == {} or value == []


def difference(current: dict[str, Any], wanted: dict[str, Any], definition: Definition) -> list[str]:
    """Return what an update changes, as lines of a unified diff."""

    def lines(content: dict[str, Any]) -> list[str]:
        return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False).splitlines()

    names = (f"{definition.name} in Port", str(definition.file))
    return list(difflib.unified_diff(lines(current), lines(wanted), *names, lineterm=""))


@click.command()
@click.argument("definitions", nargs=-1, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@port_options
@output_option
def setup(definitions: tuple[Path, ...], dry_run: bool, access: PortAccess, output: Output) -> None:
    """Create or update blueprints and actions in Port.

    DEFINITIONS are JSON files, or folders of them. Without any, the files of port/ are used. Before an existing
    definition is changed, the difference is shown. It is safe to run this again.
    """
    found = read_definitions(definitions)
    with access.connect() as port:
        output.say(f"Port at {port.url}")
        changes = set_up(port, found, dry_run=dry_run, tell=output.say)
    output.document(
        [
            {
                "kind": change.definition.kind,
                "identifier": change.definition.identifier,
                "outcome": change.outcome,
                "difference": list(change.difference),
            }
            for change in changes
        ]
    )
