"""The errors of the library: their kinds, their fields and their texts."""

import inspect

import pytest

import port_runner
from port_runner import (
    ActionError,
    ActionFailed,
    InputError,
    MessageError,
    PortApiError,
    PortAuthenticationError,
    PortNotFoundError,
    PortRunnerError,
    PortUnavailableError,
    RecordsNotConsumed,
    errors,
)


def test_every_error_can_be_caught_as_one_kind() -> None:
    """Each error of the module is a PortRunnerError, and can be imported from the package."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]

    assert all(issubclass(kind, PortRunnerError) for kind in kinds)
    assert {kind.__name__ for kind in kinds} <= set(port_runner.__all__)


@pytest.mark.parametrize("kind", [PortAuthenticationError, PortNotFoundError, PortUnavailableError])
def test_errors_of_ports_api_are_one_kind(kind: type[PortApiError]) -> None:
    """A handler that catches PortApiError catches each of its kinds."""
    assert issubclass(kind, PortApiError)
    assert not issubclass(kind, ActionError)


def test_an_error_of_ports_api_has_fields_for_programs_and_a_text_for_people() -> None:
    """The text names the request, the status, the code and the trace id. The detail is only a field."""
    error = PortApiError(
        "save the entity", status=422, code="invalid", trace_id="t-1", detail="s3cret is not a number", retry_after=2.0
    )

    assert str(error) == "Port did not save the entity: 422 invalid (trace id t-1)"
    assert (error.operation, error.status, error.code, error.trace_id) == ("save the entity", 422, "invalid", "t-1")
    assert (error.detail, error.retry_after) == ("s3cret is not a number", 2.0)
    assert "s3cret" not in f"{error!r} {error.args}"


def test_an_error_without_an_answer_says_so() -> None:
    """Without status, code and reason, the text says that there was no answer."""
    assert str(PortUnavailableError("read the run")) == "Port did not read the run: no answer"
    assert str(PortUnavailableError("read the run", reason="ReadTimeout")) == "Port did not read the run: ReadTimeout"


def test_records_for_redelivery_are_named() -> None:
    """The error that Lambda gets names each record and its number among all records."""
    error = RecordsNotConsumed(["t-0@1 (Port is away)", "t-0@2"], of=5)

    assert error.records == ("t-0@1 (Port is away)", "t-0@2")
    assert str(error) == "2 of 5 records must be delivered again: t-0@1 (Port is away), t-0@2"


def test_errors_of_handlers_and_inputs_end_a_run() -> None:
    """ActionFailed and InputError are shown in Port. InputError also names the input."""
    assert issubclass(ActionFailed, ActionError)
    assert InputError("The input cpu is missing.", input="cpu").input == "cpu"


def test_a_message_error_has_the_place_and_the_reason() -> None:
    """The fields lead to the record in Kafka."""
    error = MessageError("it names no run", topic="org.runs", partition=0, offset=7)

    assert (error.topic, error.partition, error.offset, error.reason) == ("org.runs", 0, 7, "it names no run")
