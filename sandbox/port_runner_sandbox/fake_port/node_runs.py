"""The runs of a workflow's nodes."""

from port_runner_sandbox.fake_port.documents import Document, Reply, now
from port_runner_sandbox.fake_port.http_server import Received
from port_runner_sandbox.fake_port.schemas import NODE_RUN_LOGS, NODE_RUN_UPDATE, Refused, check


class NodeRuns:
    """The node runs of this Port, by identifier."""

    def __init__(self) -> None:
        self.node_runs: dict[str, Document] = {}

    def add(self, node_run_id: str) -> Document:
        """Add a node run in progress, and return it."""
        node_run = {"identifier": node_run_id, "status": "IN_PROGRESS", "logs": [], "createdAt": now()}
        self.node_runs[node_run_id] = node_run
        return node_run

    def update_node_run(self, request: Received, node_run: str) -> Reply:
        check(NODE_RUN_UPDATE, request.body)
        stored = self._open(node_run)
        logs = [{"level": entry["logLevel"], "message": entry["log"]} for entry in request.body.get("logs", [])]
        stored.update({**request.body, "logs": stored["logs"] + logs, "updatedAt": now()})
        return 200, {"ok": True}

    def add_node_run_logs(self, request: Received, node_run: str) -> Reply:
        check(NODE_RUN_LOGS, request.body)
        self._open(node_run)["logs"].extend(request.body["logs"])
        return 200, {"ok": True}

    def _open(self, identifier: str) -> Document:
        node_run = self.node_runs.get(identifier)
        if node_run is None:
            raise Refused(404, "not_found", f"Node run {identifier!r} was not found")
        # Port does not publish its answer for this case. It refuses ended runs of actions in this way.
        if node_run["status"] == "COMPLETED":
            raise Refused(422, "run_exhausted", f"Node run {identifier!r} is completed")
        return node_run
