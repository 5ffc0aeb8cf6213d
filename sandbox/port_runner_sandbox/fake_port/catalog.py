"""Blueprints and entities."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from port_runner_sandbox.fake_port.definitions import BLUEPRINT, BLUEPRINT_UPDATE
from port_runner_sandbox.fake_port.documents import Document, Reply, new_id, stamps
from port_runner_sandbox.fake_port.history import History
from port_runner_sandbox.fake_port.http_server import Received
from port_runner_sandbox.fake_port.queries import is_true
from port_runner_sandbox.fake_port.schemas import Refused, check, value_rules
from port_runner_sandbox.fake_port.searches import ENTITIES, ENTITY, ENTITY_REPLACEMENT, ENTITY_UPDATE, SEARCH, fits

# A search for teams looks at the entities of this blueprint.
TEAMS = "_team"


@dataclass(frozen=True)
class _WriteOptions:
    upsert: bool
    merge: bool
    validation_only: bool
    create_missing_related_entities: bool
    run_id: str | None

    @classmethod
    def of(cls, request: Received) -> "_WriteOptions":
        return cls(
            upsert=is_true(request.query, "upsert"),
            merge=is_true(request.query, "merge"),
            validation_only=is_true(request.query, "validation_only"),
            create_missing_related_entities=is_true(request.query, "create_missing_related_entities"),
            run_id=request.query.get("run_id"),
        )


class Catalog:
    """The organization's blueprints and entities, by identifier.

    `announce(topic, message)` publishes a message to Kafka. `check_run(run_id)` raises Refused for a run that cannot
    change entities. `changed(record)` is called after each change of an entity. Every method that the routes name takes
    the request and the path's values, and returns status and document, or raises Refused.
    """

    def __init__(
        self, history: History, announce: Callable[[str, Any], None], check_run: Callable[[str], None]
    ) -> None:
        self.blueprints: dict[str, Document] = {}
        self.entities: dict[tuple[str, str], Document] = {}
        self.changed: Callable[[Document], None]
        self._history = history
        self._announce = announce
        self._check_run = check_run

    # Blueprints

    def create_blueprint(self, request: Received) -> Reply:
        check(BLUEPRINT, request.body)
        if request.body["identifier"] in self.blueprints:
            raise Refused(409, "identifier_taken", f"Blueprint {request.body['identifier']!r} exists already")
        return 201, {"ok": True, "blueprint": self._store_blueprint(request.body)}

    def get_blueprint(self, request: Received, blueprint: str) -> Reply:
        return 200, {"ok": True, "blueprint": self.blueprint(blueprint)}

    def replace_blueprint(self, request: Received, blueprint: str) -> Reply:
        check({**BLUEPRINT_UPDATE, "required": ["title", "schema"]}, request.body)
        return 200, {"ok": True, "blueprint": self._store_blueprint(request.body, self.blueprint(blueprint))}

    def update_blueprint(self, request: Received, blueprint: str) -> Reply:
        check(BLUEPRINT_UPDATE, request.body)
        before = self.blueprint(blueprint)
        return 200, {"ok": True, "blueprint": self._store_blueprint({**before, **request.body}, before)}

    def delete_blueprint(self, request: Received, blueprint: str) -> Reply:
        self.blueprint(blueprint)
        if any(key[0] == blueprint for key in self.entities):
            raise Refused(403, "has_dependents", f"Blueprint {blueprint!r} has entities")
        before = self.blueprints.pop(blueprint)
        self._history.note("DELETE", "blueprint", (before, None), {"blueprint": blueprint})
        return 200, {"ok": True}

    def blueprint(self, identifier: str) -> Document:
        """Return the blueprint. Raises Refused (404) if it does not exist."""
        if identifier not in self.blueprints:
            raise Refused(404, "not_found", f"Blueprint {identifier!r} was not found")
        return self.blueprints[identifier]

    def _store_blueprint(self, body: Document, before: Document | None = None) -> Document:
        identifier = before["identifier"] if before else body["identifier"]
        # Port completes what it stores. A comparison of a definition with Port's answer must allow for that.
        stored = {
            "relations": {},
            "mirrorProperties": {},
            "calculationProperties": {},
            "aggregationProperties": {},
            **body,
            "schema": {"required": [], **body["schema"]},
            "identifier": identifier,
            **stamps(self._history.author, before),
        }
        self.blueprints[identifier] = stored
        change = "UPDATE" if before else "CREATE"
        self._history.note(change, "blueprint", (before, stored), {"blueprint": identifier})
        return stored

    # Entities

    def create_entity(self, request: Received, blueprint: str) -> Reply:
        check(ENTITY, request.body)
        entity, _ = self._create_entity(blueprint, request.body, _WriteOptions.of(request))
        return 201, {"ok": True, "entity": entity}

    def create_entities(self, request: Received, blueprint: str) -> Reply:
        check(ENTITIES, request.body)
        options = _WriteOptions.of(request)
        self.blueprint(blueprint)
        written: list[Document] = []
        errors: list[Document] = []
        for index, body in enumerate(request.body["entities"]):
            try:
                entity, created = self._create_entity(blueprint, body, options)
                written.append({"created": created, "identifier": entity["identifier"], "index": index})
            except Refused as refused:
                identifier = {"identifier": body.get("identifier", ""), "index": index}
                reason = {"statusCode": refused.status, "error": refused.error, "message": refused.message}
                errors.append({**identifier, **reason})
        return 207 if errors else 200, {"ok": not errors, "entities": written, "errors": errors}

    def get_entity(self, request: Received, blueprint: str, entity: str) -> Reply:
        return 200, {"ok": True, "entity": self.entity(blueprint, entity)}

    def update_entity(self, request: Received, blueprint: str, entity: str) -> Reply:
        check(ENTITY_UPDATE, request.body)
        return 200, {"ok": True, "entity": self._change_entity(request, blueprint, entity, merge=True)}

    def replace_entity(self, request: Received, blueprint: str, entity: str) -> Reply:
        check(ENTITY_REPLACEMENT, request.body)
        return 200, {"ok": True, "entity": self._change_entity(request, blueprint, entity, merge=False)}

    def delete_entity(self, request: Received, blueprint: str, entity: str) -> Reply:
        before = self.entity(blueprint, entity)
        if run_id := request.query.get("run_id"):
            self._check_run(run_id)
        del self.entities[blueprint, entity]
        self._note_change("DELETE", before, None, run_id)
        return 200, {"ok": True}

    def entity(self, blueprint: str, identifier: str) -> Document:
        """Return the entity. Raises Refused (404) if it or its blueprint does not exist."""
        self.blueprint(blueprint)
        if (blueprint, identifier) not in self.entities:
            raise Refused(404, "not_found", f"Entity {identifier!r} of {blueprint!r} was not found")
        return self.entities[blueprint, identifier]

    def _create_entity(self, blueprint: str, body: Document, options: _WriteOptions) -> tuple[Document, bool]:
        self.blueprint(blueprint)
        if options.run_id is not None:
            self._check_run(options.run_id)
        body = self._without_searches(blueprint, body)
        identifier = body.get("identifier") or new_id("e_")
        before = self.entities.get((blueprint, identifier))
        if before and not options.upsert:
            raise Refused(409, "identifier_taken", f"Entity {identifier!r} of {blueprint!r} exists already")
        entity = self._written(blueprint, {**body, "identifier": identifier}, before, merge=options.merge)
        self._check_entity(entity, options.create_missing_related_entities, options.validation_only)
        if not options.validation_only:
            self._store_entity(entity, before, options.run_id)
        return entity, before is None

    def _change_entity(self, request: Received, blueprint: str, entity: str, *, merge: bool) -> Document:
        create_missing = is_true(request.query, "create_missing_related_entities")
        before = self.entity(blueprint, entity)
        if run_id := request.query.get("run_id"):
            self._check_run(run_id)
        body = self._without_searches(blueprint, {"identifier": entity, **request.body})
        after = self._written(blueprint, body, before, merge=merge)
        if after["identifier"] != entity and (blueprint, after["identifier"]) in self.entities:
            raise Refused(409, "identifier_taken", f"Entity {after['identifier']!r} exists already")
        self._check_entity(after, create_missing, False)
        del self.entities[blueprint, entity]
        self._store_entity(after, before, run_id)
        return after

    def _written(self, blueprint: str, body: Document, before: Document | None, *, merge: bool) -> Document:
        """Return the entity that the body makes, alone or merged over the existing one."""
        base: Document = before if before and merge else {}
        team = body.get("team", base.get("team"))
        entity = {
            "identifier": body["identifier"],
            "title": body.get("title", base.get("title")),
            "icon": body.get("icon", base.get("icon")),
            "blueprint": blueprint,
            "team": [team] if isinstance(team, str) else team or [],
            "properties": _without_nulls({**base.get("properties", {}), **body.get("properties", {})}),
            "relations": _without_nulls({**base.get("relations", {}), **body.get("relations", {})}),
            **stamps(self._history.author, before),
        }
        return _without_nulls(entity)

    def _check_entity(self, entity: Document, create_missing: bool, validation_only: bool) -> None:
        definition = self.blueprint(entity["blueprint"])
        properties = {
            "type": "object",
            "properties": {name: value_rules(rules) for name, rules in definition["schema"]["properties"].items()},
            "required": definition["schema"]["required"],
            "additionalProperties": False,
        }
        check(properties, entity["properties"], error="blueprint_schema_mismatch")
        known: Document = definition["relations"]
        for name, related in entity["relations"].items():
            if name not in known:
                raise Refused(422, "blueprint_schema_mismatch", f"{entity['blueprint']!r} has no relation {name!r}")
            if isinstance(related, list) != known[name]["many"]:
                raise Refused(422, "relation_many_violation", f"Relation {name!r} is single or many, not the other")
            for target in related if isinstance(related, list) else [related]:
                self._check_related(known[name]["target"], target, create_missing and not validation_only)
        for name, relation in known.items():
            if relation["required"] and name not in entity["relations"]:
                raise Refused(422, "required_relation", f"Relation {name!r} is required")

    def _check_related(self, blueprint: str, identifier: str, create_missing: bool) -> None:
        if (blueprint, identifier) in self.entities:
            return
        if not create_missing:
            raise Refused(404, "not_found", f"Related entity {identifier!r} of {blueprint!r} was not found")
        self.blueprint(blueprint)
        self._store_entity(self._written(blueprint, {"identifier": identifier}, None, merge=False), None, None)

    def _store_entity(self, entity: Document, before: Document | None, run_id: str | None) -> None:
        self.entities[entity["blueprint"], entity["identifier"]] = entity
        self._note_change("UPDATE" if before else "CREATE", before, entity, run_id)

    def _note_change(self, action: str, before: Document | None, after: Document | None, run_id: str | None) -> None:
        entity = after or before
        assert entity is not None
        context = {"entity": entity["identifier"], "blueprint": entity["blueprint"]}
        with_run = {**context, "runId": run_id} if run_id else context
        record = {**self._history.note(action, "entity", (before, after), with_run), "context": context}
        self.announce_change(entity["blueprint"], record)
        self.changed(record)

    def expire_timer(self, blueprint: str, identifier: str, property_: str) -> None:
        """Announce that the time of a timer property is over."""
        entity = self.entity(blueprint, identifier)
        context = {"entity": identifier, "blueprint": blueprint, "property": property_}
        noted = self._history.note("TIMER_EXPIRED", "entity", (entity, entity), context)
        by = {"byPort": True, "orgId": noted["trigger"]["by"]["orgId"]}
        record = {**noted, "trigger": {**noted["trigger"], "by": by}}
        del record["diff"]
        self.announce_change(blueprint, record)
        self.changed(record)

    def announce_change(self, blueprint: str, record: Document) -> None:
        """Publish a change if the blueprint asks for it, for its own consumers or for Port's agent."""
        destination = self.blueprints.get(blueprint, {}).get("changelogDestination", {})
        if destination.get("type") == "KAFKA" or destination.get("agent"):
            message = {**record, "changelogDestination": destination}
            del message["identifier"]
            self._announce("change.log", message)

    # Searches

    def search(self, request: Received) -> Reply:
        check(SEARCH, request.body)
        found = list(self._found(self.entities.values(), request.body))
        blueprints = sorted({entity["blueprint"] for entity in found})
        return 200, {"ok": True, "entities": found, "matchingBlueprints": blueprints}

    def related(self, entity: Document, blueprint: str, direction: str) -> Iterator[str]:
        """Return the identifiers of a blueprint's entities that the entity leads to (upstream) or that lead to it."""
        if direction == "upstream":
            for name, relation in self.blueprint(entity["blueprint"])["relations"].items():
                if relation["target"] == blueprint:
                    yield from _listed(entity["relations"].get(name))
            return
        for (other_blueprint, identifier), other in self.entities.items():
            if other_blueprint == blueprint and entity["identifier"] in self.related(
                other, entity["blueprint"], "upstream"
            ):
                yield identifier

    def _found(self, entities: Iterable[Document], search: Document) -> Iterator[Document]:
        return (entity for entity in entities if fits(search, entity, self.related))

    def _identifiers(self, blueprint: str, search: Document) -> list[str]:
        entities = [entity for entity in self.entities.values() if entity["blueprint"] == blueprint]
        return [entity["identifier"] for entity in self._found(entities, search)]

    def _without_searches(self, blueprint: str, body: Document) -> Document:
        """Return the body of an entity with what its searches find. Port publishes little about what does not fit."""
        resolved = dict(body)
        if isinstance(body.get("identifier"), dict):
            found = self._identifiers(blueprint, body["identifier"])
            if not found:
                raise Refused(404, "not_found", f"No entity of {blueprint!r} fits the search")
            if len(found) > 1:
                raise Refused(422, "invalid_request", f"{len(found)} entities of {blueprint!r} fit the search")
            resolved["identifier"] = found[0]
        if isinstance(body.get("team"), dict):
            resolved["team"] = self._identifiers(TEAMS, body["team"])
        known = self.blueprint(blueprint)["relations"]
        for name, related in body.get("relations", {}).items():
            if isinstance(related, dict) and name in known:
                found = self._identifiers(known[name]["target"], related)
                if len(found) > 1 and not known[name]["many"]:
                    raise Refused(422, "relation_many_violation", f"{len(found)} entities fit the relation {name!r}")
                single = found[0] if found else None
                resolved["relations"] = {**resolved["relations"], name: found if known[name]["many"] else single}
        return resolved


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _without_nulls(document: Document) -> Document:
    return {key: value for key, value in document.items() if value is not None}
