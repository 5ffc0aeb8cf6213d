"""Deployments of the examples and of the pipeline, each from its first apply to its destroy.

Each has its own names, topic and Kafka user, so that all can run at the same time and none takes another's runs. Each
function returns a result object, and the tests check that object.
"""

import copy
import json
import os
import re
import shutil
import subprocess
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from port_runner_cli.clients.port import PortConnection
from port_runner_sandbox import Sandbox
from port_runner_sandbox.terraform import MODULE, QUICK, Plan, Terraform, cli_configuration
from scripts.package import package_function
from tests.support.added_action import ACTION, COMMANDS, add_action
from tests.support.deployment import INPUTS, Deployment
from tests.support.project import ROOT

# The AWS provider waits 25 s after it has made a queue, so only the shared deployment has a failure queue.
ARGUMENTS: dict[str, object] = {"create_failure_queue": False}

FUNCTION, LAYER = "aws_lambda_function.this", "aws_lambda_layer_version.dependencies"
RUNS, CHANGE_LOG = (f'aws_lambda_event_source_mapping.kafka["{key}"]' for key in ("runs", "change_log"))
LOG_GROUP, ROLE, POLICY = "aws_cloudwatch_log_group.lambda", "aws_iam_role.lambda[0]", "aws_iam_role_policy.this[0]"
SECRETS = [
    f"aws_secretsmanager_secret.{name}[0]" for name in ("kafka_ca_certificate", "kafka_credentials", "port_credentials")
]
KAFKA_SECRET, PORT_SECRET = (f"aws_secretsmanager_secret_version.{name}_credentials[0]" for name in ("kafka", "port"))


@dataclass(frozen=True)
class Prepared:
    """A root module that is not applied yet, and the deployment that it will be.

    *arguments* are arguments of the module that the root module does not set.
    """

    deployment: Deployment
    arguments: dict[str, object]

    @property
    def terraform(self) -> Terraform:
        return self.deployment.terraform

    @property
    def variables(self) -> dict[str, object]:
        return self.deployment.variables

    def set_arguments(self, arguments: Mapping[str, object]) -> None:
        """Write an override file that gives the module its own arguments and these."""
        self.terraform.override({**self.arguments, **arguments})

    @contextmanager
    def applied(self) -> Iterator[Deployment]:
        """Apply the root module, and destroy it at the end, after a failure too."""
        self.terraform.init()
        try:
            self.terraform.apply(self.variables)
            yield replace(self.deployment, outputs=self.terraform.output())
        finally:
            self.terraform.destroy(self.variables)


@dataclass(frozen=True)
class Workspace:
    """A folder and a sandbox in which root modules are applied."""

    sandbox: Sandbox
    port: PortConnection
    directory: Path

    def prepare(self, kind: str, root_module: Path) -> Prepared:
        """Return the root module with its own names, topic and Kafka user. The caller adds its variables."""
        name = f"{kind}-{uuid.uuid4().hex[:8]}"
        kafka = copy.copy(self.sandbox.kafka)
        kafka.topic = f"{self.sandbox.port.organization_id}.{name}.runs"
        kafka.create_topic(kafka.topic)
        kafka.username = name
        kafka.change_password(f"password of {name}")
        terraform = Terraform(root_module, self.make_directory(kind), self.sandbox.environment)
        deployment = Deployment(name, replace(self.sandbox, kafka=kafka), self.port, terraform, {}, {})
        prepared = Prepared(
            deployment, {**self.sandbox.module_arguments, "name": name, "kafka_topic": kafka.topic, **ARGUMENTS}
        )
        prepared.set_arguments({})
        return prepared

    def make_directory(self, name: str) -> Path:
        directory = self.directory / name
        directory.mkdir()
        return directory


def run_once(deployment: Deployment) -> dict[str, Any]:
    """Start one run through the topic, and return it as Port has it at its end."""
    return deployment.ended(deployment.start("create_vm", INPUTS))


def everything(deployment: Deployment) -> dict[str, list[str]]:
    """Return the names of all the deployment's resources, including alarms and dashboards."""
    watch, name = deployment.sandbox.aws("cloudwatch"), deployment.name
    alarms = watch.describe_alarms(AlarmNamePrefix=name)["MetricAlarms"]
    dashboards = watch.list_dashboards(DashboardNamePrefix=name)["DashboardEntries"]
    return deployment.resources() | {
        "alarms": sorted(alarm["AlarmName"] for alarm in alarms),
        "dashboards": [dashboard["DashboardName"] for dashboard in dashboards],
    }


def changes(plan: Plan) -> dict[str, list[str]]:
    """Return the plan's changes in the module, by the resource's address in the module."""
    return {address.removeprefix("module.port_runner."): words for address, words in plan.changes.items()}


# The example with existing secrets and an existing network


@dataclass(frozen=True)
class Enterprise:
    """The result of the example `existing-secrets-and-vpc`."""

    name: str
    made: dict[str, list[str]]
    second_plan: Plan
    run: dict[str, Any]
    function: dict[str, Any]
    left: dict[str, list[str]]


CREDENTIALS = ("kafka_credentials", "port_credentials")


def deploy_enterprise(workspace: Workspace) -> Enterprise:
    prepared = workspace.prepare("enterprise", MODULE / "examples" / "existing-secrets-and-vpc")
    deployment = prepared.deployment
    name, sandbox = deployment.name, deployment.sandbox
    with ExitStack() as brought:
        prepared.variables.update(
            {"port_org_id": sandbox.port.organization_id}
            | bring_network(name, sandbox, brought)
            | {
                f"{kind}_secret_name": bring_secret(f"{name}/{kind}", sandbox.variables[kind], sandbox, brought)
                for kind in CREDENTIALS
            }
            | {
                "name": name,
                "role_path": "/platform/",
                "instance_sizes_parameter_arn": "arn:aws:ssm:eu-west-1:000000000000:parameter/instance-sizes",
                "alarm_topic_arns": ["arn:aws:sns:eu-west-1:000000000000:platform-alarms"],
                "tags": {"team": "platform"},
            }
        )
        with prepared.applied() as deployment:
            second_plan = prepared.terraform.plan(prepared.variables)
            run = run_once(deployment)
            function = sandbox.aws("lambda").get_function_configuration(FunctionName=name)
            made = everything(deployment)
        return Enterprise(name, made, second_plan, run, function, everything(deployment))


def bring_network(name: str, sandbox: Sandbox, brought: ExitStack) -> dict[str, object]:
    network = sandbox.aws("ec2")
    vpc = network.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    brought.callback(network.delete_vpc, VpcId=vpc)
    subnet = network.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    brought.callback(network.delete_subnet, SubnetId=subnet)
    group = network.create_security_group(GroupName=name, Description="lets HTTPS out", VpcId=vpc)["GroupId"]
    brought.callback(network.delete_security_group, GroupId=group)
    return {"vpc_subnet_ids": [subnet], "vpc_security_group_ids": [group]}


def bring_secret(name: str, value: object, sandbox: Sandbox, brought: ExitStack) -> str:
    secrets = sandbox.aws("secretsmanager")
    secrets.create_secret(Name=name, SecretString=json.dumps(value))
    brought.callback(secrets.delete_secret, SecretId=name, ForceDeleteWithoutRecovery=True)
    return name


def run_in_shell(
    command: str,
    directory: Path,
    sandbox: Sandbox,
    variables: Mapping[str, object],
    environment: Mapping[str, str],
    *,
    typed: str = "",
) -> str:
    """Run a command line as a person or pipeline would, and return its output.

    *variables* are the variables of the root module.
    """
    answer = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", command],
        cwd=directory,
        env={
            "PATH": os.environ["PATH"],
            "HOME": os.environ["HOME"],
            **{
                f"TF_VAR_{name}": value if isinstance(value, str) else json.dumps(value)
                for name, value in variables.items()
            },
            **cli_configuration(directory),
            **sandbox.environment,
            **QUICK,
            **environment,
        },
        input=typed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


# The root module that the pipeline deploys


@dataclass(frozen=True)
class Pipeline:
    """The result of the pipeline's own commands: an apply in one environment, and a plan for another.

    *secrets* are the password and the client secret.
    """

    run: dict[str, Any]
    secrets: list[str]
    states: dict[str, str]
    plan: str
    left: dict[str, list[str]]


def run_pipeline(workspace: Workspace) -> Pipeline:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    prepared = workspace.prepare("pipeline", MODULE / "deployment")
    deployment, directory = prepared.deployment, workspace.directory / "pipeline"
    name, sandbox = deployment.name, deployment.sandbox
    states = sandbox.aws("s3")
    states.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    secrets = {
        "kafka_username": sandbox.kafka.username,
        "kafka_password": sandbox.kafka.password,
        "port_client_id": sandbox.port.client_id,
        "port_client_secret": sandbox.port.client_secret,
    }

    def step(environment: str, job: str, step_name: str, secrets: Mapping[str, str]) -> str:
        [command] = [each["run"] for each in jobs[job]["steps"] if each.get("name") == step_name]
        return shell(environment, command, secrets)

    def shell(environment: str, command: str, secrets: Mapping[str, str]) -> str:
        variables = {
            "environment": environment,
            "name": name,
            "port_org_id": sandbox.port.organization_id,
            "alarm_topic_arns": "[]",
            **secrets,
        }
        given = {
            "ENVIRONMENT": environment,
            "STATE_BUCKET": name,
            # Each environment has its own folder, because in the pipeline each job has its own machine.
            "TF_DATA_DIR": str(directory / environment),
        }
        return run_in_shell(command, directory, sandbox, variables, given)

    none = dict.fromkeys(secrets, "none")
    step("development", "apply", "Initialize", secrets)
    try:
        step("development", "apply", "Apply", secrets)
        run = run_once(deployment)
        step("production", "plan", "Initialize", none)
        plan = step("production", "plan", "Plan", none)
        keys = [each["Key"] for each in states.list_objects_v2(Bucket=name)["Contents"]]
        kept = {key: states.get_object(Bucket=name, Key=key)["Body"].read().decode() for key in keys}
    finally:
        shell("development", "terraform -chdir=terraform/deployment destroy -input=false -auto-approve", secrets)
    for each in states.list_objects_v2(Bucket=name)["Contents"]:
        states.delete_object(Bucket=name, Key=each["Key"])
    states.delete_bucket(Bucket=name)
    hidden = [secrets["kafka_password"], secrets["port_client_secret"]]
    return Pipeline(run, hidden, kept, plan, everything(deployment))


# A new action, deployed with the example `basic`


@dataclass(frozen=True)
class Addition:
    """The output of each of README.md's commands, and the action's runs."""

    printed: list[str]
    definition: dict[str, Any]
    runs: list[dict[str, Any]]
    left: dict[str, list[str]]


def add_and_run_action(workspace: Workspace) -> Addition:
    prepared = workspace.prepare("adding", MODULE / "examples" / "basic")
    sandbox, project = prepared.deployment.sandbox, workspace.directory / "adding"
    # Use the organization's topic, because Port itself publishes.
    del prepared.arguments["kafka_topic"]
    prepared.set_arguments({})
    prepared.variables.update(sandbox.variables)
    add_action(project)
    packages = project / "dist"
    packages.unlink()
    shutil.copytree(ROOT / "dist", packages)
    access = {
        "PORT_API_URL": sandbox.port.url,
        "PORT_CLIENT_ID": sandbox.port.client_id,
        "PORT_CLIENT_SECRET": sandbox.port.client_secret,
    }
    prepared.terraform.init()
    try:
        printed = [
            run_in_shell(command, project, sandbox, prepared.variables, access, typed="yes\n") for command in COMMANDS
        ]
    finally:
        prepared.terraform.destroy(prepared.variables)
    runs = [run for run in sandbox.port.runs.values() if run["action"]["identifier"] == ACTION]
    return Addition(printed, sandbox.port.actions[ACTION], runs, everything(prepared.deployment))


# The example with both topics, and changes of the module's arguments

# Arguments that change resources in place. LocalStack can apply only the first group.
IN_PLACE: dict[str, object] = {
    "batch_size": 5,
    "maximum_batching_window_in_seconds": 1,
    "filter_actions": ["create_vm"],
    "event_source_mapping_enabled": False,
    "memory_size": 512,
    "timeout": 90,
    "max_concurrency": 3,
    "log_level": "DEBUG",
    "cloudwatch_logs_retention_in_days": 365,
    "policy_json": json.dumps(
        {
            "Statement": [
                {"Sid": "Sizes", "Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "arn:aws:ssm:::*"}
            ]
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


@dataclass(frozen=True)
class Upgrade:
    """The changes that a new zip caused, and the zip."""

    done: dict[str, list[str]]
    package: bytes
    deployed_sha256: str


@dataclass(frozen=True)
class Pause:
    """The state of runs that were published while the mapping was disabled."""

    state: str
    requests: int
    starts: list[int]
    statuses: list[str]
    offsets: tuple[int, int]


@dataclass(frozen=True)
class Rotation:
    """The changes that new credentials caused, the secrets' new contents, and the files that must not hold them."""

    done: dict[str, list[str]]
    kafka: dict[str, str]
    port: dict[str, str]
    secrets: list[str]
    files: bytes


@dataclass(frozen=True)
class Changes:
    """The applied and planned changes, by kind and resource."""

    name: str
    run: dict[str, Any]
    storage_size: int
    in_place: dict[str, list[str]]
    done_in_place: dict[str, list[str]]
    identities: tuple[dict[str, Any], dict[str, Any]]
    pause: Pause
    upgrade: Upgrade
    replacements: dict[str, list[str]]
    reasons: dict[str, set[str]]
    imported: int
    import_text: str
    not_imported: dict[str, list[str]]
    rotation: Rotation
    log: str
    left: dict[str, list[str]]


def apply_changes(workspace: Workspace) -> Changes:
    prepared = workspace.prepare("changing", MODULE / "examples" / "change-log")
    prepared.variables.update(prepared.deployment.sandbox.variables)
    organization, terraform = workspace.sandbox.port.organization_id, prepared.terraform
    with prepared.applied() as deployment:
        run, storage_size = run_once(deployment), tell_change_log(deployment)

        before = identities(deployment)
        prepared.set_arguments({**IN_PLACE, **ALSO_IN_PLACE})
        in_place = changes(terraform.plan(prepared.variables))
        done_in_place = change(prepared, IN_PLACE)
        after = identities(deployment)

        state = mapping(deployment)["State"]
        runs = [deployment.start("create_vm", INPUTS) for _ in range(3)]
        committed = deployment.committed()

        package = upgraded_package(workspace.make_directory("upgrade"))
        done_by_upgrade = change(prepared, {"function_package": str(package)})
        function = deployment.sandbox.aws("lambda").get_function_configuration(FunctionName=deployment.name)
        requests = sum(len(deployment.requests(run_id)) for run_id in runs)

        prepared.set_arguments(
            {
                "kafka_topic": f"{organization}.other",
                "kafka_consumer_group_id": f"{organization}.other",
                "starting_position": "LATEST",
                "layer_package": str(package),
                "role_path": "/other/",
                "kafka_credentials_version": 2,
                "kafka_bootstrap_servers": ["localhost:1", *deployment.sandbox.kafka.bootstrap_servers],
            }
        )
        replacements = terraform.plan(prepared.variables)
        prepared.set_arguments({})
        imported, import_plan = plan_import(prepared, workspace.make_directory("import"))

        secrets = [deployment.sandbox.kafka.password, deployment.sandbox.port.client_secret]
        deployment.sandbox.kafka.change_password("rotated password")
        rotated = deployment.sandbox.variables
        rotated["port_credentials"] |= {"encryption_secret": "rotated secret"}  # type: ignore[operator]
        prepared.variables.update(rotated)
        versions = {"kafka_credentials_version": 2, "port_credentials_version": 2, "event_source_mapping_enabled": True}
        done_by_rotation = change(prepared, versions)
        deployment.ended(*runs)
        deployment.until(deployment.consumed)
        deployment.until(lambda: '"upgraded"' in deployment.log())

        pause = Pause(
            state,
            requests,
            [deployment.starts(run_id) for run_id in runs],
            [deployment.sandbox.port.runs[run_id]["status"] for run_id in runs],
            (committed, deployment.committed()),
        )
        rotation = Rotation(
            done_by_rotation,
            secret_of(deployment, "kafka-credentials"),
            secret_of(deployment, "port-credentials"),
            [*secrets, "rotated password", "rotated secret"],
            b"".join([terraform.state_text().encode(), terraform.log.read_bytes(), *saved(replacements.file)]),
        )
        log = deployment.log()
    return Changes(
        deployment.name,
        run,
        storage_size,
        in_place,
        done_in_place,
        (before, after),
        pause,
        Upgrade(done_by_upgrade, package.read_bytes(), function["CodeSha256"]),
        changes(replacements),
        reasons(replacements),
        imported,
        import_plan.text,
        changes(import_plan),
        rotation,
        log,
        everything(deployment),
    )


DONE = {"Creation": "create", "Modifications": "update", "Destruction": "delete"}
DONE_LINE = re.compile(
    rf"^module\.port_runner\.(.+?)(?: \(deposed .*\))?: ({'|'.join(DONE)}) complete after", re.MULTILINE
)


def change(prepared: Prepared, arguments: Mapping[str, object]) -> dict[str, list[str]]:
    """Apply these arguments, keep them for later applies, and return the changes in the words of a plan."""
    prepared.arguments.update(arguments)
    prepared.set_arguments({})
    log = prepared.terraform.log
    before = len(log.read_text())
    prepared.terraform.apply(prepared.variables)
    done: dict[str, list[str]] = {}
    for address, what in DONE_LINE.findall(log.read_text()[before:]):
        done.setdefault(address, []).append(DONE[what])
    return done


def tell_change_log(deployment: Deployment) -> int:
    """Publish that a VM has little free storage, wait for the function's change, and return the new storage size."""
    port = deployment.sandbox.port

    def vm(free_storage: int) -> dict[str, Any]:
        return {"identifier": deployment.name, "properties": {"storage_size": 50, "free_storage": free_storage}}

    deployment.port.call("POST", "/blueprints/vm/entities", vm(free_storage=1), what="the entity")
    message = {
        "action": "UPDATE",
        "resourceType": "entity",
        "trigger": {"by": {"orgId": port.organization_id}, "origin": "UI"},
        "context": {"entity": deployment.name, "blueprint": "vm"},
        "diff": {"before": vm(free_storage=20), "after": vm(free_storage=1)},
    }
    deployment.sandbox.kafka.produce(json.dumps(message).encode(), topic=f"{port.organization_id}.change.log")
    properties = port.entities["vm", deployment.name]["properties"]
    deployment.until(lambda: port.entities["vm", deployment.name]["properties"] != properties)
    size: int = port.entities["vm", deployment.name]["properties"]["storage_size"]
    return size


def mapping(deployment: Deployment) -> dict[str, Any]:
    uuid = deployment.outputs["lambda_event_source_mapping_uuid"]
    found: dict[str, Any] = deployment.sandbox.aws("lambda").get_event_source_mapping(UUID=uuid)
    return found


def identities(deployment: Deployment) -> dict[str, Any]:
    """Return the identifiers that would differ if a resource had been replaced."""
    aws, name = deployment.sandbox.aws, deployment.name
    mappings = aws("lambda").list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
    [group] = aws("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{name}")["logGroups"]
    secrets = aws("secretsmanager").list_secrets(Filters=[{"Key": "name", "Values": [name]}])["SecretList"]
    return {
        "mappings": sorted(each["UUID"] for each in mappings),
        "log group": group["creationTime"],
        "role": aws("iam").get_role(RoleName=name)["Role"]["RoleId"],
        "secrets": sorted(each["ARN"] for each in secrets),
    }


def upgraded_package(directory: Path) -> Path:
    """Build the shipped function with another version number."""
    source = directory / "function"
    shutil.copytree(ROOT / "lambda", source, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "port_runner" / "version.py").write_text('VERSION = "upgraded"\n')
    return package_function(source, directory / "function.zip").path


def reasons(plan: Plan) -> dict[str, set[str]]:
    """Return the attributes that force a replacement, by the resource's address."""
    found: dict[str, set[str]] = {}
    address = ""
    for line in plan.text.splitlines():
        if named := re.match(r"  # module\.port_runner\.(\S+) must be replaced", line):
            address = named[1]
        elif forced := re.match(r"\s*[~+-] (\w+) .*# forces replacement$", line):
            found.setdefault(address, set()).add(forced[1])
    return found


def plan_import(prepared: Prepared, directory: Path) -> tuple[int, Plan]:
    """Plan an import of everything except the credentials. Return the number of imports and the plan."""
    wanted = {
        address: identifier
        for address, identifier in identifiers(json.loads(prepared.terraform.state_text())).items()
        if not address.endswith((KAFKA_SECRET, PORT_SECRET))
    }
    blocks = [f"import {{\n  to = {to}\n  id = {json.dumps(identifier)}\n}}\n" for to, identifier in wanted.items()]
    example = MODULE / "examples" / "change-log"
    terraform = Terraform(example, directory, prepared.deployment.sandbox.environment)
    terraform.override(prepared.arguments)
    (terraform.root_module / "import.tf").write_text("".join(blocks))
    terraform.init()
    return len(blocks), terraform.plan(prepared.variables)


def identifiers(state: dict[str, Any]) -> dict[str, str]:
    """Return each resource's identifier for `terraform import`, by address: a layer's ARN, any other's id."""
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


def secret_of(deployment: Deployment, kind: str) -> dict[str, str]:
    found = deployment.sandbox.aws("secretsmanager").get_secret_value(SecretId=f"{deployment.name}/{kind}")
    secret: dict[str, str] = json.loads(found["SecretString"])
    return secret


def saved(plan: Path) -> list[bytes]:
    """Return the contents of all files in a saved plan, which is a zip."""
    with zipfile.ZipFile(plan) as parts:
        return [parts.read(name) for name in parts.namelist()]
