"""The plugins that LocalStack finds by entry point.

LocalStack imports this module before its services exist, so imports that need them are inside the functions.
"""

from typing import TYPE_CHECKING, Any

from localstack.runtime.hooks import hook
from localstack.services.lambda_.hooks import (
    HOOKS_LAMBDA_CREATE_EVENT_SOURCE_POLLER,
    HOOKS_LAMBDA_SET_EVENT_SOURCE_CONFIG_DEFAULTS,
)
from localstack.services.lambda_.invocation.plugins import RuntimeExecutorPlugin

if TYPE_CHECKING:
    from localstack_plugin.executor import ProcessExecutor


class ProcessExecutorPlugin(RuntimeExecutorPlugin):
    """Run functions as processes of this machine, with `LAMBDA_RUNTIME_EXECUTOR=local-process`."""

    name = "local-process"

    def load(self, *args: object, **kwargs: object) -> "type[ProcessExecutor]":
        from localstack_plugin.executor import ProcessExecutor

        return ProcessExecutor


@hook(HOOKS_LAMBDA_SET_EVENT_SOURCE_CONFIG_DEFAULTS)
def self_managed_kafka_defaults(defaults: dict[str, Any], request: dict[str, Any], service: str) -> None:
    """Add the values that AWS adds to a new self-managed Kafka mapping."""
    if "SelfManagedEventSource" in request:
        from localstack_plugin.kafka_poller import mapping_defaults

        defaults |= mapping_defaults(defaults["UUID"])


@hook(HOOKS_LAMBDA_CREATE_EVENT_SOURCE_POLLER)
def self_managed_kafka_poller(holder: Any, service: str, mapping: dict[str, Any]) -> None:
    """Make a poller for a self-managed Kafka mapping, which LocalStack itself only stores."""
    if "SelfManagedEventSource" in mapping:
        from localstack_plugin.kafka_poller import KafkaPoller

        holder.create_poller_fn = lambda arn, client, processor: KafkaPoller(mapping, processor)
