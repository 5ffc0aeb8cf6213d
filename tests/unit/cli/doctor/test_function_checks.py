"""Each fault of the function and of its role is named, and nothing else."""

import json

import pytest

from tests.support.doctor_under_test import (
    NAME,
    Deployed,
    Json,
    allow,
    expect,
    findings,
    of_state,
    policy,
    run,
    without,
)
from tests.support.fake_lambda import ACCOUNT, REGION


@pytest.mark.parametrize(
    ("change", "check", "says"),
    [
        ({"State": "Failed", "StateReason": "no such image"}, "state", "no such image"),
        ({"LastUpdateStatus": "Failed", "LastUpdateStatusReason": "too large"}, "state", "too large"),
        ({"Timeout": 841}, "timeout", "840"),
        ({"Runtime": "python3.12"}, "layers", "python3.12"),
        ({"Architectures": ["arm64"]}, "layers", "arm64"),
    ],
)
def test_a_function_that_cannot_run(deployed: Deployed, change: Json, check: str, says: str) -> None:
    """Its state, its last update, its timeout, and a layer of another runtime or architecture are each named."""
    deployed.configuration |= change
    expect(findings(), f"Function: {check}", says=says)


def test_a_function_that_is_not_there(deployed: Deployed) -> None:
    """Without a function, only that is bad, and no check that depends on it is good or bad."""
    deployed.aws.functions.clear()
    found = findings()
    expect(found, "Function: state", says=NAME)
    assert of_state(found, "good") == []
    lines = run().stdout.splitlines()
    assert "  unknown environment, timeout, concurrency, layers: not checked: the function cannot be read" in lines


def test_an_environment_that_the_runner_refuses(deployed: Deployed) -> None:
    """A setting that would fail every event is found without an event."""
    deployed.environment["MAX_CONCURRENCY"] = "many"
    expect(findings(), "Function: environment", says="MAX_CONCURRENCY")


def test_a_function_that_is_switched_off(deployed: Deployed) -> None:
    """A reserved concurrency of 0 is found."""
    deployed.function.more["Concurrency"] = {"ReservedConcurrentExecutions": 0}
    expect(findings(), "Function: concurrency")


def test_a_function_without_layers(deployed: Deployed) -> None:
    """Without a layer it cannot be told from here whether the packages are there."""
    del deployed.configuration["Layers"]
    assert of_state(findings(), "unknown") == ["Function: layers"]


def test_a_function_that_is_being_made(deployed: Deployed) -> None:
    """A state that is changing at the moment is neither good nor bad."""
    deployed.configuration["State"] = "Pending"
    deployed.mapping["State"] = "Creating"
    assert of_state(findings(), "unknown") == ["Function: state", "Mapping: state"]


# Its role


@pytest.mark.parametrize(
    ("statement", "check", "how"),
    [
        (0, "Role: secrets", "missing"),
        (1, "Role: failure queue", "missing"),
        (2, "Role: log", "missing"),
        (2, "Role: log", "another"),
        (0, "Role: secrets", "denied"),
        (1, "Role: failure queue", "outside the boundary"),
    ],
)
def test_a_role_that_lacks_something(deployed: Deployed, statement: int, check: str, how: str) -> None:
    """A permission that is missing, for another resource, denied, or outside the permissions boundary is named."""
    mine = deployed.statements[statement]
    if how == "missing":
        deployed.statements.remove(mine)
    elif how == "another":
        mine["Resource"] = [f"{resource.removesuffix('*')}-another" for resource in mine["Resource"]]
    elif how == "denied":
        deployed.statements.append({**mine, "Effect": "Deny"})
    else:
        others = [each for each in deployed.statements if each is not mine]
        limit(deployed, others)
    deployed.write_policy()
    expect(findings(), check, says="denied" if how == "denied" else "not allowed")


def limit(deployed: Deployed, statements: list[Json]) -> None:
    """Give the role a permissions boundary."""
    made = deployed.iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(policy(*statements)))
    deployed.iam.put_role_permissions_boundary(RoleName=NAME, PermissionsBoundary=made["Policy"]["Arn"])


@pytest.mark.parametrize("name", ["login", "authority", "credentials"])
def test_each_secret_counts(deployed: Deployed, name: str) -> None:
    """The role must read the secrets of the mapping and that of the function, every one."""
    arn = getattr(deployed, name)
    deployed.statements[0]["Resource"].remove(arn)
    deployed.write_policy()
    expect(findings(), "Role: secrets", says=arn)


def test_a_managed_policy_counts(deployed: Deployed) -> None:
    """A permission of an attached policy counts."""
    document = json.dumps(policy(deployed.statements.pop(0)))
    made = deployed.iam.create_policy(PolicyName="secrets", PolicyDocument=document)
    deployed.iam.attach_role_policy(RoleName=NAME, PolicyArn=made["Policy"]["Arn"])
    deployed.write_policy()
    assert of_state(findings(), "bad") == []


def test_a_key_of_ones_own(deployed: Deployed) -> None:
    """A secret under a customer's key is of no use without that key."""
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
    for name in (key, key.rpartition("/")[2]):
        deployed.secrets.update_secret(SecretId=deployed.login, KmsKeyId=name)
        expect(findings(), "Role: secrets", says=f"kms:Decrypt on {key}")
    deployed.statements.append(allow("kms:Decrypt", key))
    deployed.write_policy()
    assert of_state(findings(), "bad") == []


def test_a_condition_is_left_to_the_reader(deployed: Deployed) -> None:
    """A condition can hold or not: that is said, and not called bad."""
    deployed.statements[1]["Condition"] = {"Bool": {"aws:SecureTransport": "true"}}
    deployed.write_policy()
    assert of_state(findings(), "unknown") == ["Role: failure queue"]


def test_a_role_that_lambda_may_not_take(deployed: Deployed) -> None:
    """A trust policy without Lambda is named."""
    trust = without(allow("sts:AssumeRole"), "Resource") | {"Principal": {"Service": "ec2.amazonaws.com"}}
    deployed.iam.update_assume_role_policy(RoleName=NAME, PolicyDocument=json.dumps(policy(trust)))
    expect(findings(), "Role: trust", says="does not let Lambda")


def test_a_role_that_is_gone(deployed: Deployed) -> None:
    """A role that was deleted under the function is named, once."""
    deployed.configuration["Role"] = f"arn:aws:iam::{ACCOUNT}:role/gone"
    found = findings()
    expect(found, "Role: trust", says="gone")
    assert of_state(found, "unknown") == ["Role: secrets", "Role: failure queue", "Role: log"]
