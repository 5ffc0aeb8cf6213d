"""Payload templates: JQ in `{{ }}`, evaluated as Port evaluates it when an action is executed.

A string that is only one `{{ }}` becomes a value with its type. Within other text, a value becomes text. If a key
evaluates to null, its pair is dropped. The pairs of the value replace the key `{{ spreadValue() }}`.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jq

_SPREAD = re.compile(r"\{\{\s*spreadValue\(\)\s*\}\}")


class TemplateError(Exception):
    """A template cannot be evaluated. The text says why."""


def render(template: Any, data: dict[str, Any]) -> Any:
    """Return the template with every `{{ }}` in its strings and keys evaluated. `data` is JQ's input.

    Raises TemplateError if an expression is not valid JQ or fails.
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
    """Yield the parts of the text: literal strings, and compiled JQ programs."""
    position = 0
    while (start := text.find("{{", position)) >= 0:
        if start > position:
            yield text[position:start]
        program, position = _next_program(text, start + 2)
        yield program
    if position < len(text):
        yield text[position:]


def _next_program(text: str, start: int) -> tuple[Any, int]:
    # JQ itself uses braces, so the first "}}" may not be the end. The end is the first "}}" that leaves valid JQ.
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
        results = program.input_text(well_formed(json.dumps(data, ensure_ascii=False))).all()
    except ValueError as error:
        raise TemplateError(f"{program.program_string.strip()}: {error}") from error
    return results[0] if results else None


def well_formed(text: str) -> str:
    """Return the text with U+FFFD for each lone surrogate, as JavaScript encodes it in UTF-8."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
