"""The module as the integration tests deploy it, and its state in Port, Kafka and AWS."""

import json
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from port_runner.testing import run_message
from port_runner_cli.clients.port import PortConnection
from port_runner_sandbox import Sandbox
from port_runner_sandbox.fake_port import Received
from port_runner_sandbox.localstack import running_localstack
from port_runner_sandbox.terraform import Terraform
from scripts.package import package_function
from tests.support.project import ROOT

EXAMPLE = ROOT / "terraform" / "examples" / "basic"
HANDLERS = ROOT / "tests" / "support" / "failing_handlers.py"

# The time that a handler may take: half of the function's timeout, which is as short as the module allows.
WORK_SECONDS = 5
SETTINGS: dict[str, object] = {
    "handler": "failing_handlers.lambda_handler",
    "log_level": "DEBUG",
    "timeout": 2 * WORK_SECONDS,
    "deadline_margin_in_seconds": WORK_SECONDS,
    "batch_size": 10,
}

INPUTS: dict[str, Any] = {"cpu": 2, "memory": 4, "storage": 50, "region": "eu-west-1"}
INVOCATION = re.compile(r"^START RequestId: (\S+) .*?\n(.*?)^END RequestId: \1", re.DOTALL | re.MULTILINE)
ENDED = ("SUCCESS", "FAILURE")
# No test is about speed. This limit only ends a test that would wait without end.
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Deployment:
    """The example's root module, applied to the sandbox. The name of each of its resources starts with *name*."""

    name: str
    sandbox: Sandbox
    port: PortConnection
    terraform: Terraform
    variables: dict[str, object]
    outputs: Mapping[str, Any]

    # Runs

    def execute(self, action: str, inputs: Mapping[str, Any]) -> str:
        """Have Port execute the action, as a developer would, and return the run's id."""
        answer = self.port.call("POST", f"/actions/{action}/runs", {"properties": inputs}, what=action)
        run_id: str = answer["run"]["id"]
        return run_id

    def start(self, action: str, inputs: Mapping[str, Any] | None = None, *, entity: str | None = None) -> str:
        """Create a run in Port, put its message into the topic, and return the run's id."""
        run_id = new_run_id()
        self.sandbox.port.add_run(run_id, action)
        self.publish(run_message(action, inputs, run_id=run_id, blueprint="vm", entity=entity))
        return run_id

    def publish(self, message: Any) -> None:
        """Put the message into the topic of the runs."""
        self.sandbox.kafka.produce(json.dumps(message).encode())

    def ended(self, *run_ids: str) -> dict[str, Any]:
        """Wait until the runs have ended, and return the last one as Port has it."""
        runs = self.sandbox.port.runs
        self.until(lambda: all(runs[run_id]["status"] in ENDED for run_id in run_ids))
        return dict(runs[run_ids[-1]])

    def requests(self, run_id: str) -> list[Received]:
        """Return the requests that Port received about the run: to its path, and for entities that are tied to it."""
        return [
            each
            for each in self.sandbox.port.requests
            if f"/runs/{run_id}" in each.path or each.query.get("run_id") == run_id
        ]

    def starts(self, run_id: str) -> int:
        """Return how often the run's handler was started. Each start sends one entity, even if the run then fails."""
        return sum(each.path.endswith("/entities") for each in self.requests(run_id))

    def ends(self, run_id: str) -> list[Any]:
        """Return every report of an outcome that Port received, refused reports too."""
        # A process that is killed can leave a request with an incomplete body.
        bodies = [each.body or {} for each in self.requests(run_id) if each.method == "PATCH"]
        return [body for body in bodies if "status" in body]

    def let_go_on(self, run_id: str) -> None:
        """Let the handler of a `wait` run return."""
        self.port.call("POST", "/blueprints/vm/entities", {"identifier": f"go-on-{run_id}"}, what="the entity")

    # The function

    def log(self, stream: str | None = None) -> str:
        """Return the function's log in CloudWatch, all of it or one stream."""
        pages = self.sandbox.aws("logs").get_paginator("filter_log_events")
        streams = {"logStreamNames": [stream]} if stream else {}
        found = pages.paginate(logGroupName=self.outputs["lambda_cloudwatch_log_group_name"], **streams)
        return "".join(event["message"] for page in found for event in page["events"])

    def invocations(self, run_id: str) -> list[tuple[str, list[str]]]:
        """Return request id and lines of each ended invocation that names the run."""
        found = INVOCATION.findall(self.log())
        return [(request_id, text.splitlines()) for request_id, text in found if f'"{run_id}"' in text]

    def logged(self, run_id: str) -> list[dict[str, Any]]:
        """Return the log lines with the run's id, from invocations that have ended."""
        lines = (line for _, lines in self.invocations(run_id) for line in lines)
        read: list[dict[str, Any]] = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in read if line.get("run_id") == run_id]

    def processes(self) -> int:
        """Return the number of processes that the function has had so far."""
        return self.log().count('"function.started"')

    # Its mapping

    def mapping(self) -> dict[str, Any]:
        """Return the event source mapping as AWS's API shows it."""
        uuid = self.outputs["lambda_event_source_mapping_uuid"]
        mapping: dict[str, Any] = self.sandbox.aws("lambda").get_event_source_mapping(UUID=uuid)
        return mapping

    def result(self) -> str:
        """Return the mapping's result of its last batch."""
        result: str = self.mapping()["LastProcessingResult"]
        return result

    def committed(self) -> int:
        """Return the consumer group's offset: that of the next record that it reads."""
        group = self.mapping()["SelfManagedKafkaEventSourceConfig"]["ConsumerGroupId"]
        [offset] = self.sandbox.kafka.committed(group)
        return offset or 0

    def published(self) -> int:
        """Return the topic's end: the offset of the next record that is produced."""
        consumer = Consumer(self.sandbox.kafka.client_config() | {"group.id": "none"})
        try:
            _, end = consumer.get_watermark_offsets(TopicPartition(self.sandbox.kafka.topic, 0), timeout=10)
        finally:
            consumer.close()
        return int(end)

    def consumed(self) -> bool:
        """Return True if every record of the topic is committed."""
        return self.committed() == self.published()

    def kept(self) -> list[dict[str, Any]]:
        """Remove up to 10 messages from the failure queue, and return their bodies."""
        queues, url = self.sandbox.aws("sqs"), self.outputs["failure_queue_url"]
        messages = queues.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            queues.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in messages]

    def until[T](self, found: Callable[[], T]) -> T:
        """Call *found* until its result is true, and return that result. Fail after PATIENCE_SECONDS."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (result := found()):
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"The condition is still false after {PATIENCE_SECONDS:g} s. "
                    f"The mapping's last result: {self.result()} "
                    f"The end of the function's log:\n{self.log()[-3000:]}"
                )
            time.sleep(0.05)
        return result

    def resources(self) -> dict[str, list[str]]:
        """Return the names of this deployment's resources in AWS, by kind."""
        functions, group = self.sandbox.aws("lambda"), f"/aws/lambda/{self.name}"
        secrets = self.sandbox.aws("secretsmanager").get_paginator("list_secrets").paginate(IncludePlannedDeletion=True)
        roles = self.sandbox.aws("iam").get_paginator("list_roles").paginate()
        layers = functions.list_layer_versions(LayerName=f"{self.name}-dependencies")["LayerVersions"]
        mappings = [
            each
            for each in functions.list_event_source_mappings()["EventSourceMappings"]
            # A mapping that was disabled when it was deleted keeps this state in LocalStack.
            if each["State"] != "Deleting"
        ]
        found = {
            "functions": [each["FunctionName"] for each in functions.list_functions()["Functions"]],
            "mappings": [each["FunctionArn"].rpartition(":")[2] for each in mappings],
            "layers": [each["LayerVersionArn"].split(":")[6] for each in layers],
            "secrets": [each["Name"] for page in secrets for each in page["SecretList"]],
            "roles": [each["RoleName"] for page in roles for each in page["Roles"]],
            "queues": [url.rpartition("/")[2] for url in self.sandbox.aws("sqs").list_queues().get("QueueUrls", [])],
            "log groups": [
                each["logGroupName"].removeprefix("/aws/lambda/")
                for each in self.sandbox.aws("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
            ],
        }
        return {kind: sorted(name for name in names if name.startswith(self.name)) for kind, names in found.items()}


def new_run_id() -> str:
    return f"r_{uuid.uuid4().hex[:16]}"


@contextmanager
def deployed(sandbox: Sandbox, port: PortConnection, directory: Path) -> Iterator[Deployment]:
    """Apply the example with the shipped function and `failing_handlers.py` next to it."""
    name = f"tests-{uuid.uuid4().hex[:8]}"
    terraform = Terraform(EXAMPLE, directory, sandbox.environment)
    settings = {**SETTINGS, "name": name, "function_package": str(_function_package(directory))}
    terraform.override({**sandbox.module_arguments, **settings})
    variables = sandbox.variables
    terraform.init()
    try:
        terraform.apply(variables)
        yield Deployment(name, sandbox, port, terraform, variables, terraform.output())
    finally:
        # A LocalStack that the tests started is discarded with everything in it.
        if running_localstack():
            terraform.destroy(variables)


def _function_package(directory: Path) -> Path:
    source = directory / "function"
    shutil.copytree(ROOT / "lambda", source, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HANDLERS, source)
    return package_function(source, directory / "function.zip").path
