"""Each fault of the event source mapping is named, and nothing else."""

import json
from pathlib import Path

import pytest

from port_runner.testing import run_message
from port_runner_cli.clients.port import PortAccess
from port_runner_cli.commands.doctor import mapping_checks
from port_runner_cli.commands.doctor.deployment import Deployment
from tests.support.doctor_under_test import (
    GROUP,
    NAME,
    ORGANIZATION,
    Deployed,
    expect,
    findings,
    of_state,
    run,
)


def test_a_function_without_a_mapping(deployed: Deployed) -> None:
    """Without a mapping for the runs nothing is delivered, though there be one for the change log."""
    deployed.mapping["Topics"] = [f"{ORGANIZATION}.change.log"]
    found = findings(kafka=True)
    expect(found, "Mapping: existence", says="no event source mapping for runs")
    assert not [name for name in of_state(found, "good") if name.startswith(("Mapping", "Kafka"))]


def test_another_mapping_can_be_examined(deployed: Deployed) -> None:
    """With --topic the mapping of that topic is examined; the page of the runs says that there is one."""
    other = {**deployed.mapping, "UUID": "other", "Topics": [f"{ORGANIZATION}.change.log"], "State": "Disabled"}
    other["SelfManagedKafkaEventSourceConfig"] = {"ConsumerGroupId": f"{GROUP}.change-log"}
    deployed.aws.mappings.append(other)
    found = findings()
    assert of_state(found, "bad") == []
    assert "--topic" in found["Mapping: existence"].found
    assert "Mapping: state" in of_state(findings(topic=f"{ORGANIZATION}.change.log"), "bad")


def test_what_the_mapping_says_of_its_last_batch(deployed: Deployed) -> None:
    """Its own words are shown, with what to do where they are known."""
    for said, advice in {
        "PROBLEM: Function call failed": "its errors below",
        "PROBLEM: SASL authentication failed: …": "login",
        "PROBLEM: EVENT_SOURCE_AUTHZ_ERROR": "may not read",
        "PROBLEM: Lambda failed to authenticate server: …": "certificate",
        "PROBLEM: Connection error. Please check your event source connection configuration": "cannot be reached",
        "PROBLEM: The secret arn:… cannot be read: AccessDeniedException": "secret",
    }.items():
        deployed.mapping["LastProcessingResult"] = said
        finding = mapping_checks.result(Deployment(NAME, PortAccess("https://api.port.io")))
        assert (finding.state, said in finding.found) == ("bad", True)
        assert advice in finding.advice
    deployed.mapping["LastProcessingResult"] = "PROBLEM: something new"
    expect(findings(), "Mapping: last result", says="something new")


def test_a_mapping_that_is_switched_off(deployed: Deployed) -> None:
    """A mapping that is not enabled is named with AWS's reason."""
    deployed.mapping |= {"State": "Disabled", "StateTransitionReason": "User action"}
    expect(findings(), "Mapping: state", says="User action")


def test_two_mappings_in_one_group(deployed: Deployed) -> None:
    """Another function's mapping that reads in the same group takes part of the records."""
    deployed.aws.mappings.append({**deployed.mapping, "UUID": "other", "FunctionArn": f"{deployed.function.arn}-old"})
    expect(findings(), "Mapping: group", says=f"{NAME}-old")
    deployed.aws.mappings[-1]["State"] = "Deleting"
    assert of_state(findings(), "bad") == []


def test_a_filter_that_holds_back(deployed: Deployed, tmp_path: Path) -> None:
    """A filter is tried with the messages of the actions, and with a recorded one if that is given."""
    deployed.mapping["FilterCriteria"] = {"Filters": [{"Pattern": '{"value": {"action": ["delete_vm"]}}'}]}
    expect(findings(), "Mapping: filter", says="create_vm")
    file = tmp_path / "message.json"
    file.write_text(json.dumps(run_message("delete_vm")))
    assert f"filter: its filter passes the messages of {file}" in run("--message", str(file)).stdout
    deployed.mapping["FilterCriteria"]["Filters"].append({"Pattern": '{"value": {"action": ["create_vm"]}}'})
    assert of_state(findings(), "bad") == []


@pytest.mark.parametrize("pattern", ['{"value": ["text"]}', '{"key": ["x"]}', '{"value": {"action": [{"cidr": "x"}]}}'])
def test_a_filter_that_nobody_here_knows(deployed: Deployed, pattern: str) -> None:
    """A filter that cannot be evaluated is neither good nor bad."""
    deployed.mapping["FilterCriteria"] = {"Filters": [{"Pattern": pattern}]}
    assert of_state(findings(), "unknown") == ["Mapping: filter"]


def test_failures_that_nobody_reads(deployed: Deployed) -> None:
    """A function that names single records to a mapping that does not read them loses them; not so the reverse."""
    deployed.environment["REPORT_BATCH_ITEM_FAILURES"] = "true"
    expect(findings(), "Mapping: partial responses", says="lost")
    deployed.mapping["FunctionResponseTypes"] = ["ReportBatchItemFailures"]
    assert of_state(findings(), "bad") == []
    deployed.environment["REPORT_BATCH_ITEM_FAILURES"] = "false"
    assert of_state(findings(), "bad") == []
