"""Searches: rules that an entity fits or not. Port uses them in conditions, in relations and to find entities."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from operator import ge, gt, le, lt
from typing import Any

from port_runner_sandbox.fake_port.documents import Document
from port_runner_sandbox.fake_port.schemas import (
    BOOLEAN,
    ENTITY_IDENTIFIER,
    JQ,
    NUMBER,
    OBJECT,
    PROPERTY_NAMES,
    STRING,
    STRINGS,
    Refused,
    Schema,
    strict,
)

Related = Callable[[Document, str, str], Iterable[str]]

_DATE: Schema = {"type": "string", "format": "date-time"}
_OF_USER: Schema = {
    "type": "object",
    "properties": {"context": {"enum": ["user", "userTeams"]}, "property": STRING},
    "required": ["context", "property"],
}
_PROPERTY: Schema = {"oneOf": [STRING, _OF_USER]}
_SINGLE: list[Schema] = [{"type": ["string", "number", "boolean", "null"]}]
_LISTS: list[Schema] = [{"type": "array", "items": {"type": kind}} for kind in ("string", "number", "boolean")]
_PRESETS = {
    "lastDay": 1,
    "lastWeek": 7,
    "last2Weeks": 14,
    "lastMonth": 30,
    "last3Months": 91,
    "last6Months": 182,
    "last12Months": 365,
}
_DAYS = {"today": 0, "tomorrow": 1, "yesterday": -1}
_SPAN: Schema = {
    "type": "object",
    "anyOf": [
        {"properties": {"from": _DATE, "to": _DATE}, "required": ["from", "to"]},
        {"properties": {"preset": {"enum": [*_DAYS, *_PRESETS]}}, "required": ["preset"]},
        _OF_USER,
    ],
}
_HOPS: Schema = {
    "type": "object",
    "properties": {"relation": STRING, "maxHops": {"type": "number", "minimum": 1, "maximum": 15}},
}
_PATH = strict({"path": {"type": "array", "items": {"anyOf": [STRING, _HOPS]}}, "fromBlueprint": STRING}, "path")
_ITEMS: Schema = {"type": "object", "properties": {"type": STRING, "format": STRING}, "required": ["type"]}


def _rule(operators: Iterable[str], value: Schema | None, property_: Schema = _PROPERTY) -> Schema:
    properties = {"operator": {"enum": list(operators)}, "property": property_}
    if value is None:
        return strict(properties, *properties)
    return strict({**properties, "value": value}, *properties, "value")


_TEXT_OPERATORS = ("contains", "doesNotContains", "beginsWith", "doesNotBeginsWith", "endsWith", "doesNotEndsWith")
_RELATED_TO = {
    "operator": {"const": "relatedTo"},
    "blueprint": STRING,
    "direction": {"enum": ["upstream", "downstream"]},
    "required": BOOLEAN,
}
_OF_SCHEMA = {
    "operator": {"enum": ["=", "!=", "contains"]},
    "propertySchema": strict({"type": STRING, "format": STRING, "items": _ITEMS}, "type"),
}


def _rules(*computed: Schema) -> list[Schema]:
    """Return the rules of searches. Their values may also be computed as the schemas say."""
    some = [*_SINGLE, *_LISTS, _OF_USER, *computed]
    return [
        _rule(("between", "notBetween", "="), _SPAN),
        _rule(("isEmpty", "isNotEmpty", "isExpired", "isNotExpired"), None, STRING),
        _rule((">", ">=", "<", "<="), {"anyOf": [NUMBER, _DATE, _OF_USER, *computed]}),
        _rule(("=", "!=", "in", "notIn", "containsAny", *_TEXT_OPERATORS), {"anyOf": some}),
        _rule(("matchAny",), {"anyOf": [STRINGS, STRING, _OF_USER]}, {"oneOf": [_PATH, STRING, _OF_USER]}),
        strict({**_RELATED_TO, "value": {"anyOf": [STRING, STRINGS, *computed]}}, *("operator", "blueprint", "value")),
        strict({**_OF_SCHEMA, "value": {"anyOf": [*_SINGLE, *computed]}}, *("operator", "propertySchema")),
    ]


_FINDING = [
    _rule(("=",), {"type": ["string", "number", "null"]}, STRING),
    _rule(("in", "containsAny"), STRINGS, STRING),
    _rule(("contains",), {"anyOf": [{"type": ["string", "null"]}, STRINGS]}, STRING),
]


def _search(rules: list[Schema], depth: int = 4) -> Schema:
    # Port's rules may be within each other without end. Here the innermost ones are not checked.
    inner = _search(rules, depth - 1) if depth else OBJECT
    items: Schema = {"anyOf": [*rules, inner]}
    combinators = {"enum": ["and", "or"]}
    return strict({"combinator": combinators, "rules": {"type": "array", "items": items}}, "combinator", "rules")


SEARCH = _search(_rules())
# The choice of entities that an input offers. Its values may be JQ over the form.
DATASET = _search(_rules(JQ))
# A search in place of an identifier, a relation or a team.
FINDING = _search(_FINDING)

# The bodies of entities. An identifier, a team and relations may be searches.

_RELATIONS: Schema = {
    "type": "object",
    "additionalProperties": {
        "anyOf": [ENTITY_IDENTIFIER, {"type": "array", "items": ENTITY_IDENTIFIER}, {"type": "null"}, FINDING]
    },
}
_OPTIONAL_STRING: Schema = {"type": ["string", "null"]}
ENTITY_REPLACEMENT: Schema = {
    "type": "object",
    "properties": {
        "identifier": ENTITY_IDENTIFIER,
        "title": _OPTIONAL_STRING,
        "icon": _OPTIONAL_STRING,
        "team": {"anyOf": [STRING, STRINGS, FINDING]},
        "properties": OBJECT,
        "relations": _RELATIONS,
    },
}
ENTITY: Schema = {
    "type": "object",
    "properties": {
        **ENTITY_REPLACEMENT["properties"],
        "identifier": {"anyOf": [ENTITY_IDENTIFIER, FINDING]},
    },
}
ENTITY_UPDATE = strict(
    {
        **ENTITY_REPLACEMENT["properties"],
        "team": {"anyOf": [_OPTIONAL_STRING, STRINGS, FINDING]},
        "properties": {"type": "object", "propertyNames": {"pattern": PROPERTY_NAMES["pattern"]}},
    }
)
ENTITIES = strict({"entities": {"type": "array", "minItems": 1, "maxItems": 20, "items": ENTITY}}, "entities")


def fits(search: Document, entity: Document, related: Related) -> bool:
    """Return whether the entity fits the rules.

    `related(entity, blueprint, direction)` gives the identifiers of an entity's relatives. Raises Refused (501) for
    rules that the fake Port does not know how to apply.
    """
    combine = all if search["combinator"] == "and" else any
    return combine(_rule_fits(rule, entity, related) for rule in search["rules"])


def _rule_fits(rule: Document, entity: Document, related: Related) -> bool:
    if "combinator" in rule:
        return fits(rule, entity, related)
    operator, name, wanted = rule["operator"], rule.get("property"), rule.get("value")
    if operator == "relatedTo":
        targets = wanted if isinstance(wanted, list) else [wanted]
        return not set(targets).isdisjoint(related(entity, rule["blueprint"], rule.get("direction", "upstream")))
    if not isinstance(name, str) or (isinstance(wanted, dict) and "context" in wanted) or operator == "matchAny":
        raise Refused(501, "not_in_the_fake", f"The fake Port cannot apply the rule {rule}")
    value = _value(entity, name)
    if operator.startswith(("not", "doesNot")) or operator in ("!=", "isNotEmpty"):
        return not _holds(_OPPOSITES[operator], value, wanted)
    return _holds(operator, value, wanted)


_OPPOSITES = {
    "!=": "=",
    "isNotEmpty": "isEmpty",
    "notIn": "in",
    "notBetween": "between",
    "doesNotContains": "contains",
    "doesNotBeginsWith": "beginsWith",
    "doesNotEndsWith": "endsWith",
}


_COMPARISONS = {">": gt, ">=": ge, "<": lt, "<=": le}


def _value(entity: Document, name: str) -> Any:
    if name.startswith("$"):
        return entity.get(name[1:])
    return entity["properties"].get(name, entity["relations"].get(name))


def _holds(operator: str, value: Any, wanted: Any) -> bool:
    match operator:
        case "isEmpty":
            return value in (None, "", [], {})
        case "isExpired" | "isNotExpired":
            moment = _moment(value)
            return moment is not None and (moment <= datetime.now(UTC)) == (operator == "isExpired")
        case "=" if not isinstance(wanted, dict):
            return bool(value == wanted)
        case "=" | "between":
            return _is_within(_moment(value), wanted)
        case ">" | ">=" | "<" | "<=":
            return _compare(operator, value, wanted)
        case "in":
            return value in wanted if isinstance(wanted, list) else bool(value == wanted)
        case "contains":
            return _contains(value, wanted)
        case "containsAny":
            return any(_contains(value, one) for one in wanted) if isinstance(wanted, list) else False
        case "beginsWith":
            return isinstance(value, str) and value.startswith(str(wanted))
    return isinstance(value, str) and value.endswith(str(wanted))


def _contains(value: Any, wanted: Any) -> bool:
    if isinstance(value, list):
        return all(one in value for one in wanted) if isinstance(wanted, list) else wanted in value
    return isinstance(value, str) and str(wanted) in value


def _compare(operator: str, value: Any, wanted: Any) -> bool:
    if isinstance(wanted, int | float):
        return isinstance(value, int | float) and bool(_COMPARISONS[operator](value, wanted))
    left, right = _moment(value), _moment(wanted)
    return left is not None and right is not None and bool(_COMPARISONS[operator](left, right))


def _is_within(moment: datetime | None, wanted: Document) -> bool:
    start, end = _span(wanted)
    return moment is not None and start is not None and end is not None and start <= moment < end


def _span(wanted: Document) -> tuple[datetime | None, datetime | None]:
    if "preset" not in wanted:
        return _moment(wanted["from"]), _moment(wanted["to"])
    moment = datetime.now(UTC)
    if wanted["preset"] in _PRESETS:
        return moment - timedelta(days=_PRESETS[wanted["preset"]]), moment
    start = moment.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=_DAYS[wanted["preset"]])
    return start, start + timedelta(days=1)


def _moment(value: Any) -> datetime | None:
    """Return the time that a value names, if it names one."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
