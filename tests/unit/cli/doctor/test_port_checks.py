"""Each fault in Port's settings is named, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest

from port_runner_cli.clients.port import PortAccess
from port_runner_sandbox.processes import free_port
from tests.support.doctor_under_test import ORGANIZATION, Deployed, Json, expect, findings, of_state


def test_credentials_that_port_refuses(deployed: Deployed) -> None:
    """A client secret that was rotated in Port is named, and what hangs on it is not called good."""
    deployed.put(deployed.credentials, {"client_id": deployed.port.client_id, "client_secret": "an old one"})
    found = findings()
    expect(found, "Port: credentials", says="401")
    assert of_state(found, "unknown") == ["Port: topic", "Port: group", "Port: create_vm"]


@pytest.mark.parametrize("content", [{"clientId": "a"}, "no JSON"])
def test_a_secret_of_another_shape(deployed: Deployed, content: Any) -> None:
    """A secret without client_id and client_secret is named."""
    deployed.put(deployed.credentials, content)
    expect(findings(), "Port: credentials", says=deployed.credentials)


def test_a_port_that_is_not_there(deployed: Deployed) -> None:
    """An address where nothing answers is named."""
    deployed.environment["PORT_API_URL"] = f"http://127.0.0.1:{free_port()}"
    expect(findings(), "Port: credentials", says="cannot be reached")


def test_ones_own_credentials(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the function is not known, Port is asked with the user's credentials, and its state is not guessed."""
    deployed.aws.functions.clear()
    monkeypatch.setenv("PORT_CLIENT_ID", deployed.port.client_id)
    monkeypatch.setenv("PORT_CLIENT_SECRET", deployed.port.client_secret)
    found = findings(access=PortAccess(deployed.port.url))
    assert found["Port: credentials"].state == "unknown"
    assert of_state(found, "good") == ["Port: create_vm"]


def test_a_topic_of_another_organization(deployed: Deployed) -> None:
    """A topic that is not the organization's is named, with what the organization's id is."""
    other = "org_another000000001.runs"
    deployed.mapping["Topics"] = [other]
    found = findings()
    expect(found, "Port: topic", says=other)
    assert ORGANIZATION in found["Port: topic"].advice


def test_a_group_that_port_does_not_allow(deployed: Deployed) -> None:
    """A group without the organization's id is named; the username is allowed as it is."""
    deployed.mapping["SelfManagedKafkaEventSourceConfig"] = {"ConsumerGroupId": "my-group"}
    found = findings()
    assert "Port: group" in of_state(found, "bad")
    assert f"{ORGANIZATION}.ANYTHING" in found["Port: group"].found
    deployed.mapping["SelfManagedKafkaEventSourceConfig"] = {"ConsumerGroupId": "user"}
    assert findings()["Port: group"].state == "good"


def test_an_action_that_is_not_there(deployed: Deployed) -> None:
    """An action that Port does not have is named, with how to make it."""
    del deployed.port.actions["create_vm"]
    found = findings()
    expect(found, "Port: create_vm", says="no action")
    assert "action-json create_vm" in found["Port: create_vm"].advice


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda action: action["invocationMethod"].update(type="WEBHOOK"), "WEBHOOK"),
        (lambda action: action["invocationMethod"]["payload"].pop("context"), "names no run"),
        (lambda action: action["invocationMethod"]["payload"]["context"].update(runId="r_1"), "not their run"),
        (lambda action: action["invocationMethod"]["payload"].update(changelogDestination={}), "skipped"),
        (lambda action: action["invocationMethod"]["payload"].update(action="resize_vm"), "for the action resize_vm"),
    ],
)
def test_an_action_whose_runs_never_end(deployed: Deployed, change: Callable[[Json], None], says: str) -> None:
    """An action that is not invoked over Kafka, and messages that the runner could not use, are named."""
    change(deployed.action())
    expect(findings(), "Port: create_vm", says=says)


@pytest.mark.parametrize("payload", [None, {}])
def test_an_action_without_a_payload(deployed: Deployed, payload: Any) -> None:
    """The message of an action without a payload is not known, and the finding says that."""
    deployed.action()["invocationMethod"]["payload"] = payload
    found = findings()
    assert found["Port: create_vm"].state == "unknown"
    assert "not documented" in found["Port: create_vm"].found
    assert "action-json create_vm" in found["Port: create_vm"].advice


def test_without_names_the_handlers_say_which_actions(deployed: Deployed) -> None:
    """Every action that a handler here takes is looked at."""
    assert "Port: create_vm" in findings(actions=())
