"""Blueprints and entities are stored, changed, related and announced as in Port."""

import re
from typing import Any
from urllib.parse import quote

import pytest

from tests.unit.sandbox.fake_port.client import ENTITIES, Client, definition


def test_blueprint_life(bare: Client) -> None:
    """A blueprint can be created once, read, replaced, patched and deleted. An unknown blueprint gets 404."""
    blueprint = definition("vm_blueprint")
    assert bare.call("POST", "/blueprints", blueprint).status_code == 201
    assert bare.refused("POST", "/blueprints", blueprint) == (409, "identifier_taken")
    stored = bare.ok("GET", "/blueprints/vm")["blueprint"]
    assert (stored["schema"], stored["relations"]) == (blueprint["schema"], {})
    bare.ok("PUT", "/blueprints/vm", {**blueprint, "title": "Machine"})
    bare.ok("PATCH", "/blueprints/vm", {"icon": "AWS"})
    stored = bare.ok("GET", "/blueprints/vm")["blueprint"]
    assert (stored["title"], stored["icon"]) == ("Machine", "AWS")
    bare.ok("DELETE", "/blueprints/vm")
    for method in ("GET", "DELETE"):
        assert bare.refused(method, "/blueprints/vm") == (404, "not_found")
    assert bare.refused("PUT", "/blueprints/vm", blueprint) == (404, "not_found")


def test_entity_is_created_once(client: Client) -> None:
    """A creation answers 201 with the entity. A second creation answers 409 and changes nothing."""
    body = {"identifier": "box", "title": "Box", "properties": {"cpu_cores": 2}, "team": "infra"}
    answer = client.call("POST", ENTITIES, body)
    assert answer.status_code == 201
    entity = client.ok("GET", f"{ENTITIES}/box")["entity"]
    assert entity == answer.json()["entity"] == client.port.entities["vm", "box"]
    assert (entity["title"], entity["properties"], entity["team"]) == ("Box", {"cpu_cores": 2}, ["infra"])
    assert client.refused("POST", ENTITIES, {**body, "title": "Other"}) == (409, "identifier_taken")
    assert client.port.entities["vm", "box"]["title"] == "Box"


def test_title_may_be_null(client: Client) -> None:
    """A title or an icon of null is taken, and is the same as none."""
    entity = client.ok("POST", ENTITIES, {"identifier": "box", "title": None, "icon": None})["entity"]
    assert not {"title", "icon"} & entity.keys()


def test_upsert_replaces_and_merge_keeps(client: Client) -> None:
    """With upsert, the whole entity is replaced. With upsert and merge, fields that are not given stay."""
    client.ok("POST", ENTITIES, {"identifier": "box", "title": "Box", "properties": {"cpu_cores": 2}})
    body = {"identifier": "box", "properties": {"memory_size": 4}}
    merged = client.ok("POST", ENTITIES, body, upsert="true", merge="true")["entity"]
    assert (merged["title"], merged["properties"]) == ("Box", {"cpu_cores": 2, "memory_size": 4})
    replaced = client.ok("POST", ENTITIES, body, upsert="true")["entity"]
    assert "title" not in replaced
    assert replaced["properties"] == {"memory_size": 4}
    assert replaced["createdAt"] == merged["createdAt"]


def test_merge_without_upsert_is_still_a_creation(client: Client) -> None:
    """Without upsert, merge does not change an existing entity: the answer is 409."""
    client.ok("POST", ENTITIES, {"identifier": "box"})
    assert client.refused("POST", ENTITIES, {"identifier": "box"}, merge="true") == (409, "identifier_taken")


def test_missing_identifier_is_generated(client: Client) -> None:
    """An entity without an identifier gets a new one each time."""
    identifiers = {client.ok("POST", ENTITIES, {"title": "Box"})["entity"]["identifier"] for _ in range(2)}
    assert len(identifiers) == 2
    assert all(re.fullmatch("e_[A-Za-z0-9]{16}", name) for name in identifiers)


@pytest.mark.parametrize("identifier", ["a/b", "a\\b", "a+b", "a@b:c=d", "100-žluť", "x" * 1000, "服务器"])
def test_identifier_is_found_under_its_encoded_path(client: Client, identifier: str) -> None:
    """An identifier may hold characters that a path must encode, such as a slash."""
    client.ok("POST", ENTITIES, {"identifier": identifier})
    path = f"{ENTITIES}/{quote(identifier, safe='')}"
    assert client.ok("GET", path)["entity"]["identifier"] == identifier
    client.ok("DELETE", path)
    assert client.port.entities == {}


@pytest.mark.parametrize(
    "properties", [{"cpu_cores": "2"}, {"cpu_cores": True}, {"deployed": "Perhaps"}, {"color": "red"}]
)
def test_properties_are_held_against_the_blueprint(client: Client, properties: dict[str, Any]) -> None:
    """A wrong type, a wrong enum value or an unknown property gets 422 blueprint_schema_mismatch from every method."""
    mismatch = (422, "blueprint_schema_mismatch")
    assert client.refused("POST", ENTITIES, {"identifier": "box", "properties": properties}) == mismatch
    client.ok("POST", ENTITIES, {"identifier": "box"})
    for method in ("PATCH", "PUT"):
        assert client.refused(method, f"{ENTITIES}/box", {"properties": properties}) == mismatch
    assert client.port.entities["vm", "box"]["properties"] == {}


def test_required_properties_and_formats(bare: Client) -> None:
    """An entity must have the required properties of its blueprint, in the right formats."""
    schema = {
        "properties": {
            "site": {"type": "string", "format": "url"},
            "since": {"type": "string", "format": "date-time"},
        },
        "required": ["site"],
    }
    bare.ok("POST", "/blueprints", {"identifier": "page", "title": "Page", "schema": schema})
    for properties in (
        {},
        {"site": None},
        {"site": "nowhere"},
        {"site": "https://a.b", "since": "yesterday"},
    ):
        answer = bare.refused("POST", "/blueprints/page/entities", {"properties": properties})
        assert answer == (422, "blueprint_schema_mismatch")
    good = {"site": "https://a.b", "since": "2026-01-01T00:00:00.000Z"}
    bare.ok("POST", "/blueprints/page/entities", {"properties": good})


def test_validation_only_stores_nothing(client: Client) -> None:
    """With validation_only, an entity is checked as usual but not stored."""
    client.ok("POST", ENTITIES, {"identifier": "box"}, validation_only="true")
    body = {"properties": {"cpu_cores": "2"}}
    assert client.refused("POST", ENTITIES, body, validation_only="true") == (
        422,
        "blueprint_schema_mismatch",
    )
    assert client.port.entities == {}


def test_entity_of_unknown_blueprint_is_404(client: Client) -> None:
    """An entity of an unknown blueprint, or an unknown entity, gets 404."""
    assert client.refused("POST", "/blueprints/host/entities", {"identifier": "a"}) == (404, "not_found")
    assert client.refused("GET", "/blueprints/host/entities/a") == (404, "not_found")
    assert client.refused("GET", f"{ENTITIES}/a") == (404, "not_found")


def test_entity_cannot_be_tied_to_an_ended_run(client: Client) -> None:
    """A run_id is accepted while its run is in progress. Then it gets 400 run_exhausted. An unknown one gets 404."""
    run_id = client.execute()
    client.ok("POST", ENTITIES, {"identifier": "box"}, run_id=run_id)
    client.ok("PATCH", f"/actions/runs/{run_id}", {"status": "SUCCESS"})
    late = (400, "run_exhausted")
    assert client.refused("POST", ENTITIES, {"identifier": "late"}, run_id=run_id) == late
    assert client.refused("PATCH", f"{ENTITIES}/box", {"title": "late"}, run_id=run_id) == late
    assert client.refused("PUT", f"{ENTITIES}/box", {"title": "late"}, run_id=run_id) == late
    assert client.refused("DELETE", f"{ENTITIES}/box", run_id=run_id) == late
    assert client.refused("POST", ENTITIES, {"identifier": "box"}, run_id="r_none") == (404, "not_found")
    assert [(key, "title" in entity) for key, entity in client.port.entities.items()] == [(("vm", "box"), False)]


def test_patch_put_and_delete(client: Client) -> None:
    """PATCH keeps fields that it does not name, and null clears a field. PUT replaces. DELETE removes. None creates."""
    path = f"{ENTITIES}/box"
    for method in ("PATCH", "PUT", "DELETE"):
        assert client.refused(method, path, {"title": "Box"}) == (404, "not_found")
    client.ok("POST", ENTITIES, {"identifier": "box", "title": "Box", "properties": {"cpu_cores": 2}})
    patched = client.ok("PATCH", path, {"title": None, "properties": {"memory_size": 4}})["entity"]
    assert "title" not in patched
    assert patched["properties"] == {"cpu_cores": 2, "memory_size": 4}
    patched = client.ok("PATCH", path, {"properties": {"cpu_cores": None}})["entity"]
    assert patched["properties"] == {"memory_size": 4}
    assert client.ok("PUT", path, {"title": "New"})["entity"]["properties"] == {}
    assert client.refused("PATCH", path, {"color": "red"}) == (422, "invalid_request")
    assert client.call("DELETE", path).json() == {"ok": True}
    assert client.port.entities == {}


def test_entity_can_be_renamed_but_not_onto_another(client: Client) -> None:
    """A patch may give an entity a new identifier, unless another entity has it."""
    for identifier in ("a", "b"):
        client.ok("POST", ENTITIES, {"identifier": identifier})
    assert client.refused("PATCH", f"{ENTITIES}/a", {"identifier": "b"}) == (409, "identifier_taken")
    client.ok("PATCH", f"{ENTITIES}/a", {"identifier": "c"})
    assert set(client.port.entities) == {("vm", "b"), ("vm", "c")}


def test_relations(client: Client) -> None:
    """Relations must be defined, be single or many as defined, and lead to entities that exist or may be created."""
    relations = {
        "vm": {"target": "vm", "required": True, "many": False},
        "peers": {"target": "disk", "required": False, "many": True},
    }
    disk = {"identifier": "disk", "title": "Disk", "schema": {"properties": {}}, "relations": relations}
    client.ok("POST", "/blueprints", disk)
    client.ok("POST", ENTITIES, {"identifier": "box"})

    def refusal(**relations: Any) -> tuple[int, str]:
        return client.refused("POST", "/blueprints/disk/entities", {"identifier": "d", "relations": relations})

    assert refusal() == (422, "required_relation")
    assert refusal(vm=["box"]) == (422, "relation_many_violation")
    assert refusal(vm="box", peers="d") == (422, "relation_many_violation")
    assert refusal(vm="box", host="h") == (422, "blueprint_schema_mismatch")
    assert refusal(vm="nothing") == (404, "not_found")
    body = {"identifier": "d", "relations": {"vm": "nothing", "peers": []}}
    client.ok("POST", "/blueprints/disk/entities", body, create_missing_related_entities="true")
    assert client.port.entities["disk", "d"]["relations"] == {"vm": "nothing", "peers": []}
    assert ("vm", "nothing") in client.port.entities


def test_bulk_reports_each_entity(client: Client) -> None:
    """Valid and invalid entities together get 207, with a list of each by index. Only valid ones get 200."""
    bad = {"identifier": "bad", "properties": {"cpu_cores": "2"}}
    answer = client.call("POST", f"{ENTITIES}/bulk", {"entities": [{"identifier": "a"}, bad, {"identifier": "a"}]})
    assert answer.status_code == 207
    assert answer.json()["entities"] == [{"created": True, "identifier": "a", "index": 0}]
    errors = [(e["index"], e["identifier"], e["statusCode"], e["error"]) for e in answer.json()["errors"]]
    assert errors == [(1, "bad", 422, "blueprint_schema_mismatch"), (2, "a", 409, "identifier_taken")]
    again = client.call("POST", f"{ENTITIES}/bulk", {"entities": [{"identifier": "a"}]}, upsert="true")
    assert (again.status_code, again.json()["entities"][0]["created"]) == (200, False)


def test_change_log(client: Client, published: list[tuple[str, Any]]) -> None:
    """For a blueprint with a Kafka destination, each creation, update and deletion of an entity is published."""
    client.ok("POST", ENTITIES, {"identifier": "quiet"})
    client.ok("PATCH", "/blueprints/vm", {"changelogDestination": {"type": "KAFKA"}})
    created = client.ok("POST", ENTITIES, {"identifier": "box", "title": "Box"})["entity"]
    updated = client.ok("PATCH", f"{ENTITIES}/box", {"properties": {"cpu_cores": 2}})["entity"]
    client.ok("DELETE", f"{ENTITIES}/box")
    assert {topic for topic, _ in published} == {f"{client.port.organization_id}.change.log"}
    messages = [message for _, message in published]
    assert [(message["action"], message["diff"]["before"], message["diff"]["after"]) for message in messages] == [
        ("CREATE", None, created),
        ("UPDATE", created, updated),
        ("DELETE", updated, None),
    ]
    for message in messages:
        assert (message["resourceType"], message["status"]) == ("entity", "SUCCESS")
        assert message["context"] == {"entity": "box", "blueprint": "vm"}
        assert message["trigger"]["by"]["orgId"] == client.port.organization_id
        assert message["changelogDestination"] == {"type": "KAFKA"}


def test_audit_log_has_what_a_run_changed(client: Client) -> None:
    """The audit log has every change of an entity, newest first, and can be searched by run."""
    run = client.execute()
    client.ok("POST", "/blueprints/vm/entities", {"identifier": "a"}, run_id=run)
    client.ok("PATCH", "/blueprints/vm/entities/a", {"title": "A"})
    client.ok("DELETE", "/blueprints/vm/entities/a", run_id=run)
    records = client.ok("GET", "/audit-log", run_id=run, resources="entity")["audits"]
    assert [record["action"] for record in records] == ["DELETE", "CREATE"]
    assert records[0]["context"] == {"entity": "a", "blueprint": "vm", "runId": run}
    assert records[0]["diff"]["after"] is None
    assert len(client.ok("GET", "/audit-log", resources="entity")["audits"]) == 3
    assert len(client.ok("GET", "/audit-log", limit="1")["audits"]) == 1
    assert client.ok("GET", "/audit-log", run_id="r_other")["audits"] == []
