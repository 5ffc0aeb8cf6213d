"""Messages about runs, as Port publishes them on ORG_ID.runs."""

import base64
import hmac
import time
from typing import Any

from port_runner_sandbox.fake_port.documents import Document
from port_runner_sandbox.fake_port.http_server import to_json
from port_runner_sandbox.fake_port.schemas import Refused
from port_templates import TemplateError, render

# The format of actions before payloads could be chosen. Messages for Port's agent still have it.
_ENVELOPE: Document = {
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
    },
}


def invocation(method: Document, data: Document) -> Document:
    """Return how an action's backend is called: its definition with every template evaluated.

    Raises Refused (422) if a template cannot be evaluated.
    """
    # Port does not document what it publishes for a KAFKA action without a payload. This is a guess, without the parts
    # that no consumer needs.
    complete = {"payload": _ENVELOPE, **method} if method["type"] == "KAFKA" else method
    try:
        evaluated: Document = render(complete, data)
    except TemplateError as error:
        raise Refused(422, "evaluate_invocation_method_error", str(error)) from error
    return evaluated


def message(called: Document, data: Document, client_secret: str, sign_kafka: bool) -> Any:
    """Return the message for a backend that is called over Kafka, or None for another backend.

    Messages for Port's agent are signed. Whether Port signs the messages of KAFKA actions is not published, so
    `sign_kafka` decides. A list, and a payload with other headers than an object, have no place for a signature.
    """
    if called["type"] == "KAFKA":
        payload = called["payload"]
        has_place = isinstance(payload, dict) and isinstance(payload.get("headers", {}), dict)
        return signed(payload, client_secret) if sign_kafka and has_place else payload
    if called["type"] != "GITLAB" and called.get("agent") not in (True, "true"):
        return None
    envelope: Document = render(_ENVELOPE, data)
    envelope["payload"]["action"]["invocationMethod"] = called
    envelope["payload"]["censoredProperties"] = data["action"]["encryptedProperties"]
    # Port's agent takes GITLAB messages for signed without headers, and others with the headers of the action.
    headers = {} if called["type"] == "GITLAB" else {"headers": called.get("headers", {})}
    return signed({**envelope, **headers}, client_secret)


def signed(unsigned: Document, client_secret: str) -> Document:
    """Return the message with Port's two headers."""
    timestamp = int(time.time())
    digest = hmac.digest(client_secret.encode(), f"{timestamp}.".encode() + to_json(unsigned), "sha256")
    signature = f"v1,{base64.b64encode(digest).decode()}"
    headers = {"X-Port-Signature": signature, "X-Port-Timestamp": timestamp}
    return {**unsigned, "headers": {**unsigned.get("headers", {}), **headers}}
