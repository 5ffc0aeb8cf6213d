"""Port's rules for the definitions of blueprints and actions."""

from port_runner_sandbox.fake_port.schemas import (
    ANY,
    BOOLEAN,
    JQ,
    OBJECT,
    PROPERTY_NAMES,
    STRING,
    STRINGS,
    TYPES,
    Schema,
    enum,
    strict,
    variants,
)
from port_runner_sandbox.fake_port.searches import DATASET, SEARCH

_TITLE: Schema = {"type": "string", "maxLength": 100}
_URI: Schema = {"type": "string", "pattern": '^[A-Za-z][A-Za-z0-9+.-]*:[^\\s<>"{}|\\\\^`]*$'}


def _named(values: Schema) -> Schema:
    return {"type": "object", "propertyNames": PROPERTY_NAMES, "additionalProperties": values}


# Blueprints

_FORMATS = (
    *("date-time", "url", "email", "ipv4", "ipv6", "markdown", "yaml", "user", "team", "proto", "labeled-url"),
    "idn-email",
)
_SPECS = {
    "spec": enum("open-api", "embedded-url", "async-api"),
    "specAuthentication": strict(
        {"clientId": STRING, "authorizationUrl": _URI, "tokenUrl": _URI, "authorizationScope": STRINGS},
        *("clientId", "authorizationUrl", "tokenUrl"),
    ),
}
_PROPERTY: Schema = {
    "type": "object",
    "properties": {
        "type": TYPES,
        "title": _TITLE,
        "description": STRING,
        "icon": STRING,
        "format": enum(*_FORMATS, "timer", "blueprints"),
        **_SPECS,
    },
    "required": ["type"],
    "format": "json-schema",
}
_RELATION = strict(
    {"target": STRING, "required": BOOLEAN, "many": BOOLEAN, "title": _TITLE, "description": STRING, "type": STRING},
    *("target", "required", "many"),
)
_MIRROR = strict({"path": {"type": "string", "pattern": r"^([A-Za-z0-9@_=$-]+\.)+[^.]+$"}, "title": _TITLE}, "path")
_COLORS = enum(
    *("blue", "turquoise", "orange", "purple", "pink", "yellow", "green", "red", "gold", "silver", "paleBlue"),
    *("darkGray", "lightGray", "bronze", "lime", "olive", "brown"),
)
_CALCULATION = strict(
    {
        "calculation": STRING,
        "type": TYPES,
        "title": _TITLE,
        "description": STRING,
        "icon": STRING,
        "format": enum(*_FORMATS),
        "items": {
            "type": "object",
            "properties": {"type": TYPES, "format": enum(*_FORMATS[:-1], "timer", "idn-format")},
        },
        "colorized": BOOLEAN,
        "colors": {"type": "object", "additionalProperties": _COLORS},
        **_SPECS,
    },
    *("calculation", "type"),
)
_AVERAGE = {
    "func": enum("average"),
    "averageOf": enum("hour", "day", "week", "month", "total"),
    "measureTimeBy": STRING,
}
_OF_ENTITIES, _OF_PROPERTY = {"calculationBy": enum("entities")}, {"calculationBy": enum("property")}
_AGGREGATION = strict(
    {
        "title": _TITLE,
        "target": STRING,
        "type": enum("number"),
        "description": STRING,
        "icon": STRING,
        "query": SEARCH,
        "pathFilter": {
            "type": "array",
            "maxItems": 1,
            "items": strict({"path": {**STRINGS, "minItems": 1}, "fromBlueprint": STRING}, "path"),
        },
        "calculationSpec": {
            "oneOf": [
                strict({**_OF_ENTITIES, "func": enum("count")}, "calculationBy", "func"),
                strict({**_OF_ENTITIES, **_AVERAGE}, "calculationBy", "func", "averageOf"),
                strict(
                    {**_OF_PROPERTY, "func": enum("sum", "min", "max", "median"), "property": STRING},
                    *("calculationBy", "func", "property"),
                ),
                strict(
                    {**_OF_PROPERTY, **_AVERAGE, "property": STRING},
                    *("calculationBy", "func", "averageOf", "property"),
                ),
            ]
        },
    },
    *("title", "target", "calculationSpec"),
)
BLUEPRINT_UPDATE: Schema = {
    "type": "object",
    "properties": {
        "identifier": {"type": "string", "maxLength": 100, "pattern": r"^(?!\.{1,2}$)[\p{L}0-9@_.+:\\/-]+$"},
        "title": {**_TITLE, "minLength": 1},
        "description": {"type": "string", "maxLength": 200},
        "icon": STRING,
        "schema": strict({"properties": _named(_PROPERTY), "required": STRINGS}, "properties"),
        "relations": _named(_RELATION),
        "mirrorProperties": _named(_MIRROR),
        "calculationProperties": _named(_CALCULATION),
        "aggregationProperties": _named(_AGGREGATION),
        "ownership": variants(
            "type",
            Inherited=strict({"type": ANY, "path": STRING, "title": _TITLE}, "path"),
            Direct=strict({"type": ANY, "title": _TITLE}),
        ),
        "changelogDestination": variants(
            "type",
            KAFKA=strict({"type": ANY}),
            WEBHOOK=strict({"type": ANY, "url": _URI, "agent": BOOLEAN}, "url"),
        ),
    },
}
BLUEPRINT: Schema = {**BLUEPRINT_UPDATE, "required": ["identifier", "title", "schema"]}

# Actions

_VISIBLE: Schema = {"anyOf": [BOOLEAN, JQ]}
_INPUT_NAMES = {"pattern": PROPERTY_NAMES["pattern"]}
_INPUT: Schema = {
    "type": "object",
    "properties": {
        "type": TYPES,
        "format": enum(
            *("date-time", "url", "email", "ipv4", "ipv6", "yaml", "entity", "user", "team", "proto", "markdown"),
            *("multi-line", "labeled-url"),
        ),
        "icon": STRING,
        "blueprint": STRING,
        "dataset": DATASET,
        "dependsOn": STRINGS,
        "visible": _VISIBLE,
        "jqQuery": {"type": "null"},
        "sort": {
            "type": "object",
            "properties": {"property": STRING, "order": enum("ASC", "DESC")},
            "required": ["property", "order"],
        },
        "encryption": {
            "anyOf": [
                enum("aes256-gcm"),
                strict(
                    {"algorithm": enum("client-side"), "key": {"type": "string", "format": "public-key"}},
                    "algorithm",
                    "key",
                ),
            ]
        },
    },
    "required": ["type"],
    "format": "json-schema",
}
_STEP = strict({"title": STRING, "order": STRINGS, "visible": _VISIBLE}, "title")
_HEADING: Schema = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "minLength": 1, "maxLength": 140},
        "description": {"type": "string", "maxLength": 1000},
        "visible": _VISIBLE,
    },
}
_USER_INPUTS: Schema = {
    **strict(
        {
            "properties": {"type": "object", "propertyNames": _INPUT_NAMES, "additionalProperties": _INPUT},
            "required": {"anyOf": [STRINGS, JQ]},
            "order": STRINGS,
            "steps": {"type": "array", "items": _STEP},
            "titles": {"type": "object", "propertyNames": _INPUT_NAMES, "additionalProperties": _HEADING},
        },
        "properties",
    ),
    # Either an order or steps.
    "not": {"required": ["order", "steps"]},
}
_BUTTON: Schema = {"type": "string", "minLength": 1, "maxLength": 15, "pattern": r"^\S.*\S$"}
_SELF_SERVICE: Schema = {
    "type": ANY,
    "operation": ANY,
    "blueprintIdentifier": STRING,
    "userInputs": _USER_INPUTS,
    "actionCardButtonText": _BUTTON,
    "executeActionButtonText": _BUTTON,
}
_CONDITION = strict({**SEARCH["properties"], "type": enum("SEARCH")}, "type", "combinator", "rules")
_ON_ENTITY: Schema = {
    **strict({**_SELF_SERVICE, "condition": _CONDITION}, "userInputs"),
    "dependencies": {"condition": ["blueprintIdentifier"]},
}
_OF_BLUEPRINT = strict({"type": ANY, "blueprintIdentifier": STRING}, "blueprintIdentifier")
_OF_ACTION = strict({"type": ANY, "actionIdentifier": STRING}, "actionIdentifier")
_EVENTS = variants(
    "type",
    ENTITY_CREATED=_OF_BLUEPRINT,
    ENTITY_UPDATED=_OF_BLUEPRINT,
    ENTITY_DELETED=_OF_BLUEPRINT,
    ANY_ENTITY_CHANGE=_OF_BLUEPRINT,
    TIMER_PROPERTY_EXPIRED=strict(
        {"type": ANY, "blueprintIdentifier": STRING, "propertyIdentifier": STRING},
        *("blueprintIdentifier", "propertyIdentifier"),
    ),
    RUN_CREATED=_OF_ACTION,
    RUN_UPDATED=_OF_ACTION,
    ANY_RUN_CHANGE=_OF_ACTION,
)
_EXPRESSIONS = strict(
    {"type": enum("JQ"), "expressions": STRINGS, "combinator": enum("and", "or")}, "type", "expressions"
)
_TRIGGER = variants(
    "type",
    **{
        "self-service": variants(
            "operation",
            **{"CREATE": strict(_SELF_SERVICE, "userInputs"), "DAY-2": _ON_ENTITY, "DELETE": _ON_ENTITY},
        ),
        "automation": strict({"type": ANY, "event": _EVENTS, "condition": _EXPRESSIONS}, "event"),
    },
)
_PAYLOAD: Schema = {"type": ["object", "array"]}
_BOOLEAN_OR_TEMPLATE: Schema = {"type": ["boolean", "string"]}
_MAPPING = strict(
    {
        "identifier": STRING,
        "title": STRING,
        "icon": STRING,
        "team": {"anyOf": [STRING, STRINGS]},
        "properties": OBJECT,
        "relations": {
            "type": "object",
            "additionalProperties": {"anyOf": [STRING, STRINGS, {"type": "null"}]},
        },
    }
)
_INVOCATION = variants(
    "type",
    KAFKA=strict({"type": ANY, "payload": _PAYLOAD}),
    WEBHOOK=strict(
        {
            "type": ANY,
            "url": STRING,
            "agent": _BOOLEAN_OR_TEMPLATE,
            "synchronized": _BOOLEAN_OR_TEMPLATE,
            "method": STRING,
            "headers": {"type": "object", "additionalProperties": STRING},
            "body": _PAYLOAD,
        },
        "url",
    ),
    GITHUB=strict(
        {
            "type": ANY,
            "org": STRING,
            "repo": STRING,
            "workflow": STRING,
            "workflowInputs": OBJECT,
            "reportWorkflowStatus": _BOOLEAN_OR_TEMPLATE,
        },
        *("org", "repo", "workflow"),
    ),
    GITLAB=strict(
        {"type": ANY, "projectName": STRING, "groupName": STRING, "defaultRef": STRING, "pipelineVariables": OBJECT},
        *("projectName", "groupName"),
    ),
    AZURE_DEVOPS=strict({"type": ANY, "org": STRING, "webhook": STRING, "payload": _PAYLOAD}, "org", "webhook"),
    INTEGRATION_ACTION=strict(
        {
            "type": ANY,
            "installationId": STRING,
            "integrationActionType": enum("dispatch_workflow"),
            "integrationActionExecutionProperties": OBJECT,
        },
        *("installationId", "integrationActionType", "integrationActionExecutionProperties"),
    ),
    UPSERT_ENTITY=strict(
        {"type": ANY, "blueprintIdentifier": STRING, "mapping": _MAPPING}, "blueprintIdentifier", "mapping"
    ),
)
ACTION = strict(
    {
        "identifier": {"type": "string", "pattern": r"^(?!\.{1,2}$)[\p{L}0-9@_.+:=-]+$"},
        "title": STRING,
        "icon": STRING,
        "description": STRING,
        "trigger": _TRIGGER,
        "invocationMethod": _INVOCATION,
        "requiredApproval": {"anyOf": [BOOLEAN, strict({"type": enum("ANY", "ALL")}, "type")]},
        "approvalNotification": variants(
            "type",
            email=strict({"type": ANY}),
            webhook=strict({"type": ANY, "url": _URI, "format": enum("json", "slack")}, "url"),
        ),
        "publish": BOOLEAN,
        "allowAnyoneToViewRuns": BOOLEAN,
    },
    *("identifier", "trigger", "invocationMethod"),
)
