"""An action that somebody adds to a copy of this project, as README.md describes it."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]

FILE = "lambda/handlers/costs.py"
HANDLER = '''"""What virtual machines cost."""

from dataclasses import dataclass
from typing import Literal

from port_runner import ActionRouter, ActionRun, Success

router = ActionRouter()


@dataclass(frozen=True)
class EstimateVm:
    cpu: int
    memory: int
    period: Literal["month", "year"] = "month"


@router.action("estimate_vm", inputs=EstimateVm)
def estimate_vm(run: ActionRun[EstimateVm]) -> Success:
    """Say what a VM would cost."""
    inputs = run.inputs
    run.log(f"Estimating {inputs.cpu} cores and {inputs.memory} GB")
    euros = (14 * inputs.cpu + 2 * inputs.memory) * (12 if inputs.period == "year" else 1)
    return Success(summary=f"About {euros} EUR a {inputs.period}.")
'''

# What the entry point gets: the handler's module, and its router.
IMPORT = "from handlers import costs, storage, vm"
INCLUDE = "runner.include(costs.router)"

ACTION_JSON, SETUP, CHECK, DEPLOY, RUN = COMMANDS = (
    "scripts/port-runner action-json estimate_vm --output scripts/port/estimate_vm_action.json",
    "scripts/port-runner setup",
    "scripts/port-runner check",
    "make package && terraform -chdir=terraform/examples/basic apply",
    "scripts/port-runner run estimate_vm --input cpu=2 --input memory=8",
)


def add_action(directory: Path) -> Path:
    """A copy of the project's sources in the directory, with the handler in it."""
    for folder in ("lambda", "scripts"):
        shutil.copytree(ROOT / folder, directory / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (directory / FILE).write_text(HANDLER)
    entry_point = directory / "lambda" / "lambda_function.py"
    text = entry_point.read_text()
    for old, new in (
        ("from handlers import storage, vm", IMPORT),
        ("runner.include(vm.router)", f"runner.include(vm.router)\n{INCLUDE}"),
    ):
        if old not in text:
            raise ValueError(f"{entry_point} does not say {old!r}")
        text = text.replace(old, new)
    entry_point.write_text(text)
    return directory
