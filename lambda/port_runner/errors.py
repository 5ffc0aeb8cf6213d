"""The errors of this library.

PortRunnerError
├── ConfigurationError         a variable or a secret is missing or has the wrong format
├── RegistrationError          two handlers for one action, not callable, inputs not a dataclass
├── MessageError               a record cannot be read
├── RecordsNotConsumed         raised to Lambda: records must be redelivered
├── ActionError                ends one run as FAILURE
│   ├── ActionFailed           raised by handlers, with a sentence for the developer
│   └── InputError             the inputs do not fit the handler's dataclass
└── PortApiError               Port refused a request
    ├── PortAuthenticationError
    ├── PortNotFoundError      status 404
    └── PortUnavailableError   no answer, or 408, 429 or 5xx after the retries
"""

from collections.abc import Sequence


class PortRunnerError(Exception):
    """The base of all errors that this library raises on purpose."""


class ConfigurationError(PortRunnerError):
    """The function's environment, or a secret named there, is missing or has the wrong format."""


class RegistrationError(PortRunnerError):
    """A handler cannot be registered. Raised at import, with the names that conflict."""


class MessageError(PortRunnerError):
    """A Kafka record cannot be read as a message of Port.

    *reason* never contains the record's content.
    """

    def __init__(self, reason: str, *, topic: str, partition: int, offset: int) -> None:
        super().__init__(f"{topic}-{partition}@{offset}: {reason}")
        self.reason = reason
        self.topic = topic
        self.partition = partition
        self.offset = offset


class RecordsNotConsumed(PortRunnerError):
    """Some records of an event could not be finished. Lambda must redeliver the event.

    *records* are the places of these records, each as ``topic-partition@offset``.
    """

    def __init__(self, records: Sequence[str], of: int) -> None:
        super().__init__(f"{len(records)} of {of} records must be delivered again: {', '.join(records)}")
        self.records = tuple(records)


class ActionError(PortRunnerError):
    """The run ends as FAILURE. Port shows the error's text."""


class ActionFailed(ActionError):
    """The action cannot be done. The text tells the developer who ran it why. Port shows it."""


class InputError(ActionError):
    """The run's inputs do not fit. *input* names the first that does not."""

    def __init__(self, text: str, *, input: str) -> None:
        super().__init__(text)
        self.input = input


class PortApiError(PortRunnerError):
    """Port refused a request.

    *operation* names the request (``save the entity``). *status* is the HTTP status, or ``None`` without an answer.
    *code* is Port's error code. *trace_id* identifies the request for Port's support. *retry_after* is the number of
    seconds that Port asked to wait. *detail* is what Port or the network said about the failure. It may quote the
    request, so it is only for the operator who sent it: it is part of neither the error's text nor a log line.
    """

    def __init__(
        self,
        operation: str,
        *,
        status: int | None = None,
        code: str | None = None,
        trace_id: str | None = None,
        reason: str | None = None,
        detail: str = "",
        retry_after: float | None = None,
    ) -> None:
        answer = " ".join(str(part) for part in (status, code, reason) if part is not None)
        trace = f" (trace id {trace_id})" if trace_id else ""
        super().__init__(f"Port did not {operation}: {answer or 'no answer'}{trace}")
        self.operation = operation
        self.status = status
        self.code = code
        self.trace_id = trace_id
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after


class PortAuthenticationError(PortApiError):
    """Port does not accept the client id and secret, or they lack a permission."""


class PortNotFoundError(PortApiError):
    """Port does not know what the request is about: status 404."""


class PortUnavailableError(PortApiError):
    """Port could not be reached, answered 408, 429 or 5xx until the time was used up, or did not answer with JSON."""
