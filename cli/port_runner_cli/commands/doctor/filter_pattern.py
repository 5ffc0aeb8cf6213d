"""Applies the filter patterns of a mapping to a message.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
"""

import json
from collections.abc import Sequence
from typing import Any

from port_runner_cli.output import NotCheckable

COMPARISONS = {
    "=": lambda value, bound: value == bound,
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
}

type Json = dict[str, Any]


def passes(patterns: Sequence[str], message: Any) -> bool:
    """Return whether any of the patterns matches. Without patterns, every message passes. Raises NotCheckable."""
    return not patterns or any(_passes(json.loads(pattern), message) for pattern in patterns)


def _passes(pattern: Json, message: Any) -> bool:
    unknown = set(pattern) - {"value"}
    if unknown or not isinstance(pattern.get("value"), dict):
        raise NotCheckable(f"The filter {json.dumps(pattern)} is not a filter for JSON values.")
    return _matches(pattern, {"value": message})


def _matches(pattern: Json, value: Any) -> bool:
    if isinstance(value, list):
        return any(_matches(pattern, each) for each in value)
    if not isinstance(value, dict):
        return False
    return all(_key_matches(key, rule, value) for key, rule in pattern.items())


def _key_matches(key: str, rule: Any, value: Json) -> bool:
    if key == "$or":
        return any(_matches(each, value) for each in rule)
    if isinstance(rule, dict):
        return _matches(rule, value.get(key))
    leaves = value.get(key)
    candidates = leaves if isinstance(leaves, list) else [leaves]
    return any(_leaf_matches(each, candidates, key in value) for each in rule)


def _leaf_matches(rule: Any, values: Sequence[Any], is_there: bool) -> bool:
    if not isinstance(rule, dict):
        return is_there and any(_same(rule, value) for value in values)
    [(operator, operand)] = rule.items()
    if operator == "exists":
        return is_there is bool(operand)
    return is_there and any(_operator_matches(operator, operand, value) for value in values)


def _same(one: Any, other: Any) -> bool:
    """Return whether two numbers are written alike: 300 is not 300.0."""
    return type(one) is type(other) and bool(one == other)


def _operator_matches(operator: str, operand: Any, value: Any) -> bool:
    match operator:
        case "prefix" if isinstance(operand, str):
            return isinstance(value, str) and value.startswith(operand)
        case "suffix" if isinstance(operand, str):
            return isinstance(value, str) and value.endswith(operand)
        case "equals-ignore-case":
            return isinstance(value, str) and value.lower() == operand.lower()
        case "anything-but" if not isinstance(operand, dict):
            return not any(_same(each, value) for each in (operand if isinstance(operand, list) else [operand]))
        case "anything-but":
            return not any(_operator_matches(name, part, value) for name, part in operand.items())
        case "numeric":
            bounds = zip(operand[::2], operand[1::2], strict=True)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return is_number and all(COMPARISONS[sign](value, bound) for sign, bound in bounds)
    raise NotCheckable(f"The filter's operator {operator} is not known here.")
