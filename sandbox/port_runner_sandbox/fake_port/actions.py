"""Actions, their executions and automations."""

import logging
from collections.abc import Callable
from typing import Any

from port_runner_sandbox.fake_port.catalog import Catalog
from port_runner_sandbox.fake_port.definitions import ACTION
from port_runner_sandbox.fake_port.documents import Document, Reply, new_id, now, stamps
from port_runner_sandbox.fake_port.encryption import encrypt
from port_runner_sandbox.fake_port.history import History
from port_runner_sandbox.fake_port.http_server import Received
from port_runner_sandbox.fake_port.messages import invocation, message
from port_runner_sandbox.fake_port.runs import Runs
from port_runner_sandbox.fake_port.schemas import EXECUTION, Refused, check, value_rules
from port_runner_sandbox.fake_port.searches import fits
from port_templates import TemplateError, render

log = logging.getLogger(__name__)

_EVENTS = {
    "CREATE": ("ENTITY_CREATED", "ANY_ENTITY_CHANGE", "RUN_CREATED", "ANY_RUN_CHANGE"),
    "UPDATE": ("ENTITY_UPDATED", "ANY_ENTITY_CHANGE", "RUN_UPDATED", "ANY_RUN_CHANGE"),
    "DELETE": ("ENTITY_DELETED", "ANY_ENTITY_CHANGE"),
    "TIMER_EXPIRED": ("TIMER_PROPERTY_EXPIRED",),
}


class Actions:
    """The organization's actions, by identifier.

    Every method that the routes name takes the request and the path's values, and returns status and document, or
    raises Refused.
    """

    def __init__(
        self, organization_id: str, client_secret: str, history: History, catalog: Catalog, runs: Runs
    ) -> None:
        self.actions: dict[str, Document] = {}
        self.sign_kafka = False
        self._organization_id = organization_id
        self._client_secret = client_secret
        self._history = history
        self._catalog = catalog
        self._runs = runs

    # Definitions

    def create_action(self, request: Received) -> Reply:
        check(ACTION, request.body)
        if request.body["identifier"] in self.actions:
            raise Refused(409, "identifier_taken", f"Action {request.body['identifier']!r} exists already")
        return 201, {"ok": True, "action": self._store(request.body, None)}

    def list_actions(self, request: Received) -> Reply:
        return 200, {"ok": True, "actions": list(self.actions.values())}

    def get_action(self, request: Received, action: str) -> Reply:
        return 200, {"ok": True, "action": self._action(action)}

    def replace_action(self, request: Received, action: str) -> Reply:
        check(ACTION, request.body)
        before = self._action(action)
        if request.body["identifier"] != action and request.body["identifier"] in self.actions:
            raise Refused(409, "identifier_taken", f"Action {request.body['identifier']!r} exists already")
        stored = self._store(request.body, before)
        if stored["identifier"] != action:
            del self.actions[action]
        return 200, {"ok": True, "action": stored}

    def delete_action(self, request: Received, action: str) -> Reply:
        before = self._action(action)
        del self.actions[action]
        self._history.note("DELETE", "action", (before, None), {})
        return 200, {"ok": True}

    def _action(self, identifier: str) -> Document:
        if identifier not in self.actions:
            raise Refused(404, "not_found", f"Action {identifier!r} was not found")
        return self.actions[identifier]

    def _store(self, body: Document, before: Document | None) -> Document:
        trigger = body["trigger"]
        blueprint = trigger.get("event", trigger).get("blueprintIdentifier")
        if blueprint is not None:
            self._catalog.blueprint(blueprint)
        stored = {
            "id": before["id"] if before else new_id("action_"),
            **body,
            **stamps(self._history.author, before),
        }
        self.actions[body["identifier"]] = stored
        context = {} if blueprint is None else {"blueprint": blueprint}
        self._history.note("UPDATE" if before else "CREATE", "action", (before, stored), context)
        return stored

    # Executions

    def execute(self, request: Received, action: str) -> Reply:
        check(EXECUTION, request.body)
        definition = self._action(action)
        trigger = definition["trigger"]
        if trigger["type"] != "self-service":
            raise Refused(422, "run_non_self_service_error", f"Action {action!r} is not a self-service action")
        entity = self._entity_of(trigger, request.body)
        inputs = self._inputs_of(trigger["userInputs"], request.body["properties"])
        email = request.query.get("run_as", "developer@example.com")
        run = self._runs.new(new_id("r_"), definition, trigger.get("blueprintIdentifier"), inputs, entity)
        data = {
            "inputs": self._with_entities(trigger["userInputs"], inputs),
            "trigger": {**self._trigger(email, "API"), "operation": trigger["operation"]},
            "event": None,
            "entity": entity or {},
            "action": {
                "identifier": action,
                "blueprint": trigger.get("blueprintIdentifier"),
                "encryptedProperties": _encrypted(trigger["userInputs"]),
            },
            "run": {"id": run["id"]},
        }
        self._start(run, definition, data, email)
        return 202, {"ok": True, "run": run}

    def _start(self, run: Document, definition: Document, data: Document, email: str | None) -> None:
        called = invocation(definition["invocationMethod"], data)
        run["payload"] = called
        self._runs.start(run, message(called, data, self._client_secret, self.sign_kafka), email)

    def _entity_of(self, trigger: Document, body: Document) -> Document | None:
        blueprint = trigger.get("blueprintIdentifier")
        if trigger["operation"] == "CREATE" or blueprint is None:
            return None
        if "entity" not in body:
            text = f"A {trigger['operation']} action needs an entity"
            raise Refused(422, "missing_self_service_action_entity", text)
        entity = self._catalog.entity(blueprint, body["entity"])
        if "condition" in trigger and not fits(trigger["condition"], entity, self._catalog.related):
            text = f"Entity {body['entity']!r} does not pass the condition of the action"
            raise Refused(422, "entity_does_not_pass_condition", text)
        return entity

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

    def _with_entities(self, user_inputs: Document, inputs: Document) -> Document:
        """Return the inputs with the entities that they name. Raises Refused (404) if there is no such entity."""
        whole = dict(inputs)
        for name, rules in user_inputs["properties"].items():
            items = rules.get("items") if isinstance(rules.get("items"), dict) else {}
            blueprint = rules.get("blueprint", items.get("blueprint"))
            if blueprint is None or inputs.get(name) is None:
                continue
            if rules.get("format") == "entity":
                whole[name] = self._catalog.entity(blueprint, inputs[name])
            elif items.get("format") == "entity":
                whole[name] = [self._catalog.entity(blueprint, one) for one in inputs[name]]
        return whole

    def _trigger(self, email: str, origin: str) -> Document:
        moment = now()
        user = {
            "email": email,
            "firstName": "Dev",
            "lastName": "Eloper",
            "phoneNumber": "",
            "picture": "",
            "providers": ["port"],
            "status": "ACTIVE",
            "id": self._history.author,
            "createdAt": moment,
            "updatedAt": moment,
        }
        by = {"orgId": self._organization_id, "userId": self._history.author, "user": user}
        return {"by": by, "origin": origin, "at": moment}

    # Automations

    def entity_changed(self, record: Document) -> None:
        """Start the automations that wait for this change of an entity."""
        context = {f"{name}Identifier": record["context"].get(name) for name in ("blueprint", "entity", "property")}
        wanted = {name: context[name] for name in ("blueprintIdentifier", "propertyIdentifier") if context[name]}
        self._automate(record, wanted, context)

    def run_changed(self, record: Document) -> None:
        """Start the automations that wait for this change of a run."""
        run = record["diff"]["after"]
        # The runs of automations start no others, so that no two of them call each other without end.
        if run["source"] != "AUTOMATION":
            action = run["action"]
            wanted = {"actionIdentifier": action["identifier"]}
            self._automate(record, wanted, {"action": action, "runId": run["id"]}, id=run["id"])

    def _automate(self, record: Document, wanted: Document, context: Document, **others: Any) -> None:
        event = {**{name: record.get(name) for name in ("action", "resourceType", "trigger", "diff")}, **others}
        event["context"] = context
        for definition in list(self.actions.values()):
            waits_for = definition["trigger"].get("event", {})
            if (
                waits_for.get("type") in _EVENTS[record["action"]]
                and all(waits_for.get(name) == value for name, value in wanted.items())
                and definition.get("publish", True)
                and _passes(definition["trigger"].get("condition"), event)
            ):
                self._start_automation(definition, event)

    def _start_automation(self, definition: Document, event: Document) -> None:
        run = self._runs.new(new_id("r_"), definition, None, {}, None, source="AUTOMATION")
        data = {
            "inputs": None,
            "trigger": {**self._trigger("", "AUTOMATION"), "operation": None},
            "event": event,
            "entity": None,
            "action": {"identifier": definition["identifier"], "blueprint": None, "encryptedProperties": []},
            "run": {"id": run["id"]},
        }
        try:
            self._start(run, definition, data, None)
        except Refused as refused:
            # The change that started it happens all the same.
            log.warning("the automation %s was not started: %s", definition["identifier"], refused.message)


def _encrypted(user_inputs: Document) -> list[str]:
    return [name for name, rules in user_inputs["properties"].items() if "encryption" in rules]


def _passes(condition: Document | None, event: Document) -> bool:
    if condition is None:
        return True
    combine: Callable[[Any], bool] = any if condition.get("combinator") == "or" else all
    try:
        return combine(render(f"{{{{ {expression} }}}}", event) is True for expression in condition["expressions"])
    except TemplateError:
        return False
