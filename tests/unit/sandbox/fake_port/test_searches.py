"""Entities are found by rules, and an entity's body may have a search in place of an identifier."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.sandbox.fake_port.client import Client


def time(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


@pytest.fixture
def boxes(bare: Client) -> Client:
    """A client of an organization with three boxes, of which two are on a shelf."""
    properties = {
        "size": {"type": "number"},
        "tags": {"type": "array"},
        "until": {"type": "string", "format": "timer"},
    }
    shelf = {"identifier": "shelf", "title": "Shelf", "schema": {"properties": {}}}
    relations = {"shelf": {"target": "shelf", "many": False, "required": False}}
    box = {"identifier": "box", "title": "Box", "schema": {"properties": properties}, "relations": relations}
    for blueprint in (shelf, box):
        bare.ok("POST", "/blueprints", blueprint)
    bare.ok("POST", "/blueprints/shelf/entities", {"identifier": "top", "title": "Top"})
    for identifier, title, values, relation in (
        ("a", "Apples", {"size": 1, "tags": ["x", "y"], "until": time(-2)}, {"shelf": "top"}),
        ("b", "Bricks", {"size": 2, "tags": ["y"], "until": time(2)}, {"shelf": "top"}),
        ("c", "Cables", {}, {}),
    ):
        body = {"identifier": identifier, "title": title, "properties": values, "relations": relation}
        bare.ok("POST", "/blueprints/box/entities", body)
    return bare


def rule(property_: str, operator: str, *value: Any) -> dict[str, Any]:
    return {"property": property_, "operator": operator, **({"value": value[0]} if value else {})}


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ([rule("$identifier", "=", "a")], "a"),
        ([rule("$identifier", "in", ["a", "c", "z"])], "ac"),
        ([rule("$identifier", "notIn", ["a", "c"])], "b"),
        ([rule("$title", "!=", "Apples")], "bc"),
        ([rule("$title", "contains", "ble")], "c"),
        ([rule("$title", "doesNotContains", "ble")], "ab"),
        ([rule("$title", "beginsWith", "B")], "b"),
        ([rule("$title", "endsWith", "s")], "abc"),
        ([rule("$title", "doesNotEndsWith", "les")], "b"),
        ([rule("size", ">", 1)], "b"),
        ([rule("size", ">=", 1), rule("size", "<", 2)], "a"),
        ([rule("size", "isEmpty")], "c"),
        ([rule("size", "isNotEmpty")], "ab"),
        ([rule("tags", "contains", "x")], "a"),
        ([rule("tags", "containsAny", ["x", "y"])], "ab"),
        ([rule("until", "isExpired")], "a"),
        ([rule("until", "isNotExpired")], "b"),
        ([rule("until", "<", time(0))], "a"),
        ([rule("until", "between", {"from": time(-3), "to": time(-1)})], "a"),
        ([rule("until", "notBetween", {"from": time(-3), "to": time(-1)})], "bc"),
        ([rule("$createdAt", "=", {"preset": "lastWeek"})], "abc"),
        ([rule("$createdAt", "between", {"preset": "tomorrow"})], ""),
        ([rule("shelf", "=", "top")], "ab"),
        ([{"operator": "relatedTo", "blueprint": "shelf", "value": "top"}], "ab"),
        ([{"combinator": "or", "rules": [rule("size", "=", 1), rule("$identifier", "=", "c")]}], "ac"),
        ([rule("$title", ">", 1)], ""),
        ([rule("tags", "beginsWith", "x")], ""),
        ([rule("$title", "isExpired")], ""),
        ([], "abc"),
    ],
)
def test_entities_are_found_by_rules(boxes: Client, rules: list[Any], found: str) -> None:
    """A search answers the entities that fit all of its rules."""
    of_box = rule("$blueprint", "=", "box")
    answer = boxes.ok("POST", "/entities/search", {"combinator": "and", "rules": [of_box, *rules]})
    assert "".join(entity["identifier"] for entity in answer["entities"]) == found
    assert answer["matchingBlueprints"] == (["box"] if found else [])


def test_relatives_are_found_downstream(boxes: Client) -> None:
    """A search by relatives can look at those that lead to an entity."""
    downstream = {"operator": "relatedTo", "blueprint": "box", "value": ["b", "c"], "direction": "downstream"}
    answer = boxes.ok("POST", "/entities/search", {"combinator": "and", "rules": [downstream]})
    assert [entity["identifier"] for entity in answer["entities"]] == ["top"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"combinator": "xor", "rules": []},
        {"combinator": "and", "rules": [{"property": "a"}]},
        {"combinator": "and", "rules": [rule("a", "isEmpty", 1)]},
        {"combinator": "and", "rules": [rule("a", "like", 1)]},
    ],
)
def test_search_out_of_schema_is_422(boxes: Client, body: Any) -> None:
    """A search with unknown operators or without a value is refused."""
    assert boxes.refused("POST", "/entities/search", body) == (422, "invalid_request")


def search(*rules: Any) -> dict[str, Any]:
    return {"combinator": "and", "rules": list(rules)}


def test_identifier_may_be_a_search(boxes: Client) -> None:
    """A write to the entity that a search finds changes it. None gets 404, and several get 422."""
    url, upsert = "/blueprints/box/entities", {"upsert": "true", "merge": "true"}
    body = {"identifier": search(rule("size", "=", 2)), "title": "Found"}
    assert boxes.ok("POST", url, body, **upsert)["entity"]["identifier"] == "b"
    assert boxes.port.entities["box", "b"]["title"] == "Found"
    none, several = search(rule("size", "=", 9)), search(rule("tags", "containsAny", ["y"]))
    assert boxes.refused("POST", url, {"identifier": none}, **upsert) == (404, "not_found")
    assert boxes.refused("POST", url, {"identifier": several}, **upsert) == (422, "invalid_request")
    assert boxes.refused("POST", url, {"identifier": {"combinator": "and"}}) == (422, "invalid_request")
    assert boxes.refused("PATCH", f"{url}/a", {"identifier": several}) == (422, "invalid_request")


def test_relations_may_be_searches(boxes: Client) -> None:
    """A relation leads to what its search finds, one entity or several as the blueprint says."""
    boxes.ok("POST", "/blueprints/shelf/entities", {"identifier": "low", "title": "Low"})
    url = "/blueprints/box/entities/c"
    low, none = search(rule("$title", "=", "Low")), search(rule("$title", "=", "None"))
    assert boxes.ok("PATCH", url, {"relations": {"shelf": low}})["entity"]["relations"] == {"shelf": "low"}
    assert boxes.ok("PATCH", url, {"relations": {"shelf": none}})["entity"]["relations"] == {}
    both = search(rule("$title", "contains", "o"))
    assert boxes.refused("PATCH", url, {"relations": {"shelf": both}}) == (422, "relation_many_violation")
    relations = {"shelves": {"target": "shelf", "many": True, "required": False}}
    room = {"identifier": "room", "title": "Room", "schema": {"properties": {}}, "relations": relations}
    boxes.ok("POST", "/blueprints", room)
    made = boxes.ok("POST", "/blueprints/room/entities", {"identifier": "r", "relations": {"shelves": both}})
    assert made["entity"]["relations"] == {"shelves": ["top", "low"]}


def test_team_may_be_a_search(boxes: Client) -> None:
    """Teams are found among the entities of the blueprint of teams."""
    boxes.ok("POST", "/blueprints", {"identifier": "_team", "title": "Team", "schema": {"properties": {}}})
    boxes.ok("POST", "/blueprints/_team/entities", {"identifier": "infra", "title": "Infra"})
    found = search(rule("$title", "=", "Infra"))
    assert boxes.ok("PATCH", "/blueprints/box/entities/a", {"team": found})["entity"]["team"] == ["infra"]
