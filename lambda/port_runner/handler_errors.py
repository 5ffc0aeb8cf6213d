"""The failures that Port shows for the errors of handlers and of their inputs."""

from contextlib import suppress

from . import logs
from .errors import ActionError, PortApiError, PortUnavailableError
from .logs import log
from .outcomes import Failure
from .run_log import LONGEST_TEXT


def failure_of(error: BaseException) -> Failure:
    """Return the failure that Port shows for an error of a handler or of its inputs."""
    action_errors = _action_errors(error)
    if not action_errors:
        log.error("run.failed_unexpectedly", error=error)
        return unexpected(error)
    log.warning("run.action_failed", kind=type(action_errors[0]).__name__)
    if isinstance(error, BaseExceptionGroup) and (others := error.split(ActionError)[1]) is not None:
        log.error("run.failed_unexpectedly", error=others)
    return Failure("\n".join(_text_of(each) for each in action_errors)[:LONGEST_TEXT])


def _action_errors(error: BaseException) -> list[ActionError]:
    """Return the errors whose texts are for Port. A handler with a task group raises several at once."""
    if isinstance(error, ActionError):
        return [error]
    if isinstance(error, BaseExceptionGroup):
        return [found for each in error.exceptions for found in _action_errors(each)]
    return []


def unavailable(error: BaseException) -> PortUnavailableError | None:
    """Return the error of a Port that did not answer, if the handler failed for that reason alone."""
    if isinstance(error, PortUnavailableError):
        return error
    if isinstance(error, BaseExceptionGroup):
        found = [unavailable(each) for each in error.exceptions]
        return None if None in found else found[0]
    return None


def _text_of(error: ActionError) -> str:
    text = ""
    with suppress(Exception):  # a class of the handler's author may have its own __str__
        text = str(error)
    return text or "The action failed."


def unexpected(error: BaseException | None) -> Failure:
    """Return the failure that Port shows for a defect: the request's id, but no text of the error."""
    said = f"The action failed: {error}." if isinstance(error, PortApiError) else "The action failed unexpectedly."
    request_id = logs.field("request_id")
    return Failure(f"{said} The function's log has more, under the request {request_id}." if request_id else said)


def interrupted(starts: int) -> Failure:
    """Return the failure of a run that was started as often as its handler allows, and did not end."""
    if starts == 1:
        return Failure("The run was interrupted: the function that worked on it ended before it was done.")
    return Failure(f"The run was interrupted {starts} times: each time, the function ended before it was done.")
