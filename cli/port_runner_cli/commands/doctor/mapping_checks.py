"""Checks of the event source mapping: its state, and the messages that its filter passes."""

from port_runner_cli.clients.aws import asking_aws, aws_client
from port_runner_cli.commands.doctor.deployment import Deployment
from port_runner_cli.commands.doctor.filter_pattern import passes
from port_runner_cli.commands.doctor.finding import Finding, bad, good, unknown, unreadable
from port_runner_cli.output import COMMAND

GOOD_RESULTS = ("OK", "No records processed")
# Words in the error messages of AWS and its poller, and what to do.
# https://docs.aws.amazon.com/lambda/latest/dg/with-kafka-troubleshoot.html
RESULT_ADVICE = {
    "Function call failed": "The function does not take the batch: see its errors below.",
    "AUTHN": "The brokers refuse the login: see Kafka below.",
    "authentication failed": "The brokers refuse the login: see Kafka below.",
    "failed to authenticate server": "The brokers' certificate is not trusted: see Kafka below.",
    "AUTHZ": "The user may not read the topic or the group: see Kafka below.",
    "Connection error": "The brokers cannot be reached: see Kafka below.",
    "secret": "The mapping's secret cannot be used: see the role above, and Kafka's secrets below.",
    "CONFIG_NOT_VALID": "Correct what it names in Terraform.",
}


def existence(deployment: Deployment) -> Finding:
    """The mapping exists."""
    if error := deployment.problem_with("mapping"):
        return unreadable(error)
    others = [each.topic for each in deployment.mappings if each is not deployment.mapping]
    beside = f"; there are others, for {', '.join(others)}: examine them with --topic" if others else ""
    return good(f"{deployment.mapping.uuid} reads {deployment.mapping.topic}{beside}")


def state(deployment: Deployment) -> Finding:
    """The mapping is enabled."""
    content = deployment.mapping.content
    current, reason = content.get("State"), content.get("StateTransitionReason")
    said = f"it is {current}{f' ({reason})' if reason else ''}"
    if current == "Enabled":
        return good(said)
    if current in ("Creating", "Enabling", "Updating"):
        return unknown(said, "This takes up to a few minutes. Check again.")
    return bad(said, "Set event_source_mapping_enabled = true in Terraform.")


def result(deployment: Deployment) -> Finding:
    """The last batch was processed without an error."""
    said = deployment.mapping.content.get("LastProcessingResult") or GOOD_RESULTS[1]
    if said in GOOD_RESULTS:
        return good(f"it says of its last batch: {said}")
    advice = next((advice for words, advice in RESULT_ADVICE.items() if words in said), "")
    return bad(f"it says: {said}", advice)


def group(deployment: Deployment) -> Finding:
    """No other mapping reads the topic in the same group, where it would take part of the records."""
    client = aws_client("lambda", deployment.function.arn)
    with asking_aws("The event source mappings cannot be listed"):
        pages = client.get_paginator("list_event_source_mappings").paginate()
        found = [each for page in pages for each in page["EventSourceMappings"]]
    mine = deployment.mapping
    others = [
        each["FunctionArn"].rpartition(":")[2]
        for each in found
        if each["UUID"] != mine.uuid
        and each.get("State") != "Deleting"
        and each.get("SelfManagedKafkaEventSourceConfig", {}).get("ConsumerGroupId") == mine.group
    ]
    if others:
        return bad(
            f"another mapping reads in the group {mine.group}, for the function {', '.join(others)}",
            "Each gets only a part of the records. Remove it, or give it its own group.",
        )
    return good(f"no other mapping of this account and region reads in {mine.group}")


def filters(deployment: Deployment) -> Finding:
    """The filter passes the messages of the actions."""
    patterns = [each["Pattern"] for each in deployment.mapping.content.get("FilterCriteria", {}).get("Filters", [])]
    if not patterns:
        return good("it has no filter")
    samples = deployment.recorded or {
        name: deployment.sample(action) for name, action in deployment.defined_actions.items()
    }
    if not samples:
        return unknown("there is no message to try its filter with", "Name a recorded one with --message.")
    if held := [name for name, message in samples.items() if not passes(patterns, message)]:
        return bad(
            f"its filter holds back the messages of {', '.join(held)}: {' or '.join(patterns)}",
            f"Name the actions in filter_actions in Terraform, or none; `{COMMAND} action-json` prints a payload that "
            "passes.",
        )
    return good(f"its filter passes the messages of {', '.join(samples)}")


def partial_responses(deployment: Deployment) -> Finding:
    """The function returns single failures only to a mapping that reads them. Otherwise these records would be lost."""
    takes = "ReportBatchItemFailures" in deployment.mapping.content.get("FunctionResponseTypes", [])
    gives = deployment.function.environment.get("REPORT_BATCH_ITEM_FAILURES", "").strip().lower() == "true"
    if gives and not takes:
        return bad(
            "the function returns the failed records, but the mapping does not read the answer: these records are lost",
            "Set report_batch_item_failures in Terraform, which sets both.",
        )
    if takes and not gives:
        return good("the mapping reads single failures, and the function raises: whole batches are redelivered")
    return good(f"function and mapping agree: {'single records' if takes else 'whole batches'} are redelivered")
