"""Actions are stored and executed, and runs are read, changed and ended as in Port."""

import re
from typing import Any

import pytest

from tests.unit.sandbox.fake_port.client import INPUTS, Client, action, definition


def test_action_life(client: Client) -> None:
    """An action can be created once, read, replaced and deleted. An unknown action gets 404."""
    assert client.refused("POST", "/actions", definition("create_vm_action")) == (409, "identifier_taken")
    replaced = {**definition("create_vm_action"), "title": "Another"}
    assert client.ok("PUT", "/actions/create_vm", replaced)["action"]["title"] == "Another"
    assert client.ok("GET", "/actions/create_vm")["action"]["title"] == "Another"
    client.ok("DELETE", "/actions/create_vm")
    assert client.refused("GET", "/actions/create_vm") == (404, "not_found")
    assert client.refused("PUT", "/actions/create_vm", replaced) == (404, "not_found")
    assert client.refused("POST", "/actions/create_vm/runs", {"properties": {}}) == (404, "not_found")


def test_actions_are_listed(client: Client) -> None:
    """The list of actions has each action as it can be read alone."""
    [action] = client.ok("GET", "/actions", version="v2")["actions"]
    assert action == client.ok("GET", "/actions/create_vm")["action"]
    assert client.refused("GET", "/actions", version="v3") == (422, "invalid_request")


def test_action_of_an_unknown_blueprint_is_404(client: Client) -> None:
    """An action of an unknown blueprint gets 404."""
    body = action()
    body["trigger"]["blueprintIdentifier"] = "host"
    assert client.refused("POST", "/actions", body) == (404, "not_found")


def test_executed_action_is_published_as_its_template_says(client: Client, published: list[tuple[str, Any]]) -> None:
    """The shipped action publishes a message in the format of Port's older actions to ORG_ID.runs."""
    answer = client.call("POST", "/actions/create_vm/runs", {"properties": INPUTS})
    run = answer.json()["run"]
    assert answer.status_code == 202
    assert re.fullmatch("r_[A-Za-z0-9]{16}", run["id"])
    assert (run["status"], run["action"]["identifier"]) == ("IN_PROGRESS", "create_vm")
    [(topic, message)] = published
    assert topic == f"{client.port.organization_id}.runs"
    assert {key: message[key] for key in ("action", "resourceType", "status", "context", "payload")} == {
        "action": "create_vm",
        "resourceType": "run",
        "status": "TRIGGERED",
        "context": {"entity": None, "blueprint": "vm", "runId": run["id"]},
        "payload": {
            "entity": None,
            "action": {"invocationMethod": {"type": "KAFKA"}, "trigger": "CREATE"},
            "properties": INPUTS,
            "censoredProperties": [],
        },
    }
    assert message["trigger"].keys() == {"by", "origin", "at"}
    assert message["trigger"]["by"]["orgId"] == client.port.organization_id


@pytest.mark.parametrize(
    "inputs",
    [
        {**INPUTS, "cpu": "2"},
        {**INPUTS, "cpu": True},
        {**INPUTS, "cpu": None},
        {**INPUTS, "region": "mars-north-1"},
        {**INPUTS, "disk": 1},
        {"cpu": 2},
    ],
)
def test_inputs_that_do_not_fit_are_422_and_make_no_run(client: Client, inputs: dict[str, Any]) -> None:
    """Inputs of a wrong type or enum value, unknown inputs and missing required inputs get 422, and there is no run."""
    answer = client.refused("POST", "/actions/create_vm/runs", {"properties": inputs})
    assert answer == (422, "user_inputs_schema_invalid")
    assert client.port.runs == {}


@pytest.mark.parametrize("operation", ["DAY-2", "DELETE"])
def test_day_2_and_delete_need_an_entity(client: Client, published: list[tuple[str, Any]], operation: str) -> None:
    """A DAY-2 or DELETE action is refused without an entity, and its template gets the whole entity."""
    payload = {"id": "{{ .entity.identifier }}", "all": "{{ .entity }}", "op": "{{ .trigger.operation }}"}
    method = {"type": "KAFKA", "payload": payload}
    client.ok("POST", "/actions", action("change", operation, invocationMethod=method))
    url = "/actions/change/runs"
    assert client.refused("POST", url, {"properties": {}}) == (422, "missing_self_service_action_entity")
    assert client.refused("POST", url, {"properties": {}, "entity": "none"}) == (404, "not_found")
    entity = client.ok("POST", "/blueprints/vm/entities", {"identifier": "box"})["entity"]
    run = client.ok("POST", url, {"properties": {}, "entity": "box"})["run"]
    assert run["entity"]["identifier"] == "box"
    assert published[-1][1] == {"id": "box", "all": entity, "op": operation}


def test_action_without_payload_publishes_a_message_with_run_and_inputs(
    client: Client, published: list[tuple[str, Any]]
) -> None:
    """An action without a template publishes a message too. Its format is a guess, but its content is not."""
    client.ok("POST", "/actions", action("plain", "CREATE", invocationMethod={"type": "KAFKA"}))
    run = client.ok("POST", "/actions/plain/runs", {"properties": {"cpu": 1}})["run"]
    message = published[-1][1]
    assert (message["action"], message["context"]["runId"]) == ("plain", run["id"])
    assert message["payload"]["properties"] == {"cpu": 1}


def test_payload_may_be_an_array(client: Client, published: list[tuple[str, Any]]) -> None:
    """A template may be a list. In a CREATE action, the entity is an empty object."""
    method = {"type": "KAFKA", "payload": ["{{ .run.id }}", "{{ .inputs.cpu }}", "{{ .entity }}"]}
    client.ok("POST", "/actions", action("list", "CREATE", invocationMethod=method))
    run = client.ok("POST", "/actions/list/runs", {"properties": {"cpu": 1}})["run"]
    assert published[-1][1] == [run["id"], 1, {}]


def test_template_that_cannot_be_evaluated_is_422(client: Client) -> None:
    """If JQ fails, the execution is refused and there is no run."""
    method = {"type": "KAFKA", "payload": {"x": "{{ .inputs | fromjson }}"}}
    client.ok("POST", "/actions", action("broken", "CREATE", invocationMethod=method))
    answer = client.refused("POST", "/actions/broken/runs", {"properties": {}})
    assert answer == (422, "evaluate_invocation_method_error")
    assert client.port.runs == {}


def test_only_kafka_actions_are_published(client: Client, published: list[tuple[str, Any]]) -> None:
    """The execution of an action with another backend makes a run but publishes no message."""
    method = {"type": "WEBHOOK", "url": "https://example.com"}
    client.ok("POST", "/actions", action("hook", "CREATE", invocationMethod=method))
    assert client.ok("POST", "/actions/hook/runs", {"properties": {}})["run"]["status"] == "IN_PROGRESS"
    assert published == []


def test_automations_cannot_be_executed(client: Client) -> None:
    """Only self-service actions can be executed by request."""
    trigger = {"type": "automation", "event": {"type": "ENTITY_CREATED", "blueprintIdentifier": "vm"}}
    client.ok("POST", "/actions", action("auto", trigger=trigger))
    answer = client.refused("POST", "/actions/auto/runs", {"properties": {}})
    assert answer == (422, "run_non_self_service_error")


@pytest.mark.parametrize("required", [True, {"type": "ANY"}])
def test_run_that_waits_for_an_approval_is_published_once_approved(
    client: Client, published: list[tuple[str, Any]], required: Any
) -> None:
    """A run that requires an approval waits: no message is published and no write accepted until it is approved."""
    client.ok("POST", "/actions", action("careful", "CREATE", requiredApproval=required))
    run = client.ok("POST", "/actions/careful/runs", {"properties": {}})["run"]
    url = f"/actions/runs/{run['id']}"
    assert (run["status"], run["requiredApproval"], published) == ("WAITING_FOR_APPROVAL", required, [])
    assert client.refused("PATCH", url, {"statusLabel": "x"})[0] == 422
    assert client.refused("POST", "/blueprints/vm/entities", {"identifier": "a"}, run_id=run["id"])[0] == 400
    client.port.approve(run["id"])
    assert [message for _, message in published] == [{"runId": run["id"]}]
    assert client.ok("GET", url)["run"]["status"] == "IN_PROGRESS"
    client.ok("PATCH", url, {"status": "SUCCESS"})


def test_run_is_approved_and_declined_over_http(client: Client, published: list[tuple[str, Any]]) -> None:
    """Approvals are given by requests too. A declined run has ended, and nothing is published for it."""
    client.ok("POST", "/actions", action("careful", "CREATE", requiredApproval=True))
    yes, no, third = (client.execute("careful", properties={}) for _ in range(3))
    answer = client.call("PATCH", f"/actions/runs/{yes}/approval", {"status": "APPROVE"}, version="v2")
    assert (answer.status_code, answer.json()["run"]["approval"]["state"]) == (201, "APPROVED")
    client.ok("PATCH", f"/actions/runs/{no}/approval", {"status": "DECLINE", "description": "not today"})
    assert [message for _, message in published] == [{"runId": yes}]
    run = client.ok("GET", f"/actions/runs/{no}")["run"]
    assert (run["status"], run["approval"]["description"]) == ("DECLINED", "not today")
    assert client.refused("PATCH", f"/actions/runs/{no}", {"status": "SUCCESS"}) == (422, "run_exhausted")
    again = client.refused("PATCH", f"/actions/runs/{no}/approval", {"status": "APPROVE"})
    assert again == (422, "run_not_waiting_for_approval")
    bad = client.refused("PATCH", f"/actions/runs/{third}/approval", {"status": "APPROVED"})
    assert bad == (422, "invalid_request")
    client.port.decline(third)
    assert client.port.runs[third]["status"] == "DECLINED"
    assert len(published) == 1


@pytest.mark.parametrize("version", ["v1", "v2", None])
def test_run_has_two_forms(client: Client, version: str | None) -> None:
    """Version v2 names action and blueprint with objects, and v1 with strings. The default is v1."""
    query = {"version": version} if version else {}
    run = client.ok("GET", f"/actions/runs/{client.execute()}", **query)["run"]
    if version == "v2":
        assert (run["action"]["identifier"], run["blueprint"]["identifier"]) == ("create_vm", "vm")
    else:
        assert (run["action"], run["blueprint"], run["relatedBlueprintExists"]) == ("create_vm", "vm", True)


def test_run_is_updated_key_by_key(client: Client) -> None:
    """A patch overwrites the keys it has, and needs no status."""
    url = f"/actions/runs/{client.execute()}"
    client.ok("PATCH", url, {"statusLabel": "Starting", "link": "https://a"})
    run = client.ok("PATCH", url, {"link": ["https://b", "https://c"], "summary": "s"}, version="v2")["run"]
    assert (run["statusLabel"], run["link"], run["summary"]) == ("Starting", ["https://b", "https://c"], "s")
    assert run["status"] == "IN_PROGRESS"
    assert "endedAt" not in run


@pytest.mark.parametrize("ending", [{"status": "SUCCESS"}, {"status": "FAILURE", "message": {"m": 1}}])
def test_ended_run_is_read_only(client: Client, ending: dict[str, Any]) -> None:
    """After SUCCESS or FAILURE, every write to the run gets 422 run_exhausted."""
    run_id = client.execute()
    url = f"/actions/runs/{run_id}"
    assert client.ok("PATCH", url, ending)["run"]["endedAt"]
    for body in ({"status": "SUCCESS"}, {"summary": "late"}):
        assert client.refused("PATCH", url, body) == (422, "run_exhausted")
    assert client.refused("POST", f"{url}/logs", {"message": "late"}) == (422, "run_exhausted")
    assert client.port.runs[run_id]["status"] == ending["status"]


def test_logs_are_kept_in_order_and_paged(client: Client) -> None:
    """A new log entry is answered with 201. At most 50 entries are read at a time, from an offset."""
    run_id = client.execute()
    url = f"/actions/runs/{run_id}/logs"
    answer = client.call("POST", url, {"message": "0", "statusLabel": "Working"})
    assert answer.status_code == 201
    assert answer.json()["runLog"].keys() == {"id", "runId", "message", "createdBy", "createdAt"}
    for number in range(1, 60):
        client.ok("POST", url, {"message": str(number)})
    messages = [log["message"] for log in client.ok("GET", url)["runLogs"]]
    assert messages == [str(number) for number in range(50)]
    page = client.ok("GET", url, limit="2", offset="58")["runLogs"]
    assert [log["message"] for log in page] == ["58", "59"]
    assert client.refused("GET", url, limit="51") == (422, "invalid_request")
    assert client.port.runs[run_id]["statusLabel"] == "Working"
    assert len(client.port.run_logs[run_id]) == 60


def test_log_can_end_the_run(client: Client) -> None:
    """A log entry with terminationStatus ends the run, and later entries are refused."""
    run_id = client.execute()
    url = f"/actions/runs/{run_id}/logs"
    client.ok("POST", url, {"message": "bye", "terminationStatus": "FAILURE"})
    assert client.port.runs[run_id]["status"] == "FAILURE"
    assert client.refused("POST", url, {"message": "late"}) == (422, "run_exhausted")


def test_unknown_run_is_404(client: Client) -> None:
    """Every read and write of an unknown run gets 404."""
    url = "/actions/runs/r_0000000000000000"
    assert client.refused("GET", url) == (404, "not_found")
    assert client.refused("PATCH", url, {"status": "SUCCESS"}) == (404, "not_found")
    assert client.refused("POST", f"{url}/logs", {"message": "m"}) == (404, "not_found")
    assert client.refused("GET", f"{url}/logs") == (404, "not_found")


def test_runs_are_listed_newest_first_and_filtered(client: Client) -> None:
    """The list can be narrowed by action, blueprint, activity, source and external id."""
    ids = [client.execute() for _ in range(3)]
    client.port.add_run("run_q2mGf9ZYkFRnZJjB", "other", blueprint=None)
    client.ok("PATCH", f"/actions/runs/{ids[0]}", {"status": "SUCCESS", "externalRunId": "build-7"})

    def listed(**query: str) -> list[str]:
        return [run["id"] for run in client.ok("GET", "/actions/runs", **query)["runs"]]

    assert listed(action="create_vm") == ids[::-1]
    assert listed(blueprint="vm", active="true") == ids[:0:-1]
    assert listed(active="false") == [ids[0]] == listed(external_run_id="build-7")
    assert listed(limit="1") == ["run_q2mGf9ZYkFRnZJjB"]
    assert listed(source="UI") == []
    assert client.refused("GET", "/actions/runs", active="True") == (422, "invalid_request")


def test_added_run_belongs_to_a_recorded_message(client: Client) -> None:
    """A run can be added without an execution, and behaves like any other run."""
    client.port.add_run("run_q2mGf9ZYkFRnZJjB", properties=INPUTS)
    run = client.ok("GET", "/actions/runs/run_q2mGf9ZYkFRnZJjB", version="v2")["run"]
    assert (run["status"], run["action"]["identifier"], run["properties"]) == (
        "IN_PROGRESS",
        "create_vm",
        INPUTS,
    )
    client.ok("PATCH", "/actions/runs/run_q2mGf9ZYkFRnZJjB", {"status": "SUCCESS"})


def test_node_run_is_reported(client: Client) -> None:
    """A workflow's node run takes logs, output and one end, in Port's words for node runs."""
    client.port.add_node_run("wfnr_0000000000000001")
    url = "/workflows/nodes/runs/wfnr_0000000000000001"
    client.ok("POST", f"{url}/logs", {"logs": [{"level": "INFO", "message": "on it"}]})
    client.ok("PATCH", url, {"logs": [{"logLevel": "WARN", "log": "slow"}]})
    for body in ({"status": "COMPLETED"}, {"result": "FAILURE"}, {"status": "SUCCESS"}, {"link": "x"}):
        assert client.refused("PATCH", url, body) == (422, "invalid_request")
    client.ok("PATCH", url, {"status": "COMPLETED", "result": "FAILED", "output": {"why": "because"}})
    node_run = client.port.node_runs["wfnr_0000000000000001"]
    assert (node_run["status"], node_run["result"], node_run["output"]) == (
        "COMPLETED",
        "FAILED",
        {"why": "because"},
    )
    assert [log["message"] for log in node_run["logs"]] == ["on it", "slow"]
    assert client.refused("PATCH", url, {"output": {}}) == (422, "run_exhausted")
    assert client.refused("PATCH", "/workflows/nodes/runs/wfnr_none", {"output": {}}) == (404, "not_found")


def test_young_run_is_not_found_at_first(client: Client) -> None:
    """A run that is hidden for two requests gets 404 to any two requests, and is not listed until then."""
    client.port.add_run("r_0000000000000000", hidden_for=2)
    url = "/actions/runs/r_0000000000000000"
    assert client.refused("GET", url) == (404, "not_found")
    assert client.ok("GET", "/actions/runs")["runs"] == []
    assert client.refused("POST", f"{url}/logs", {"message": "too early"}) == (404, "not_found")
    assert client.ok("GET", url)["run"]["status"] == "IN_PROGRESS"
    assert client.port.run_logs["r_0000000000000000"] == []
    assert len(client.ok("GET", "/actions/runs")["runs"]) == 1


def test_run_may_be_young_when_it_is_approved(client: Client, published: list[tuple[str, Any]]) -> None:
    """A test can approve a run that requests do not find yet."""
    client.ok("POST", "/actions", action("careful", "CREATE", requiredApproval=True))
    client.port.hide_new_runs(1)
    run_id = client.execute("careful", properties={})
    client.port.approve(run_id)
    assert [message for _, message in published] == [{"runId": run_id}]
    assert client.refused("GET", f"/actions/runs/{run_id}") == (404, "not_found")
    assert client.ok("GET", f"/actions/runs/{run_id}")["run"]["status"] == "IN_PROGRESS"


def test_executed_runs_can_be_young_too(client: Client, published: list[tuple[str, Any]]) -> None:
    """If new runs are hidden, the message of a run arrives before its run can be read."""
    client.port.hide_new_runs(1)
    run_id = client.execute()
    assert published[-1][1]["context"]["runId"] == run_id
    assert client.refused("GET", f"/actions/runs/{run_id}") == (404, "not_found")
    client.ok("GET", f"/actions/runs/{run_id}")


def test_log_is_read_in_either_order(client: Client) -> None:
    """A test chooses whether pages of a log begin with the oldest entry or with the newest one."""
    url = f"/actions/runs/{client.execute()}/logs"
    for number in range(4):
        client.ok("POST", url, {"message": str(number)})
    client.port.log_order = "newest-first"
    assert [log["message"] for log in client.ok("GET", url, limit="3")["runLogs"]] == ["3", "2", "1"]
    assert [log["message"] for log in client.ok("GET", url, offset="3")["runLogs"]] == ["0"]
    client.port.log_order = "oldest-first"
    assert [log["message"] for log in client.ok("GET", url, limit="3")["runLogs"]] == ["0", "1", "2"]


def test_approval_of_an_action_is_returned_only_where_it_is_defined(client: Client) -> None:
    """An action without `requiredApproval` is read without it. Its runs always say whether one is required."""
    assert "requiredApproval" not in client.ok("GET", "/actions/create_vm")["action"]
    assert client.ok("GET", f"/actions/runs/{client.execute()}")["run"]["requiredApproval"] is False
    client.ok("POST", "/actions", action("careful", requiredApproval=False))
    assert client.ok("GET", "/actions/careful")["action"]["requiredApproval"] is False
