"""Runners beside the one that the integration tests share, each from its first apply to its destroy.

Each has its own names, topic and Kafka user, so that none takes another's runs and all can live at the same time. What
was seen of a life is what the tests look at.
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
from scripts.package import package_function

from port_runner_cli.clients.port import PortConnection
from port_runner_sandbox import Sandbox
from port_runner_sandbox.terraform import MODULE, QUICK, Plan, Terraform, cli_configuration
from tests.support.added_action import ACTION, COMMANDS, add_action
from tests.support.deployment import INPUTS, Deployment
from tests.support.project import ROOT

# The AWS provider waits for 25 s after it has made a queue: one test of it is enough.
ARGUMENTS: dict[str, object] = {"create_failure_queue": False}

FUNCTION, LAYER = "aws_lambda_function.this", "aws_lambda_layer_version.dependencies"
RUNS, CHANGE_LOG = (f'aws_lambda_event_source_mapping.kafka["{key}"]' for key in ("runs", "change_log"))
LOG_GROUP, ROLE, POLICY = "aws_cloudwatch_log_group.lambda", "aws_iam_role.lambda[0]", "aws_iam_role_policy.this[0]"
SECRETS = [
    f"aws_secretsmanager_secret.{name}[0]" for name in ("kafka_ca_certificate", "kafka_credentials", "port_credentials")
]
KAFKA_SECRET, PORT_SECRET = (f"aws_secretsmanager_secret_version.{name}_credentials[0]" for name in ("kafka", "port"))


@dataclass(frozen=True)
class Beginning:
    """A root module, not yet applied, with what tests see of it once it is.

    *arguments* are the module's own, which the root module does not give.
    """

    deployment: Deployment
    arguments: dict[str, object]

    @property
    def terraform(self) -> Terraform:
        return self.deployment.terraform

    @property
    def variables(self) -> dict[str, object]:
        return self.deployment.variables

    def argue(self, arguments: Mapping[str, object]) -> None:
        """Give the module these arguments beside its own."""
        self.terraform.override({**self.arguments, **arguments})

    @contextmanager
    def applied(self) -> Iterator[Deployment]:
        """Apply it, and destroy it at the end, also where that is a failure."""
        self.terraform.init()
        try:
            self.terraform.apply(self.variables)
            yield replace(self.deployment, outputs=self.terraform.output())
        finally:
            self.terraform.destroy(self.variables)


@dataclass(frozen=True)
class Place:
    """Where root modules are applied."""

    sandbox: Sandbox
    port: PortConnection
    directory: Path

    def begin(self, kind: str, root_module: Path) -> Beginning:
        """The root module with names and a topic of its own; its variables are to be given."""
        name = f"{kind}-{uuid.uuid4().hex[:8]}"
        kafka = copy.copy(self.sandbox.kafka)
        kafka.topic = f"{self.sandbox.port.organization_id}.{name}.runs"
        kafka.create_topic(kafka.topic)
        kafka.username = name
        kafka.change_password(f"password of {name}")
        terraform = Terraform(root_module, self.make(kind), self.sandbox.environment)
        deployment = Deployment(name, replace(self.sandbox, kafka=kafka), self.port, terraform, {}, {})
        beginning = Beginning(
            deployment, {**self.sandbox.module_arguments, "name": name, "kafka_topic": kafka.topic, **ARGUMENTS}
        )
        beginning.argue({})
        return beginning

    def make(self, name: str) -> Path:
        directory = self.directory / name
        directory.mkdir()
        return directory


def run_once(deployment: Deployment) -> dict[str, Any]:
    """One run from its topic to its end in Port."""
    return deployment.ended(deployment.start("create_vm", INPUTS))


def everything(deployment: Deployment) -> dict[str, list[str]]:
    """What there is by the deployment's name, alarms and dashboards too."""
    watch, name = deployment.sandbox.aws("cloudwatch"), deployment.name
    alarms = watch.describe_alarms(AlarmNamePrefix=name)["MetricAlarms"]
    dashboards = watch.list_dashboards(DashboardNamePrefix=name)["DashboardEntries"]
    return deployment.resources() | {
        "alarms": sorted(alarm["AlarmName"] for alarm in alarms),
        "dashboards": [dashboard["DashboardName"] for dashboard in dashboards],
    }


def changes(plan: Plan) -> dict[str, list[str]]:
    """What would change in the module, by the resource's address in it."""
    return {address.removeprefix("module.port_runner."): words for address, words in plan.changes.items()}


# The example with secrets and a network of one's own


@dataclass(frozen=True)
class Enterprise:
    """What was seen of the enterprise's runner."""

    name: str
    made: dict[str, list[str]]
    second_plan: Plan
    run: dict[str, Any]
    function: dict[str, Any]
    left: dict[str, list[str]]


CREDENTIALS = ("kafka_credentials", "port_credentials")


def enterprise(place: Place) -> Enterprise:
    beginning = place.begin("enterprise", MODULE / "examples" / "existing-secrets-and-vpc")
    deployment = beginning.deployment
    name, sandbox = deployment.name, deployment.sandbox
    with ExitStack() as brought:
        beginning.variables.update(
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
        with beginning.applied() as deployment:
            second_plan = beginning.terraform.plan(beginning.variables)
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
    """Run a command line as it is written for people or for a pipeline; what it printed.

    *variables* are those of the root module.
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


# What the pipeline deploys


@dataclass(frozen=True)
class Pipeline:
    """What the pipeline's own commands made in one environment, and planned for another one.

    *secrets* are the password and the client secret.
    """

    run: dict[str, Any]
    secrets: list[str]
    states: dict[str, str]
    plan: str
    left: dict[str, list[str]]


def pipeline(place: Place) -> Pipeline:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    beginning = place.begin("pipeline", MODULE / "deployment")
    deployment, directory = beginning.deployment, place.directory / "pipeline"
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
            # A folder for each, as each job has a machine of its own.
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


# An action that somebody adds, and deploys with the example `basic`


@dataclass(frozen=True)
class Addition:
    """What each of README.md's commands printed, and the runs of the action then."""

    printed: list[str]
    definition: dict[str, Any]
    runs: list[dict[str, Any]]
    left: dict[str, list[str]]


def adding(place: Place) -> Addition:
    beginning = place.begin("adding", MODULE / "examples" / "basic")
    sandbox, project = beginning.deployment.sandbox, place.directory / "adding"
    # The organization's topic: it is Port itself that publishes.
    del beginning.arguments["kafka_topic"]
    beginning.argue({})
    beginning.variables.update(sandbox.variables)
    add_action(project)
    packages = project / "dist"
    packages.unlink()
    shutil.copytree(ROOT / "dist", packages)
    access = {
        "PORT_API_URL": sandbox.port.url,
        "PORT_CLIENT_ID": sandbox.port.client_id,
        "PORT_CLIENT_SECRET": sandbox.port.client_secret,
    }
    beginning.terraform.init()
    try:
        printed = [
            run_in_shell(command, project, sandbox, beginning.variables, access, typed="yes\n") for command in COMMANDS
        ]
    finally:
        beginning.terraform.destroy(beginning.variables)
    runs = [run for run in sandbox.port.runs.values() if run["action"]["identifier"] == ACTION]
    return Addition(printed, sandbox.port.actions[ACTION], runs, everything(beginning.deployment))


# The example with both topics, and everything that can be changed

# Arguments that change what is there in place. LocalStack carries out those of the first group.
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
    """What a new zip changed, and the zip."""

    done: dict[str, list[str]]
    package: bytes
    deployed_sha256: str


@dataclass(frozen=True)
class Pause:
    """What became of runs that came while the mapping was disabled."""

    state: str
    requests: int
    starts: list[int]
    statuses: list[str]
    offsets: tuple[int, int]


@dataclass(frozen=True)
class Rotation:
    """What new credentials changed, what the secrets then held, and every text that must not hold them."""

    done: dict[str, list[str]]
    kafka: dict[str, str]
    port: dict[str, str]
    secrets: list[str]
    files: bytes


@dataclass(frozen=True)
class Changes:
    """What each change did, or would have done, and to what."""

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


def changing(place: Place) -> Changes:
    beginning = place.begin("changing", MODULE / "examples" / "change-log")
    beginning.variables.update(beginning.deployment.sandbox.variables)
    organization, terraform = place.sandbox.port.organization_id, beginning.terraform
    with beginning.applied() as deployment:
        run, storage_size = run_once(deployment), tell_change_log(deployment)

        before = identities(deployment)
        beginning.argue({**IN_PLACE, **ALSO_IN_PLACE})
        in_place = changes(terraform.plan(beginning.variables))
        done_in_place = change(beginning, IN_PLACE)
        after = identities(deployment)

        state = mapping(deployment)["State"]
        runs = [deployment.start("create_vm", INPUTS) for _ in range(3)]
        committed = deployment.committed()

        package = upgraded_package(place.make("upgrade"))
        done_by_upgrade = change(beginning, {"function_package": str(package)})
        function = deployment.sandbox.aws("lambda").get_function_configuration(FunctionName=deployment.name)
        requests = sum(len(deployment.requests(run_id)) for run_id in runs)

        beginning.argue(
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
        replacements = terraform.plan(beginning.variables)
        beginning.argue({})
        imported, import_plan = plan_import(beginning, place.make("import"))

        secrets = [deployment.sandbox.kafka.password, deployment.sandbox.port.client_secret]
        deployment.sandbox.kafka.change_password("rotated password")
        rotated = deployment.sandbox.variables
        rotated["port_credentials"] |= {"encryption_secret": "rotated secret"}  # type: ignore[operator]
        beginning.variables.update(rotated)
        versions = {"kafka_credentials_version": 2, "port_credentials_version": 2, "event_source_mapping_enabled": True}
        done_by_rotation = change(beginning, versions)
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


def change(beginning: Beginning, arguments: Mapping[str, object]) -> dict[str, list[str]]:
    """Change these arguments for good; what this did, in a plan's words."""
    beginning.arguments.update(arguments)
    beginning.argue({})
    log = beginning.terraform.log
    before = len(log.read_text())
    beginning.terraform.apply(beginning.variables)
    done: dict[str, list[str]] = {}
    for address, what in DONE_LINE.findall(log.read_text()[before:]):
        done.setdefault(address, []).append(DONE[what])
    return done


def tell_change_log(deployment: Deployment) -> int:
    """Say that a VM's storage is low, and wait for what the function makes of it; the storage that it then has."""
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
    """What a replacement of each would have changed."""
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
    """The shipped function with another version number."""
    source = directory / "function"
    shutil.copytree(ROOT / "lambda", source, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "port_runner" / "version.py").write_text('VERSION = "upgraded"\n')
    return package_function(source, directory / "function.zip").path


def reasons(plan: Plan) -> dict[str, set[str]]:
    """The attributes for which resources would be replaced."""
    found: dict[str, set[str]] = {}
    address = ""
    for line in plan.text.splitlines():
        if named := re.match(r"  # module\.port_runner\.(\S+) must be replaced", line):
            address = named[1]
        elif forced := re.match(r"\s*[~+-] (\w+) .*# forces replacement$", line):
            found.setdefault(address, set()).add(forced[1])
    return found


def plan_import(beginning: Beginning, directory: Path) -> tuple[int, Plan]:
    """Plan to import all that there is but the credentials, without a state; how much that is, and the plan."""
    wanted = {
        address: identifier
        for address, identifier in identifiers(json.loads(beginning.terraform.state_text())).items()
        if not address.endswith((KAFKA_SECRET, PORT_SECRET))
    }
    blocks = [f"import {{\n  to = {to}\n  id = {json.dumps(identifier)}\n}}\n" for to, identifier in wanted.items()]
    example = MODULE / "examples" / "change-log"
    terraform = Terraform(example, directory, beginning.deployment.sandbox.environment)
    terraform.override(beginning.arguments)
    (terraform.root_module / "import.tf").write_text("".join(blocks))
    terraform.init()
    return len(blocks), terraform.plan(beginning.variables)


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


def secret_of(deployment: Deployment, kind: str) -> dict[str, str]:
    found = deployment.sandbox.aws("secretsmanager").get_secret_value(SecretId=f"{deployment.name}/{kind}")
    secret: dict[str, str] = json.loads(found["SecretString"])
    return secret


def saved(plan: Path) -> list[bytes]:
    """All parts of a saved plan, which is a zip."""
    with zipfile.ZipFile(plan) as parts:
        return [parts.read(name) for name in parts.namelist()]
