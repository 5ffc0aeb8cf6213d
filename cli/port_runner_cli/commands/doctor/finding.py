"""The findings of checks."""

from dataclasses import dataclass
from typing import Literal

from port_runner_cli.clients.aws import AwsRefused
from port_runner_cli.output import CommandFailed, NotCheckable

type State = Literal["good", "bad", "unknown"]

DENIED = ("AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException")


@dataclass(frozen=True)
class Finding:
    """The result of a check, and for a bad result what to do. `unknown` means not checkable from here."""

    state: State
    found: str
    advice: str = ""


def good(found: str) -> Finding:
    return Finding("good", found)


def bad(found: str, advice: str = "") -> Finding:
    return Finding("bad", found, advice)


def unknown(found: str, advice: str = "") -> Finding:
    return Finding("unknown", found, advice)


def unreadable(error: CommandFailed) -> Finding:
    """Return the finding that something cannot be read. It is bad, unless only this user lacks the permission."""
    if isinstance(error, NotCheckable) or is_denied(error):
        return unknown(error.message)
    return bad(error.message)


def is_denied(error: CommandFailed) -> bool:
    """Return whether AWS denies a permission to the caller."""
    return isinstance(error, AwsRefused) and error.code in DENIED
