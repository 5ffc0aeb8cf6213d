"""The outcomes of a handler."""

from typing import Any

import pytest

from port_runner import InProgress, Success
from port_runner.outcomes import Failure, Outcome, list_links


@pytest.mark.parametrize(
    ("outcome", "status", "label"),
    [
        (Success(), "SUCCESS", "Done"),
        (InProgress(), "IN_PROGRESS", "In progress"),
        (Failure("The disk is full."), "FAILURE", "Failed"),
    ],
)
def test_each_outcome_has_a_status_and_a_label(outcome: Outcome, status: str, label: str) -> None:
    """The status is Port's word, and the label is what a person reads."""
    assert (outcome.status, outcome.label) == (status, label)


def test_a_status_cannot_be_chosen() -> None:
    """An outcome's status is not an argument, so no handler can send another one."""
    with pytest.raises(TypeError):
        Success(status="FAILURE")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("link", "links"),
    [(None, []), ("https://a", ["https://a"]), (["https://a", "https://b"], ["https://a", "https://b"]), ((), [])],
)
def test_links_are_a_list_in_port(link: Any, links: list[str]) -> None:
    """One link, several links or none become the list that Port takes."""
    assert list_links(link) == links
