"""A runner beside the one that integration tests share: by names and a topic of its own, it takes no other's runs."""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from local_stack import Stack
from local_stack.terraform import Terraform
from module_under_test import INPUTS, Deployment
from operate.port import PortConnection

# The AWS provider waits for 25 s after it has made a queue: one test of it is enough.
SETTINGS: dict[str, object] = {"create_failure_queue": False, "starting_position": "TRIM_HORIZON"}


def deployment_beside(
    stack: Stack, port: PortConnection, directory: Path, root_module: Path, name: str, variables: dict[str, object]
) -> Deployment:
    """The root module in a copy in *directory*, not yet applied."""
    kafka = copy.copy(stack.kafka)
    kafka.topic = f"{stack.port.organization_id}.{name}.runs"
    kafka.create_topic(kafka.topic)
    directory.mkdir()
    terraform = Terraform(root_module, directory, stack.environment)
    deployment = Deployment(name, replace(stack, kafka=kafka), port, terraform, variables, {})
    set_arguments(deployment, {})
    return deployment


def set_arguments(deployment: Deployment, arguments: dict[str, object]) -> None:
    """Give the module arguments that its root module does not give."""
    settings = {"name": deployment.name, "kafka_topic": deployment.stack.kafka.topic, **SETTINGS, **arguments}
    override = deployment.terraform.root_module / "tests_override.tf.json"
    override.write_text(json.dumps({"module": {"port_runner": settings}}))


@contextmanager
def applied(deployment: Deployment) -> Iterator[Deployment]:
    """Apply it, and destroy it at the end, also where that is a failure."""
    terraform = deployment.terraform
    terraform.init()
    try:
        terraform.apply(deployment.variables)
        yield replace(deployment, outputs=terraform.output())
    finally:
        terraform.destroy(deployment.variables)


def run_once(deployment: Deployment) -> dict[str, Any]:
    """One run from its topic to its end in Port."""
    return deployment.ended(deployment.start("create_vm", INPUTS))
