"""Port's rules for bodies, queries and identifiers, and its refusals."""

import math
import unicodedata
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match

Schema = dict[str, Any]


class Refused(Exception):
    """A refusal: HTTP status, Port's error code, and a message if Port gives one."""

    def __init__(self, status: int, error: str, message: str | None = None) -> None:
        super().__init__(status, error, message)
        self.status = status
        self.error = error
        self.message = message

    def document(self) -> dict[str, Any]:
        message = {} if self.message is None else {"message": self.message}
        return {"ok": False, "error": self.error, **message}


FORMATS = FormatChecker()


def _identifier(extra_characters: str, longest: float) -> Any:
    # Port's patterns use \p{L}, which Python's `re` does not support.
    def fits(value: object) -> bool:
        return not isinstance(value, str) or (
            0 < len(value) <= longest
            and value not in (".", "..")
            and all(unicodedata.category(c)[0] == "L" or c in extra_characters for c in value)
        )

    return fits


_IN_ANY_IDENTIFIER = "0123456789@_.+:-"
FORMATS.checks("action-identifier")(_identifier(_IN_ANY_IDENTIFIER + "=", math.inf))
FORMATS.checks("blueprint-identifier")(_identifier(_IN_ANY_IDENTIFIER + "\\/", 100))
FORMATS.checks("entity-identifier")(_identifier(_IN_ANY_IDENTIFIER + "\\/=", 1000))


@FORMATS.checks("url")
def _is_url(value: object) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).scheme and urlsplit(value).netloc)


@FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or ("T" in value and bool(datetime.fromisoformat(value).tzinfo))


def check(schema: Schema, value: Any, *, error: str = "invalid_request") -> None:
    """Raise Refused (422) if the value does not fit."""
    mismatch = best_match(Draft202012Validator(schema, format_checker=FORMATS).iter_errors(value))
    if mismatch is not None:
        raise Refused(422, error, f"{mismatch.json_path.replace('$', 'body', 1)}: {mismatch.message}")


def _strict(properties: Schema, *required: str) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
STRINGS: Schema = {"type": "array", "items": STRING}
PROPERTY_NAMES: Schema = {"pattern": r"^[A-Za-z0-9@_=\\-]+$", "maxLength": 100}
ENTITY_IDENTIFIER: Schema = {"type": "string", "format": "entity-identifier"}

ACCESS_TOKEN = _strict({"clientId": STRING, "clientSecret": STRING}, "clientId", "clientSecret")

EXECUTION = _strict({"properties": OBJECT, "entity": STRING}, "properties")

RUN_UPDATE = _strict(
    {
        "status": {"enum": ["SUCCESS", "FAILURE"]},
        "statusLabel": STRING,
        "link": {"oneOf": [STRING, STRINGS]},
        "summary": STRING,
        "externalRunId": STRING,
        "message": OBJECT,
    }
)

APPROVAL = _strict({"status": {"enum": ["APPROVE", "DECLINE"]}, "description": STRING}, "status")

RUN_LOG = _strict(
    {"message": STRING, "terminationStatus": {"enum": ["SUCCESS", "FAILURE"]}, "statusLabel": STRING},
    "message",
)

_LEVEL: Schema = {"enum": ["DEBUG", "INFO", "WARN", "ERROR"]}
_NODE_LOGS: Schema = {
    "type": "array",
    "items": _strict({"logLevel": _LEVEL, "log": STRING, "tags": OBJECT}, "logLevel", "log"),
}
# Port publishes only COMPLETED and IN_PROGRESS, with their result, output and logs. The other properties are those that
# Port's own integrations send.
NODE_RUN_UPDATE: Schema = {
    **_strict(
        {
            "status": {"enum": ["COMPLETED", "IN_PROGRESS"]},
            "result": {"enum": ["SUCCESS", "FAILED", "CANCELLED"]},  # english: ok
            "output": OBJECT,
            "logs": _NODE_LOGS,
            "externalRunId": STRING,
            "links": STRINGS,
            "statusLabel": STRING,
        }
    ),
    "if": {"properties": {"status": {"const": "COMPLETED"}}, "required": ["status"]},
    "then": {"required": ["result"]},
}
NODE_RUN_LOGS = _strict(
    {"logs": {"type": "array", "items": _strict({"level": _LEVEL, "message": STRING}, "level", "message")}},
    "logs",
)

_RELATED: Schema = {"anyOf": [ENTITY_IDENTIFIER, {"type": "array", "items": ENTITY_IDENTIFIER}, {"type": "null"}]}
_OPTIONAL_STRING: Schema = {"type": ["string", "null"]}
_TEAM: Schema = {"anyOf": [_OPTIONAL_STRING, STRINGS]}
# Port also takes search queries for identifier, team and relations. The fake Port does not.
ENTITY: Schema = {
    "type": "object",
    "properties": {
        "identifier": ENTITY_IDENTIFIER,
        "title": _OPTIONAL_STRING,
        "icon": _OPTIONAL_STRING,
        "team": {"anyOf": [STRING, STRINGS]},
        "properties": OBJECT,
        "relations": {"type": "object", "additionalProperties": _RELATED},
    },
}
ENTITY_UPDATE = _strict(
    {
        "identifier": ENTITY_IDENTIFIER,
        "title": _OPTIONAL_STRING,
        "icon": _OPTIONAL_STRING,
        "team": _TEAM,
        "properties": {"type": "object", "propertyNames": PROPERTY_NAMES},
        "relations": {"type": "object", "additionalProperties": _RELATED},
    }
)
ENTITIES = _strict({"entities": {"type": "array", "minItems": 1, "maxItems": 20, "items": ENTITY}}, "entities")

_BLUEPRINT_PROPERTY: Schema = {
    "type": "object",
    "properties": {
        "type": {"enum": ["string", "number", "boolean", "object", "array"]},
        "title": {"type": "string", "maxLength": 100},
        "description": STRING,
        "icon": STRING,
    },
    "required": ["type"],
}
_RELATION = _strict(
    {
        "target": STRING,
        "required": BOOLEAN,
        "many": BOOLEAN,
        "title": {"type": "string", "maxLength": 100},
        "description": STRING,
        "type": STRING,
    },
    "target",
    "required",
    "many",
)
BLUEPRINT_UPDATE: Schema = {
    "type": "object",
    "properties": {
        "identifier": {"type": "string", "format": "blueprint-identifier"},
        "title": {"type": "string", "minLength": 1, "maxLength": 100},
        "description": {"type": "string", "maxLength": 200},
        "icon": STRING,
        "schema": _strict(
            {
                "properties": {
                    "type": "object",
                    "propertyNames": PROPERTY_NAMES,
                    "additionalProperties": _BLUEPRINT_PROPERTY,
                },
                "required": STRINGS,
            },
            "properties",
        ),
        "relations": {"type": "object", "propertyNames": PROPERTY_NAMES, "additionalProperties": _RELATION},
        "mirrorProperties": OBJECT,
        "calculationProperties": OBJECT,
        "aggregationProperties": OBJECT,
        "changelogDestination": {
            "oneOf": [
                _strict({"type": {"const": "KAFKA"}}, "type"),
                _strict({"type": {"const": "WEBHOOK"}, "url": STRING, "agent": BOOLEAN}, "type", "url"),
            ]
        },
    },
}
BLUEPRINT: Schema = {**BLUEPRINT_UPDATE, "required": ["identifier", "title", "schema"]}

_INPUT: Schema = {
    "type": "object",
    "properties": {
        "type": {"enum": ["string", "number", "boolean", "object", "array"]},
        "enum": {"anyOf": [{"type": "array", "minItems": 1}, OBJECT]},
        "format": STRING,
        "encryption": {
            "anyOf": [
                {"const": "aes256-gcm"},
                _strict({"algorithm": {"const": "client-side"}, "key": STRING}, "algorithm", "key"),
            ]
        },
    },
    "required": ["type"],
}
_USER_INPUTS = _strict(
    {
        "properties": {"type": "object", "additionalProperties": _INPUT},
        "required": {"anyOf": [STRINGS, _strict({"jqQuery": STRING}, "jqQuery")]},
        "order": STRINGS,
        "steps": {"type": "array", "items": OBJECT},
        "titles": OBJECT,
    },
    "properties",
)
_BUTTON: Schema = {"type": "string", "minLength": 1, "maxLength": 15}
_SELF_SERVICE: Schema = {
    "type": {"const": "self-service"},
    "blueprintIdentifier": STRING,
    "userInputs": _USER_INPUTS,
    "actionCardButtonText": _BUTTON,
    "executeActionButtonText": _BUTTON,
}
_TRIGGERS: Schema = {
    "CREATE": _strict({**_SELF_SERVICE, "operation": {"const": "CREATE"}}, "type", "operation", "userInputs"),
    "DAY-2": {
        **_strict(
            {**_SELF_SERVICE, "operation": {"enum": ["DAY-2", "DELETE"]}, "condition": OBJECT},
            "type",
            "operation",
            "userInputs",
        ),
        "dependentRequired": {"condition": ["blueprintIdentifier"]},
    },
    "automation": _strict({"type": {"const": "automation"}, "event": OBJECT, "condition": OBJECT}, "type", "event"),
}
_KAFKA = _strict({"type": {"const": "KAFKA"}, "payload": {"type": ["object", "array"]}}, "type")
_OTHER_BACKENDS: Schema = {
    "type": "object",
    "properties": {
        "type": {"enum": ["WEBHOOK", "GITHUB", "INTEGRATION_ACTION", "GITLAB", "AZURE_DEVOPS", "UPSERT_ENTITY"]}
    },
    "required": ["type"],
}
ACTION = _strict(
    {
        "identifier": {"type": "string", "format": "action-identifier"},
        "title": STRING,
        "icon": STRING,
        "description": STRING,
        "trigger": {"oneOf": list(_TRIGGERS.values())},
        "invocationMethod": {"oneOf": [_KAFKA, _OTHER_BACKENDS]},
        "requiredApproval": {"anyOf": [BOOLEAN, _strict({"type": {"enum": ["ANY", "ALL"]}}, "type")]},
        "approvalNotification": OBJECT,
        "publish": BOOLEAN,
        "allowAnyoneToViewRuns": BOOLEAN,
    },
    "identifier",
    "trigger",
    "invocationMethod",
)
