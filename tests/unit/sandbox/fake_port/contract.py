"""The operations of the fake Port as Port publishes them, in short: parameters, bodies and answers.

The table is written apart from the fake Port's own rules, so that each finds the mistakes of the other. Replacing an
action is left out: its body is that of a new action, and takes long. `OPENAPI` is the same as an OpenAPI document.
"""

from dataclasses import dataclass, field
from typing import Any

Schema = dict[str, Any]


def obj(properties: Schema, *required: str, more: bool = False) -> Schema:
    schema = {"type": "object", "properties": properties, "additionalProperties": more}
    return {**schema, "required": list(required)} if required else schema


def each(values: Schema, names: str | None = None, longest: int | None = None) -> Schema:
    """Objects with any names, or those that match the pattern."""
    schema: Schema = {"type": "object", "additionalProperties": values}
    if names:
        schema["propertyNames"] = {"pattern": names, **({"maxLength": longest} if longest else {})}
    return schema


def array(items: Schema, **rules: int) -> Schema:
    return {"type": "array", "items": items, **rules}


def enum(*values: Any) -> Schema:
    return {"enum": list(values)}


def either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


TEXT: Schema = {"type": "string"}
TEXTS = array(TEXT)
ANY_OBJECT: Schema = {"type": "object"}
BOOLEAN: Schema = {"type": "boolean"}
NULL: Schema = {"type": "null"}
DATE: Schema = {"type": "string", "format": "date-time"}
ENTITY_ID: Schema = {"type": "string", "maxLength": 1000, "pattern": r"^(?!\.{1,2}$)[\p{L}0-9@_.+:\\/=-]+$"}
PROPERTY_NAME = r"^[A-Za-z0-9@_=\\-]+$"

# Answers

REFUSAL = obj({"ok": {"const": False}, "error": TEXT, "message": TEXT}, "ok", "error")
OK: Schema = {"const": True}
THING = obj({"identifier": TEXT, "title": either(TEXT, NULL), "deleted": BOOLEAN}, "identifier", more=True)
RUN = obj(
    {
        "id": TEXT,
        "action": either(THING, TEXT),
        "blueprint": either(THING, TEXT),
        "entity": either(THING, TEXT),
        "properties": ANY_OBJECT,
        "requiredApproval": either(BOOLEAN, obj({"type": enum("ALL", "ANY")}, "type")),
        "source": TEXT,
        "status": TEXT,
        "statusLabel": either(TEXT, NULL),
        "link": either(TEXT, TEXTS),
        "summary": TEXT,
        "approval": either(obj({"state": TEXT, "description": TEXT, "userId": either(TEXT, NULL)}), NULL),
        "createdAt": DATE,
        "updatedAt": DATE,
        "endedAt": DATE,
    },
    *("id", "action", "properties", "requiredApproval", "source", "status"),
    more=True,
)
LOG = obj(dict.fromkeys(("id", "runId", "message", "createdBy", "createdAt"), TEXT), "id", "runId", "message")
ENTITY_ANSWER = obj({"identifier": TEXT, "blueprint": TEXT, "properties": ANY_OBJECT}, "identifier", more=True)

# Parameters

VERSION = enum("v1", "v2")
WRITING: Schema = {"create_missing_related_entities": BOOLEAN, "run_id": TEXT}
CREATING: Schema = {"upsert": BOOLEAN, "merge": BOOLEAN, "validation_only": BOOLEAN, **WRITING}

# Bodies

ENDS = enum("SUCCESS", "FAILURE")
RELATIONS = each(either(ENTITY_ID, array(ENTITY_ID), NULL))
ENTITY = obj(
    {
        "identifier": ENTITY_ID,
        "title": either(TEXT, NULL),
        "icon": either(TEXT, NULL),
        "team": either(TEXT, TEXTS),
        "properties": ANY_OBJECT,
        "relations": RELATIONS,
    },
    more=True,
)
ENTITY_CHANGE = obj(
    {
        "identifier": ENTITY_ID,
        "title": either(TEXT, NULL),
        "icon": either(TEXT, NULL),
        "team": either(TEXT, NULL, TEXTS),
        "properties": each({}, PROPERTY_NAME),
        "relations": RELATIONS,
    }
)

# Definitions of blueprints

SHORT: Schema = {"type": "string", "maxLength": 100}
TYPE = enum("string", "number", "boolean", "object", "array")
FORMATS = ["date-time", "url", "email", "idn-email", "ipv4", "ipv6", "markdown", "yaml", "user", "team", "proto"]
URL: Schema = {"type": "string", "format": "uri"}
NUMBER: Schema = {"type": "number"}
VALUE = either(TEXT, NUMBER, BOOLEAN, NULL, TEXTS, array(NUMBER), array(BOOLEAN))
RULES = either(
    obj({"property": TEXT, "operator": enum("isEmpty", "isNotEmpty")}, "property", "operator"),
    obj(
        {"property": TEXT, "operator": enum("!=", "beginsWith", "in", "notIn"), "value": VALUE},
        *("property", "operator", "value"),
    ),
)
SEARCH = obj({"combinator": enum("and", "or"), "rules": array(RULES)}, "combinator", "rules")
SPECIFIED = {
    "format": enum(*FORMATS, "labeled-url"),
    "spec": enum("open-api", "embedded-url", "async-api"),
    "specAuthentication": obj(
        {"clientId": TEXT, "authorizationUrl": URL, "tokenUrl": URL, "authorizationScope": TEXTS},
        *("clientId", "authorizationUrl", "tokenUrl"),
    ),
    "icon": TEXT,
    "description": TEXT,
    "title": SHORT,
    "type": TYPE,
}
PROPERTY = obj({**SPECIFIED, "format": enum(*FORMATS, "labeled-url", "timer", "blueprints")}, "type", more=True)
PERIOD = enum("hour", "day", "week", "month", "total")
AGGREGATION = obj(
    {
        "title": SHORT,
        "target": TEXT,
        "type": enum("number"),
        "pathFilter": array(obj({"path": array(TEXT, minItems=1), "fromBlueprint": TEXT}, "path"), maxItems=1),
        "calculationSpec": either(
            obj({"calculationBy": enum("entities"), "func": enum("count")}, "calculationBy", "func"),
            obj(
                {"calculationBy": enum("entities"), "func": enum("average"), "averageOf": PERIOD},
                *("calculationBy", "func", "averageOf"),
            ),
            obj(
                {"calculationBy": enum("property"), "func": enum("sum", "min", "max", "median"), "property": TEXT},
                *("calculationBy", "func", "property"),
            ),
        ),
    },
    *("title", "target", "calculationSpec"),
)
BLUEPRINT_CHANGE = obj(
    {
        "identifier": {"type": "string", "maxLength": 100, "pattern": r"^(?!\.{1,2}$)[\p{L}0-9@_.+:\\/-]+$"},
        "title": {**SHORT, "minLength": 1},
        "description": {"type": "string", "maxLength": 200},
        "icon": TEXT,
        "schema": obj({"properties": each(PROPERTY, PROPERTY_NAME, 100), "required": TEXTS}, "properties"),
        "relations": each(
            obj({"target": TEXT, "many": BOOLEAN, "required": BOOLEAN, "title": SHORT}, "target", "many", "required"),
            *(PROPERTY_NAME, 100),
        ),
        "mirrorProperties": each(
            obj({"path": {"type": "string", "pattern": r"^([A-Za-z0-9@_=$-]+\.)+[^.]+$"}, "title": SHORT}, "path"),
            PROPERTY_NAME,
            100,
        ),
        "calculationProperties": each(
            obj({**SPECIFIED, "calculation": TEXT, "colorized": BOOLEAN}, "calculation", "type"), PROPERTY_NAME, 100
        ),
        "aggregationProperties": each(AGGREGATION, PROPERTY_NAME, 100),
        "changelogDestination": either(
            obj({"type": enum("KAFKA")}, "type"),
            obj({"type": enum("WEBHOOK"), "url": URL, "agent": BOOLEAN}, "type", "url"),
        ),
        "ownership": either(
            obj({"type": enum("Direct")}, "type"), obj({"type": enum("Inherited"), "path": TEXT}, "type", "path")
        ),
    },
    *("title", "schema"),
    more=True,
)
BLUEPRINT: Schema = {**BLUEPRINT_CHANGE, "required": ["identifier", "title", "schema"]}

# Definitions of actions

JQ = obj({"jqQuery": TEXT}, "jqQuery")
VISIBLE = either(BOOLEAN, JQ)
INPUT = obj(
    {
        "type": TYPE,
        "format": enum("date-time", "url", "email", "entity", "user", "team", "markdown", "multi-line", "labeled-url"),
        "icon": TEXT,
        "blueprint": TEXT,
        "dependsOn": TEXTS,
        "visible": VISIBLE,
        "sort": obj({"property": TEXT, "order": enum("ASC", "DESC")}, "property", "order", more=True),
    },
    "type",
    more=True,
)
INPUTS: Schema = {
    "properties": each(INPUT, PROPERTY_NAME),
    "required": either(TEXTS, JQ),
    "titles": each(
        obj(
            {
                "title": {"type": "string", "minLength": 1, "maxLength": 140},
                "description": {"type": "string", "maxLength": 1000},
                "visible": VISIBLE,
            },
            more=True,
        ),
        PROPERTY_NAME,
    ),
}
USER_INPUTS = either(
    obj({**INPUTS, "order": TEXTS}, "properties"),
    obj(
        {**INPUTS, "steps": array(obj({"title": TEXT, "order": TEXTS, "visible": VISIBLE}, "title"))},
        *("properties", "steps"),
    ),
)
BUTTON: Schema = {"type": "string", "minLength": 2, "maxLength": 15, "pattern": r"^\S.*\S$"}
SELF_SERVICE: Schema = {
    "type": enum("self-service"),
    "userInputs": USER_INPUTS,
    "actionCardButtonText": BUTTON,
    "executeActionButtonText": BUTTON,
}
VM: Schema = {"blueprintIdentifier": enum("vm")}
# Conditions of self-service actions are left out: they would double the time.
TRIGGERS = [
    obj({**SELF_SERVICE, **VM, "operation": enum("CREATE", "DAY-2", "DELETE")}, "type", "operation", "userInputs"),
    obj(
        {
            "type": enum("automation"),
            "event": either(
                obj({**VM, "type": enum("ENTITY_CREATED", "ANY_ENTITY_CHANGE")}, "type", "blueprintIdentifier"),
                obj(
                    {**VM, "type": enum("TIMER_PROPERTY_EXPIRED"), "propertyIdentifier": TEXT},
                    *("type", "blueprintIdentifier", "propertyIdentifier"),
                ),
                obj({"type": enum("RUN_UPDATED"), "actionIdentifier": TEXT}, "type", "actionIdentifier"),
            ),
            "condition": obj(
                {"type": enum("JQ"), "expressions": TEXTS, "combinator": enum("and", "or")}, "type", "expressions"
            ),
        },
        *("type", "event"),
    ),
]
BODY = either(ANY_OBJECT, array({}))
INVOCATIONS = [
    obj({"type": enum("KAFKA"), "payload": BODY}, "type"),
    obj(
        {
            "type": enum("WEBHOOK"),
            "url": TEXT,
            "agent": either(BOOLEAN, TEXT),
            "method": TEXT,
            "headers": each(TEXT),
            "body": BODY,
        },
        *("type", "url"),
    ),
    obj(
        {"type": enum("GITHUB"), **dict.fromkeys(("org", "repo", "workflow"), TEXT)}, "type", "org", "repo", "workflow"
    ),
    obj({"type": enum("GITLAB"), "projectName": TEXT, "groupName": TEXT}, "type", "projectName", "groupName"),
    obj({"type": enum("AZURE_DEVOPS"), "org": TEXT, "webhook": TEXT}, "type", "org", "webhook"),
]
ACTION = obj(
    {
        "identifier": {"type": "string", "pattern": r"^(?!\.{1,2}$)[\p{L}0-9@_.+:=-]+$"},
        "title": TEXT,
        "icon": TEXT,
        "description": TEXT,
        "trigger": either(*TRIGGERS),
        "invocationMethod": either(*INVOCATIONS),
        "requiredApproval": either(BOOLEAN, obj({"type": enum("ANY", "ALL")}, "type")),
        "approvalNotification": either(
            obj({"type": enum("email")}, "type"),
            obj({"type": enum("webhook"), "url": URL, "format": enum("json", "slack")}, "type", "url"),
        ),
        "publish": BOOLEAN,
        "allowAnyoneToViewRuns": BOOLEAN,
    },
    *("identifier", "trigger", "invocationMethod"),
)


@dataclass(frozen=True)
class Operation:
    """One operation: a line such as "GET /v1/actions/{action}", its query, its body and its answers by status."""

    line: str
    answers: dict[int, Schema]
    body: Schema | None = None
    query: Schema = field(default_factory=dict)

    @property
    def method(self) -> str:
        return self.line.split()[0].lower()

    @property
    def path(self) -> str:
        return self.line.split()[1]


RUNS = "/v1/actions/runs"
RUN_PATH = f"{RUNS}/{{run}}"
ENTITIES = "/v1/blueprints/{blueprint}/entities"

OPERATIONS = [
    Operation(
        "POST /v1/auth/access_token",
        {200: obj({"ok": OK, "accessToken": TEXT, "expiresIn": {"type": "number"}, "tokenType": TEXT}, "accessToken")},
        obj({"clientId": TEXT, "clientSecret": TEXT}, "clientId", "clientSecret"),
    ),
    Operation(
        f"GET {RUNS}",
        {200: obj({"ok": OK, "runs": array(RUN)}, "ok", "runs")},
        query={
            **dict.fromkeys(("action", "blueprint", "entity", "external_run_id", "user_email", "user_id"), TEXT),
            "active": BOOLEAN,
            "limit": {"type": "number", "minimum": 1, "maximum": 1000},
            "source": array(enum("UI", "API", "AUTOMATION")),
            "version": VERSION,
        },
    ),
    Operation(f"GET {RUN_PATH}", {200: obj({"ok": OK, "run": RUN}, "ok", "run")}, query={"version": VERSION}),
    Operation(
        f"PATCH {RUN_PATH}",
        {200: obj({"ok": OK, "run": RUN}, "ok", "run")},
        obj(
            {
                "status": ENDS,
                "statusLabel": TEXT,
                "link": either(TEXT, TEXTS),
                "summary": TEXT,
                "externalRunId": TEXT,
                "message": ANY_OBJECT,
            }
        ),
        query={"version": VERSION},
    ),
    Operation(
        f"PATCH {RUN_PATH}/approval",
        {201: obj({"ok": OK, "run": RUN}, "ok")},
        obj({"status": enum("APPROVE", "DECLINE"), "description": TEXT}, "status"),
        query={"version": VERSION},
    ),
    Operation(
        f"GET {RUN_PATH}/logs",
        {200: obj({"ok": OK, "runLogs": array(LOG)}, "ok", "runLogs")},
        # Port publishes no smallest offset.
        query={"limit": {"type": "number", "minimum": 1, "maximum": 50}, "offset": {"type": "number", "minimum": 0}},
    ),
    Operation(
        f"POST {RUN_PATH}/logs",
        {201: obj({"ok": OK, "runLog": LOG}, "ok", "runLog")},
        obj({"message": TEXT, "terminationStatus": ENDS, "statusLabel": TEXT}, "message"),
    ),
    Operation(
        "POST /v1/actions/{action}/runs",
        {202: obj({"ok": OK, "run": RUN}, "ok", "run")},
        obj({"properties": ANY_OBJECT, "entity": TEXT}, "properties"),
        query={"run_as": {"type": "string", "format": "email"}},
    ),
    Operation("GET /v1/actions/{action}", {200: obj({"ok": OK, "action": ANY_OBJECT}, "ok", "action")}),
    Operation("POST /v1/actions", {201: obj({"ok": OK, "action": ANY_OBJECT}, "ok", "action"), 409: REFUSAL}, ACTION),
    Operation(
        "POST /v1/blueprints",
        {201: obj({"ok": OK, "blueprint": ANY_OBJECT}, "ok", "blueprint"), 409: REFUSAL},
        BLUEPRINT,
        query={"create_catalog_page": BOOLEAN},
    ),
    Operation(
        "PUT /v1/blueprints/{blueprint}",
        {200: obj({"ok": OK, "blueprint": ANY_OBJECT}, "ok", "blueprint")},
        BLUEPRINT_CHANGE,
    ),
    Operation("GET /v1/blueprints/{blueprint}", {200: obj({"ok": OK, "blueprint": ANY_OBJECT}, "ok", "blueprint")}),
    Operation(
        f"POST {ENTITIES}",
        {201: obj({"ok": OK, "entity": ENTITY_ANSWER}, "ok", "entity"), 400: REFUSAL, 403: REFUSAL, 409: REFUSAL},
        ENTITY,
        query=CREATING,
    ),
    Operation(
        f"POST {ENTITIES}/bulk",
        {
            status: obj(
                {
                    "ok": BOOLEAN,
                    "entities": array(obj({"created": BOOLEAN, "identifier": TEXT, "index": {"type": "integer"}})),
                    "errors": array(ANY_OBJECT),
                },
                *("ok", "entities", "errors"),
            )
            for status in (200, 207)
        },
        obj({"entities": array(ENTITY, minItems=1, maxItems=20)}, "entities"),
        query=CREATING,
    ),
    Operation(
        f"GET {ENTITIES}/{{entity}}",
        {200: obj({"ok": OK, "entity": ENTITY_ANSWER}, "ok", "entity")},
        query={"exclude_calculated_properties": BOOLEAN, "attach_title_to_relation": BOOLEAN},
    ),
    Operation(
        f"PATCH {ENTITIES}/{{entity}}",
        {200: obj({"ok": OK, "entity": ENTITY_ANSWER}, "ok", "entity"), 400: REFUSAL, 403: REFUSAL, 409: REFUSAL},
        ENTITY_CHANGE,
        query=WRITING,
    ),
    Operation(
        f"PUT {ENTITIES}/{{entity}}",
        {200: obj({"ok": OK, "entity": ENTITY_ANSWER}, "ok", "entity"), 400: REFUSAL, 403: REFUSAL, 409: REFUSAL},
        ENTITY,
        query=WRITING,
    ),
    Operation(
        "POST /v1/entities/search",
        {200: obj({"ok": OK, "entities": array(ENTITY_ANSWER), "matchingBlueprints": TEXTS}, "ok", "entities")},
        SEARCH,
    ),
    Operation(
        f"DELETE {ENTITIES}/{{entity}}",
        {200: obj({"ok": OK}, "ok"), 400: REFUSAL, 403: REFUSAL},
        query={"delete_dependents": BOOLEAN, "run_id": TEXT},
    ),
]

# What the paths name. Each can also name something unknown.
KNOWN = {"run": "r_1", "action": "create_vm", "blueprint": "vm", "entity": "box"}


def _operation(operation: Operation) -> Schema:
    names = [name for name in KNOWN if f"{{{name}}}" in operation.path]
    in_path = [{"name": name, "in": "path", "required": True, "schema": enum(KNOWN[name], "unknown")} for name in names]
    in_query = [{"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()]
    refusals = dict.fromkeys((401, 404, 413, 422), REFUSAL)
    body = {"requestBody": {"required": True, "content": {"application/json": {"schema": operation.body}}}}
    return {
        "parameters": in_path + in_query,
        **(body if operation.body else {}),
        "responses": {
            str(status): {"description": "", "content": {"application/json": {"schema": schema}}}
            for status, schema in {**refusals, **operation.answers}.items()
        },
    }


def _paths() -> Schema:
    paths: Schema = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return paths


OPENAPI: Schema = {"openapi": "3.1.0", "info": {"title": "Port", "version": "1"}, "paths": _paths()}
