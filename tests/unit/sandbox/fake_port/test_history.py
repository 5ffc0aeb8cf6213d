"""The audit log has every change of blueprints, entities, actions and runs."""

from tests.unit.sandbox.fake_port.client import ENTITIES, Client


def test_history_of_everything(client: Client) -> None:
    """Each change is a record with what was before and after, newest first."""
    run_id = client.execute()
    client.ok("PATCH", "/blueprints/vm", {"icon": "Box"})
    client.ok("PATCH", f"/actions/runs/{run_id}", {"status": "SUCCESS"})
    client.ok("POST", ENTITIES, {"identifier": "box"})
    client.ok("DELETE", f"{ENTITIES}/box")
    client.ok("DELETE", "/actions/create_vm")
    client.ok("DELETE", "/blueprints/vm")
    records = client.ok("GET", "/audit-log")["audits"]
    assert [(record["resourceType"], record["action"], record["identifier"]) for record in records] == [
        ("blueprint", "DELETE", "vm"),
        ("action", "DELETE", "create_vm"),
        ("entity", "DELETE", "box"),
        ("entity", "CREATE", "box"),
        ("run", "UPDATE", run_id),
        ("blueprint", "UPDATE", "vm"),
        ("run", "CREATE", run_id),
        ("action", "CREATE", "create_vm"),
        ("blueprint", "CREATE", "vm"),
    ]
    ended = records[4]["diff"]
    assert (ended["before"]["status"], ended["after"]["status"]) == ("IN_PROGRESS", "SUCCESS")


def test_history_is_searched(client: Client) -> None:
    """Filters narrow the records, lists by any of their values. Times are taken with their zone."""
    client.ok("POST", ENTITIES, {"identifier": "box"})

    def found(**query: str | list[str]) -> list[str]:
        return [record["resourceType"] for record in client.ok("GET", "/audit-log", **query)["audits"]]

    assert found(resources=["entity", "action"]) == ["entity", "action"]
    assert found(blueprint="vm", actions="CREATE") == ["entity", "action", "blueprint"]
    assert found(identifier="create_vm") == ["action"]
    assert found(status="FAILURE") == found(origins="UI") == []
    assert found(to="2020-01-01T00:00:00.000Z") == []
    assert found(**{"from": "2020-01-01T00:00:00+01:00"}, limit="2") == ["entity", "action"]
    assert client.refused("GET", "/audit-log", **{"from": "yesterday"}) == (422, "invalid_request")


def test_runs_are_listed_by_who_executed_them(client: Client) -> None:
    """The list of runs can be narrowed to a person, by email address or by id."""
    run_id = client.execute()
    body = {"properties": client.port.runs[run_id]["properties"]}
    other = client.ok("POST", "/actions/create_vm/runs", body, run_as="me@example.com")["run"]["id"]

    def listed(**query: str) -> list[str]:
        return [run["id"] for run in client.ok("GET", "/actions/runs", **query)["runs"]]

    assert listed(user_email="me@example.com") == [other]
    assert listed(user_email="no.one@example.com") == []
    assert listed(user_id=client.port.runs[run_id]["createdBy"]) == [other, run_id]
