"""Bodies, queries and identifiers that Port refuses are refused."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.unit.sandbox.fake_port.client import ENTITIES, INPUTS, Client, action, definition


@pytest.mark.parametrize(
    "changes",
    [
        {"identifier": "a b"},
        {"identifier": "a=b"},
        {"title": ""},
        {"schema": {"properties": {"bad name": {"type": "string"}}}},
        {"schema": {"properties": {"p": {"type": "text"}}}},
        {"description": "x" * 201},
        {"relations": {"r": {"target": "vm"}}},
        {"changelogDestination": {"type": "KAFKA", "topic": "mine"}},
    ],
)
def test_blueprint_out_of_schema_is_422(bare: Client, changes: dict[str, Any]) -> None:
    """A blueprint whose identifier, title, properties, relations or destination break Port's rules gets 422."""
    body = {**definition("vm_blueprint"), **changes}
    assert bare.refused("POST", "/blueprints", body) == (422, "invalid_request")


def changed(**changes: Any) -> dict[str, Any]:
    """The small action, with another trigger."""
    return action(trigger={**action()["trigger"], **changes})


def with_inputs(properties: dict[str, Any], **others: Any) -> dict[str, Any]:
    return changed(userInputs={"properties": properties, **others})


def automation(event: dict[str, Any], **others: Any) -> dict[str, Any]:
    return action(trigger={"type": "automation", "event": event, **others})


COMPUTED = {"property": "$title", "operator": "=", "value": {"jqQuery": ".form.b"}}
AGGREGATION = {"title": "Boxes", "target": "vm", "calculationSpec": {"calculationBy": "entities", "func": "count"}}


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": {"properties": {"p": {"type": "string", "format": "phone"}}}},
        {"schema": {"properties": {"p": {"type": "string", "spec": "swagger"}}}},
        {"schema": {"properties": {"p": {"type": "string", "specAuthentication": {"clientId": "c"}}}}},
        {"schema": {"properties": {"p": {"type": "string", "pattern": "("}}}},
        {"schema": {"properties": {"p": {"type": "array", "items": {"type": "string", "pattern": "(?P<n>x)"}}}}},
        {"schema": {"properties": {"p": {"type": "string", "minLength": "long"}}}},
        {"schema": {"properties": {"p\n": {"type": "string"}}}},
        {"mirrorProperties": {"m": {"path": "nowhere"}}},
        {"mirrorProperties": {"m": {"path": "vm.title", "type": "string"}}},
        {"calculationProperties": {"c": {"calculation": ".properties.a"}}},
        {"calculationProperties": {"c": {"calculation": ".a", "type": "string", "colors": {"a": "mauve"}}}},
        {"aggregationProperties": {"a": {**AGGREGATION, "calculationSpec": {"func": "count"}}}},
        {"aggregationProperties": {"a": {**AGGREGATION, "query": {"combinator": "and"}}}},
        {"aggregationProperties": {"a": {**AGGREGATION, "pathFilter": [{"path": []}]}}},
        {"ownership": {"type": "Inherited"}},
        {"changelogDestination": {"type": "WEBHOOK"}},
    ],
)
def test_property_of_a_blueprint_out_of_schema_is_422(bare: Client, changes: dict[str, Any]) -> None:
    """Formats, specifications, patterns, and mirror, calculation and aggregation properties are checked."""
    body = {**definition("vm_blueprint"), **changes}
    assert bare.refused("POST", "/blueprints", body) == (422, "invalid_request")


def test_blueprint_may_have_everything(bare: Client) -> None:
    """Each kind of property is taken if it is right."""
    rule = {"property": "region", "operator": "=", "value": "eu"}
    properties = {
        "api": {"type": "string", "format": "url", "spec": "open-api"},
        "kind": {"type": "string", "pattern": r"^(?<kind>\p{Lu}+)-\k<kind>$", "enumColors": {}},
        "until": {"type": "string", "format": "timer"},
    }
    changes: dict[str, Any] = {
        "schema": {"properties": properties},
        "relations": {"host": {"target": "vm", "many": False, "required": False}},
        "mirrorProperties": {"host_title": {"path": "host.$title"}},
        "calculationProperties": {"double": {"calculation": ".properties.a * 2", "type": "number"}},
        "aggregationProperties": {"boxes": {**AGGREGATION, "query": {"combinator": "and", "rules": [rule]}}},
        "ownership": {"type": "Inherited", "path": "host"},
    }
    bare.ok("POST", "/blueprints", {**definition("vm_blueprint"), **changes})


@pytest.mark.parametrize(
    "body",
    [
        with_inputs({"a": {"type": "string"}}, order=["a"], steps=[{"title": "One", "order": ["a"]}]),
        with_inputs({"a": {"type": "string"}}, steps=[{"order": ["a"]}]),
        with_inputs({"a": {"type": "string"}}, titles={"t": {"title": ""}}),
        with_inputs({"a": {"type": "string"}}, titles={"t t": {"title": "T"}}),
        with_inputs({"a": {"type": "string"}}, required={"jqQuery": 1}),
        with_inputs({"a": {"type": "string", "dependsOn": "b"}}),
        with_inputs({"a": {"type": "string", "visible": "yes"}}),
        with_inputs({"a": {"type": "string", "format": "phone"}}),
        with_inputs({"a": {"type": "string", "sort": {"property": "b"}}}),
        with_inputs({"a": {"type": "string", "pattern": "[z-a]"}}),
        with_inputs({"a": {"type": "string", "encryption": {"algorithm": "client-side", "key": "none"}}}),
        with_inputs({"a b": {"type": "string"}}),
        with_inputs({"a": {"type": "string", "format": "entity", "dataset": {"combinator": "and"}}}),
        with_inputs({"a": {"type": "string", "dataset": {"combinator": "and", "rules": [{"operator": "="}]}}}),
        changed(condition={"type": "SEARCH", "combinator": "and"}),
        changed(
            condition={
                "type": "SEARCH",
                "combinator": "and",
                "rules": [{"property": "a", "operator": "is", "value": 1}],
            }
        ),
        changed(blueprintIdentifier=None, condition={"type": "SEARCH", "combinator": "and", "rules": []}),
        changed(condition={"combinator": "and", "rules": []}),
        changed(operation="CREATE", condition={"type": "SEARCH", "combinator": "and", "rules": []}),
        changed(actionCardButtonText=" Go"),
        changed(executeActionButtonText="x" * 16),
        automation({"type": "ENTITY_CREATED"}),
        automation({"type": "ENTITY_VANISHED", "blueprintIdentifier": "vm"}),
        automation({"type": "TIMER_PROPERTY_EXPIRED", "blueprintIdentifier": "vm"}),
        automation({"type": "RUN_CREATED", "blueprintIdentifier": "vm"}),
        automation({"type": "RUN_CREATED", "actionIdentifier": "a"}, condition={"type": "JQ"}),
        action(invocationMethod={"type": "WEBHOOK"}),
        action(invocationMethod={"type": "WEBHOOK", "url": "https://a.b", "topic": "mine"}),
        action(invocationMethod={"type": "GITHUB", "org": "o"}),
        action(approvalNotification={"type": "pigeon"}),
        action(requiredApproval={"type": "SOME"}),
    ],
)
def test_detail_of_an_action_out_of_schema_is_422(client: Client, body: dict[str, Any]) -> None:
    """Inputs, steps, titles, conditions, events, backends and approvals are checked."""
    assert client.refused("POST", "/actions", body) == (422, "invalid_request")
    assert client.refused("PUT", "/actions/create_vm", body) == (422, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [
        with_inputs(
            {"a": {"type": "string"}}, steps=[{"title": "One", "order": ["a"], "visible": {"jqQuery": "true"}}]
        ),
        with_inputs({"a": {"type": "string"}}, order=["a"], titles={"t": {"title": "T", "visible": False}}),
        with_inputs({"a": {"type": "string", "dependsOn": ["b"], "visible": {"jqQuery": ".form.b"}}}),
        with_inputs({"a": {"type": "string", "dataset": {"combinator": "and", "rules": [COMPUTED]}}}),
        with_inputs({"a": {"type": "string", "enum": {"jqQuery": "[]"}, "default": {"jqQuery": "1"}}}),
        with_inputs({"a": {"type": "string", "$ref": "#", "items": {"$ref": "https://nowhere.example"}}}),
        changed(
            condition={
                "type": "SEARCH",
                "combinator": "and",
                "rules": [{"property": "region", "operator": "isNotEmpty"}],
            }
        ),
        automation({"type": "ANY_RUN_CHANGE", "actionIdentifier": "a"}, condition={"type": "JQ", "expressions": []}),
        action(invocationMethod={"type": "WEBHOOK", "url": "https://a.b", "agent": "{{ true }}", "body": []}),
        action(approvalNotification={"type": "webhook", "url": "https://a.b", "format": "slack"}),
    ],
)
def test_detail_of_an_action_is_taken(client: Client, body: dict[str, Any]) -> None:
    """The opposite of each of these mistakes is taken."""
    client.ok("POST", "/actions", body)


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        (r"^\p{L}+$", "žluť", "1"),
        (r"^(?<n>x)\k<n>$", "xx", "x"),
        (r"^\d$", "3", "٣"),
        (r"^a$", "a", "a\n"),
        (r"^.$", "😀", "ab"),
        (r"(?<!-)b", "ab", "-b"),
        (r"^[\w-]+$", "a-b", "a b"),
        ("\ufffd", "\ud800", "a"),
    ],
)
def test_patterns_are_javascript(client: Client, pattern: str, right: str, wrong: str) -> None:
    """Patterns of inputs and properties mean what they mean in JavaScript."""
    body = with_inputs({"a": {"type": "string", "pattern": pattern}})
    client.ok("POST", "/actions", {**body, "trigger": {**body["trigger"], "operation": "CREATE"}})
    url = f"/actions/{body['identifier']}/runs"
    client.ok("POST", url, {"properties": {"a": right}})
    assert client.refused("POST", url, {"properties": {"a": wrong}}) == (422, "user_inputs_schema_invalid")
    schema = {"properties": {"a": {"type": "array", "items": {"type": "string", "pattern": pattern}}}}
    client.ok("POST", "/blueprints", {"identifier": "b", "title": "B", "schema": schema})
    client.ok("POST", "/blueprints/b/entities", {"properties": {"a": [right]}})
    answer = client.refused("POST", "/blueprints/b/entities", {"properties": {"a": [right, wrong]}})
    assert answer == (422, "blueprint_schema_mismatch")


def test_rules_within_an_input_are_kept(client: Client) -> None:
    """Rules of objects and lists within an input count too, also those of names by pattern."""
    inner = {"type": "object", "patternProperties": {r"^\p{Lu}": {"type": "number"}}, "additionalProperties": False}
    body = with_inputs({"a": {"type": "array", "items": inner, "maxItems": 1}})
    client.ok("POST", "/actions", {**body, "trigger": {**body["trigger"], "operation": "CREATE"}})
    url = f"/actions/{body['identifier']}/runs"
    client.ok("POST", url, {"properties": {"a": [{"Ž": 1}]}})
    wrong: list[list[dict[str, Any]]] = [[{"Ž": "1"}], [{"ž": 1}], [{}, {}]]
    for value in wrong:
        assert client.refused("POST", url, {"properties": {"a": value}}) == (422, "user_inputs_schema_invalid")


@pytest.mark.parametrize(
    "body",
    [
        action("a/b"),
        action(".."),
        action("a b"),
        action(createdAt="2026-01-01T00:00:00.000Z"),
        action(invocationMethod={"type": "KAFKA", "topic": "mine"}),
        action(invocationMethod={"type": "KAFKA", "payload": "{{ .inputs }}"}),
        action(invocationMethod={"type": "SQS"}),
        action(trigger="CREATE"),
        action(trigger={"type": "self-service", "operation": "CREATE"}),
        action(operation="UPDATE"),
        {"identifier": "a", "trigger": action()["trigger"]},
    ],
)
def test_action_out_of_schema_is_422(client: Client, body: dict[str, Any]) -> None:
    """An action with keys or values outside version 2 of Port's API, or a slash in its identifier, gets 422."""
    assert client.refused("POST", "/actions", body) == (422, "invalid_request")


@pytest.mark.parametrize("identifier", ["výkon", "a.b", "vm+1@x:y=z", "机器"])
def test_action_identifier_may_hold_any_letter(client: Client, identifier: str) -> None:
    """An action's identifier may hold letters of every script."""
    client.ok("POST", "/actions", action(identifier))
    assert client.ok("GET", f"/actions/{quote(identifier, safe='')}")


def test_execution_takes_properties_and_entity_only(client: Client) -> None:
    """The body of an execution must have properties, and may have no key other than properties and entity."""
    for body in ({"properties": INPUTS, "run_as": "me"}, {}):
        assert client.refused("POST", "/actions/create_vm/runs", body) == (422, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [
        {"status": "IN_PROGRESS"},
        {"status": "DONE"},
        {"label": "x"},
        {"message": "text"},
        {"link": 1},
        {"link": ["a", 1]},
        {"statusLabel": None},
    ],
)
def test_run_update_out_of_schema_is_422(client: Client, body: dict[str, Any]) -> None:
    """An update of a run with the status IN_PROGRESS, unknown keys or wrong types gets 422."""
    run_id = client.execute()
    assert client.refused("PATCH", f"/actions/runs/{run_id}", body) == (422, "invalid_request")
    assert client.port.runs[run_id]["status"] == "IN_PROGRESS"


@pytest.mark.parametrize(
    "body",
    [{}, {"message": 1}, {"message": "m", "level": "INFO"}, {"message": "m", "terminationStatus": "OK"}],
)
def test_log_out_of_schema_is_422(client: Client, body: dict[str, Any]) -> None:
    """A log entry without a message, or with keys or values that Port does not have, gets 422."""
    answer = client.refused("POST", f"/actions/runs/{client.execute()}/logs", body)
    assert answer == (422, "invalid_request")


@pytest.mark.parametrize(
    "name", ["upsert", "merge", "validation_only", "create_missing_related_entities", "delete_dependents"]
)
@pytest.mark.parametrize("value", ["True", "False", "1", ""])
def test_booleans_of_the_query_are_lower_case(client: Client, name: str, value: str) -> None:
    """Booleans of the query are `true` and `false`. Others, such as Python's `True`, get 422."""
    client.ok("POST", ENTITIES, {"identifier": "box"})
    method, path = ("DELETE", f"{ENTITIES}/box") if name == "delete_dependents" else ("POST", ENTITIES)
    assert client.refused(method, path, {"identifier": "new"}, **{name: value}) == (422, "invalid_request")
    assert list(client.port.entities) == [("vm", "box")]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/actions/runs", {"limit": "0"}),
        ("/actions/runs", {"limit": "1001"}),
        ("/actions/runs", {"limit": "many"}),
        ("/actions/runs", {"limit": ""}),
        ("/actions/runs", {"active": "yes"}),
        ("/actions/runs", {"source": "CLI"}),
        ("/actions/runs", {"source": ["API", "CLI"]}),
        ("/actions/runs", {"version": "v3"}),
        ("/actions/runs", {"action": ["a", "b"]}),
        ("/actions/runs/{run}", {"version": ""}),
        ("/actions/runs/{run}/logs", {"limit": "0"}),
        ("/actions/runs/{run}/logs", {"limit": "51"}),
        ("/actions/runs/{run}/logs", {"limit": "nan"}),
        ("/actions/runs/{run}/logs", {"limit": ["1", "2"]}),
        ("/actions/runs/{run}/logs", {"offset": "-1"}),
        ("/blueprints/vm/entities/box", {"exclude_calculated_properties": "True"}),
        ("/audit-log", {"limit": "0"}),
    ],
)
def test_query_out_of_range_is_422(client: Client, path: str, query: dict[str, Any]) -> None:
    """A value of the query that is out of range, of another type or given twice gets 422, not 404."""
    path = path.format(run=client.execute())
    assert client.refused("GET", path, **query) == (422, "invalid_request")


def test_query_at_the_edges_is_taken(client: Client) -> None:
    """The ends of a range, fractions and unknown names are taken. A list may repeat its name."""
    run_id = client.execute()
    for limit in ("1", "1000", "1.5", "1e2"):
        assert len(client.ok("GET", "/actions/runs", limit=limit, color="red")["runs"]) == 1
    client.ok("GET", f"/actions/runs/{run_id}/logs", limit="50", offset="1e300")
    [run] = client.ok("GET", "/actions/runs", source=["UI", "API"], exclude=["properties", "createdBy"])["runs"]
    assert not {"properties", "createdBy"} & run.keys()
    assert client.ok("GET", "/actions/runs", source=["UI", "AUTOMATION"])["runs"] == []


def test_person_of_an_execution_is_an_email_address(client: Client) -> None:
    """`run_as` must be an email address."""
    body = {"properties": INPUTS}
    assert client.refused("POST", "/actions/create_vm/runs", body, run_as="me") == (422, "invalid_request")
    client.ok("POST", "/actions/create_vm/runs", body, run_as="me@example.com")


@pytest.mark.parametrize("identifier", ["a b", "", ".", "..", "a(b)", "a,b", "a#b", "a" * 1001, "a²", 7, None])
def test_illegal_entity_identifier_is_422(client: Client, identifier: Any) -> None:
    """Letters, digits and @ _ . + : \\ / = - are the only characters of an identifier, up to 1000."""
    assert client.refused("POST", ENTITIES, {"identifier": identifier}) == (422, "invalid_request")


def test_bulk_takes_one_to_twenty(client: Client) -> None:
    """A bulk request takes 1 to 20 entities. Other numbers get 422."""
    for count, status in ((0, 422), (1, 200), (20, 200), (21, 422)):
        body = {"entities": [{"identifier": str(number)} for number in range(count)]}
        assert client.call("POST", f"{ENTITIES}/bulk", body, upsert="true").status_code == status
