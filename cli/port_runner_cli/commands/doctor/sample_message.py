"""Renders the message that Port would publish for a run of an action, from the action's payload.

Strings may hold JQ in double braces. A string that is exactly one template becomes the template's value.
https://docs.port.io/actions-and-automations/setup-backend/#define-the-actions-payload
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from port_runner_cli.commands.doctor.finding import NotCheckable

RUN_ID = "r_sampleOfDoctor00"
TEMPLATE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
ENTITY = {"identifier": "sample", "title": "Sample", "blueprint": "sample", "properties": {}, "relations": {}}
VALUES = {"string": "sample", "number": 1, "boolean": True, "array": [], "object": {}}

type Json = dict[str, Any]


def sample_message(action: Json, organization_id: str) -> Any:
    """Return the message. A required input has a value of its type. Raises NotCheckable."""
    payload = action.get("invocationMethod", {}).get("payload")
    if not payload:
        raise NotCheckable(
            f"The action {action.get('identifier')} has no payload, and what Port publishes then is not documented."
        )
    return _rendered(payload, _data(action, organization_id))


def _data(action: Json, organization_id: str) -> Json:
    trigger = action.get("trigger") or {}
    user_inputs = trigger.get("userInputs") or {}
    defined = user_inputs.get("properties") or {}
    is_new = trigger.get("operation") == "CREATE"
    user = {"email": "doctor@example.com", "id": "doctor"}
    return {
        "inputs": {name: _value(definition) for name, definition in defined.items()},
        "trigger": {
            "by": {"orgId": organization_id, "userId": "doctor", "user": user},
            "origin": "API",
            "at": "2026-01-01T00:00:00.000Z",
            "operation": trigger.get("operation"),
        },
        "event": None,
        "entity": {} if is_new else ENTITY,
        "action": {
            "identifier": action.get("identifier"),
            "blueprint": trigger.get("blueprintIdentifier"),
            "encryptedProperties": [name for name, definition in defined.items() if definition.get("encryption")],
        },
        "run": {"id": RUN_ID},
    }


def _value(definition: Mapping[str, Any]) -> Any:
    choices = definition.get("enum")
    return choices[0] if isinstance(choices, list) and choices else VALUES.get(str(definition.get("type")))


def _rendered(template: Any, data: Json) -> Any:
    if isinstance(template, str):
        return _text(template, data)
    if isinstance(template, list):
        return [_rendered(each, data) for each in template]
    if not isinstance(template, dict):
        return template
    rendered: Json = {}
    for key, value in template.items():
        if "spreadValue" in key:
            spread = _rendered(value, data)
            rendered |= spread if isinstance(spread, dict) else {}
        elif (name := _text(key, data)) is not None:
            rendered[str(name)] = _rendered(value, data)
    return rendered


def _text(text: str, data: Json) -> Any:
    if (whole := TEMPLATE.fullmatch(text.strip())) and "{{" not in whole[1]:
        return _evaluated(whole[1], data)

    def evaluated(found: re.Match[str]) -> str:
        value = _evaluated(found[1], data)
        return value if isinstance(value, str) else json.dumps(value)

    return TEMPLATE.sub(evaluated, text)


def _evaluated(expression: str, data: Json) -> Any:
    import jq

    try:
        return jq.compile(expression).input_value(data).first()
    except (ValueError, StopIteration) as error:
        raise NotCheckable(f"The payload's template {expression.strip()} cannot be evaluated here: {error}.") from error
