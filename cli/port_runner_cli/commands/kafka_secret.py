"""`kafka-secret`: fetch from Port what Terraform needs to know about Port's Kafka."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any, Literal

import click

from port_runner_cli.clients.aws import asking_aws, aws_client
from port_runner_cli.clients.port import PortAccess, PortConnection, port_options
from port_runner_cli.output import CommandFailed, Output, SettingsError, output_option

SUFFIX = ".tfvars.json"

type Outcome = Literal["unchanged", "created", "updated"]


def kafka_of(port: PortConnection) -> tuple[str, dict[str, Any]]:
    """Return the organization's id, and brokers, username and password of its Kafka topics. Raises CommandFailed."""
    organization = port.call("GET", "/organization", what="to show the organization").get("organization", {})
    credentials = port.call("GET", "/kafka-credentials", what="the Kafka credentials").get("credentials", {})
    texts = (organization.get("id"), credentials.get("username"), credentials.get("password"))
    if not all(isinstance(text, str) and text for text in texts):
        raise CommandFailed(
            f"Port at {port.url} has no Kafka credentials for this organization. Ask Port's support for its topics."
        )
    return organization["id"], credentials


def store(name_or_arn: str, username: str, password: str) -> tuple[str, Outcome]:
    """Store the credentials in a secret, and return its ARN.

    A secret with a new name is created. Raises CommandFailed.
    """
    client = aws_client("secretsmanager", name_or_arn)
    content = {"username": username, "password": password}
    with asking_aws(f"The secret {name_or_arn} cannot be read"):
        current = _current(client, name_or_arn)
    if current is not None and _parsed(current["SecretString"]) == content:
        return str(current["ARN"]), "unchanged"
    with asking_aws(f"The secret {name_or_arn} cannot be written"):
        try:
            written = client.put_secret_value(SecretId=name_or_arn, SecretString=json.dumps(content))
        except client.exceptions.ResourceNotFoundException:
            if name_or_arn.startswith("arn:"):
                raise
            written = client.create_secret(
                Name=name_or_arn,
                Description="Username and password of the organization's Kafka topics in Port",
                SecretString=json.dumps(content),
            )
            return str(written["ARN"]), "created"
    return str(written["ARN"]), "updated"


def _current(client: Any, name_or_arn: str) -> Any:
    try:
        found = client.get_secret_value(SecretId=name_or_arn)
    except client.exceptions.ResourceNotFoundException:  # the secret does not exist, or it is empty
        return None
    return found if "SecretString" in found else None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def write_variables(file: Path, variables: dict[str, Any]) -> Outcome:
    """Write Terraform variables into a file, and keep its other variables. Raises SettingsError."""
    try:
        existing = json.loads(file.read_text()) if file.exists() else None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file} cannot be read as JSON: {error}. Name another file.") from error
    if existing is not None and not isinstance(existing, dict):
        raise SettingsError(f"{file} is no JSON object, so it holds no Terraform variables. Name another file.")
    wanted = {**(existing or {}), **variables}
    if wanted == existing:
        return "unchanged"
    try:
        _replace(file, json.dumps(wanted, indent=2) + "\n")
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}.") from error
    return "created" if existing is None else "updated"


def _replace(file: Path, text: str) -> None:
    """Write a complete file, or none. Only its owner may read it, because its other content is not known."""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w") as opened:
            opened.write(text)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink()
        raise


@click.command("kafka-secret")
@click.option(
    "--output",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=f"port.auto{SUFFIX}",
    show_default=True,
    metavar="FILE",
    help="File for the variables. Terraform reads *.auto.tfvars.json in the folder where it is applied.",
)
@click.option(
    "--store",
    "secret",
    metavar="NAME_OR_ARN",
    help="Store username and password in this secret of AWS Secrets Manager. A new name creates it.",
)
@port_options
@output_option
def kafka_secret(file: Path, secret: str | None, access: PortAccess, output: Output) -> None:
    """Fetch Kafka's brokers and credentials from Port.

    Writes port_org_id and kafka_bootstrap_servers for Terraform, without any secret. With --store, the credentials go
    into AWS Secrets Manager, and the secret's ARN is written with the other variables. The password is never shown. It
    is safe to run this again. After a rotation in Port, it stores the new password in the secret.
    """
    if not file.name.endswith(SUFFIX):
        raise SettingsError(f"{file} must end in {SUFFIX}: Terraform takes the file's form from its name.")
    with access.connect() as port:
        organization_id, credentials = kafka_of(port)
    variables = {"port_org_id": organization_id, "kafka_bootstrap_servers": list(credentials.get("brokers", []))}
    result: dict[str, Any] = {**variables, "file": str(file)}
    if secret is not None:
        arn, outcome = store(secret, credentials["username"], credentials["password"])
        variables["kafka_credentials_secret_arn"] = arn
        result |= {"kafka_credentials_secret_arn": arn, "secret": outcome}
        output.say(f"secret {arn}: {outcome}")
    result["variables"] = write_variables(file, variables)
    output.say(f"{file}: {result['variables']}")
    for name, value in variables.items():
        output.say(f"  {name} = {json.dumps(value)}", "dim")
    output.document(result)
