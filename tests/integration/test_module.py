"""The module itself: its plan after an apply is empty, its secrets stay secret, and a destroy removes everything."""

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from port_runner_sandbox.terraform import Plan
from tests.support.deployment import INPUTS, Deployment
from tests.support.function_under_test import event_file


@pytest.fixture(scope="module")
def plan(deployment: Deployment) -> Plan:
    """The plan that Terraform makes after the apply and a run."""
    deployment.ended(deployment.start("create_vm", INPUTS))
    return deployment.terraform.plan(deployment.variables)


def test_second_plan_is_empty(plan: Plan) -> None:
    """A plan after an apply and a run has nothing to change."""
    assert plan.changes == {}
    assert plan.empty, plan.text


def test_secrets_are_in_secrets_manager_alone(deployment: Deployment, plan: Plan) -> None:
    """No password, client secret or token is in Terraform's files and output, the function, its log, Port or `ps`.

    The log has the debug lines of a run that succeeded, one that failed, one whose handler raised, and of a message for
    Port's agent.
    """
    sandbox, name = deployment.sandbox, deployment.name
    deployment.publish(event_file("agent_webhook_day2"))
    runs = [deployment.start("create_vm", INPUTS), deployment.start("refuse"), deployment.start("break", {"text": "x"})]
    deployment.ended(*runs)
    deployment.until(lambda: all(deployment.invocations(run_id) for run_id in runs))
    configuration = sandbox.aws("lambda").get_function_configuration(FunctionName=name)
    processes = subprocess.run(["ps", "-axww", "-o", "args="], capture_output=True, text=True, check=True)
    # Each place has a text that it certainly holds, which proves that the search is not in an empty text.
    places = {
        "state": (deployment.terraform.state_text(), name),
        "saved plan": (text_of(plan.file), name),
        "Terraform's output": (deployment.terraform.log.read_text(), name),
        "Terraform's outputs": (json.dumps(deployment.terraform.output()), name),
        "function": (json.dumps(configuration, default=str), "PORT_CREDENTIALS_SECRET_ARN"),
        "mapping": (json.dumps(deployment.mapping(), default=str), name),
        "function's log": (deployment.log(), '"DEBUG"'),
        "runs in Port": (json.dumps([sandbox.port.runs, sandbox.port.run_logs]), runs[0]),
        "processes": (processes.stdout, "awslambdaric"),
    }
    secrets = [sandbox.kafka.password, sandbox.port.client_secret, *tokens(deployment)]

    assert [place for place, (text, known) in places.items() if known not in text] == []
    assert secret_of(deployment, "kafka-credentials") == {"username": sandbox.kafka.username, "password": secrets[0]}
    assert secret_of(deployment, "port-credentials")["client_secret"] == secrets[1]
    assert [place for place, (text, _) in places.items() for secret in secrets if secret in text] == []


def secret_of(deployment: Deployment, kind: str) -> Any:
    found = deployment.sandbox.aws("secretsmanager").get_secret_value(SecretId=f"{deployment.name}/{kind}")
    return json.loads(found["SecretString"])


def tokens(deployment: Deployment) -> set[str]:
    """Return the access tokens that Port received."""
    requests = deployment.sandbox.port.requests
    shown = {each.headers["Authorization"] for each in requests if "Authorization" in each.headers}
    assert shown
    return {header.removeprefix("Bearer ") for header in shown}


def text_of(plan: Path) -> str:
    """Return the text of all files in a saved plan, which is a zip."""
    with zipfile.ZipFile(plan) as archive:
        return "".join(archive.read(name).decode(errors="replace") for name in archive.namelist())


def test_destroy_leaves_nothing(deployment: Deployment) -> None:
    """A destroy removes everything that the module made, including the secrets' names and the function's log."""
    made = deployment.resources()
    assert [kind for kind, names in made.items() if not names] == []

    deployment.terraform.destroy(deployment.variables)

    assert deployment.resources() == {kind: [] for kind in made}
