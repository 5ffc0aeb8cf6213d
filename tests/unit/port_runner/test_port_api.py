"""The calls of Port's API, against a fake Port: runs, entities, identifiers."""

from typing import Any
from urllib.parse import quote

import pytest

from port_runner import Entity, PortApiError, PortAuthenticationError, PortUnavailableError
from port_runner.port_api import PortClient
from port_runner_sandbox.fake_port import FakePort
from tests.support.port_client import TOKEN_PATH, sent, soon

RUN_PATH = "/v1/actions/runs/r_1"
BULK_PATH = "/v1/blueprints/vm/entities/bulk"
ODD_IDENTIFIERS = ["a/b", "a+b", "a:b@c", "a\\b", "a/../b", "žluťoučký", "名前", "=.-_", "a%2Fb", "...", "a b?c#d&e"]


def test_the_log_of_a_run_is_written_and_read(port: FakePort, client: PortClient) -> None:
    """A page of a log holds fifty lines, each with its time."""
    for number in range(100):
        client.add_run_log("r_1", f"line {number}", until=soon())
    client.add_run_log("r_1", "the last", statusLabel="Nearly", until=soon())
    port.requests.clear()

    first, last = (client.run_log("r_1", offset=offset, until=soon()) for offset in (0, 100))

    assert [line.message for line in first] == [f"line {number}" for number in range(50)]
    assert [(line.message, line.created_at) for line in last] == [("the last", port.run_logs["r_1"][-1]["createdAt"])]
    assert port.runs["r_1"]["statusLabel"] == "Nearly"


def test_upsert_ties_the_entity_to_its_run(port: FakePort, client: PortClient) -> None:
    """Booleans are lower-case, as Port takes them, and what is not given is left out."""
    content = {"identifier": "vm-1", "title": "VM", "properties": {"cpu_cores": 2}}

    entity = client.upsert_entity("vm", content, run_id="r_1", merge=True, until=soon())

    assert entity == Entity("vm", "vm-1", "VM", {"cpu_cores": 2}, {})
    assert port.requests[-1].query == {"upsert": "true", "merge": "true", "run_id": "r_1"}

    client.upsert_entity("vm", {"identifier": "vm-1"}, run_id=None, merge=False, until=soon())

    assert port.requests[-1].query == {"upsert": "true", "merge": "false"}
    assert port.entities["vm", "vm-1"]["properties"] == {}


def test_an_entity_without_an_identifier_is_a_new_one(port: FakePort, client: PortClient) -> None:
    """Each such entity gets an identifier of its own, and the caller learns it."""
    first, second = (
        client.upsert_entity("vm", {"title": "VM"}, run_id="r_1", merge=True, until=soon()) for _ in range(2)
    )
    client.upsert_entities("vm", [{"title": "VM"}, {"identifier": None}], run_id="r_1", merge=True, until=soon())

    assert {("vm", first.identifier), ("vm", second.identifier)} < set(port.entities)
    assert len(port.entities) == 4


def test_a_lost_answer_makes_no_second_entity(port: FakePort, client: PortClient) -> None:
    """A request that is repeated, because its answer was lost, changes the entity that it made before."""
    with port.fail("/v1/blueprints/vm/entities", drop="after"):
        entity = client.upsert_entity("vm", {"title": "VM"}, run_id="r_1", merge=True, until=soon())

    assert list(port.entities) == [("vm", entity.identifier)]

    with port.fail("/v1/blueprints/vm/entities/bulk", drop="after"):
        client.upsert_entities("vm", [{"title": "D"}, {"title": "E"}], run_id="r_1", merge=True, until=soon())

    assert sorted(content["title"] for content in port.entities.values()) == ["D", "E", "VM"]


def test_entities_are_updated_read_and_deleted(port: FakePort, client: PortClient) -> None:
    """An update changes what it names and clears what is None; deleting says whether dependents go too."""
    content = {"identifier": "vm-1", "title": "VM", "properties": {"cpu_cores": 2, "region": "eu"}}
    client.upsert_entity("vm", content, run_id="r_1", merge=True, until=soon())

    changes = {"properties": {"cpu_cores": 4, "region": None}}
    updated = client.update_entity("vm", "vm-1", changes, run_id="r_1", until=soon())

    assert updated == client.get_entity("vm", "vm-1", until=soon()) == Entity("vm", "vm-1", "VM", {"cpu_cores": 4}, {})
    client.delete_entity("vm", "vm-1", delete_dependents=False, run_id="r_1", until=soon())
    assert port.requests[-1].query == {"delete_dependents": "false", "run_id": "r_1"}
    assert port.entities == {}


def test_what_is_not_there(port: FakePort, client: PortClient) -> None:
    """Reading what is not there gives None, deleting it is done already, and updating it is an error."""
    assert client.get_entity("vm", "vm-1", until=soon()) is None
    client.delete_entity("vm", "vm-1", delete_dependents=True, run_id=None, until=soon())
    with pytest.raises(PortApiError) as caught:
        client.update_entity("vm", "vm-1", {"title": "VM"}, run_id=None, until=soon())

    assert caught.value.status == 404


@pytest.mark.parametrize("status", [403, 409, 422])
def test_other_refusals_of_reading_and_deleting_are_errors(port: FakePort, client: PortClient, status: int) -> None:
    """Only 404 means that there is nothing."""
    port.fail("/v1/blueprints/vm/entities/vm-1", status=status, times=None)

    with pytest.raises(PortApiError):
        client.get_entity("vm", "vm-1", until=soon())
    with pytest.raises(PortApiError):
        client.delete_entity("vm", "vm-1", delete_dependents=False, run_id=None, until=soon())


def test_many_entities_go_in_requests_of_twenty(port: FakePort, client: PortClient) -> None:
    """The refused ones are named by their place in the whole list, over all requests; the others are saved."""
    entities = [{"identifier": f"vm-{number}", "properties": {"cpu_cores": number}} for number in range(45)]
    for index in (3, 20, 39, 44):
        entities[index]["properties"] = {"cpu_cores": "many"}

    refused = client.upsert_entities("vm", entities, run_id="r_1", merge=True, until=soon())

    assert refused == [(index, 422, "blueprint_schema_mismatch") for index in (3, 20, 39, 44)]
    assert [len(each.body["entities"]) for each in port.requests if each.path != TOKEN_PATH] == [20, 20, 5]
    assert [status for _, _, status in sent(port)] == [207, 207, 207]
    assert port.requests[-1].query == {"upsert": "true", "merge": "true", "run_id": "r_1"}
    assert len(port.entities) == 41


@pytest.mark.parametrize(("status", "code"), [(422, "invalid_request"), (413, None), (404, "not_found")])
def test_a_refused_request_stops_none_of_the_next(
    port: FakePort, client: PortClient, status: int, code: str | None
) -> None:
    """If Port refuses a request of many entities as a whole, each of them is refused, and the others are saved."""
    entities: list[dict[str, Any]] = [{"identifier": f"vm-{number}"} for number in range(45)]
    entities[44]["properties"] = {"cpu_cores": "many"}
    port.fail(BULK_PATH)
    port.fail(BULK_PATH, status=status, body={"ok": False, "error": code})

    refused = client.upsert_entities("vm", entities, run_id="r_1", merge=True, until=soon())

    assert refused == [*((index, status, code) for index in range(20, 40)), (44, 422, "blueprint_schema_mismatch")]
    assert [seen for _, _, seen in sent(port)] == [200, status, 207]
    assert sorted(port.entities) == sorted(("vm", f"vm-{number}") for number in (*range(20), *range(40, 44)))


@pytest.mark.parametrize(("status", "kind"), [(403, PortAuthenticationError), (503, PortUnavailableError)])
def test_without_port_or_its_permission_no_more_entities_are_sent(
    port: FakePort, client: PortClient, status: int, kind: type[PortApiError]
) -> None:
    """A failure that has nothing to do with the entities is an error: the next request would meet it too."""
    port.fail(BULK_PATH)
    port.fail(BULK_PATH, status=status, headers={"Retry-After": "60"})

    with pytest.raises(kind):
        client.upsert_entities("vm", [{"title": "VM"}] * 45, run_id="r_1", merge=True, until=soon())

    assert [seen for _, _, seen in sent(port)] == [200, status]


def test_no_entities_are_no_request(port: FakePort, client: PortClient) -> None:
    """Port refuses an empty list, so none is sent."""
    assert client.upsert_entities("vm", [], run_id="r_1", merge=True, until=soon()) == []
    assert port.requests == []


@pytest.mark.parametrize("identifier", ODD_IDENTIFIERS)
def test_identifiers_are_encoded_whole(port: FakePort, client: PortClient, identifier: str) -> None:
    """Every identifier is one segment of the path."""
    client.get_entity("vm", identifier, until=soon())

    path = port.requests[-1].path
    assert path == f"/v1/blueprints/vm/entities/{quote(identifier, safe='')}"
    assert path.count("/") == 5


def test_odd_identifiers_lead_to_their_own_entities(port: FakePort, client: PortClient) -> None:
    """Of entities whose names differ by a slash or a plus only, each is found, changed and deleted by its own."""
    legal = ["a/b", "a+b", "a:b@c", "a\\b", "a/../b", "žluťoučký", "=.-_"]
    for identifier in legal:
        content = {"identifier": identifier, "title": identifier}
        client.upsert_entity("vm", content, run_id=None, merge=True, until=soon())

    for identifier in legal:
        entity = client.get_entity("vm", identifier, until=soon())
        assert entity is not None
        assert entity.title == identifier
        client.delete_entity("vm", identifier, delete_dependents=False, run_id=None, until=soon())
    assert port.entities == {}


@pytest.mark.parametrize("identifier", ["", ".", ".."])
def test_identifiers_that_would_lead_elsewhere_are_refused(port: FakePort, client: PortClient, identifier: str) -> None:
    """A segment that names another path, such as the blueprint's own, is never sent."""
    for blueprint, entity in (("vm", identifier), (identifier, "vm-1")):
        with pytest.raises(ValueError, match="cannot be an identifier"):
            client.delete_entity(blueprint, entity, delete_dependents=True, run_id=None, until=soon())

    assert port.requests == []
