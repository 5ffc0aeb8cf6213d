"""Lines of the function's log are told apart: errors, usual lines, and metrics."""

import json

from port_runner_cli.log_lines import read_line, render_line


def test_which_lines_are_errors() -> None:
    """Errors are the runner's own, and what Lambda or Python writes when a process ends; not Lambda's usual lines."""
    errors = {
        json.dumps({"event": "x", "level": "ERROR"}): True,
        json.dumps({"event": "x", "level": "CRITICAL"}): True,
        json.dumps({"event": "x", "level": "WARNING"}): False,
        "START RequestId: 1": False,
        "REPORT RequestId: 1": False,
        "2026 q1 Task timed out after 10.00 seconds": True,
        "[ERROR] Runtime.ImportModuleError: Unable to import module 'lambda_function'": True,
    }
    for text, is_error in errors.items():
        found = read_line(text, 0)
        assert found is not None
        assert found.is_error is is_error


def test_lines_of_handlers_are_shown_with_their_loggers() -> None:
    """A line of a handler's own logger reads as its logger and message, with its fields."""
    text = '{"level": "INFO", "logger": "handlers.vm", "message": "Asking EC2", "run_id": "r_1", "zone": "a"}'

    line = read_line(text, 0)

    assert line is not None
    shown = render_line(line).plain
    assert "INFO     handlers.vm: Asking EC2  zone=a" in shown
    assert "run_id" not in shown


def test_metrics_and_empty_lines_are_not_for_people() -> None:
    """A metric, and a line with nothing on it, are no lines of the log."""
    for text in ('{"_aws": {}, "RunsStarted": 1}', "", " \n"):
        assert read_line(text, 0) is None
