"""The shipped example does what it says: a VM in the catalog, for every run its own."""

import re
from typing import Any

import pytest

from handlers.vm import CreateVm, create_vm
from port_runner import Success
from port_runner.inputs import make_reader
from port_runner.testing import RecordedRun, make_run

# Port's rule for identifiers of entities, for those that hold ASCII letters only.
IDENTIFIER = re.compile(r"[A-Za-z0-9@_.+:\\/=-]{1,1000}")


def a_run(**inputs: Any) -> RecordedRun[CreateVm]:
    asked = {"cpu": 2, "memory": 4, "storage": 50, "region": "eu-west-1", **inputs}
    return make_run("create_vm", CreateVm(**asked))


def test_the_vm_is_put_into_the_catalog() -> None:
    """Every input becomes a property, and the VM is being deployed."""
    run = a_run(title="Build server")

    outcome = create_vm(run)

    (entity,) = run.entities.values()
    assert (entity.blueprint, entity.identifier, entity.title) == ("vm", "vm-r_test", "Build server")
    assert entity.properties == {
        "cpu_cores": 2,
        "memory_size": 4,
        "storage_size": 50,
        "region": "eu-west-1",
        "deployed": "Deploying",
    }
    assert outcome == Success("Build server (vm-r_test) is being deployed.")


def test_the_developer_is_told_before_anything_is_done() -> None:
    """The run's log says what the handler does."""
    run = a_run()

    create_vm(run)

    assert run.lines == ["Creating a VM in eu-west-1"]


@pytest.mark.parametrize("title", [None, ""])
def test_a_vm_without_a_title_is_called_after_its_region(title: str | None) -> None:
    """The title is optional in the action, and an entity without one is hard to find."""
    run = a_run(title=title)

    assert create_vm(run) == Success("VM in eu-west-1 (vm-r_test) is being deployed.")
    assert run.entities["vm", "vm-r_test"].title == "VM in eu-west-1"


def test_two_vms_of_one_title_are_two() -> None:
    """Titles repeat, so the identifier is made of the run's id, which does not, and is one that Port takes."""
    identifiers = set()
    for run_id in ("r_QOz6WoOB1Q2lmhZZ", "run_q2mGf9ZYkFRnZJjB"):
        run = make_run("create_vm", CreateVm(2, 4, 50, "eu-west-1", title="Büro (2), new"), run_id=run_id)
        create_vm(run)
        identifiers |= {identifier for _, identifier in run.entities}

    assert len(identifiers) == 2
    assert all(IDENTIFIER.fullmatch(identifier) for identifier in identifiers)


def test_the_same_run_again_is_the_same_vm() -> None:
    """A run that is handled twice changes its VM and makes no second."""
    run = a_run()

    create_vm(run)
    create_vm(run)

    assert list(run.entities) == [("vm", "vm-r_test")]


def test_inputs_are_those_of_the_action() -> None:
    """The four inputs that the action requires are enough, and numbers may come as JavaScript writes them."""
    read = make_reader(CreateVm)

    assert read({"cpu": 2.0, "memory": 4, "storage": 50, "region": "eu-west-1"}) == CreateVm(2, 4, 50, "eu-west-1")
