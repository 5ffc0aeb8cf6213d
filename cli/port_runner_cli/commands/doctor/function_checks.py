"""Checks of the function: its start, and the permissions of its role."""

import re
from collections.abc import Iterator
from contextlib import suppress

from port_runner import ConfigurationError
from port_runner.settings import Settings
from port_runner_cli.clients.aws import asking_aws, aws_client
from port_runner_cli.commands.doctor.deployment import Deployment, PartMissing
from port_runner_cli.commands.doctor.finding import Finding, bad, good, unknown, unreadable
from port_runner_cli.commands.doctor.role_policy import trusts
from port_runner_cli.output import CommandFailed

# https://docs.aws.amazon.com/lambda/latest/dg/with-kafka-configure.html
LONGEST_TIMEOUT_SECONDS = 840


def state(deployment: Deployment) -> Finding:
    """The function exists and can be invoked."""
    if error := deployment.problem_with("function"):
        return unreadable(error)
    configuration = deployment.function.configuration
    current, update = configuration.get("State", "Active"), configuration.get("LastUpdateStatus", "Successful")
    reason = configuration.get("StateReason") or configuration.get("LastUpdateStatusReason")
    said = f"{deployment.function.name} is {current}, its last update {update}{f' ({reason})' if reason else ''}"
    if "Failed" in (current, update):
        return bad(said, "Correct what it names, and apply Terraform again.")
    if current == "Pending" or update == "InProgress":
        return unknown(said, "Check again in a moment.")
    return good(said)


def environment(deployment: Deployment) -> Finding:
    """The runner accepts the function's environment."""
    try:
        settings = Settings.from_environment(deployment.function.environment)
    except ConfigurationError as error:
        return bad(f"{error}", "Correct the variable in Terraform.")
    return good(f"the runner takes it: Port at {settings.port_api_url}, LOG_LEVEL {settings.log_level}")


def timeout(deployment: Deployment) -> Finding:
    """The timeout is not longer than Lambda allows with Kafka."""
    seconds = deployment.function.timeout
    if seconds > LONGEST_TIMEOUT_SECONDS:
        return bad(
            f"its timeout is {seconds} s, and with Kafka Lambda allows {LONGEST_TIMEOUT_SECONDS} s",
            "Set timeout in Terraform.",
        )
    return good(f"{seconds} s")


def concurrency(deployment: Deployment) -> Finding:
    """The function may run: its concurrency is not 0."""
    reserved = deployment.function.content.get("Concurrency", {}).get("ReservedConcurrentExecutions")
    if reserved == 0:
        return bad(
            "its reserved concurrency is 0, so it is never invoked",
            "Set reserved_concurrent_executions in Terraform to -1, or to 1 or more.",
        )
    return good("no concurrency is reserved for it" if reserved is None else f"{reserved} reserved")


def layers(deployment: Deployment) -> Finding:
    """The layers exist, and fit the function's runtime and architecture."""
    configuration = deployment.function.configuration
    wanted = {
        "CompatibleRuntimes": configuration.get("Runtime"),
        "CompatibleArchitectures": (configuration.get("Architectures") or ["x86_64"])[0],
    }
    arns = [layer["Arn"] for layer in configuration.get("Layers", [])]
    if not arns:
        return unknown(
            "it has none: the packages that the runner needs must be in the function's own zip",
            "`make package` builds a layer with them, and Terraform adds it.",
        )
    client = aws_client("lambda", deployment.function.arn)
    for arn in arns:
        with asking_aws(f"The layer {arn} cannot be read"):
            layer = client.get_layer_version_by_arn(Arn=arn)
        for key, value in wanted.items():
            if layer.get(key) and value not in layer[key]:
                return bad(
                    f"{arn} is for {', '.join(layer[key])}, and the function is {value}",
                    f"Build the layer again with `make package ARCHITECTURE={wanted['CompatibleArchitectures']}`.",
                )
    return good(f"{len(arns)} for {' and '.join(str(value) for value in wanted.values())}")


# The role


def trust(deployment: Deployment) -> Finding:
    """Lambda may assume the role."""
    if error := deployment.problem_with("role"):
        return unreadable(error)
    if trusts(deployment.role.trust, "lambda.amazonaws.com"):
        return good(f"Lambda may take the role {deployment.role.name}")
    return bad(
        f"the trust policy of {deployment.role.name} does not let Lambda take the role",
        "Allow sts:AssumeRole to the service lambda.amazonaws.com.",
    )


def may_read_secrets(deployment: Deployment) -> Finding:
    """The role may read each secret of the function and its mapping, and use the secret's key."""
    arns = [value for name, value in deployment.function.environment.items() if name.endswith("_SECRET_ARN") and value]
    with suppress(PartMissing):
        arns += deployment.mapping.access.values()
    wanted = [("secretsmanager:GetSecretValue", arn) for arn in arns if ":secret:" in arn]
    keys = [("kms:Decrypt", key) for _, arn in wanted if (key := _key_of(arn)) is not None]
    return _may(deployment, [*wanted, *keys], "read its secrets")


def _key_of(secret: str) -> str | None:
    """Return the ARN of the customer key that encrypts a secret, if there is one and it can be read."""
    try:
        with asking_aws(f"The secret {secret} cannot be described"):
            key = str(aws_client("secretsmanager", secret).describe_secret(SecretId=secret).get("KmsKeyId") or "")
    except CommandFailed:
        return None
    if re.fullmatch(r"[0-9a-f-]{36}", key):
        partition, region, account = (secret.split(":")[index] for index in (1, 3, 4))
        return f"arn:{partition}:kms:{region}:{account}:key/{key}"
    return key if ":key/" in key else None


def may_keep_failures(deployment: Deployment) -> Finding:
    """The role may send to the failure queue."""
    url = deployment.function.environment.get("FAILURE_QUEUE_URL")
    if not url:
        return unknown("the function has no failure queue", "Set create_failure_queue = true in Terraform.")
    with asking_aws(f"The queue {url} cannot be read"):
        found = aws_client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return _may(deployment, [("sqs:SendMessage", found["Attributes"]["QueueArn"])], "send to the failure queue")


def may_log(deployment: Deployment) -> Finding:
    """The role may write the log."""
    partition, region, account = (deployment.function.arn.split(":")[index] for index in (1, 3, 4))
    group = f"arn:{partition}:logs:{region}:{account}:log-group:{deployment.function.log_group}:log-stream:s"
    return _may(deployment, [("logs:CreateLogStream", group), ("logs:PutLogEvents", group)], "write its log")


def _may(deployment: Deployment, wanted: list[tuple[str, str]], what: str) -> Finding:
    problems = dict(_problems(deployment, wanted))
    if any(problem != "depends" for problem in problems.values()):
        listed = "; ".join(f"{problem}: {each}" for each, problem in problems.items())
        return bad(
            f"{deployment.role.name} may not {what}: {listed}",
            "Give a role of your own the policy of the output lambda_role_policy_json. Otherwise apply Terraform.",
        )
    if problems:
        return unknown(f"a condition in the policies of {deployment.role.name} decides about: {', '.join(problems)}")
    return good(f"{deployment.role.name} may {what}")


def _problems(deployment: Deployment, wanted: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for action, resource in wanted:
        verdict = deployment.role.policies.verdict(action, resource)
        if verdict != "allowed":
            yield f"{action} on {resource}", verdict
