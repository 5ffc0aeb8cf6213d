"""The calls about action runs and workflow node runs, against a fake Port."""

from typing import Any

import pytest

from port_runner import InProgress, PortApiError, Success
from port_runner.journal import HandedOver
from port_runner.outcomes import Failure
from port_runner.run_api import ActionRunApi, NodeRunApi, RunState, is_refusal
from port_runner_sandbox.fake_port import FakePort
from tests.support.port_client import make_client, soon


@pytest.fixture
def action_runs(port: FakePort) -> ActionRunApi:
    """The API of action runs, of a Port that has the run r_1."""
    port.add_run("r_1", "resize_vm", blueprint="vm", properties={"cpu": 2})
    return ActionRunApi(make_client(port))


@pytest.fixture
def node_runs(port: FakePort) -> NodeRunApi:
    """The API of node runs, of a Port that has the node run wfnr_1."""
    port.add_node_run("wfnr_1")
    return NodeRunApi(make_client(port))


class TestActionRun:
    def test_a_run_is_read_as_port_has_it(self, action_runs: ActionRunApi) -> None:
        """Action, blueprint and inputs come from Port's record of the run."""
        assert action_runs.read("r_1", until=soon()) == RunState(action="resize_vm", blueprint="vm", inputs={"cpu": 2})

    def test_a_run_ends_with_all_that_is_shown(self, port: FakePort, action_runs: ActionRunApi) -> None:
        """Status, label, summary and links go to Port in one request."""
        action_runs.end("r_1", Success(summary="Resized.", label="Ready"), ["https://a"], until=soon())

        run = port.runs["r_1"]
        assert (run["status"], run["statusLabel"], run["summary"]) == ("SUCCESS", "Ready", "Resized.")
        assert run["link"] == ["https://a"]
        assert action_runs.read("r_1", until=soon()).has_ended

    def test_a_second_end_is_refused(self, action_runs: ActionRunApi) -> None:
        """Port keeps the first end, and the refusal can be recognized."""
        action_runs.end("r_1", Success(), [], until=soon())

        with pytest.raises(PortApiError) as caught:
            action_runs.end("r_1", Failure("Late."), [], until=soon())
        assert is_refusal(caught.value)

    def test_a_run_that_was_handed_over_is_recognized(self, port: FakePort, action_runs: ActionRunApi) -> None:
        """The line in the run's log stays, even if a pipeline changes label and links."""
        assert action_runs.last_entry("r_1", until=soon()) is None
        action_runs.hand_over("r_1", InProgress(external_run_id="build-7"), [], label="Running", until=soon())
        action_runs.note("r_1", label="Building", links=["https://ci"], until=soon())

        assert action_runs.last_entry("r_1", until=soon()) == HandedOver()
        assert (port.runs["r_1"]["status"], port.runs["r_1"]["externalRunId"]) == ("IN_PROGRESS", "build-7")

    def test_entities_belong_to_the_run(self, action_runs: ActionRunApi) -> None:
        """Port ties entities to action runs."""
        assert action_runs.entity_run_id("r_1") == "r_1"


class TestNodeRun:
    @pytest.mark.parametrize(
        ("outcome", "result"), [(Success(summary="Resized."), "SUCCESS"), (Failure("No room."), "FAILED")]
    )
    def test_a_node_run_is_completed_with_a_result(
        self, port: FakePort, node_runs: NodeRunApi, outcome: Any, result: str
    ) -> None:
        """A node run has the status COMPLETED, and a result in words of its own."""
        node_runs.end("wfnr_1", outcome, [], until=soon())

        assert (port.node_runs["wfnr_1"]["status"], port.node_runs["wfnr_1"]["result"]) == ("COMPLETED", result)

    def test_a_node_run_cannot_be_read(self, port: FakePort, node_runs: NodeRunApi) -> None:
        """Port has no call that reads a node run, so it counts as in progress and no request is sent."""
        assert node_runs.read("wfnr_1", until=soon()) == RunState()
        assert node_runs.last_entry("wfnr_1", until=soon()) is None
        assert port.requests == []

    def test_entities_do_not_belong_to_node_runs(self, node_runs: NodeRunApi) -> None:
        """Port ties entities only to action runs."""
        assert node_runs.entity_run_id("wfnr_1") is None


@pytest.mark.parametrize(
    ("status", "refused"),
    [(400, True), (413, True), (422, True), (401, False), (404, False), (503, False), (None, False)],
)
def test_only_refusals_of_content_are_refusals(status: int | None, refused: bool) -> None:
    """A refusal of the content or the state would be repeated. Other errors have other causes."""
    assert is_refusal(PortApiError("update the run", status=status)) is refused
