"""Virtual machines."""

from dataclasses import dataclass

from port_runner import ActionRouter, ActionRun, Success

router = ActionRouter()


@dataclass(frozen=True)
class CreateVm:
    """The inputs of the action, as defined in Port."""

    cpu: int
    memory: int
    storage: int
    region: str
    title: str | None = None


@router.action("create_vm", inputs=CreateVm)
def create_vm(run: ActionRun[CreateVm]) -> Success:
    """Add a new VM to the catalog. Start a real one here."""
    inputs = run.inputs
    run.log(f"Creating a VM in {inputs.region}")
    vm = run.upsert_entity(
        "vm",
        identifier=f"vm-{run.id}",  # a title can repeat or be left out, a run's id cannot
        title=inputs.title or f"VM in {inputs.region}",
        properties={
            "cpu_cores": inputs.cpu,
            "memory_size": inputs.memory,
            "storage_size": inputs.storage,
            "region": inputs.region,
            "deployed": "Deploying",
        },
    )
    return Success(summary=f"{vm.title} ({vm.identifier}) is being deployed.")
