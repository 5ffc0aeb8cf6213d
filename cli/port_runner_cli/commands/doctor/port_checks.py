"""Checks of Port: credentials, organization, actions."""

from collections.abc import Iterator
from functools import partial

from port_runner.routing import routes_for
from port_runner_cli.clients.function import Json
from port_runner_cli.commands.doctor.deployment import Check, Deployment
from port_runner_cli.commands.doctor.finding import Finding, bad, good, unknown, unreadable
from port_runner_cli.output import COMMAND
from port_runner_cli.sample_message import message_problem


def credentials(deployment: Deployment) -> Finding:
    """Port accepts the function's credentials."""
    if error := deployment.problem_with("port"):
        return unreadable(error)
    url = deployment.port.connection.url
    if deployment.port.with_own:
        return good(f"Port at {url} takes the function's credentials")
    return unknown(
        f"Port at {url} takes yours; those of the function cannot be read from here",
        "Ask with AWS credentials that may read the function and the secret of its PORT_CREDENTIALS_SECRET_ARN.",
    )


def topic(deployment: Deployment) -> Finding:
    """The topic is that of the organization. Port publishes to no other."""
    if error := deployment.problem_with("organization_id"):
        return unreadable(error)
    organization, name = deployment.organization_id, deployment.mapping.topic
    if name in (f"{organization}.runs", f"{organization}.change.log"):
        return good(f"{name} is a topic of the organization {organization}")
    return bad(
        f"the mapping reads {name}, and the credentials are of the organization {organization}",
        f'Set port_org_id = "{organization}", and no kafka_topic, in Terraform; or use the credentials of the other.',
    )


def group(deployment: Deployment) -> Finding:
    """Port's brokers allow the group: its name begins with the organization's id, or equals the username."""
    organization, name = deployment.organization_id, deployment.mapping.group
    if name.startswith(f"{organization}."):
        return good(f"{name} begins with the organization's id")
    if not deployment.problem_with("user") and name == deployment.user.get("username"):
        return good(f"{name} is the username of the organization {organization}")
    return bad(
        f"the consumer group is {name}, and Port allows {organization}.ANYTHING and the username only",
        f'Set kafka_consumer_group_id = "{organization}.NAME" in Terraform.',
    )


def actions(deployment: Deployment) -> Iterator[tuple[str, Check]]:
    """Return a check for each action."""
    if deployment.problem_with("action_names"):
        yield "actions", handlers
        return
    for name in deployment.action_names:
        yield name, partial(action, name=name)


def handlers(deployment: Deployment) -> Finding:
    """The handlers here can be read. They define which actions to expect."""
    error = deployment.problem_with("runner")
    return bad(error.message, "Or name the actions with --action.") if error else good("they can be imported")


def action(deployment: Deployment, name: str) -> Finding:
    """The action exists, is invoked over Kafka, and a handler here takes its messages."""
    definition = deployment.defined_actions.get(name)
    if definition is None:
        return bad(
            f"Port has no action {name}",
            f"Make it with `{COMMAND} action-json {name} --output FILE` and `{COMMAND} setup FILE`.",
        )
    method = definition.get("invocationMethod", {})
    if method.get("type") != "KAFKA":
        return bad(
            f"it is invoked by {method.get('type')}",
            f"Take the invocationMethod that `{COMMAND} action-json {name}` prints.",
        )
    return _message(deployment, definition)


def _message(deployment: Deployment, definition: Json) -> Finding:
    advice = f"Take the payload that `{COMMAND} action-json {definition['identifier']}` prints."
    if not definition["invocationMethod"].get("payload"):
        return unknown("it has no payload, and what Port publishes then is not documented", advice)
    problem = message_problem(
        definition, deployment.sample(definition), deployment.runner.routes, deployment.runner.message_paths
    )
    if problem is not None:
        return bad(problem, advice)
    trigger = definition.get("trigger") or {}
    identifier, blueprint = str(definition["identifier"]), trigger.get("blueprintIdentifier")
    if not routes_for(deployment.runner.routes, identifier, trigger.get("operation"), blueprint):
        return bad("no handler here takes its runs", f"`{COMMAND} check {identifier}` says why.")
    return good("it is invoked over Kafka, and its messages name their run")
