"""The message that Port would publish for a run of an action: the action's payload, rendered with sample data.

https://docs.port.io/actions-and-automations/setup-backend/#define-the-actions-payload
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from port_runner import MessageError, MessagePaths
from port_runner.kafka import Record
from port_runner.messages import ForOthers, RunRequest, read_message, walk
from port_runner.routing import Route, routes_for
from port_runner_cli.output import NotCheckable
from port_templates import TemplateError, render

# An id as Port generates it.
RUN_ID = "r_sampleOfARun0000"
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
    try:
        return render(payload, _data(action, organization_id))
    except TemplateError as error:
        raise NotCheckable(f"The payload of {action.get('identifier')} cannot be rendered here: {error}.") from error


def _data(action: Json, organization_id: str) -> Json:
    trigger = action.get("trigger") or {}
    user_inputs = trigger.get("userInputs") or {}
    defined = user_inputs.get("properties") or {}
    is_new = trigger.get("operation") == "CREATE"
    user = {"email": "doctor@example.com", "id": "doctor"}
    return {
        "inputs": {name: _value(name, definition) for name, definition in defined.items()},
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


def ciphertext(name: str) -> str:
    """Return the sample of an encrypted input."""
    return f"ciphertext of {name}"


def _value(name: str, definition: Mapping[str, Any]) -> Any:
    if definition.get("encryption"):
        return ciphertext(name)
    choices = definition.get("enum")
    return choices[0] if isinstance(choices, list) and choices else VALUES.get(str(definition.get("type")))


def message_problem(action: Json, message: Any, routes: Sequence[Route], paths: MessagePaths) -> str | None:
    """Return why the runner would not run the action for this message, or None. The runner's own code reads it."""
    value = base64.b64encode(json.dumps(message).encode()).decode()
    try:
        read = read_message(Record("runs", 0, 0, "runs-0", content={"value": value}), paths)
    except MessageError as error:
        return f"of its messages {error.reason}, so its runs never start and never end"
    if isinstance(read, ForOthers):
        return f"its messages are skipped: {read.reason}"
    if RUN_ID not in (read.run_id, *read.other_run_ids()):
        return f"its messages name {read.run_id}, which is not their run"
    if read.is_envelope and read.action and not _is_same(action, read.action, routes):
        return f"its messages say that they are for the action {read.action}"
    return _inputs_problem(action, read)


def _is_same(action: Json, said: str, routes: Sequence[Route]) -> bool:
    """Return whether the action's name in a message leads to the same handler as its name in Port."""
    trigger = action.get("trigger") or {}
    found = [
        routes_for(routes, name, trigger.get("operation"), trigger.get("blueprintIdentifier"))
        for name in (str(action.get("identifier")), said)
    ]
    return found[0] == found[1] and bool(found[0])


def _inputs_problem(action: Json, read: RunRequest) -> str | None:
    user_inputs = (action.get("trigger") or {}).get("userInputs") or {}
    for name, definition in (user_inputs.get("properties") or {}).items():
        if definition.get("encryption"):
            if not any(each == name and value == ciphertext(name) for _, each, value in walk(read.message)):
                return f"its messages leave out the secret input {name}"
        elif read.has_certain_inputs and read.inputs is not None and name not in read.inputs:
            return f"its messages leave out the input {name}"
    return None
