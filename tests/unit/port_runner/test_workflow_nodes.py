"""Runs of workflow nodes, which have calls and words of their own."""

from collections.abc import Mapping
from typing import Any

import pytest

from port_runner import ActionFailed, ActionRun, InProgress, RegistrationError, Success
from port_runner.testing import kafka_event
from port_runner_sandbox.fake_port import Fault, Received
from tests.support.function_under_test import Function

NODE = "wfnr_abcdefghij012345"
RUN = f"/v1/workflows/nodes/runs/{NODE}"


def messages() -> list[dict[str, Any]]:
    """The ways in which a node's run may be named, as far as they are known."""
    payload = {"action": "resize", "inputs": {"cpu": 4}}
    return [
        {**payload, "context": {"runId": NODE}},
        {"payload": payload, "context": {"workflowRunId": "wfr_1", "nodeRunId": NODE}},
        {"payload": payload, "context": {"runId": "wfr_1", "nodeRunIdentifier": NODE}},
        {**payload, "runId": NODE},
    ]


@pytest.mark.parametrize("message", messages())
def test_node_run_is_completed(function: Function, message: dict[str, Any]) -> None:
    """A node's run that a handler takes is COMPLETED with a result, log and output, by the node's own calls."""
    seen: list[Any] = []

    @function.router.action("resize", idempotent=True, workflow_nodes=True)
    def resize(run: ActionRun[Mapping[str, Any]]) -> Success:
        seen.append((run.id, dict(run.inputs)))
        run.log("resizing")
        run.upsert_entity("vm", identifier="vm-1")
        return Success(summary="Resized.", link="https://example.com")

    function.port.add_node_run(NODE)

    assert function.handle(kafka_event(message)) is None

    assert seen == [(NODE, {"cpu": 4})]
    run = function.port.node_runs[NODE]
    assert (run["status"], run["result"], run["output"]) == ("COMPLETED", "SUCCESS", {"summary": "Resized."})
    assert run["links"] == ["https://example.com"]
    assert [line["message"] for line in run["logs"]] == ["resizing", "Resized."]
    assert not any(each.path.startswith("/v1/actions") for each in function.port.requests)
    assert "run_id" not in function.requests("POST", "/entities")[0].query


def test_failed_node_run(function: Function) -> None:
    """The bad result of a node is called FAILED."""

    @function.router.action("resize", idempotent=True, workflow_nodes=True)
    def resize(run: ActionRun[Mapping[str, Any]]) -> Success:
        raise ActionFailed("No quota is left.")

    function.port.add_node_run(NODE)
    function.handle(kafka_event(messages()[0]))

    run = function.port.node_runs[NODE]
    assert (run["status"], run["result"], run["output"]) == ("COMPLETED", "FAILED", {"summary": "No quota is left."})


def test_node_run_that_goes_on_elsewhere(function: Function) -> None:
    """A node run that is handed over gets a label and stays open."""

    @function.router.action("resize", idempotent=True, workflow_nodes=True)
    def resize(run: ActionRun[Mapping[str, Any]]) -> InProgress:
        return InProgress(external_run_id="7")

    function.port.add_node_run(NODE)
    function.handle(kafka_event(messages()[0]))

    run = function.port.node_runs[NODE]
    assert (run["status"], run["statusLabel"], run["externalRunId"]) == ("IN_PROGRESS", "In progress", "7")


def test_completed_node_run_comes_again(function: Function) -> None:
    """A node's run that is completed already is left as it is, and its record is consumed."""

    @function.router.action("resize", idempotent=True, workflow_nodes=True)
    def resize(run: ActionRun[Mapping[str, Any]]) -> None: ...

    function.port.add_node_run(NODE).update(status="COMPLETED", result="FAILED")

    assert function.handle(kafka_event(messages()[0])) is None

    assert function.port.node_runs[NODE]["result"] == "FAILED"


@pytest.mark.parametrize("message", [*messages(), {"context": {"runId": NODE}, "payload": {}}])
def test_node_run_that_no_handler_takes_is_skipped(function: Function, message: dict[str, Any]) -> None:
    """A handler of actions takes no node's run unless it says so, also where the topic is this function's alone."""

    @function.router.action("resize")
    def resize(run: ActionRun[Mapping[str, Any]]) -> None:
        raise AssertionError

    assert function.handle(kafka_event(message)) is None

    assert not any(each.method == "PATCH" for each in function.port.requests)
    assert function.logged("record.skipped")[0]["level"] == "DEBUG"


def test_handler_of_nodes_must_be_idempotent(function: Function) -> None:
    """Port cannot be asked whether a node's run was started before, so only a handler that may run twice takes it."""
    with pytest.raises(RegistrationError, match="idempotent=True"):
        function.router.action("resize", workflow_nodes=True)


class OldSchema(Fault):
    """A Port whose schema of node runs holds only what it has published."""

    def takes(self, request: Received) -> bool:
        fields = request.body if isinstance(request.body, dict) else {}
        return super().takes(request) and not {"statusLabel", "links", "externalRunId"}.isdisjoint(fields)


@pytest.mark.parametrize("fails", [False, True])
def test_port_that_knows_no_labels_of_node_runs(function: Function, fails: bool) -> None:
    """A node's run starts and ends also if Port's schema has neither a label nor links for it."""

    @function.router.action("resize", idempotent=True, workflow_nodes=True)
    def resize(run: ActionRun[Mapping[str, Any]]) -> Success:
        run.label("Almost")
        if fails:
            raise ActionFailed("No quota is left.")
        return Success(summary="Resized.", link="https://example.com")

    function.port.add_node_run(NODE)
    with function.port.changed:
        function.port._faults.append(OldSchema(RUN, "PATCH", 422, times=None))

    assert function.handle(kafka_event(messages()[0])) is None

    run = function.port.node_runs[NODE]
    assert (run["status"], run["result"]) == ("COMPLETED", "FAILED" if fails else "SUCCESS")
    assert run["output"] == {"summary": "No quota is left." if fails else "Resized."}


def test_a_refused_report_of_a_node_run_is_sent_shorter(function: Function) -> None:
    """A report that Port refuses once does not leave the node's run open."""

    @function.router.action("resize", idempotent=True, workflow_nodes=True)
    def resize(run: ActionRun[Mapping[str, Any]]) -> Success:
        function.port.fail(RUN, method="PATCH", status=422, times=3)
        return Success(summary="Resized.", link="https://example.com")

    function.port.add_node_run(NODE)

    assert function.handle(kafka_event(messages()[0])) is None

    assert function.port.node_runs[NODE]["status"] == "COMPLETED"
