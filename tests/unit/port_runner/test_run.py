"""A handler's calls about its run reach Port, and a refused link is not sent again."""

from typing import Any

import pytest

from port_runner import ActionRun, PortApiError, Success
from tests.support.function_under_test import Function


def test_a_link_that_port_refused_does_not_come_back(function: Function) -> None:
    """A handler may live with a refused link; the run then ends with those that Port took and with its summary."""

    @function.router.action("act")
    def act(run: ActionRun[Any]) -> Success:
        run.link("https://a")
        with pytest.raises(PortApiError):
            run.link(5)  # type: ignore[arg-type]
        run.link("https://a", "https://b")
        return Success("Done.", link="https://c")

    function.run("act")

    run = function.port.runs["r_1"]
    assert (run["status"], run["summary"]) == ("SUCCESS", "Done.")
    assert run["link"] == ["https://a", "https://b", "https://c"]
