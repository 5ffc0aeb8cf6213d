"""Runs Port's self-service actions: one function per action, every run ended in Port."""

from .changes import EntityChange
from .errors import (
    ActionError,
    ActionFailed,
    ConfigurationError,
    InputError,
    MessageError,
    PortApiError,
    PortAuthenticationError,
    PortNotFoundError,
    PortRunnerError,
    PortUnavailableError,
    RecordsNotConsumed,
    RegistrationError,
)
from .messages import MessagePaths
from .outcomes import InProgress, Success
from .port_api import Entity
from .routing import ActionRouter
from .run import ActionRun
from .runner import Runner
from .secret_inputs import Secret, SecretInputError

__all__ = [
    "ActionError",
    "ActionFailed",
    "ActionRouter",
    "ActionRun",
    "ConfigurationError",
    "Entity",
    "EntityChange",
    "InProgress",
    "InputError",
    "MessageError",
    "MessagePaths",
    "PortApiError",
    "PortAuthenticationError",
    "PortNotFoundError",
    "PortRunnerError",
    "PortUnavailableError",
    "RecordsNotConsumed",
    "RegistrationError",
    "Runner",
    "Secret",
    "SecretInputError",
    "Success",
]
