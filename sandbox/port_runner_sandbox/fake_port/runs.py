"""Runs of actions."""

from collections.abc import Callable
from typing import Any, Literal

from port_runner_sandbox.fake_port.catalog import Catalog
from port_runner_sandbox.fake_port.documents import Document, Reply, new_id, now, reference
from port_runner_sandbox.fake_port.history import History
from port_runner_sandbox.fake_port.http_server import Received
from port_runner_sandbox.fake_port.queries import is_true, number
from port_runner_sandbox.fake_port.schemas import APPROVAL, RUN_LOG, RUN_UPDATE, Refused, check

LogOrder = Literal["oldest-first", "newest-first"]

ENDED = ("SUCCESS", "FAILURE", "DECLINED")


class Runs:
    """The organization's runs, by identifier.

    `announce(topic, message)` publishes a message to Kafka. `changed(record)` is called after each change of a run.
    Every method that the routes name takes the request and the path's values, and returns status and document, or
    raises Refused.
    """

    def __init__(self, history: History, announce: Callable[[str, Any], None]) -> None:
        self.runs: dict[str, Document] = {}
        self.logs: dict[str, list[Document]] = {}
        self.hidden: dict[str, int] = {}
        self.new_runs_hidden_for = 0
        self.log_order: LogOrder = "oldest-first"
        self.catalog: Catalog
        self.changed: Callable[[Document], None]
        # The messages of runs that wait for an approval, and who executed a run.
        self._waiting: dict[str, Any] = {}
        self._emails: dict[str, str] = {}
        self._history = history
        self._announce = announce

    def new(
        self,
        run_id: str,
        action: Document,
        blueprint: str | None,
        inputs: Document,
        entity: Document | None,
        source: str = "API",
    ) -> Document:
        """Return a new run in progress, which is not stored yet. An action with only an identifier was deleted."""
        moment = now()
        run: Document = {
            "id": run_id,
            "action": reference(action["identifier"], action if len(action) > 1 else {}),
            "properties": inputs,
            "source": source,
            "requiredApproval": action.get("requiredApproval", False),
            "status": "IN_PROGRESS",
            "statusLabel": None,
            "createdBy": self._history.author,
            "updatedBy": self._history.author,
            "createdAt": moment,
            "updatedAt": moment,
        }
        if blueprint is not None:
            run["blueprint"] = reference(blueprint, self.catalog.blueprints.get(blueprint, {}))
        if entity is not None:
            run["entity"] = reference(entity["identifier"], entity)
        return run

    def start(self, run: Document, message: Any, email: str | None) -> None:
        """Store a new run, and publish its message if there is one, now or when the run is approved."""
        if run["requiredApproval"]:
            run["status"] = "WAITING_FOR_APPROVAL"
            self._waiting[run["id"]] = message
        elif message is not None:
            self._announce("runs", message)
        if email is not None:
            self._emails[run["id"]] = email
        self.store(run, self.new_runs_hidden_for)
        self._note("CREATE", None, run)

    def store(self, run: Document, hidden_for: int) -> None:
        """Store a run that is not found `hidden_for` times."""
        self.runs[run["id"]] = run
        self.logs[run["id"]] = []
        self.hidden[run["id"]] = hidden_for

    def get_run(self, request: Received, run: str) -> Reply:
        return 200, {"ok": True, "run": _shown(self._run(run), request)}

    def list_runs(self, request: Received) -> Reply:
        query = request.query
        wanted: Document = {
            "action": query.get("action"),
            "blueprint": query.get("blueprint"),
            "entity": query.get("entity"),
            "externalRunId": query.get("external_run_id"),
            "createdBy": query.get("user_id"),
        }
        email = query.get("user_email")
        sources = request.all_queries.get("source")
        excluded = request.all_queries.get("exclude", [])
        active = is_true(query, "active") if "active" in query else None
        found = [
            run
            for run in self.runs.values()
            if not self.hidden.get(run["id"])
            and all(value is None or _identifier(run.get(name)) == value for name, value in wanted.items())
            and email in (None, self._emails.get(run["id"]))
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
            "createdBy": self._history.author,
            "createdAt": now(),
        }
        self.logs[run].append(entry)
        names = {"terminationStatus": "status", "statusLabel": "statusLabel"}
        changes = {names[key]: value for key, value in request.body.items() if key in names}
        if changes:
            self._change_run(stored, changes)
        return 201, {"ok": True, "runLog": entry}

    def get_logs(self, request: Received, run: str) -> Reply:
        limit, offset = number(request.query, "limit", 50), number(request.query, "offset", 0)
        self._run(run)
        ordered = self.logs[run] if self.log_order == "oldest-first" else self.logs[run][::-1]
        return 200, {"ok": True, "runLogs": ordered[offset : offset + limit]}

    def review_run(self, request: Received, run: str) -> Reply:
        check(APPROVAL, request.body)
        approved = request.body["status"] == "APPROVE"
        stored = self._run(run)
        self.review(stored, approved=approved, description=request.body.get("description"))
        return 201, {"ok": True, "run": _shown(stored, request)}

    def review(self, run: Document, *, approved: bool, description: str | None) -> None:
        """Publish the message of a run that waits for an approval, or decline the run."""
        if run["status"] != "WAITING_FOR_APPROVAL":
            raise Refused(422, "run_not_waiting_for_approval", f"Run {run['id']!r} is {run['status']}")
        message = self._waiting.pop(run["id"], None)
        approval: Document = {"state": "APPROVED" if approved else "DECLINED", "userId": self._history.author}
        if description is not None:
            approval["description"] = description
        self._change_run(run, {"status": "IN_PROGRESS" if approved else "DECLINED", "approval": approval})
        if approved and message is not None:
            self._announce("runs", message)

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
        before = dict(run)
        run.update(changes, updatedAt=now())
        if run["status"] in ENDED:
            run["endedAt"] = run["updatedAt"]
        self._note("UPDATE", before, run)

    def _note(self, action: str, before: Document | None, run: Document) -> None:
        context = {name: run[name]["identifier"] if name in run else None for name in ("entity", "blueprint")}
        context = {**context, "runId": run["id"]}
        status = "SUCCESS" if run["status"] in ENDED else "TRIGGERED"
        record = self._history.note(action, "run", (before, dict(run)), context, status=status)
        # Of runs, only the creation is known to be in the change log.
        if "blueprint" in run and before is None:
            self.catalog.announce_change(run["blueprint"]["identifier"], record)
        self.changed(record)


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
