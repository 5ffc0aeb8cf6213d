"""Port's rules for bodies, values and identifiers, and its refusals."""

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jsonschema import Draft7Validator, FormatChecker, ValidationError
from jsonschema.exceptions import SchemaError, best_match
from jsonschema.validators import extend
from regress import Regex, RegressError

from port_templates import well_formed

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
_LONGEST_MESSAGE = 1000


@FORMATS.checks("url", raises=ValueError)
def _is_url(value: object) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).scheme and urlsplit(value).netloc)


@FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or ("T" in value and bool(datetime.fromisoformat(value).tzinfo))


@FORMATS.checks("public-key", raises=ValueError)
def _is_public_key(value: object) -> bool:
    return not isinstance(value, str) or isinstance(load_pem_public_key(value.encode()), RSAPublicKey)


@FORMATS.checks("json-schema", raises=(SchemaError, RegressError))
def _is_json_schema(value: object) -> bool:
    if isinstance(value, dict):
        rules = value_rules(value)
        # Without the check of patterns by Python.
        Draft7Validator.check_schema(rules, format_checker=FormatChecker([]))
        for pattern in _patterns(rules):
            _regex(pattern)
    return True


# Keywords of JSON Schema in definitions: those with a plain value, with a schema, with schemas by name, with a list.
_PLAIN = (
    *("type", "enum", "const", "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "multipleOf"),
    *("exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems", "uniqueItems", "required"),
    *("minProperties", "maxProperties"),
)
_WITH_SCHEMA = ("items", "additionalProperties", "propertyNames", "contains", "not")
_WITH_NAMED_SCHEMAS = ("properties", "patternProperties")
_WITH_SCHEMAS = ("anyOf", "oneOf", "allOf")


def value_rules(definition: Schema) -> Schema:
    """Return the rules for the values of a property or an input.

    Port's own keywords are left out, and so are references to other schemas and the rules that JQ computes.
    """
    rules: Schema = {}
    for keyword, rule in definition.items():
        if keyword in _PLAIN and not (isinstance(rule, dict) and "jqQuery" in rule):
            rules[keyword] = rule
        elif keyword in _WITH_SCHEMA:
            rules[keyword] = _inner_rules(rule)
        elif keyword in _WITH_NAMED_SCHEMAS:
            rules[keyword] = {k: _inner_rules(v) for k, v in rule.items()} if isinstance(rule, dict) else rule
        elif keyword in _WITH_SCHEMAS:
            rules[keyword] = [_inner_rules(one) for one in rule] if isinstance(rule, list) else rule
    return rules


def _inner_rules(rules: Any) -> Any:
    return value_rules(rules) if isinstance(rules, dict) else rules


def _patterns(rules: Any) -> Iterator[str]:
    for keyword, rule in rules.items() if isinstance(rules, dict) else ():
        if keyword == "pattern":
            yield rule
        elif keyword in _WITH_SCHEMA:
            yield from _patterns(rule)
        elif keyword in _WITH_NAMED_SCHEMAS:
            yield from rule if keyword == "patternProperties" else ()
            for one in rule.values():
                yield from _patterns(one)
        elif keyword in _WITH_SCHEMAS:
            for one in rule:
                yield from _patterns(one)


# Patterns are JavaScript's. Python's `re` has no \p{L}, other names of groups, and a `$` that a line's end may follow.
@lru_cache(maxsize=1024)
def _regex(pattern: str) -> Regex:
    try:
        return Regex(well_formed(pattern), "u")
    except RegressError:
        return Regex(well_formed(pattern))


def _matches(pattern: str, value: str) -> bool:
    return _regex(pattern).find(well_formed(value)) is not None


def _check_pattern(validator: Any, pattern: str, value: Any, schema: Schema) -> Iterator[ValidationError]:
    if isinstance(value, str) and not _matches(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _check_pattern_properties(
    validator: Any, rules: dict[str, Schema], value: Any, schema: Schema
) -> Iterator[ValidationError]:
    for name in value if isinstance(value, dict) else ():
        for pattern, rule in rules.items():
            if _matches(pattern, name):
                yield from validator.descend(value[name], rule, path=name, schema_path=pattern)


def _check_additional_properties(validator: Any, rule: Any, value: Any, schema: Schema) -> Iterator[ValidationError]:
    patterns = schema.get("patternProperties", {})
    for name in value if isinstance(value, dict) else ():
        if name in schema.get("properties", {}) or any(_matches(pattern, name) for pattern in patterns):
            continue
        if rule is False:
            yield ValidationError(f"{name!r} is unknown")
        else:
            yield from validator.descend(value[name], rule, path=name)


_Validator = extend(  # type: ignore[no-untyped-call]
    Draft7Validator,
    {
        "pattern": _check_pattern,
        "patternProperties": _check_pattern_properties,
        "additionalProperties": _check_additional_properties,
    },
)


def check(schema: Schema, value: Any, *, error: str = "invalid_request") -> None:
    """Raise Refused (422) if the value does not fit."""
    mismatch = best_match(_Validator(schema, format_checker=FORMATS).iter_errors(value))
    if mismatch is not None:
        message = f"{mismatch.json_path.replace('$', 'body', 1)}: {mismatch.message}"
        raise Refused(422, error, message[:_LONGEST_MESSAGE])


def strict(properties: Schema, *required: str) -> Schema:
    """Return the schema of objects with these properties alone."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def enum(*values: Any) -> Schema:
    """Return the schema of these values."""
    return {"enum": list(values)}


def variants(key: str, **schemas: Schema) -> Schema:
    """Return the schema of objects whose value under the key says which of the schemas they fit."""
    return {
        "type": "object",
        "properties": {key: enum(*schemas)},
        "required": [key],
        "allOf": [{"if": {"properties": {key: {"const": name}}}, "then": schema} for name, schema in schemas.items()],
    }


ANY: Schema = {}
STRING: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
STRINGS: Schema = {"type": "array", "items": STRING}
JQ = strict({"jqQuery": STRING}, "jqQuery")
TYPES = enum("string", "number", "boolean", "object", "array")
PROPERTY_NAMES: Schema = {"pattern": r"^[A-Za-z0-9@_=\\-]+$", "maxLength": 100}
ENTITY_IDENTIFIER: Schema = {"type": "string", "maxLength": 1000, "pattern": r"^(?!\.{1,2}$)[\p{L}0-9@_.+:\\/=-]+$"}

ACCESS_TOKEN = strict({"clientId": STRING, "clientSecret": STRING}, "clientId", "clientSecret")

EXECUTION = strict({"properties": OBJECT, "entity": STRING}, "properties")

RUN_UPDATE = strict(
    {
        "status": {"enum": ["SUCCESS", "FAILURE"]},
        "statusLabel": STRING,
        "link": {"oneOf": [STRING, STRINGS]},
        "summary": STRING,
        "externalRunId": STRING,
        "message": OBJECT,
    }
)

APPROVAL = strict({"status": {"enum": ["APPROVE", "DECLINE"]}, "description": STRING}, "status")

RUN_LOG = strict(
    {"message": STRING, "terminationStatus": {"enum": ["SUCCESS", "FAILURE"]}, "statusLabel": STRING},
    "message",
)

_LEVEL: Schema = {"enum": ["DEBUG", "INFO", "WARN", "ERROR"]}
_NODE_LOGS: Schema = {
    "type": "array",
    "items": strict({"logLevel": _LEVEL, "log": STRING, "tags": OBJECT}, "logLevel", "log"),
}
# Port publishes only COMPLETED and IN_PROGRESS, with their result, output and logs. The other properties are those that
# Port's own integrations send.
NODE_RUN_UPDATE: Schema = {
    **strict(
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
NODE_RUN_LOGS = strict(
    {"logs": {"type": "array", "items": strict({"level": _LEVEL, "message": STRING}, "level", "message")}},
    "logs",
)
