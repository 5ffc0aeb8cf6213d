"""The audit log: what was changed, by whom and when."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from port_runner_sandbox.fake_port.documents import Document, Reply, new_id, now
from port_runner_sandbox.fake_port.http_server import Received
from port_runner_sandbox.fake_port.queries import number

# The fields that can be searched by, by their names in queries.
_FILTERS: dict[str, Callable[[Document], Any]] = {
    "identifier": lambda record: record["identifier"],
    "resources": lambda record: record["resourceType"],
    "actions": lambda record: record["action"],
    "status": lambda record: record["status"],
    "origins": lambda record: record["trigger"]["origin"],
    "run_id": lambda record: record["context"].get("runId"),
    "entity": lambda record: record["context"].get("entity"),
    "blueprint": lambda record: record["context"].get("blueprint"),
}


class History:
    """Every change of this Port, oldest first. `trigger` says who works here, and how."""

    def __init__(self, trigger: Document) -> None:
        self.records: list[Document] = []
        self.author: str = trigger["by"]["userId"]
        self._trigger = trigger

    def note(
        self,
        action: str,
        resource: str,
        change: tuple[Document | None, Document | None],
        context: Document,
        **others: Any,
    ) -> Document:
        """Add a change from one document to another, and return its record."""
        before, after = change
        document = after or before or {}
        record = {
            "identifier": document.get("identifier", document.get("id")),
            "action": action,
            "resourceType": resource,
            "status": "SUCCESS",
            "trigger": {**self._trigger, "at": now()},
            "context": context,
            "diff": {"before": before, "after": after},
            **others,
        }
        self.records.append({"id": new_id("audit_"), **record})
        return record

    def get_audit_log(self, request: Received) -> Reply:
        wanted = {name: request.all_queries[name] for name in _FILTERS if name in request.all_queries}
        start, end = (_moment(request.query.get(name)) for name in ("from", "to"))
        found = [
            record
            for record in self.records
            if all(_FILTERS[name](record) in values for name, values in wanted.items())
            and (start is None or _moment(record["trigger"]["at"]) >= start)
            and (end is None or _moment(record["trigger"]["at"]) <= end)
        ]
        # Port documents the records, but not the name of their list.
        return 200, {"ok": True, "audits": found[::-1][: number(request.query, "limit", 10000)]}


def _moment(value: str | None) -> Any:
    return datetime.fromisoformat(value) if value else None
