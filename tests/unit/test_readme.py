"""The README agrees with the code."""

import re
from dataclasses import fields

from handlers.vm import CreateVm, create_vm
from port_runner.settings import Settings
from port_runner.testing import make_run
from tests.support.project import ROOT

README = (ROOT / "README.md").read_text()
# The tests that prove the rows of "What happens to a record", in the order of the rows.
PROOFS = (
    "test_runner.py::test_unreadable_record_is_kept_and_consumed",
    "test_runner.py::test_foreign_messages_are_skipped_one_by_one",
    "test_lifecycle.py::test_unknown_action_is_logged_with_the_handler_to_paste",
    "test_payloads.py::test_an_operation_that_would_decide_is_asked_for",
    "test_secrecy.py::test_signature",
    "test_lifecycle.py::test_ended_run_is_left_alone",
    "test_starts.py::test_a_duplicate_waits_for_the_first_delivery",
    "test_starts.py::test_starts_are_bounded",
    "test_starts.py::test_no_run_starts_with_too_little_time",
    "test_lifecycle.py::test_inputs_that_do_not_fit",
    "test_lifecycle.py::test_action_failed",
    "test_lifecycle.py::test_handler_that_raises",
    "test_starts.py::test_an_idempotent_handler_starts_again_when_port_was_away",
    "test_lifecycle.py::test_handler_whose_time_is_up",
    "test_lifecycle.py::test_run_that_port_does_not_know_yet",
    "test_lifecycle.py::test_run_that_port_does_not_know",
    "test_starts.py::test_a_rate_limit_is_waited_for",
    "test_lifecycle.py::test_port_down_before_the_handler",
    "test_lifecycle.py::test_report_that_was_lost_is_sent_at_redelivery",
    "test_runner.py::test_a_run_whose_record_is_given_up_ends_in_port",
    "test_deadline.py::test_a_process_with_a_thread_that_can_do_harm_ends_itself",
)


def test_handler_is_the_shipped_one() -> None:
    """The handler in the README is the file that ships."""
    assert (ROOT / "lambda" / "handlers" / "vm.py").read_text().strip() in README


def test_example_of_a_test_works() -> None:
    """The README's example of a handler's test works."""
    [code] = re.findall(r"```python\n(from port_runner\.testing import make_run\n.*?)```", README, re.DOTALL)

    exec(code, {"CreateVm": CreateVm, "create_vm": create_vm})

    assert make_run("create_vm", CreateVm(1, 1, 1, "eu-west-1")).id in code


def test_every_variable_of_the_environment_is_listed() -> None:
    """The table has every variable that the function reads, except those that Lambda sets."""
    set_by_lambda = {"function_name", "log_group", "log_stream", "region"}
    read = {field.name.upper() for field in fields(Settings) if field.name not in set_by_lambda}
    table = README.split("## The function's environment")[1].split("\n## ")[0]
    rows = [row for row in table.splitlines() if row.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row.split("|")[1])}

    assert listed == read


def test_every_command_exists() -> None:
    """Every make target, script and path that the README names exists."""
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^ {4}|&& )make ([a-z][a-z-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    paths = set(re.findall(r"\]\(([^)#]+)\)", README))
    paths |= set(re.findall(r"`((?:lambda|scripts|terraform|tests)/[^`* ]*)`", README))
    for path in paths:
        if not path.startswith("http") and "costs.py" not in path:
            assert (ROOT / path).exists(), path


def test_every_row_about_records_has_its_proof() -> None:
    """Each row of the table is proved by a test that exists. A new row needs a new test."""
    table = README.split("## What happens to a record")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]

    assert len(rows) == len(PROOFS) == len(set(PROOFS))
    for proof in PROOFS:
        file, name = proof.split("::")
        assert f"\ndef {name}(" in (ROOT / "tests" / "unit" / "port_runner" / file).read_text(), proof
