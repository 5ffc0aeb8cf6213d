"""The deployed function in AWS: its settings, its mappings, and an invocation by hand."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from port_runner_cli.clients.aws import asking_aws, aws_client
from port_runner_cli.clients.kafka import KafkaMapping
from port_runner_cli.output import CommandFailed, SettingsError

# The Terraform module's default name of the function.
DEFAULT_NAME = "port-execution-lambda"
# Lambda ends every invocation by then.
LONGEST_INVOCATION_SECONDS = 900

type Json = dict[str, Any]


def function_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--function` to a command. Its value is passed as `function_name`."""
    return click.option(
        "--function",
        "function_name",
        envvar="PORT_RUNNER_FUNCTION",
        default=DEFAULT_NAME,
        show_default=True,
        metavar="NAME",
        help="The deployed function, by name or ARN. PORT_RUNNER_FUNCTION sets it too.",
    )(command)


@dataclass(frozen=True)
class Function:
    """A function as Lambda's GetFunction shows it."""

    content: Json

    @property
    def configuration(self) -> Json:
        return dict(self.content["Configuration"])

    @property
    def name(self) -> str:
        return str(self.configuration["FunctionName"])

    @property
    def arn(self) -> str:
        return str(self.configuration["FunctionArn"])

    @property
    def environment(self) -> Mapping[str, str]:
        return dict(self.configuration.get("Environment", {}).get("Variables", {}))

    @property
    def timeout(self) -> int:
        """The seconds that an invocation may take."""
        return int(self.configuration.get("Timeout", LONGEST_INVOCATION_SECONDS))

    @property
    def log_group(self) -> str:
        return str(self.configuration.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{self.name}")


@dataclass(frozen=True)
class Answer:
    """The answer of a function, and the end of its log."""

    failed: bool
    payload: Any
    log: str


def read_function(name: str) -> Function:
    """Return the function with this name or ARN. Raises CommandFailed."""
    with asking_aws(f"The function {name} cannot be read"):
        return Function(aws_client("lambda", name).get_function(FunctionName=name))


def read_mappings(function: Function) -> list[KafkaMapping]:
    """Return the function's mappings of self-managed Kafka. Raises CommandFailed."""
    client = aws_client("lambda", function.arn)
    with asking_aws(f"The event source mappings of {function.name} cannot be read"):
        pages = client.get_paginator("list_event_source_mappings").paginate(FunctionName=function.name)
        found = [mapping for page in pages for mapping in page["EventSourceMappings"]]
    return [KafkaMapping(mapping) for mapping in found if mapping.get("SelfManagedEventSource")]


def read_failure_queue_url(function_name: str) -> str:
    """Return the URL of the function's failure queue. Raises CommandFailed."""
    url = read_function(function_name).environment.get("FAILURE_QUEUE_URL")
    if not url:
        raise SettingsError(
            f"The function {function_name} keeps no records: it has no FAILURE_QUEUE_URL. Name one with --queue-url."
        )
    return url


def invoke(function_name: str, event: Any) -> Answer:
    """Give the function an event and return its answer. Raises CommandFailed."""
    # A second attempt would be a second invocation.
    client = aws_client("lambda", function_name, seconds=LONGEST_INVOCATION_SECONDS + 5, attempts=1)
    with asking_aws(f"The function {function_name} cannot be invoked"):
        response = client.invoke(
            FunctionName=function_name, LogType="Tail", Payload=json.dumps(event, separators=(",", ":")).encode()
        )
        text = response["Payload"].read()
    try:
        payload = json.loads(text or b"null")
    except ValueError:
        raise CommandFailed(f"The function {function_name} did not answer with JSON. Is it the right one?") from None
    log = base64.b64decode(response.get("LogResult", "")).decode(errors="replace")
    return Answer("FunctionError" in response, payload, log)
