"""Actions, their runs, and the node runs of workflows."""

from collections.abc import Callable
from typing import Any, Literal

from port_runner_sandbox.fake_port.catalog import Catalog, Document, Reply, new_id, now
from port_runner_sandbox.fake_port.definitions import ACTION
from port_runner_sandbox.fake_port.encryption import encrypt
from port_runner_sandbox.fake_port.http_server import Received
from port_runner_sandbox.fake_port.queries import is_true, number
from port_runner_sandbox.fake_port.schemas import (
    APPROVAL,
    EXECUTION,
    NODE_RUN_LOGS,
    NODE_RUN_UPDATE,
    RUN_LOG,
    RUN_UPDATE,
    Refused,
    check,
    value_rules,
)
from port_templates import TemplateError, render

LogOrder = Literal["oldest-first", "newest-first"]

ENDED = ("SUCCESS", "FAILURE", "DECLINED")

# Port does not document what it publishes for a KAFKA action without a payload. This is a guess: the format of actions
# before payloads could be chosen, without the parts that no consumer needs.
_GUESSED_PAYLOAD: Document = {
    "action": "{{ .action.identifier }}",
    "resourceType": "run",
    "status": "TRIGGERED",
    "trigger": "{{ .trigger | {by, origin, at} }}",
    "context": {
        "entity": "{{ .entity.identifier }}",
        "blueprint": "{{ .action.blueprint }}",
        "runId": "{{ .run.id }}",
    },
    "payload": {
        "entity": "{{ if .entity == {} then null else .entity end }}",
        "action": {"invocationMethod": {"type": "KAFKA"}, "trigger": "{{ .trigger.operation }}"},
        "properties": "{{ .inputs }}",
    },
}


class Runs:
    """The organization's actions and runs, by identifier.

    Every method that the routes name takes the request and the path's values, and returns status and document, or
    raises Refused.
    """

    def __init__(
        self, organization_id: str, author: str, client_secret: str, announce: Callable[[str, Document], None]
    ) -> None:
        self.actions: dict[str, Document] = {}
        self.runs: dict[str, Document] = {}
        self.logs: dict[str, list[Document]] = {}
        self.node_runs: dict[str, Document] = {}
        self.hidden: dict[str, int] = {}
        self.new_runs_hidden_for = 0
        self.log_order: LogOrder = "oldest-first"
        # The messages of runs that wait for an approval.
        self._waiting: dict[str, Any] = {}
        self.catalog: Catalog
        self._organization_id = organization_id
        self._author = author
        self._client_secret = client_secret
        self._announce = announce

    # Actions

    def create_action(self, request: Received) -> Reply:
        check(ACTION, request.body)
        if request.body["identifier"] in self.actions:
            raise Refused(409, "identifier_taken", f"Action {request.body['identifier']!r} exists already")
        return 201, {"ok": True, "action": self._store_action(request.body, None)}

    def list_actions(self, request: Received) -> Reply:
        return 200, {"ok": True, "actions": list(self.actions.values())}

    def get_action(self, request: Received, action: str) -> Reply:
        return 200, {"ok": True, "action": self._action(action)}

    def replace_action(self, request: Received, action: str) -> Reply:
        check(ACTION, request.body)
        before = self._action(action)
        if request.body["identifier"] != action and request.body["identifier"] in self.actions:
            raise Refused(409, "identifier_taken", f"Action {request.body['identifier']!r} exists already")
        stored = self._store_action(request.body, before)
        if stored["identifier"] != action:
            del self.actions[action]
        return 200, {"ok": True, "action": stored}

    def delete_action(self, request: Received, action: str) -> Reply:
        self._action(action)
        del self.actions[action]
        return 200, {"ok": True}

    def _action(self, identifier: str) -> Document:
        if identifier not in self.actions:
            raise Refused(404, "not_found", f"Action {identifier!r} was not found")
        return self.actions[identifier]

    def _store_action(self, body: Document, before: Document | None) -> Document:
        trigger = body["trigger"]
        blueprint = trigger.get("event", trigger).get("blueprintIdentifier")
        if blueprint is not None:
            self.catalog.blueprint(blueprint)
        moment = now()
        stored = {
            "id": before["id"] if before else new_id("action_"),
            "requiredApproval": False,
            **body,
            "createdAt": before["createdAt"] if before else moment,
            "createdBy": self._author,
            "updatedAt": moment,
            "updatedBy": self._author,
        }
        self.actions[body["identifier"]] = stored
        return stored

    # Executing

    def execute(self, request: Received, action: str) -> Reply:
        check(EXECUTION, request.body)
        definition = self._action(action)
        if definition["trigger"]["type"] != "self-service":
            raise Refused(422, "run_non_self_service_error", f"Action {action!r} is not a self-service action")
        entity = self._entity_of(definition["trigger"], request.body)
        inputs = self._inputs_of(definition["trigger"]["userInputs"], request.body["properties"])
        run = self._new_run(new_id("r_"), action, definition["trigger"].get("blueprintIdentifier"), inputs, entity)
        if definition["invocationMethod"]["type"] == "KAFKA":
            run_as = request.query.get("run_as", "developer@example.com")
            data = self._template_data(run["id"], definition, inputs, entity, run_as)
            try:
                message = render(definition["invocationMethod"].get("payload", _GUESSED_PAYLOAD), data)
            except TemplateError as error:
                raise Refused(422, "evaluate_invocation_method_error", str(error)) from error
            if definition["requiredApproval"]:
                self._waiting[run["id"]] = message
            else:
                self._announce("runs", message)
        if definition["requiredApproval"]:
            run.update(status="WAITING_FOR_APPROVAL", requiredApproval=definition["requiredApproval"])
        self._store_run(run, self.new_runs_hidden_for)
        return 202, {"ok": True, "run": run}

    def _entity_of(self, trigger: Document, body: Document) -> Document | None:
        blueprint = trigger.get("blueprintIdentifier")
        if trigger["operation"] == "CREATE" or blueprint is None:
            return None
        if "entity" not in body:
            message = f"A {trigger['operation']} action needs an entity"
            raise Refused(422, "missing_self_service_action_entity", message)
        return self.catalog.entity(blueprint, body["entity"])

    def _inputs_of(self, user_inputs: Document, values: Document) -> Document:
        required = user_inputs.get("required", [])
        schema = {
            "type": "object",
            "properties": {name: value_rules(rules) for name, rules in user_inputs["properties"].items()},
            "required": required if isinstance(required, list) else [],
            "additionalProperties": False,
        }
        check(schema, values, error="user_inputs_schema_invalid")
        inputs = dict(values)
        for name in _encrypted(user_inputs):
            if name in values:
                method = user_inputs["properties"][name]["encryption"]
                inputs[name] = encrypt(values[name], method, self._client_secret)
        return inputs

    def _template_data(
        self, run_id: str, action: Document, inputs: Document, entity: Document | None, email: str
    ) -> Document:
        trigger = action["trigger"]
        moment = now()
        user = {
            "email": email,
            "firstName": "Dev",
            "lastName": "Eloper",
            "phoneNumber": "",
            "picture": "",
            "providers": ["port"],
            "status": "ACTIVE",
            "id": self._author,
            "createdAt": moment,
            "updatedAt": moment,
        }
        return {
            "inputs": inputs,
            "trigger": {
                "by": {"orgId": self._organization_id, "userId": self._author, "user": user},
                "origin": "API",
                "at": moment,
                "operation": trigger["operation"],
            },
            "event": None,
            "entity": entity or {},
            "action": {
                "identifier": action["identifier"],
                "blueprint": trigger.get("blueprintIdentifier"),
                "encryptedProperties": _encrypted(trigger["userInputs"]),
            },
            "run": {"id": run_id},
        }

    def _new_run(
        self, run_id: str, action: str, blueprint: str | None, inputs: Document, entity: Document | None
    ) -> Document:
        moment = now()
        definition = self.actions.get(action, {})
        run: Document = {
            "id": run_id,
            "action": _reference(action, definition),
            "properties": inputs,
            "source": "API",
            "requiredApproval": False,
            "status": "IN_PROGRESS",
            "statusLabel": None,
            "createdBy": self._author,
            "updatedBy": self._author,
            "createdAt": moment,
            "updatedAt": moment,
        }
        if blueprint is not None:
            run["blueprint"] = _reference(blueprint, self.catalog.blueprints.get(blueprint, {}))
        if entity is not None:
            run["entity"] = _reference(entity["identifier"], entity)
        return run

    def _store_run(self, run: Document, hidden_for: int) -> None:
        self.runs[run["id"]] = run
        self.logs[run["id"]] = []
        self.hidden[run["id"]] = hidden_for

    def add_run(
        self, run_id: str, action: str, blueprint: str | None, inputs: Document, hidden_for: int = 0
    ) -> Document:
        """Add a run that was not executed here, and return it. It is not found `hidden_for` times."""
        run = self._new_run(run_id, action, blueprint, inputs, None)
        self._store_run(run, hidden_for)
        return run

    # Runs

    def get_run(self, request: Received, run: str) -> Reply:
        return 200, {"ok": True, "run": _shown(self._run(run), request)}

    def list_runs(self, request: Received) -> Reply:
        query = request.query
        wanted: Document = {
            "action": query.get("action"),
            "blueprint": query.get("blueprint"),
            "entity": query.get("entity"),
            "externalRunId": query.get("external_run_id"),
        }
        sources = request.all_queries.get("source")
        excluded = request.all_queries.get("exclude", [])
        active = is_true(query, "active") if "active" in query else None
        found = [
            run
            for run in self.runs.values()
            if not self.hidden.get(run["id"])
            and all(value is None or _identifier(run.get(name)) == value for name, value in wanted.items())
            and (sources is None or run["source"] in sources)
            and active in (None, run["status"] not in ENDED)
        ]
        newest_first = found[::-1][: number(query, "limit", 1000)]
        shown = [_shown(run, request) for run in newest_first]
        return 200, {"ok": True, "runs": [_without(run, excluded) for run in shown]}

    def update_run(self, request: Received, run: str) -> Reply:
        check(RUN_UPDATE, request.body)
        stored = self._open_run(run, 422)
        self._change_run(stored, request.body)
        return 200, {"ok": True, "run": _shown(stored, request)}

    def add_log(self, request: Received, run: str) -> Reply:
        check(RUN_LOG, request.body)
        stored = self._open_run(run, 422)
        entry = {
            "id": new_id("rl_"),
            "runId": run,
            "message": request.body["message"],
            "createdBy": self._author,
            "createdAt": now(),
        }
        self.logs[run].append(entry)
        names = {"terminationStatus": "status", "statusLabel": "statusLabel"}
        self._change_run(stored, {names[key]: value for key, value in request.body.items() if key in names})
        return 201, {"ok": True, "runLog": entry}

    def get_logs(self, request: Received, run: str) -> Reply:
        limit, offset = number(request.query, "limit", 50), number(request.query, "offset", 0)
        self._run(run)
        ordered = self.logs[run] if self.log_order == "oldest-first" else self.logs[run][::-1]
        return 200, {"ok": True, "runLogs": ordered[offset : offset + limit]}

    def review_run(self, request: Received, run: str) -> Reply:
        check(APPROVAL, request.body)
        approved = request.body["status"] == "APPROVE"
        stored = self.review(run, approved=approved, description=request.body.get("description"))
        return 201, {"ok": True, "run": _shown(stored, request)}

    def review(self, run_id: str, *, approved: bool, description: str | None) -> Document:
        """Publish the message of a run that waits for an approval, or decline the run."""
        run = self._run(run_id)
        if run["status"] != "WAITING_FOR_APPROVAL":
            raise Refused(422, "run_not_waiting_for_approval", f"Run {run_id!r} is {run['status']}")
        message = self._waiting.pop(run_id, None)
        approval: Document = {"state": "APPROVED" if approved else "DECLINED", "userId": self._author}
        if description is not None:
            approval["description"] = description
        self._change_run(run, {"status": "IN_PROGRESS" if approved else "DECLINED", "approval": approval})
        if approved and message is not None:
            self._announce("runs", message)
        return run

    def check_open(self, run_id: str) -> None:
        """Raise Refused if the run is unknown or has ended, so that it cannot change entities."""
        self._open_run(run_id, 400)

    def _run(self, run_id: str) -> Document:
        hidden_for = self.hidden.get(run_id, 0)
        if hidden_for:
            self.hidden[run_id] = hidden_for - 1
        if run_id not in self.runs or hidden_for:
            raise Refused(404, "not_found", f"Run {run_id!r} was not found")
        return self.runs[run_id]

    def _open_run(self, run_id: str, refusal: int) -> Document:
        run = self._run(run_id)
        if run["status"] in ENDED:
            raise Refused(refusal, "run_exhausted", f"Run {run_id!r} ended with {run['status']}")
        if run["status"] == "WAITING_FOR_APPROVAL":
            # Port does not publish its answer for this case.
            raise Refused(refusal, "invalid_request", f"Run {run_id!r} waits for an approval")
        return run

    def _change_run(self, run: Document, changes: Document) -> None:
        run.update(changes, updatedAt=now())
        if run["status"] in ENDED:
            run["endedAt"] = run["updatedAt"]

    # Workflow node runs

    def add_node_run(self, node_run_id: str) -> Document:
        """Add a node run of a workflow, in progress, and return it."""
        node_run = {"identifier": node_run_id, "status": "IN_PROGRESS", "logs": [], "createdAt": now()}
        self.node_runs[node_run_id] = node_run
        return node_run

    def update_node_run(self, request: Received, node_run: str) -> Reply:
        check(NODE_RUN_UPDATE, request.body)
        stored = self._open_node_run(node_run)
        logs = [{"level": entry["logLevel"], "message": entry["log"]} for entry in request.body.get("logs", [])]
        stored.update({**request.body, "logs": stored["logs"] + logs, "updatedAt": now()})
        return 200, {"ok": True}

    def add_node_run_logs(self, request: Received, node_run: str) -> Reply:
        check(NODE_RUN_LOGS, request.body)
        self._open_node_run(node_run)["logs"].extend(request.body["logs"])
        return 200, {"ok": True}

    def _open_node_run(self, identifier: str) -> Document:
        node_run = self.node_runs.get(identifier)
        if node_run is None:
            raise Refused(404, "not_found", f"Node run {identifier!r} was not found")
        # Port does not publish its answer for this case. It refuses ended runs of actions in this way.
        if node_run["status"] == "COMPLETED":
            raise Refused(422, "run_exhausted", f"Node run {identifier!r} is completed")
        return node_run


def _encrypted(user_inputs: Document) -> list[str]:
    return [name for name, rules in user_inputs["properties"].items() if "encryption" in rules]


def _reference(identifier: str, definition: Document) -> Document:
    known = {"title": definition.get("title"), "icon": definition.get("icon")}
    return {"identifier": identifier, **known, "deleted": not definition}


def _without(document: Document, names: list[str]) -> Document:
    return {name: value for name, value in document.items() if name not in names}


def _identifier(value: Any) -> Any:
    return value["identifier"] if isinstance(value, dict) else value


def _shown(run: Document, request: Received) -> Document:
    """Return the run in the version that the request asks for."""
    # Port does not document the default version. Its samples show the older one.
    if request.query.get("version") == "v2":
        return run
    references: Document = {name: _identifier(run[name]) for name in ("action", "blueprint", "entity") if name in run}
    return {
        **run,
        **references,
        "relatedEntityExists": "entity" in run and not run["entity"]["deleted"],
        "relatedBlueprintExists": "blueprint" in run and not run["blueprint"]["deleted"],
    }
