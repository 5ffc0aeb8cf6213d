"""The storage of virtual machines, watched through the change log."""

from port_runner import ActionRouter, EntityChange

router = ActionRouter()

LOW = 0.1


@router.change("vm", actions=["UPDATE"])
def grow_low_storage(change: EntityChange) -> None:
    """Double a VM's storage in the catalog if less than a tenth of it is free. Add the growth of a real disk here."""
    properties = (change.after or {}).get("properties", {})
    size, free = properties.get("storage_size"), properties.get("free_storage")
    if "free_storage" not in change.changed or size is None or free is None or free >= LOW * size:
        return
    change.update_entity("vm", change.identifier, properties={"storage_size": 2 * size, "free_storage": free + size})
