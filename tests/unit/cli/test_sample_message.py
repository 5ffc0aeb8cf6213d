"""A sample message is what Port would publish for the action."""

import json
from typing import Any

import pytest

from port_runner_cli.output import NotCheckable
from port_runner_cli.sample_message import sample_message
from tests.support.doctor_under_test import ORGANIZATION
from tests.support.function_under_test import event_file
from tests.support.project import DEFINITIONS


def test_a_sample_is_what_port_would_publish() -> None:
    """Of the shipped action's payload, the sample has the places and types of a message that was recorded."""

    def shape(value: Any) -> Any:
        return {name: shape(each) for name, each in value.items()} if isinstance(value, dict) else type(value)

    sample = sample_message(json.loads((DEFINITIONS / "create_vm_action.json").read_text()), ORGANIZATION)
    recorded = event_file("create_vm_v2_template")
    for message in (sample, recorded):
        message["trigger"].pop("by")
        message["payload"].pop("properties")
    assert shape(sample) == shape(recorded)


@pytest.mark.parametrize(
    ("payload", "rendered"),
    [
        ({"id": "{{ .run.id }}"}, {"id": "r_sampleOfARun0000"}),
        ({"text": "run {{ .run.id }} of {{ .action.identifier }}"}, {"text": "run r_sampleOfARun0000 of resize"}),
        ({'{{ if .inputs | has("a") then "a" else null end }}': 1}, {"a": 1}),
        ({'{{ if .inputs | has("b") then "b" else null end }}': 1}, {}),
        ({"{{ spreadValue() }}": "{{ .inputs }}", "c": 3}, {"a": 1, "c": 3}),
        ([{"n": "{{ .inputs.a }}"}, "x"], [{"n": 1}, "x"]),
        ({"plain": [1, None, True]}, {"plain": [1, None, True]}),
    ],
)
def test_templates(payload: Any, rendered: Any) -> None:
    """A template of its own keeps its value's type; keys can be left out and spread."""
    user_inputs = {"properties": {"a": {"type": "number"}}}
    action = {
        "identifier": "resize",
        "trigger": {"operation": "CREATE", "userInputs": user_inputs},
        "invocationMethod": {"type": "KAFKA", "payload": payload},
    }
    assert sample_message(action, ORGANIZATION) == rendered


def test_a_template_that_cannot_be_evaluated() -> None:
    """JQ that only Port knows, and text that is not JQ, is not checkable."""
    for template in ("{{ nothing_of_that_name(3) }}", "{{ .a | }}", "{{ error }}"):
        with pytest.raises(NotCheckable, match="cannot be rendered"):
            sample_message({"invocationMethod": {"payload": {"a": template}}}, ORGANIZATION)
