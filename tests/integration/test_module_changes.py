"""What a change of the module's arguments does to what is there: what stays, what is replaced, what becomes of runs.

One runner, the example `change-log`, lives through all of it.
"""

import base64
import hashlib
import json
import re
import shutil
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import variables_of
from deployment_beside import applied, deployment_beside, run_once, set_arguments
from local_stack import Stack
from local_stack.terraform import MODULE, Plan, Terraform
from module_under_test import INPUTS, ROOT, Deployment
from operate.port import PortConnection
from operate.setup import read_definitions, set_up
from package import package_function

EXAMPLE = MODULE / "examples" / "change-log"

FUNCTION, LAYER = "aws_lambda_function.this", "aws_lambda_layer_version.dependencies"
RUNS, CHANGE_LOG = (f'aws_lambda_event_source_mapping.kafka["{key}"]' for key in ("runs", "change_log"))
LOG_GROUP, ROLE, POLICY = "aws_cloudwatch_log_group.lambda", "aws_iam_role.lambda[0]", "aws_iam_role_policy.this[0]"
SECRETS = [
    f"aws_secretsmanager_secret.{name}[0]" for name in ("kafka_ca_certificate", "kafka_credentials", "port_credentials")
]
KAFKA_SECRET, PORT_SECRET = (f"aws_secretsmanager_secret_version.{name}_credentials[0]" for name in ("kafka", "port"))

# Arguments that change what is there in place. LocalStack carries out those of the first group.
IN_PLACE: dict[str, object] = {
    "batch_size": 5,
    "maximum_batching_window_in_seconds": 1,
    "filter_actions": ["create_vm"],
    "memory_size": 512,
    "timeout": 90,
    "max_concurrency": 3,
    "log_level": "DEBUG",
    "cloudwatch_logs_retention_in_days": 365,
    "policy_json": json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "Sizes",
                    "Effect": "Allow",
                    "Action": "ssm:GetParameter",
                    "Resource": "arn:aws:ssm:::parameter/sizes",
                }
            ],
        }
    ),
}
ALSO_IN_PLACE: dict[str, object] = {
    "tags": {"team": "platform"},
    "kafka_sasl_mechanism": "BASIC_AUTH",
    "provisioned_pollers": {"minimum": 1, "maximum": 2},
    "maximum_retry_attempts": 3,
    "failure_destination_arn": "arn:aws:sns:eu-west-1:000000000000:discarded",
    "kms_key_arn": "arn:aws:kms:eu-west-1:000000000000:key/11111111-2222-3333-4444-555555555555",
    "role_permissions_boundary": "arn:aws:iam::000000000000:policy/boundary",
    "reserved_concurrent_executions": 2,
}

DONE = {"Creation": "create", "Modifications": "update", "Destruction": "delete"}
DONE_LINE = re.compile(
    rf"^module\.port_runner\.(.+?)(?: \(deposed .*\))?: ({'|'.join(DONE)}) complete after", re.MULTILINE
)


class Runner:
    """The runner, with the arguments that it was last applied with."""

    def __init__(self, deployment: Deployment, directory: Path) -> None:
        self.deployment = deployment
        self.directory = directory
        self._arguments: dict[str, object] = {}

    def plan(self, arguments: dict[str, object], variables: dict[str, object] | None = None) -> Plan:
        """What a change of these arguments, or of the example's variables, would do."""
        set_arguments(self.deployment, {**self._arguments, **arguments})
        return self.deployment.terraform.plan({**self.deployment.variables, **(variables or {})})

    def apply(self, arguments: dict[str, object]) -> dict[str, list[str]]:
        """Change these arguments for good; what this did, in a plan's words."""
        self._arguments |= arguments
        set_arguments(self.deployment, self._arguments)
        log = self.deployment.terraform.log
        before = len(log.read_text())
        self.deployment.terraform.apply(self.deployment.variables)
        done: dict[str, list[str]] = {}
        for address, what in DONE_LINE.findall(log.read_text()[before:]):
            done.setdefault(address, []).append(DONE[what])
        return done

    def copy(self) -> Terraform:
        """The same configuration where no state is."""
        terraform = Terraform(EXAMPLE, self.directory, self.deployment.stack.environment)
        set_arguments(self.deployment, self._arguments)
        override = self.deployment.terraform.root_module / "tests_override.tf.json"
        shutil.copy(override, terraform.root_module)
        return terraform

    def identities(self) -> dict[str, Any]:
        """What a replacement of each would have changed."""
        aws, name = self.deployment.stack.aws, self.deployment.name
        mappings = aws("lambda").list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
        [group] = aws("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{name}")["logGroups"]
        secrets = aws("secretsmanager").list_secrets(Filters=[{"Key": "name", "Values": [name]}])["SecretList"]
        return {
            "mappings": sorted(mapping["UUID"] for mapping in mappings),
            "log group": group["creationTime"],
            "role": aws("iam").get_role(RoleName=name)["Role"]["RoleId"],
            "secrets": sorted(secret["ARN"] for secret in secrets),
        }


def changes(plan: Plan) -> dict[str, list[str]]:
    """What changes in the module, by the resource's address in it."""
    return {address.removeprefix("module.port_runner."): words for address, words in plan.changes.items()}


def reasons(plan: Plan) -> dict[str, set[str]]:
    """The attributes for which resources are replaced."""
    found: dict[str, set[str]] = {}
    address = ""
    for line in plan.text.splitlines():
        if named := re.match(r"  # module\.port_runner\.(\S+) must be replaced", line):
            address = named[1]
        elif forced := re.match(r"\s*[~+-] (\w+) .*# forces replacement$", line):
            found.setdefault(address, set()).add(forced[1])
    return found


@pytest.fixture(scope="module")
def runner(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    directory = tmp_path_factory.mktemp("changes")
    name = f"changes-{uuid.uuid4().hex[:8]}"
    with PortConnection(stack.port.url, stack.port.client_id, stack.port.client_secret) as port:
        set_up(port, read_definitions(), tell=lambda line, style: None)
        deployment = deployment_beside(stack, port, directory / "applied", EXAMPLE, name, variables_of(stack))
        with applied(deployment) as deployment:
            yield Runner(deployment, directory)


def test_the_change_log_arrives(runner: Runner) -> None:
    """The example's function takes runs from the one topic, and changes of the catalog from the other."""
    deployment, port = runner.deployment, runner.deployment.stack.port
    assert run_once(deployment)["status"] == "SUCCESS"

    def vm(free_storage: int) -> dict[str, Any]:
        return {"identifier": "low", "properties": {"storage_size": 50, "free_storage": free_storage}}

    deployment.port.call("POST", "/blueprints/vm/entities", vm(free_storage=1), what="the entity")
    message = {
        "action": "UPDATE",
        "resourceType": "entity",
        "trigger": {"by": {"orgId": port.organization_id}, "origin": "UI"},
        "context": {"entity": "low", "blueprint": "vm"},
        "diff": {"before": vm(free_storage=20), "after": vm(free_storage=1)},
    }
    deployment.stack.kafka.produce(json.dumps(message).encode(), topic=f"{port.organization_id}.change.log")

    deployment.until(lambda: port.entities["vm", "low"]["properties"]["storage_size"] == 100)


def test_changes_in_place(runner: Runner) -> None:
    """How runs are read, run, logged and paid for can be changed without anything being made anew."""
    before = runner.identities()

    assert changes(runner.plan({**IN_PLACE, **ALSO_IN_PLACE})) == {
        address: ["update"] for address in (FUNCTION, RUNS, CHANGE_LOG, LOG_GROUP, ROLE, POLICY, *SECRETS)
    }
    assert {*runner.apply(IN_PLACE)} == {FUNCTION, RUNS, CHANGE_LOG, LOG_GROUP, POLICY}
    assert runner.identities() == before
    assert run_once(runner.deployment)["status"] == "SUCCESS"


def test_upgrade_of_the_zip_alone(runner: Runner, tmp_path: Path) -> None:
    """A new function.zip changes the function and nothing else, and the next run is the new code's."""
    source = tmp_path / "function"
    shutil.copytree(ROOT / "lambda", source, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "port_runner" / "version.py").write_text('VERSION = "upgraded"\n')
    package = package_function(source, tmp_path / "function.zip").path
    upgrade: dict[str, object] = {"function_package": str(package)}

    assert runner.apply(upgrade) == {FUNCTION: ["update"]}

    functions = runner.deployment.stack.aws("lambda")
    deployed = functions.get_function_configuration(FunctionName=runner.deployment.name)["CodeSha256"]
    assert base64.b64decode(deployed) == hashlib.sha256(package.read_bytes()).digest()
    assert run_once(runner.deployment)["status"] == "SUCCESS"
    runner.deployment.until(lambda: '"version": "upgraded"' in runner.deployment.log())


def test_what_is_replaced(runner: Runner) -> None:
    """A mapping is replaced where AWS has no change of it, before the layer's old version goes the new one is there.

    A role takes its policy with it, and a raised version number replaces the version of that secret alone, whose value
    is not in the plan.
    """
    organization = runner.deployment.stack.port.organization_id
    brokers = runner.deployment.stack.kafka.bootstrap_servers
    plan = runner.plan(
        {
            "kafka_topic": f"{organization}.other",
            "kafka_consumer_group_id": f"{organization}.other",
            "starting_position": "LATEST",
            "layer_package": str(ROOT / "dist" / "function.zip"),
            "role_path": "/other/",
            "kafka_credentials_version": 2,
        },
        {"kafka_bootstrap_servers": ["localhost:1", *brokers]},
    )

    replaced = ["delete", "create"]
    assert changes(plan) == {
        RUNS: replaced,
        CHANGE_LOG: replaced,
        LAYER: ["create", "delete"],
        FUNCTION: ["update"],
        ROLE: replaced,
        POLICY: replaced,
        KAFKA_SECRET: replaced,
        # Their descriptions name the topic.
        **{address: ["update"] for address in SECRETS[:2]},
    }
    assert reasons(plan) == {
        RUNS: {"topics", "consumer_group_id", "endpoints", "starting_position"},
        CHANGE_LOG: {"consumer_group_id", "endpoints", "starting_position"},
        LAYER: {"filename", "source_code_hash"},
        ROLE: {"path"},
        POLICY: {"role"},
        KAFKA_SECRET: {"secret_string_wo_version"},
    }
    with zipfile.ZipFile(plan.file) as parts:
        saved = b"".join(parts.read(name) for name in parts.namelist())
    assert runner.deployment.name.encode() in saved
    assert runner.deployment.stack.kafka.password.encode() not in saved


def test_pause_and_resume(runner: Runner) -> None:
    """While the mapping is disabled nothing is started; when it is enabled again each run is done, once."""
    deployment = runner.deployment
    mapping = deployment.outputs["lambda_event_source_mapping_uuid"]
    in_place = {RUNS: ["update"], CHANGE_LOG: ["update"]}
    assert runner.apply({"event_source_mapping_enabled": False}) == in_place
    state = deployment.stack.aws("lambda").get_event_source_mapping(UUID=mapping)["State"]
    runs = [deployment.start("create_vm", INPUTS) for _ in range(3)]
    before = deployment.committed()
    assert state == "Disabled"
    assert [deployment.requests(run_id) for run_id in runs] == [[], [], []]

    assert runner.apply({"event_source_mapping_enabled": True}) == in_place

    deployment.ended(*runs)
    assert [(deployment.starts(run_id), deployment.ends(run_id)[0]["status"]) for run_id in runs] == [
        (1, "SUCCESS")
    ] * 3
    deployment.until(deployment.consumed)
    assert deployment.committed() == before + 3


def test_import(runner: Runner) -> None:
    """What is there can be taken over by its names, all but the credentials, which an import would put into the state.

    Lambda does not give its zips back, so the next apply uploads them anew; nothing else is changed.
    """
    state = json.loads(runner.deployment.terraform.state_text())
    blocks = [
        f"import {{\n  to = {address}\n  id = {json.dumps(identifier)}\n}}\n"
        for address, identifier in identifiers(state).items()
        if not address.endswith((KAFKA_SECRET, PORT_SECRET))
    ]
    terraform = runner.copy()
    (terraform.root_module / "import.tf").write_text("".join(blocks))
    terraform.init()

    plan = terraform.plan(runner.deployment.variables)

    assert f"Plan: {len(blocks)} to import" in plan.text
    assert changes(plan) == {
        FUNCTION: ["update"],
        LAYER: ["create", "delete"],
        KAFKA_SECRET: ["create"],
        PORT_SECRET: ["create"],
    }


def identifiers(state: dict[str, Any]) -> dict[str, str]:
    """What `terraform import` takes for each resource, by its address: an ARN for a layer, the id for all else."""
    return {
        f"{resource['module']}.{resource['type']}.{resource['name']}{index_of(instance)}": instance["attributes"][
            "arn" if resource["type"] == "aws_lambda_layer_version" else "id"
        ]
        for resource in state["resources"]
        if resource["mode"] == "managed"
        for instance in resource["instances"]
    }


def index_of(instance: dict[str, Any]) -> str:
    return f"[{json.dumps(instance['index_key'])}]" if "index_key" in instance else ""


def test_rotation(runner: Runner) -> None:
    """With new credentials and raised version numbers mapping and function work on; Terraform's files have neither."""
    deployment = runner.deployment
    kafka, port, variables = deployment.stack.kafka, deployment.stack.port, deployment.variables
    old = kafka.password, port.client_secret
    new = "rotated-kafka-password", "rotated-client-secret"
    try:
        kafka.change_password(new[0])
        port.client_secret = new[1]
        port.expire_token()
        variables["kafka_credentials"] = {"username": kafka.username, "password": new[0]}
        variables["port_credentials"] = {"client_id": port.client_id, "client_secret": new[1]}
        done = runner.apply({"kafka_credentials_version": 2, "port_credentials_version": 2})

        assert done == {KAFKA_SECRET: ["delete", "create"], PORT_SECRET: ["delete", "create"]}
        assert run_once(deployment)["status"] == "SUCCESS"
    finally:
        kafka.change_password(old[0])
        port.client_secret = old[1]
        port.expire_token()
    files = deployment.terraform.state_text() + deployment.terraform.log.read_text()
    assert deployment.name in files
    assert [secret for secret in (*old, *new) if secret in files] == []
