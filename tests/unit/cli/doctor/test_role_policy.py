"""A role's policies allow what IAM would allow."""

import pytest

from port_runner_cli.commands.doctor.role_policy import Policies, trusts
from tests.support.doctor_under_test import Json, allow, policy, without


@pytest.mark.parametrize(
    ("statement", "verdict"),
    [
        (allow("s3:Get*", "arn:aws:s3:::b/*"), "allowed"),
        (allow("S3:getobject", "arn:aws:s3:::b/k"), "allowed"),
        (allow("*", "*"), "allowed"),
        (allow("s3:GetObject", "arn:aws:s3:::B/k"), "not allowed"),
        (allow("s3:GetObject", "arn:aws:s3:::b/k?"), "not allowed"),
        (allow("s3:PutObject", "*"), "not allowed"),
        ({"Effect": "Allow", "NotAction": "s3:Put*", "Resource": "*"}, "allowed"),
        ({"Effect": "Allow", "NotAction": "s3:Get*", "Resource": "*"}, "not allowed"),
        ({"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::b/*"}, "not allowed"),
        ({**allow("*", "*"), "Condition": {"x": {}}}, "depends"),
    ],
)
def test_policies(statement: Json, verdict: str) -> None:
    """A statement allows what IAM would allow by it; a denial wins, unless a condition decides about it."""
    action, resource = "s3:GetObject", "arn:aws:s3:::b/k"
    assert Policies([policy(statement)]).verdict(action, resource) == verdict
    assert Policies([{"Statement": statement}]).verdict(action, resource) == verdict
    denial = {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}
    assert Policies([policy(statement), policy(denial)]).verdict(action, resource) == "denied"
    perhaps = {**denial, "Condition": {"x": {}}}
    assert Policies([policy(statement, perhaps)]).verdict(action, resource) == "depends"
    assert Policies([policy(allow("*", "*"))], policy(statement)).verdict(action, resource) == verdict


def test_trust() -> None:
    """Only an Allow for the service itself lets it take the role."""
    principal = {"Principal": {"Service": ["ec2.amazonaws.com", "lambda.amazonaws.com"]}}
    allowed = without(allow("sts:*"), "Resource") | principal
    assert trusts(policy(allowed), "lambda.amazonaws.com")
    for other in (
        {**allowed, "Effect": "Deny"},
        {**allowed, "Action": "sts:TagSession"},
        {**allowed, "Principal": "*"},
        {**allowed, "Principal": {"AWS": "lambda.amazonaws.com"}},
    ):
        assert not trusts(policy(other), "lambda.amazonaws.com")
