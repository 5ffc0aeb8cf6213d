"""The fake Port itself: its contents, its routes and its token."""

import base64
import logging
import secrets
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import unquote

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from port_runner_sandbox.certificates import Certificates
from port_runner_sandbox.fake_port import queries
from port_runner_sandbox.fake_port.actions import Actions
from port_runner_sandbox.fake_port.catalog import Catalog
from port_runner_sandbox.fake_port.documents import Document, Reply
from port_runner_sandbox.fake_port.faults import Drop, Fault
from port_runner_sandbox.fake_port.history import History
from port_runner_sandbox.fake_port.http_server import MAX_DEPTH, Answer, HttpServer, Received, to_json
from port_runner_sandbox.fake_port.node_runs import NodeRuns
from port_runner_sandbox.fake_port.rate_limit import RateLimit
from port_runner_sandbox.fake_port.runs import LogOrder, Runs
from port_runner_sandbox.fake_port.schemas import ACCESS_TOKEN, Refused, check

log = logging.getLogger(__name__)

T = TypeVar("T")
Publish = Callable[[str, bytes], None]

_TOKEN_PATH = "/v1/auth/access_token"


@dataclass(frozen=True, eq=False)
class _Route:
    method: str
    path: str
    carry_out: Callable[..., Reply]
    query: queries.Query


class FakePort:
    """Port's HTTP API on a free port of this machine, for one organization, as a context manager.

    The execution of an action calls `publish("ORG_ID.runs", value)` before the answer is sent. A change of an entity
    calls it with "ORG_ID.change.log", if the entity's blueprint asks for it. `publish` may be set later.
    `kafka_credentials` is the answer to `GET /v1/kafka-credentials`: brokers, username, password. Connections on which
    nothing arrives for `idle_seconds` are closed. With `certificates`, Port speaks TLS.

    `runs`, `run_logs`, `entities`, `blueprints`, `actions` and `node_runs` are the contents of this Port. `requests`
    holds every request, in order of arrival. `rate_limit` may be set and taken away at any time. `changed` is a
    condition that is notified after each request. Hold it to read several of these at one moment.
    """

    def __init__(
        self,
        *,
        publish: Publish | None = None,
        organization_id: str = "org_localstack000001",
        client_id: str = "client-id-of-the-fake-port",
        client_secret: str | None = None,
        token_life_seconds: float = 10800,
        kafka_credentials: Mapping[str, Any] | None = None,
        idle_seconds: float = 60.0,
        certificates: Certificates | None = None,
    ) -> None:
        self.publish = publish
        self.organization_id = organization_id
        self.client_id = client_id
        self.client_secret = client_secret or secrets.token_urlsafe(48)
        self.token_life_seconds = token_life_seconds
        self.kafka_credentials = kafka_credentials
        self.requests: list[Received] = []
        self.rate_limit: RateLimit | None = None
        self.changed = threading.Condition(threading.RLock())
        self._faults: list[Fault] = []
        self._token: tuple[str, float] | None = None
        self._outbox: list[tuple[str, bytes]] = []
        self._closing = threading.Event()
        author = f"{client_id}@clients"
        trigger = {"by": {"orgId": organization_id, "userId": author}, "origin": "API"}
        history = History(trigger)
        self._history = history
        self._runs = Runs(history, self._announce)
        self._catalog = Catalog(history, self._announce, self._runs.check_open)
        self._actions = Actions(organization_id, self.client_secret, history, self._catalog, self._runs)
        self._node_runs = NodeRuns()
        self._runs.catalog = self._catalog
        self._runs.changed = self._actions.run_changed
        self._catalog.changed = self._actions.entity_changed
        self._routes = self._route_map().bind("")
        self._server = HttpServer(
            self._respond, idle_seconds=idle_seconds, tls=_tls(certificates) if certificates else None
        )

    def __enter__(self) -> "FakePort":
        self._server.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.set()
        self._server.stop()

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def blueprints(self) -> dict[str, Document]:
        return self._catalog.blueprints

    @property
    def entities(self) -> dict[tuple[str, str], Document]:
        return self._catalog.entities

    @property
    def actions(self) -> dict[str, Document]:
        return self._actions.actions

    @property
    def runs(self) -> dict[str, Document]:
        return self._runs.runs

    @property
    def run_logs(self) -> dict[str, list[Document]]:
        return self._runs.logs

    @property
    def node_runs(self) -> dict[str, Document]:
        return self._node_runs.node_runs

    @property
    def sign_kafka(self) -> bool:
        """The choice to sign the messages of KAFKA actions too. Port does not publish whether it signs them."""
        return self._actions.sign_kafka

    @sign_kafka.setter
    def sign_kafka(self, sign: bool) -> None:
        self._actions.sign_kafka = sign

    @property
    def log_order(self) -> LogOrder:
        """The order in which a run's log is read. Port does not publish its own, so a client must take both."""
        return self._runs.log_order

    @log_order.setter
    def log_order(self, order: LogOrder) -> None:
        self._runs.log_order = order

    def add_run(
        self,
        run_id: str,
        action: str = "create_vm",
        *,
        blueprint: str | None = "vm",
        properties: Document | None = None,
        hidden_for: int = 0,
    ) -> Document:
        """Add a run in progress that was not executed here, such as the run of a recorded message.

        The first `hidden_for` requests about it get 404, as for a run that Port has just made.
        """
        with self.changed:
            definition = self.actions.get(action, {"identifier": action})
            run = self._runs.new(run_id, {**definition, "requiredApproval": False}, blueprint, properties or {}, None)
            self._runs.store(run, hidden_for)
            return run

    def hide_new_runs(self, hidden_for: int) -> None:
        """From now on, answer the first `hidden_for` requests about each executed run with 404."""
        with self.changed:
            self._runs.new_runs_hidden_for = hidden_for

    def approve(self, run_id: str, description: str | None = None) -> None:
        """Approve a run that waits for it, and publish its message."""
        self._review(run_id, True, description)

    def decline(self, run_id: str, description: str | None = None) -> None:
        """End a run that waits for an approval as DECLINED. Its message is never published."""
        self._review(run_id, False, description)

    def _review(self, run_id: str, approved: bool, description: str | None) -> None:
        self._publishing(lambda: self._runs.review(self.runs[run_id], approved=approved, description=description))
        with self.changed:
            self.changed.notify_all()

    def expire_timer(self, blueprint: str, entity: str, property_: str) -> None:
        """Let the time of a timer property be over, as the change log and automations see it."""
        self._publishing(lambda: self._catalog.expire_timer(blueprint, entity, property_))

    def add_node_run(self, node_run_id: str) -> Document:
        """Add a node run of a workflow, in progress."""
        with self.changed:
            return self._node_runs.add(node_run_id)

    def fail(
        self,
        path: str,
        *,
        method: str | None = None,
        status: int | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
        drop: Drop | None = None,
        times: int | None = 1,
        html: bool = False,
    ) -> Fault:
        """Add a fault (see Fault). If several match a request, the one that was added first is used."""
        fault = Fault(path, method, status, body, dict(headers or {}), delay, drop, times, html=html)
        with self.changed:
            self._faults.append(fault)
        return fault

    def expire_token(self) -> None:
        """Make the access token invalid now."""
        with self.changed:
            self._token = None

    def wait_until(self, predicate: Callable[[], T], timeout: float = 10.0) -> T:
        """Wait until the predicate returns a true value, and return that value.

        It is called after each request, with the state locked. Raises TimeoutError after `timeout` seconds.
        """
        with self.changed:
            result: T = self.changed.wait_for(predicate, timeout)
        if not result:
            raise TimeoutError(f"the awaited state was not reached in the fake Port within {timeout:g} s")
        return result

    # One request

    def _respond(self, request: Received) -> Answer | None:
        with self.changed:
            self.requests.append(request)
            fault = next((fault for fault in self._faults if fault.takes(request)), None)
            self.changed.notify_all()
            within_limit, limits = self.rate_limit.count() if self.rate_limit else (True, {})
        if not within_limit:
            refused = Refused(429, "rate_limit_exceeded", "Too many requests")
            return self._answered(request, Answer.json(429, refused.document()), limits)
        if fault is None:
            return self._answered(request, self._carry_out(request), limits)
        if self._closing.wait(fault.delay) or fault.drop == "before":
            return None
        answer = self._answered(request, fault.dress(fault.instead() or self._carry_out(request)), limits)
        return None if fault.drop == "after" else answer

    def _answered(self, request: Received, answer: Answer, limits: Mapping[str, str]) -> Answer:
        with self.changed:
            request.status = answer.status
            self.changed.notify_all()
        return replace(answer, headers={"X-Trace-Id": request.trace_id, **limits, **answer.headers})

    def _carry_out(self, request: Received) -> Answer:
        try:
            return self._publishing(lambda: self._attempt(request))
        except Exception:
            log.exception("the fake Port failed at %s %s", request.method, request.path)
            message = "The fake Port's log says what happened."
            return Answer.json(500, {"ok": False, "error": "internal_error", "message": message})

    def _publishing(self, change: Callable[[], T]) -> T:
        """Make a change with the state locked, then publish the messages that it announced."""
        with self.changed:
            outbox: list[tuple[str, bytes]] = []
            self._outbox = outbox
            result = change()
        # Outside the lock: the receiver of the message may ask about the run at once.
        for topic, value in outbox:
            if self.publish is not None:
                self.publish(topic, value)
        return result

    def _attempt(self, request: Received) -> Answer:
        try:
            return Answer.json(*self._dispatch(request))
        except Refused as refused:
            return Answer.json(refused.status, refused.document())

    def _dispatch(self, request: Received) -> Reply:
        try:
            route, values = self._routes.match(request.path, request.method)
        except HTTPException:
            route = None
        # Werkzeug answers HEAD as GET, and takes several slashes for one.
        if route is None or route.method != request.method or request.path.startswith("//"):
            message = f"Route {request.method}:{request.path} not found"
            raise Refused(404, "not_found", message)
        if request.path != _TOKEN_PATH:
            self._check_token(request)
        if request.too_large:
            raise Refused(413, "payload_too_large")
        if request.method in ("POST", "PUT", "PATCH") and request.body is None:
            raise Refused(422, "invalid_request", f"body must be JSON, at most {MAX_DEPTH} levels deep")
        queries.check_query(route.query, request.all_queries)
        # Decode after the match: an identifier may hold a slash, which is encoded in its segment of the path.
        reply: Reply = route.carry_out(request, **{name: unquote(value) for name, value in values.items()})
        return reply

    def _announce(self, topic: str, message: Document) -> None:
        self._outbox.append((f"{self.organization_id}.{topic}", to_json(message)))

    # Access

    def _check_token(self, request: Received) -> None:
        valid = self._token is not None and time.monotonic() < self._token[1]
        if not valid or request.headers.get("Authorization") != f"Bearer {self._token[0]}":  # type: ignore[index]
            # Without a message: Port's contract does not require one here.
            raise Refused(401, "unauthorized")

    def _create_token(self, request: Received) -> Reply:
        check(ACCESS_TOKEN, request.body)
        if request.body != {"clientId": self.client_id, "clientSecret": self.client_secret}:
            raise Refused(401, "invalid_credentials")
        moment = time.monotonic()
        if self._token is None or moment >= self._token[1]:
            self._token = (self._new_token(), moment + self.token_life_seconds)
        token, expires = self._token
        return 200, {
            "ok": True,
            "accessToken": token,
            "expiresIn": int(expires - moment),
            "tokenType": "Bearer",
        }

    def _new_token(self) -> str:
        """Return a JWT, whose signature is of no key."""
        moment = int(time.time())
        head = {"alg": "RS256", "typ": "JWT", "kid": uuid.uuid4().hex}
        life = {"iat": moment, "exp": moment + int(self.token_life_seconds)}
        claims = {"orgId": self.organization_id, "sub": f"{self.client_id}@clients", "jti": uuid.uuid4().hex, **life}
        parts = (to_json(head), to_json(claims), secrets.token_bytes(256))
        return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)

    # The organization

    def _get_organization(self, request: Received) -> Reply:
        return 200, {"ok": True, "organization": {"id": self.organization_id, "name": "Sandbox"}}

    def _get_kafka_credentials(self, request: Received) -> Reply:
        if self.kafka_credentials is None:
            raise Refused(404, "not_found", "This organization has no Kafka topics")
        return 200, {"ok": True, "credentials": dict(self.kafka_credentials)}

    def _route_map(self) -> Map:
        catalog, runs, actions, node_runs = self._catalog, self._runs, self._actions, self._node_runs
        blueprint, action, run = (
            "/v1/blueprints/<blueprint>",
            "/v1/actions/<action>",
            "/v1/actions/runs/<run>",
        )
        entities = f"{blueprint}/entities"
        node_run = "/v1/workflows/nodes/runs/<node_run>"
        routes = [
            _Route("POST", _TOKEN_PATH, self._create_token, queries.NONE),
            _Route("GET", "/v1/organization", self._get_organization, queries.NONE),
            _Route("GET", "/v1/kafka-credentials", self._get_kafka_credentials, queries.NONE),
            _Route("POST", "/v1/blueprints", catalog.create_blueprint, queries.BLUEPRINT),
            _Route("GET", blueprint, catalog.get_blueprint, queries.NONE),
            _Route("PUT", blueprint, catalog.replace_blueprint, queries.NONE),
            _Route("PATCH", blueprint, catalog.update_blueprint, queries.NONE),
            _Route("DELETE", blueprint, catalog.delete_blueprint, queries.NONE),
            _Route("POST", entities, catalog.create_entity, queries.ENTITY_CREATION),
            _Route("POST", f"{entities}/bulk", catalog.create_entities, queries.ENTITY_CREATION),
            _Route("GET", f"{entities}/<entity>", catalog.get_entity, queries.ENTITY),
            _Route("PATCH", f"{entities}/<entity>", catalog.update_entity, queries.ENTITY_CHANGE),
            _Route("PUT", f"{entities}/<entity>", catalog.replace_entity, queries.ENTITY_CHANGE),
            _Route("DELETE", f"{entities}/<entity>", catalog.delete_entity, queries.ENTITY_DELETION),
            _Route("POST", "/v1/entities/search", catalog.search, queries.ENTITY),
            _Route("GET", "/v1/audit-log", self._history.get_audit_log, queries.AUDIT_LOG),
            _Route("GET", "/v1/actions", actions.list_actions, queries.VERSION),
            _Route("POST", "/v1/actions", actions.create_action, queries.NONE),
            _Route("GET", action, actions.get_action, queries.NONE),
            _Route("PUT", action, actions.replace_action, queries.NONE),
            _Route("DELETE", action, actions.delete_action, queries.NONE),
            _Route("POST", f"{action}/runs", actions.execute, queries.EXECUTION),
            _Route("GET", "/v1/actions/runs", runs.list_runs, queries.RUNS),
            _Route("GET", run, runs.get_run, queries.VERSION),
            _Route("PATCH", run, runs.update_run, queries.VERSION),
            _Route("PATCH", f"{run}/approval", runs.review_run, queries.VERSION),
            _Route("POST", f"{run}/logs", runs.add_log, queries.NONE),
            _Route("GET", f"{run}/logs", runs.get_logs, queries.LOGS),
            _Route("PATCH", node_run, node_runs.update_node_run, queries.NONE),
            _Route("POST", f"{node_run}/logs", node_runs.add_node_run_logs, queries.NONE),
        ]
        rules = [Rule(route.path, methods=[route.method], endpoint=route) for route in routes]
        return Map(rules, strict_slashes=False, merge_slashes=False)


def _tls(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    return context
