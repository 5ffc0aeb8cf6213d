"""Payload templates: JQ in `{{ }}`, evaluated as Port does when an action is executed.

A string that is one `{{ }}` and nothing else becomes the typed value; within other text a value is written
as text. A key that evaluates to null drops its pair. The key `{{ spreadValue() }}` puts the value's own pairs
in its place.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jq

_SPREAD = re.compile(r"\{\{\s*spreadValue\(\)\s*\}\}")


class TemplateError(Exception):
    """A template that cannot be evaluated; its text says why."""


def render(template: Any, data: dict[str, Any]) -> Any:
    """Evaluate every `{{ }}` in the template's strings and keys with `data` as JQ's input.

    Raises TemplateError.
    """
    if isinstance(template, str):
        return _render_text(template, data)
    if isinstance(template, list):
        return [render(item, data) for item in template]
    if isinstance(template, dict):
        rendered: dict[str, Any] = {}
        for key, value in template.items():
            rendered.update(_render_pair(key, value, data))
        return rendered
    return template


def _render_pair(key: str, value: Any, data: dict[str, Any]) -> dict[str, Any]:
    if _SPREAD.fullmatch(key.strip()):
        spread = render(value, data)
        if not isinstance(spread, dict):
            raise TemplateError(f"spreadValue() needs an object, not {json.dumps(spread)}")
        return spread
    name = _render_text(key, data)
    if name is None:
        return {}
    if not isinstance(name, str):
        raise TemplateError(f"the key {key!r} evaluates to {json.dumps(name)}, which is not a string")
    return {name: render(value, data)}


def _render_text(text: str, data: dict[str, Any]) -> Any:
    parts = list(_parts(text.strip() if text.strip().startswith("{{") else text))
    if len(parts) == 1 and not isinstance(parts[0], str):
        return _evaluate(parts[0], data)
    return "".join(part if isinstance(part, str) else _as_text(_evaluate(part, data)) for part in parts)


def _parts(text: str) -> Iterator[Any]:
    """The text cut into literal strings and compiled JQ programs."""
    position = 0
    while (start := text.find("{{", position)) >= 0:
        if start > position:
            yield text[position:start]
        program, position = _next_program(text, start + 2)
        yield program
    if position < len(text):
        yield text[position:]


def _next_program(text: str, start: int) -> tuple[Any, int]:
    # JQ has braces of its own, so the first "}}" need not be the end: the first one that leaves valid JQ is.
    error = "there is no closing }}"
    end = text.find("}}", start)
    while end >= 0:
        try:
            return _compiled(text[start:end]), end + 2
        except ValueError as invalid:
            error = str(invalid)
        end = text.find("}}", end + 1)
    raise TemplateError(f"{text!r} is not a valid template: {error}")


@lru_cache(maxsize=1024)
def _compiled(expression: str) -> Any:
    return jq.compile(expression)


def _evaluate(program: Any, data: dict[str, Any]) -> Any:
    try:
        results = program.input_value(data).all()
    except ValueError as error:
        raise TemplateError(f"{program.program_string.strip()}: {error}") from error
    return results[0] if results else None


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
