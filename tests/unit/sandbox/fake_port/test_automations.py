"""Automations react to changes of entities and runs, and reach Kafka as actions do."""

from typing import Any

import pytest

from tests.unit.sandbox.fake_port.client import ENTITIES, Client, action

PAYLOAD = {"runId": "{{ .run.id }}", "event": "{{ .event }}", "inputs": "{{ .inputs }}", "by": "{{ .trigger.origin }}"}


def automate(client: Client, event: str, condition: Any = None, **others: Any) -> None:
    of_run = "RUN" in event
    named = {"actionIdentifier": "create_vm"} if of_run else {"blueprintIdentifier": "vm"}
    timer = {"propertyIdentifier": "until"} if event == "TIMER_PROPERTY_EXPIRED" else {}
    trigger = {"type": "automation", "event": {"type": event, **named, **timer}}
    if condition is not None:
        trigger["condition"] = condition
    invocation = others.pop("invocationMethod", {"type": "KAFKA", "payload": PAYLOAD})
    client.ok("POST", "/actions", action("auto", trigger=trigger, invocationMethod=invocation, **others))


def started(published: list[tuple[str, Any]]) -> list[Any]:
    """Return the messages of the automation."""
    return [message for topic, message in published if topic.endswith(".runs") and message.get("by") == "AUTOMATION"]


def change_an_entity(client: Client) -> None:
    client.ok("POST", ENTITIES, {"identifier": "box"})
    client.ok("PATCH", f"{ENTITIES}/box", {"title": "Box"})
    client.ok("DELETE", f"{ENTITIES}/box")


@pytest.mark.parametrize(
    ("event", "actions"),
    [
        ("ENTITY_CREATED", ["CREATE"]),
        ("ENTITY_UPDATED", ["UPDATE"]),
        ("ENTITY_DELETED", ["DELETE"]),
        ("ANY_ENTITY_CHANGE", ["CREATE", "UPDATE", "DELETE"]),
    ],
)
def test_change_of_an_entity_starts_an_automation(
    client: Client, published: list[tuple[str, Any]], event: str, actions: list[str]
) -> None:
    """An automation runs at its event alone. Its message has the event, and its run is as any other."""
    automate(client, event)
    change_an_entity(client)
    messages = started(published)
    assert [message["event"]["action"] for message in messages] == actions
    for message in messages:
        assert message["inputs"] is None
        assert message["event"]["resourceType"] == "entity"
        assert message["event"]["context"]["blueprintIdentifier"] == "vm"
        assert message["event"]["context"]["entityIdentifier"] == "box"
        run = client.ok("GET", f"/actions/runs/{message['runId']}", version="v2")["run"]
        assert (run["action"]["identifier"], run["source"], run["status"]) == ("auto", "AUTOMATION", "IN_PROGRESS")
        client.ok("PATCH", f"/actions/runs/{message['runId']}", {"status": "SUCCESS"})


def test_other_blueprints_start_nothing(client: Client, published: list[tuple[str, Any]]) -> None:
    """The change of another blueprint's entity does not start the automation, nor does an automation that is off."""
    automate(client, "ANY_ENTITY_CHANGE", publish=False)
    change_an_entity(client)
    client.ok("DELETE", "/actions/auto")
    automate(client, "ANY_ENTITY_CHANGE", publish=True)
    client.ok("POST", "/blueprints", {"identifier": "disk", "title": "Disk", "schema": {"properties": {}}})
    client.ok("POST", "/blueprints/disk/entities", {"identifier": "box"})
    assert started(published) == []


@pytest.mark.parametrize(
    ("event", "actions"),
    [("RUN_CREATED", ["CREATE"]), ("RUN_UPDATED", ["UPDATE"] * 2), ("ANY_RUN_CHANGE", ["CREATE", "UPDATE", "UPDATE"])],
)
def test_change_of_a_run_starts_an_automation(
    client: Client, published: list[tuple[str, Any]], event: str, actions: list[str]
) -> None:
    """Creation and updates of an action's runs start automations. A line of the log does not."""
    automate(client, event)
    run_id = client.execute()
    client.ok("POST", f"/actions/runs/{run_id}/logs", {"message": "working"})
    client.ok("PATCH", f"/actions/runs/{run_id}", {"statusLabel": "Half"})
    client.ok("POST", f"/actions/runs/{run_id}/logs", {"message": "done", "terminationStatus": "SUCCESS"})
    messages = started(published)
    assert [message["event"]["action"] for message in messages] == actions
    assert {message["event"]["id"] for message in messages} == {run_id}
    assert {message["event"]["context"]["action"]["identifier"] for message in messages} == {"create_vm"}


@pytest.mark.parametrize(
    ("expressions", "combinator", "times"),
    [
        (['.diff.after.title == "Box"'], None, 1),
        (['.diff.after.title == "Box"', "false"], "or", 1),
        (['.diff.after.title == "Box"', "false"], "and", 0),
        ([".diff.after.title"], None, 0),
        (["nosuchfunction"], None, 0),
        ([], None, 3),
    ],
)
def test_condition_of_an_automation(
    client: Client, published: list[tuple[str, Any]], expressions: list[str], combinator: str | None, times: int
) -> None:
    """An automation with a condition runs if its expressions are true of the event."""
    condition = {"type": "JQ", "expressions": expressions, **({"combinator": combinator} if combinator else {})}
    automate(client, "ANY_ENTITY_CHANGE", condition)
    change_an_entity(client)
    assert len(started(published)) == times


def test_expired_timer(client: Client, published: list[tuple[str, Any]]) -> None:
    """The end of a timer is in the change log without a difference, and starts automations."""
    client.ok("PATCH", "/blueprints/vm", {"changelogDestination": {"type": "KAFKA"}})
    client.ok("POST", ENTITIES, {"identifier": "box"})
    automate(client, "TIMER_PROPERTY_EXPIRED")
    published.clear()
    client.port.expire_timer("vm", "box", "until")
    client.port.expire_timer("vm", "box", "another")
    [message] = started(published)
    assert message["event"]["context"]["propertyIdentifier"] == "until"
    changes = [message for topic, message in published if topic.endswith("change.log")]
    assert [change["action"] for change in changes] == ["TIMER_EXPIRED"] * 2
    assert "diff" not in changes[0]
    assert changes[0]["trigger"]["by"] == {"byPort": True, "orgId": client.port.organization_id}


def test_automation_that_cannot_be_evaluated_harms_no_change(client: Client, published: list[tuple[str, Any]]) -> None:
    """If the template of an automation fails, the change that started it is made all the same."""
    automate(client, "ENTITY_CREATED", invocationMethod={"type": "KAFKA", "payload": {"x": "{{ .event | fromjson }}"}})
    client.ok("POST", ENTITIES, {"identifier": "box"})
    assert started(published) == []
    assert client.port.runs == {}


def test_automations_do_not_start_each_other_without_end(client: Client, published: list[tuple[str, Any]]) -> None:
    """The run of an automation starts no automation."""
    trigger = {"type": "automation", "event": {"type": "ANY_RUN_CHANGE", "actionIdentifier": "first"}}
    client.ok("POST", "/actions", action("second", trigger=trigger))
    automatic = {"type": "automation", "event": {"type": "ENTITY_CREATED", "blueprintIdentifier": "vm"}}
    client.ok("POST", "/actions", action("first", trigger=automatic))
    client.ok("POST", ENTITIES, {"identifier": "box"})
    assert len(client.port.runs) == 1
