"""Write the tables of terraform/README.md: the module's requirements, resources, inputs and outputs.

usage: terraform_docs.py [--check]

The tables stand between two marks, which stay. With `--check` nothing is written, and the command fails if the tables
differ from the module's files.
"""

import argparse
import difflib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hcl2
from hcl2 import SerializationOptions

MODULE = Path(__file__).resolve().parent.parent / "terraform"
BEGIN, END = "<!-- written by `make docs` -->\n", "<!-- end of what `make docs` writes -->\n"


class DocumentationError(Exception):
    """The tables cannot be written; the text says what is missing."""


def documented(module: Path) -> str:
    """Return the module's README with tables that agree with the module's files.

    Raise DocumentationError if the README lacks a mark, or an input or output lacks a description or type.
    """
    readme = (module / "README.md").read_text()
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DocumentationError(f"{module / 'README.md'} must hold these two lines:\n{BEGIN}{END}")
    return f"{before}{BEGIN}\n{tables(module)}\n{END}{after}"


def tables(module: Path) -> str:
    """Return the Markdown that stands between the marks."""
    return "\n\n".join(
        [
            "### Requirements",
            _table(["name", "version"], _requirements(module / "versions.tf")),
            "### Resources",
            _table(["type", "name"], _resources(module)),
            *_inputs(module / "variables.tf"),
            "### Outputs",
            _table(["name", "description"], _outputs(module / "outputs.tf")),
            "",
        ]
    )


def _requirements(file: Path) -> Iterator[list[str]]:
    [settings] = _blocks(file, "terraform")
    yield ["Terraform", _text(settings["required_version"])]
    [providers] = settings["required_providers"]
    for provider in providers.values():
        yield [_text(provider["source"]), _text(provider["version"])]


def _resources(module: Path) -> list[list[str]]:
    blocks = [block for file in sorted(module.glob("*.tf")) for block in _blocks(file, "resource")]
    return sorted([_text(kind), _text(name)] for block in blocks for kind, named in block.items() for name in named)


def _inputs(file: Path) -> Iterator[str]:
    """Yield a title and a table for each part of the file. A comment at the start of a line is the title of a part."""
    variables = dict(_named(file, "variable"))
    for part in re.split(r"(?m)^(?=# )", file.read_text()):
        title, _, blocks = part.partition("\n")
        names = re.findall(r'(?m)^variable "(.+)" \{$', blocks)
        if names:
            yield f"### Inputs: {title.removeprefix('# ')}"
            yield _table(["name", "description", "type", "default"], (_input(name, variables[name]) for name in names))


def _input(name: str, variable: dict[str, Any]) -> list[str]:
    if "type" not in variable:
        raise DocumentationError(f"{name} needs a type.")
    kind = f"`{_expression(variable['type'])}`{', ephemeral' if variable.get('ephemeral') else ''}"
    default = f"`{_expression(variable['default'])}`" if "default" in variable else "required"
    return [f"`{name}`", _description(name, variable), kind, default]


def _outputs(file: Path) -> Iterator[list[str]]:
    for name, output in _named(file, "output"):
        yield [f"`{name}`", _description(name, output)]


def _description(name: str, block: dict[str, Any]) -> str:
    if "description" not in block:
        raise DocumentationError(f"{name} needs a description.")
    return _text(block["description"])


def _named(file: Path, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for block in _blocks(file, kind):
        for name, content in block.items():
            yield _text(name), content


def _blocks(file: Path, kind: str) -> list[dict[str, Any]]:
    options = SerializationOptions(with_comments=False, explicit_blocks=False)
    blocks: list[dict[str, Any]] = hcl2.loads(file.read_text(), serialization_options=options).get(kind, [])
    return blocks


def _text(quoted: str) -> str:
    text: str = json.loads(quoted)
    return text


def _expression(value: Any) -> str:
    """Return a type or default as the file has it, on one line."""
    if isinstance(value, str):
        return value.removeprefix("${").removesuffix("}") if value.startswith("${") else value
    return json.dumps(value)


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(cell: str) -> str:
    """Escape the characters that have a meaning in a Markdown table, except inside code."""
    parts = re.split(r"(`[^`]*`)", cell.replace("|", "\\|"))
    return "".join(part if part.startswith("`") else part.replace("<", "\\<").replace("*", "\\*") for part in parts)


def main(arguments: Sequence[str] | None = None, module: Path = MODULE) -> int:
    parser = argparse.ArgumentParser(description="Write the tables of terraform/README.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the tables are out of date")
    check = parser.parse_args(arguments).check
    try:
        wanted = documented(module)
    except DocumentationError as error:
        print(error, file=sys.stderr)
        return 1
    readme = module / "README.md"
    there = readme.read_text()
    if check and there != wanted:
        difference = difflib.unified_diff(there.splitlines(), wanted.splitlines(), "README.md", "the module", n=0)
        print("\n".join(difference))
        print("The tables of terraform/README.md are out of date. Run `make docs`.", file=sys.stderr)
        return 1
    if there != wanted:
        readme.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
