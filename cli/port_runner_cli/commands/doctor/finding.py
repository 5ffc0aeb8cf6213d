"""What a check found."""

from dataclasses import dataclass
from typing import Literal

from port_runner_cli.clients.aws import AwsRefused
from port_runner_cli.output import CommandFailed

type State = Literal["good", "bad", "unknown"]

DENIED = ("AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException")


@dataclass(frozen=True)
class Finding:
    """What was found, and for what is bad what to do. `unknown` is what could not be checked from here."""

    state: State
    found: str
    advice: str = ""


class NotCheckable(CommandFailed):
    """Something cannot be looked at from here, which says nothing about whether it is in order."""


def good(found: str) -> Finding:
    return Finding("good", found)


def bad(found: str, advice: str = "") -> Finding:
    return Finding("bad", found, advice)


def unknown(found: str, advice: str = "") -> Finding:
    return Finding("unknown", found, advice)


def unreadable(error: CommandFailed) -> Finding:
    """The finding that something cannot be read: bad, unless it is only this person who may not."""
    if isinstance(error, NotCheckable) or is_denied(error):
        return unknown(error.message)
    return bad(error.message)


def is_denied(error: CommandFailed) -> bool:
    """Whether AWS does not allow it to whoever asks here."""
    return isinstance(error, AwsRefused) and error.code in DENIED
