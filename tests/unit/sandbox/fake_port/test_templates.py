"""Payload templates are evaluated as Port evaluates them."""

from typing import Any

import pytest

from port_templates import TemplateError, render

DATA: dict[str, Any] = {
    "inputs": {"n": 2, "s": "x", "none": None},
    "entity": {},
    "action": {"identifier": "vm_create_vm"},
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ .inputs.n }}", 2),
        ("{{ .inputs }}", DATA["inputs"]),
        ("{{ .inputs.missing }}", None),
        ("{{ .inputs | {n, s} }}", {"n": 2, "s": "x"}),
        ("{{ {a: {b: .inputs.n}}}}", {"a": {"b": 2}}),
        ("{{ empty }}", None),
        ("n is {{ .inputs.n }}, {{ .inputs.s }}", "n is 2, x"),
        ("{{ .inputs.n }}{{ .inputs.n }}", "22"),
        ("{{ if .entity == {} then null else .entity end }}", None),
        ('{{ .action.identifier[("vm_" | length):] }}', "create_vm"),
        ("no template", "no template"),
        (" plain ", " plain "),
        (7, 7),
        (["{{ .inputs.n }}", {"k": "{{ .inputs.s }}"}], [2, {"k": "x"}]),
    ],
)
def test_template_values(template: Any, value: Any) -> None:
    """A string that is only one expression becomes a value with its type. Within other text, the value becomes text."""
    assert render(template, DATA) == value


def test_template_key_that_is_null_drops_its_pair() -> None:
    """Keys are templates too. If a key evaluates to null, its pair is dropped."""
    template = {
        '{{ if (.inputs | has("n")) then "n" else null end }}': 1,
        '{{ if (.inputs | has("q")) then "q" else null end }}': 1,
    }
    assert render(template, DATA) == {"n": 1}


def test_template_spreads_pairs() -> None:
    """The key spreadValue() is replaced by its value's pairs, and only an object can be spread."""
    assert render({"{{ spreadValue() }}": "{{ .inputs }}", "more": 1}, DATA) == {**DATA["inputs"], "more": 1}
    with pytest.raises(TemplateError, match="needs an object"):
        render({"{{spreadValue()}}": "{{ .inputs.n }}"}, DATA)


@pytest.mark.parametrize("template", ["{{ .inputs", "{{ .inputs | }}", "{{ nosuchfunction }}", {"{{ 1 }}": 2}])
def test_invalid_template(template: Any) -> None:
    """A template that is not JQ, has no end, or makes a key that is not a string is an error."""
    with pytest.raises(TemplateError):
        render(template, DATA)
