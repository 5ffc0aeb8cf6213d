"""A mapping's filter passes the messages that Lambda would pass."""

import json
from typing import Any

import pytest

from port_runner_cli.commands.doctor.filter_pattern import passes
from tests.support.doctor_under_test import (
    Json,
)


@pytest.mark.parametrize(
    ("pattern", "passing", "held"),
    [
        ({"action": ["create_vm"]}, [{"action": "create_vm"}], [{"action": "x"}, {}, {"action": {"a": 1}}, []]),
        (
            {"a": {"b": [1, None]}},
            [{"a": {"b": 1}}, {"a": {"b": None}}, {"a": [{"b": 1}]}],
            [{"a": {}}, {"a": {"b": 1.0}}],
        ),
        ({"a": [True]}, [{"a": True}], [{"a": 1}, {"a": "true"}]),
        ({"a": [{"prefix": "x"}]}, [{"a": "xy"}, {"a": ["b", "xb"]}], [{"a": "yx"}, {"a": 1}, {}]),
        ({"a": [{"suffix": "x"}]}, [{"a": "yx"}], [{"a": "xy"}]),
        ({"a": [{"equals-ignore-case": "Ab"}]}, [{"a": "aB"}], [{"a": "abc"}]),
        ({"a": [{"anything-but": ["x", "y"]}]}, [{"a": "z"}], [{"a": "x"}, {}]),
        ({"a": [{"anything-but": {"prefix": "x"}}]}, [{"a": "z"}], [{"a": "xa"}]),
        ({"a": [{"exists": False}]}, [{}, {"b": 1}], [{"a": None}]),
        ({"a": [{"exists": True}]}, [{"a": None}], [{}]),
        ({"a": [{"numeric": [">", 0, "<=", 3]}]}, [{"a": 3}, {"a": 1.5}], [{"a": 0}, {"a": "2"}, {"a": True}]),
        ({"$or": [{"a": [1]}, {"b": [2]}]}, [{"a": 1}, {"b": 2}], [{"a": 2}]),
        ({"a": [1], "b": [2]}, [{"a": 1, "b": 2}], [{"a": 1}, {"b": 2}]),
    ],
)
def test_patterns(pattern: Json, passing: list[Any], held: list[Any]) -> None:
    """A filter lets pass what Lambda lets pass, by the rules of EventBridge."""
    text = json.dumps({"value": pattern})
    assert [passes([text], message) for message in passing] == [True] * len(passing)
    assert [passes([text], message) for message in held] == [False] * len(held)
    assert passes(['{"value": {"never": ["x"]}}', text], passing[0])
