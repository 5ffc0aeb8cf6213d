"""A handler's calls about entities, against a fake Port."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from port_runner import ActionFailed, PortApiError, PortNotFoundError, PortRunnerError
from port_runner.catalog import Catalog, entity_content
from port_runner_sandbox.fake_port import FakePort
from tests.support.port_client import make_client


@pytest.fixture
def catalog(port: FakePort) -> Catalog:
    """The catalog of the run r_1."""
    port.add_run("r_1")
    return Catalog(make_client(port), until=time.monotonic() + 30, run_id="r_1")


def test_entities_are_saved_changed_read_and_deleted(catalog: Catalog) -> None:
    """An entity goes from its creation to its deletion with the calls of a handler."""
    catalog.upsert_entity("vm", identifier="vm-1", title="VM", properties={"cpu_cores": 2, "memory_size": 4})
    catalog.update_entity("vm", "vm-1", properties={"cpu_cores": 4})

    found = catalog.get_entity("vm", "vm-1")
    catalog.delete_entity("vm", "vm-1")

    assert found is not None
    assert (found.title, found.properties) == ("VM", {"cpu_cores": 4, "memory_size": 4})
    assert catalog.get_entity("vm", "vm-1") is None


def test_each_saved_entity_belongs_to_the_run(port: FakePort, catalog: Catalog) -> None:
    """Port gets the run's id with every call that changes an entity."""
    catalog.upsert_entity("vm", identifier="vm-1", title="VM")
    catalog.upsert_entities("vm", [{"identifier": "vm-2", "title": "VM"}])
    catalog.update_entity("vm", "vm-1", title="VM 1")
    catalog.delete_entity("vm", "vm-1")

    changes = [each for each in port.requests if "/entities" in each.path]
    assert [each.query.get("run_id") for each in changes] == ["r_1"] * 4


def test_refused_entities_are_named(catalog: Catalog) -> None:
    """Of many entities, the valid ones are saved and the refused ones are named in the run's failure."""
    entities: list[dict[str, Any]] = [
        {"identifier": "vm-1"},
        {"identifier": "vm-2", "properties": {"cpu_cores": "two"}},
    ]

    with pytest.raises(ActionFailed, match=r"^Port refused 1 of 2 vm entities: vm-2 \(.+\)$"):
        catalog.upsert_entities("vm", entities)
    assert catalog.get_entity("vm", "vm-1") is not None


def test_entities_of_a_refused_request_are_named(port: FakePort, catalog: Catalog) -> None:
    """A request that Port refuses as a whole stops none of the others, and its entities are named like any."""
    port.fail("/v1/blueprints/vm/entities/bulk", status=422, body={"ok": False, "error": "invalid_request"})

    with pytest.raises(ActionFailed, match=r"^Port refused 20 of 21 vm entities: vm-0 \(invalid_request\), vm-1 "):
        catalog.upsert_entities("vm", [{"identifier": f"vm-{number}"} for number in range(21)])
    assert list(port.entities) == [("vm", "vm-20")]


def test_an_update_of_a_missing_entity_is_an_error(catalog: Catalog) -> None:
    """An update creates nothing."""
    with pytest.raises(PortNotFoundError):
        catalog.update_entity("vm", "vm-1", title="VM")


def test_refusals_are_errors(catalog: Catalog) -> None:
    """A handler sees that Port refused, and can continue with other work."""
    with pytest.raises(PortApiError):
        catalog.upsert_entity("vm", identifier="vm-1", properties={"cpu_cores": "two"})
    assert catalog.upsert_entity("vm", identifier="vm-1", properties={"cpu_cores": 2}).identifier == "vm-1"


CALLS: list[Callable[[Catalog], Any]] = [
    lambda catalog: catalog.upsert_entity("vm", identifier="vm-1"),
    lambda catalog: catalog.upsert_entities("vm", [{"identifier": "vm-1"}]),
    lambda catalog: catalog.update_entity("vm", "vm-1", title="VM"),
    lambda catalog: catalog.get_entity("vm", "vm-1"),
    lambda catalog: catalog.delete_entity("vm", "vm-1"),
]


@pytest.mark.parametrize("call", CALLS, ids=["upsert", "upsert many", "update", "get", "delete"])
def test_nothing_reaches_port_after_the_handlers_time(
    port: FakePort, catalog: Catalog, call: Callable[[Catalog], Any]
) -> None:
    """A handler that was left behind gets an error from every call, and sends no request."""
    catalog._end()

    with pytest.raises(PortRunnerError, match="the handler's time is over"):
        call(catalog)
    assert port.requests == []


def test_the_seconds_that_are_left_are_never_negative(port: FakePort) -> None:
    """A handler can plan with the rest of its time."""
    assert 29 < Catalog(make_client(port), until=time.monotonic() + 30, run_id=None).seconds_left <= 30
    assert Catalog(make_client(port), until=time.monotonic() - 1, run_id=None).seconds_left == 0


def test_only_what_was_given_is_sent() -> None:
    """A part that was not given is left out, and an empty one is kept."""
    assert entity_content(title=None, properties={}, icon="Server") == {"properties": {}, "icon": "Server"}
