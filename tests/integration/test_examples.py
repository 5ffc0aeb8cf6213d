"""What an enterprise and what the pipeline apply, from the first apply to the destroy.

Both live their lives at the same time, for half of it is waiting; the tests look at what was seen of them.
The example `basic` is what test_module.py applies, and `change-log` what test_module_changes.py changes.
"""

import json
import os
import re
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo import variables_of
from deployment_beside import applied, deployment_beside, run_once, set_arguments
from local_stack import Stack
from local_stack.terraform import MODULE, Plan, cli_configuration
from module_under_test import ROOT, Deployment
from operate.port import PortConnection
from operate.setup import read_definitions, set_up

CREDENTIALS = ("kafka_credentials", "port_credentials")

ENTERPRISE: dict[str, object] = {
    "role_path": "/platform/",
    "instance_sizes_parameter_arn": "arn:aws:ssm:eu-west-1:000000000000:parameter/instance-sizes",
    "alarm_topic_arns": ["arn:aws:sns:eu-west-1:000000000000:platform-alarms"],
    "tags": {"team": "platform"},
}


@dataclass(frozen=True)
class Enterprise:
    """What was seen of the enterprise's example."""

    deployment: Deployment
    made: dict[str, list[str]]
    second_plan: Plan
    run: dict[str, Any]
    function: dict[str, Any]
    left: dict[str, list[str]]


@dataclass(frozen=True)
class Pipeline:
    """What the pipeline's own commands made in one environment, and planned for another one."""

    run: dict[str, Any]
    secrets: list[str]
    states: dict[str, str]
    plan: str
    left: dict[str, list[str]]


@dataclass(frozen=True)
class Place:
    """Where root modules are applied."""

    stack: Stack
    port: PortConnection
    directory: Path

    def deployment(self, kind: str, root_module: Path, variables: dict[str, object]) -> Deployment:
        """The root module, not yet applied."""
        name = f"{kind}-{uuid.uuid4().hex[:8]}"
        return deployment_beside(self.stack, self.port, self.directory / kind, root_module, name, variables)


def everything(deployment: Deployment) -> dict[str, list[str]]:
    """What there is by the deployment's name, alarms and dashboards too."""
    watch, name = deployment.stack.aws("cloudwatch"), deployment.name
    alarms = watch.describe_alarms(AlarmNamePrefix=name)["MetricAlarms"]
    dashboards = watch.list_dashboards(DashboardNamePrefix=name)["DashboardEntries"]
    return deployment.resources() | {
        "alarms": sorted(alarm["AlarmName"] for alarm in alarms),
        "dashboards": [dashboard["DashboardName"] for dashboard in dashboards],
    }


def enterprise(place: Place) -> Enterprise:
    stack, values = place.stack, variables_of(place.stack)
    deployment = place.deployment("enterprise", MODULE / "examples" / "existing-secrets-and-vpc", {})
    name = deployment.name
    set_arguments(deployment, {"kafka_ca_certificate": values["kafka_ca_certificate"]})
    with ExitStack() as brought:
        deployment.variables.update(
            {key: values[key] for key in ("port_org_id", "port_api_url", "kafka_bootstrap_servers")}
            | network_of(name, stack, brought)
            | {f"{kind}_secret_name": f"{name}/{kind}" for kind in CREDENTIALS}
            | ENTERPRISE
            | {"name": name}
        )
        for kind in CREDENTIALS:
            bring_secret(f"{name}/{kind}", values[kind], stack, brought)
        with applied(deployment) as runner:
            second_plan = runner.terraform.plan(runner.variables)
            run = run_once(runner)
            function = stack.aws("lambda").get_function_configuration(FunctionName=name)
            made = everything(runner)
        return Enterprise(deployment, made, second_plan, run, function, everything(deployment))


def network_of(name: str, stack: Stack, brought: ExitStack) -> dict[str, object]:
    network = stack.aws("ec2")
    vpc = network.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    brought.callback(network.delete_vpc, VpcId=vpc)
    subnet = network.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    brought.callback(network.delete_subnet, SubnetId=subnet)
    group = network.create_security_group(GroupName=name, Description="lets HTTPS out", VpcId=vpc)["GroupId"]
    brought.callback(network.delete_security_group, GroupId=group)
    return {"vpc_subnet_ids": [subnet], "vpc_security_group_ids": [group]}


def bring_secret(name: str, value: object, stack: Stack, brought: ExitStack) -> None:
    secrets = stack.aws("secretsmanager")
    secrets.create_secret(Name=name, SecretString=json.dumps(value))
    brought.callback(secrets.delete_secret, SecretId=name, ForceDeleteWithoutRecovery=True)


def pipeline(place: Place) -> Pipeline:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    stack, values = place.stack, variables_of(place.stack)
    runner = place.deployment("pipeline", MODULE / "deployment", {})
    given = ("port_api_url", "kafka_bootstrap_servers", "kafka_ca_certificate")
    set_arguments(runner, {key: values[key] for key in given})
    directory = place.directory / "pipeline"
    states = stack.aws("s3")
    states.create_bucket(Bucket=runner.name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})

    def step(environment: str, job: str, name: str, secrets: Mapping[str, str]) -> str:
        [command] = [each["run"] for each in jobs[job]["steps"] if each.get("name") == name]
        return shell(environment, command, secrets)

    def shell(environment: str, command: str, secrets: Mapping[str, str]) -> str:
        variables = {
            "environment": environment,
            "name": runner.name,
            "port_org_id": stack.port.organization_id,
            "alarm_topic_arns": "[]",
            **secrets,
        }
        answer = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", command],
            cwd=directory,
            env={
                "PATH": os.environ["PATH"],
                "ENVIRONMENT": environment,
                "STATE_BUCKET": runner.name,
                # A folder for each, as each job has a machine of its own.
                "TF_DATA_DIR": str(directory / environment),
                **{f"TF_VAR_{name}": value for name, value in variables.items()},
                **cli_configuration(directory),
                **stack.environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    secrets = {
        "kafka_username": stack.kafka.username,
        "kafka_password": stack.kafka.password,
        "port_client_id": stack.port.client_id,
        "port_client_secret": stack.port.client_secret,
    }
    none = dict.fromkeys(secrets, "none")
    step("development", "apply", "Initialize", secrets)
    try:
        step("development", "apply", "Apply", secrets)
        run = run_once(runner)
        step("production", "plan", "Initialize", none)
        plan = step("production", "plan", "Plan", none)
        keys = [each["Key"] for each in states.list_objects_v2(Bucket=runner.name)["Contents"]]
        kept = {key: states.get_object(Bucket=runner.name, Key=key)["Body"].read().decode() for key in keys}
    finally:
        shell("development", "terraform -chdir=terraform/deployment destroy -input=false -auto-approve", secrets)
    for key in keys:
        states.delete_object(Bucket=runner.name, Key=key)
    states.delete_bucket(Bucket=runner.name)
    return Pipeline(run, list(secrets.values()), kept, plan, everything(runner))


@dataclass(frozen=True)
class Lives:
    """Both, which may not have come to their ends yet."""

    enterprise: Future[Enterprise]
    pipeline: Future[Pipeline]


@pytest.fixture(scope="module")
def lives(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    with PortConnection(stack.port.url, stack.port.client_id, stack.port.client_secret) as port:
        set_up(port, read_definitions(), tell=lambda line, style: None)
        place = Place(stack, port, tmp_path_factory.mktemp("examples"))
        with ThreadPoolExecutor() as together:
            yield Lives(together.submit(enterprise, place), together.submit(pipeline, place))


def test_every_example_is_applied() -> None:
    """No example is there that no test applies."""
    examples = {path.name for path in (MODULE / "examples").iterdir()}

    assert examples == {"basic", "change-log", "existing-secrets-and-vpc"}


class TestEnterprise:
    def test_runs_end(self, lives: Lives) -> None:
        """The function in the subnets takes a run from its topic and ends it in Port."""
        assert lives.enterprise.result().run["status"] == "SUCCESS"

    def test_second_plan_is_empty(self, lives: Lives) -> None:
        """What was applied leaves nothing to do."""
        plan = lives.enterprise.result().second_plan

        assert plan.empty, plan.text

    def test_what_is_made(self, lives: Lives) -> None:
        """The function is in its subnets, its role under its path, all is watched, and no credentials are copied."""
        life = lives.enterprise.result()

        name = life.deployment.name
        assert life.function["Role"].endswith(f":role/platform/{name}")
        assert life.function["VpcConfig"]["SubnetIds"][0].startswith("subnet-")
        assert life.function["VpcConfig"]["SecurityGroupIds"][0].startswith("sg-")
        assert life.made["secrets"] == [f"{name}/{each}" for each in ("kafka-ca-certificate", *CREDENTIALS)]
        assert life.made["dashboards"] == [name]
        ends = ("duration", "errors", "no-run-ended", "offset-lag", "throttles")
        assert life.made["alarms"] == [f"{name}-{end}" for end in ends]

    def test_destroy_leaves_what_was_brought(self, lives: Lives) -> None:
        """A destroy takes all that the apply made, and not the secrets, which are the caller's."""
        life = lives.enterprise.result()

        brought = [f"{life.deployment.name}/{kind}" for kind in CREDENTIALS]
        assert life.left == {kind: [] for kind in life.left} | {"secrets": brought}


class TestPipeline:
    def test_runs_end(self, lives: Lives) -> None:
        """The pipeline's own commands make a runner that works, and what they made can be destroyed."""
        life = lives.pipeline.result()

        assert life.run["status"] == "SUCCESS"
        assert life.left == {kind: [] for kind in life.left}

    def test_plan(self, lives: Lives) -> None:
        """A pull request's plan needs no secret, and that of another environment knows nothing of the first."""
        plan = lives.pipeline.result().plan

        assert re.search(r"^Plan: [1-9]\d* to add, 0 to change, 0 to destroy\.", plan, re.MULTILINE)

    def test_state(self, lives: Lives) -> None:
        """An environment's state is where it was told to be, without a lock or a secret left in it."""
        life = lives.pipeline.result()

        assert list(life.states) == ["development/port-runner.tfstate"]
        [state] = life.states.values()
        assert "aws_lambda_function" in state
        assert [secret for secret in life.secrets if secret in state] == []
