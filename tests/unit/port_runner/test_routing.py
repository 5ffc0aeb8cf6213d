"""Handlers are registered by an action's identifier, clash at import, and take the runs that they ask for."""

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import pytest

from port_runner import ActionRouter, ActionRun, RegistrationError, Runner, Success
from port_runner.routing import route_for


@dataclass(frozen=True)
class Size:
    cpu: int


def create_vm(run: ActionRun[Any]) -> Success:
    return Success(run.id)


def restart_vm(run: ActionRun[Any]) -> Success:
    return Success(run.id)


def register(router: ActionRouter, handler: Any, action: str = "create_vm", **options: Any) -> Any:
    decorator: Any = router.action  # its overloads cannot be told apart by options that are a dictionary
    return decorator(action, **options)(handler)


def taker(router: ActionRouter, action: str, *, operation: str | None = None, blueprint: str | None = None) -> Any:
    """Return the handler that takes such a run, or ``None``."""
    route = route_for(router.routes, action, operation, blueprint)
    return None if route is None else route.handler


@pytest.mark.parametrize("options", [{}, {"inputs": Size}, {"idempotent": True}, {"operation": "CREATE"}])
def test_decorator_returns_the_function_unchanged(options: Any) -> None:
    """A handler can be called, tested and registered again as the plain function that it is."""
    router = ActionRouter()

    assert register(router, create_vm, **options) is create_vm
    assert taker(router, "create_vm", operation="CREATE") is create_vm


def test_a_handler_may_take_several_actions() -> None:
    """Decorators stack: each registers the same function for one more action."""
    router = ActionRouter()

    @router.action("start_vm")
    @router.action("restart_vm")
    def start(run: ActionRun[Any]) -> None: ...

    assert taker(router, "start_vm") is taker(router, "restart_vm") is start


def test_only_the_named_action_is_taken() -> None:
    """An action without a handler has none, even if its name begins or ends like another's."""
    router = ActionRouter()
    router.action("create_vm")(create_vm)

    for action in ("create", "create_vm2", "CREATE_VM", "xcreate_vm", "vm_create_vm", ""):
        assert taker(router, action) is None


# What clashes


@pytest.mark.parametrize(
    "options", [{}, {"operation": "CREATE"}, {"blueprint": "vm"}, {"operation": "X", "blueprint": "vm"}]
)
def test_two_handlers_for_the_same_runs_clash(options: Any) -> None:
    """The error names the action and both functions."""
    router = ActionRouter()
    register(router, create_vm, **options)

    with pytest.raises(RegistrationError) as caught:
        register(router, restart_vm, **options)

    names = (f"{each.__module__}.{each.__qualname__}" for each in (create_vm, restart_vm))
    assert str(caught.value) == "two handlers for the action create_vm: {} and {}".format(*names)
    assert len(router.routes) == 1


def test_routers_clash_where_they_meet() -> None:
    """Two routers of one runner may not take the same runs either, and not one router twice."""
    first, second = ActionRouter(), ActionRouter()
    first.action("create_vm")(create_vm)
    second.action("create_vm")(restart_vm)
    runner = Runner()
    runner.include(first)

    for router, culprit in ((second, r"\.restart_vm"), (first, r"\.create_vm")):
        with pytest.raises(RegistrationError, match=rf"action create_vm: .*\.create_vm and .*{culprit}$"):
            runner.include(router)


def test_handlers_that_differ_in_what_they_take_do_not_clash() -> None:
    """One action may have a handler for each operation and blueprint, and one for the rest."""
    router = ActionRouter()
    for options in ({}, {"operation": "CREATE"}, {"blueprint": "vm"}, {"operation": "CREATE", "blueprint": "vm"}):
        register(router, create_vm, **options)

    assert len(router.routes) == 4


@pytest.mark.parametrize("identifier", [None, "", 5, create_vm, ["create_vm"]])
def test_identifier_must_be_a_text(identifier: Any) -> None:
    """A decorator without its brackets, the likeliest slip, fails at import."""
    with pytest.raises(RegistrationError, match="an action's identifier is a text"):
        ActionRouter().action(identifier)


@pytest.mark.parametrize("handler", [None, "create_vm", Success()])
def test_handler_must_be_callable(handler: Any) -> None:
    """An object that cannot be called cannot be registered, and the error names its action."""
    router = ActionRouter()

    with pytest.raises(RegistrationError, match=r"the handler of create_vm is .*, which cannot be called"):
        router.action("create_vm")(handler)
    assert router.routes == []


def test_inputs_must_be_a_dataclass() -> None:
    """Inputs of the wrong kind fail where they are named, before the function is even seen."""
    with pytest.raises(RegistrationError, match="is no dataclass"):
        ActionRouter().action("create_vm", inputs=dict)


def test_callables_of_every_kind_can_clash_by_name() -> None:
    """A handler without a name of its own, such as a partial, is still told in the error."""
    router = ActionRouter()
    router.action("create_vm")(functools.partial(create_vm))

    with pytest.raises(RegistrationError, match=r"functools\.partial\(.*create_vm.* and .*\.restart_vm$"):
        router.action("create_vm")(restart_vm)


# Which handler takes a run


@pytest.mark.parametrize(
    ("registered", "action", "blueprint", "taken"),
    [
        ("create_vm", "create_vm", "vm", True),
        ("create_vm", "create_vm", None, True),
        ("create_vm", "vm_create_vm", "vm", True),
        ("vm_create_vm", "create_vm", "vm", True),
        ("create_vm", "vm_create_vm", None, False),
        ("vm_create_vm", "create_vm", None, False),
        ("create_vm", "vm_create_vm", "service", False),
        ("vm_create_vm", "create_vm", "service", False),
        ("create_vm", "vm_vm_create_vm", "vm", False),
    ],
)
def test_blueprints_prefix_is_optional_both_ways(
    registered: str, action: str, blueprint: str | None, taken: bool
) -> None:
    """Migrated actions are called <blueprint>_<identifier>, their messages say the identifier: either name finds."""
    router = ActionRouter()
    router.action(registered)(create_vm)

    assert taker(router, action, blueprint=blueprint) is (create_vm if taken else None)


def test_the_very_name_wins_over_the_prefixed() -> None:
    """If both names are registered, each run goes to the handler of its own name, in either order."""
    for order in (("create_vm", "vm_create_vm"), ("vm_create_vm", "create_vm")):
        router = ActionRouter()
        handlers = {name: router.action(name)(functools.partial(create_vm)) for name in order}

        for name in order:
            assert taker(router, name, blueprint="vm") is handlers[name]


def test_operation_and_blueprint_bind_a_handler() -> None:
    """A handler with an operation or a blueprint takes such runs only, not those that do not say theirs."""
    router = ActionRouter()
    router.action("change_vm", operation="DAY-2", blueprint="vm")(create_vm)

    assert taker(router, "change_vm", operation="DAY-2", blueprint="vm") is create_vm
    for operation, blueprint in (("DELETE", "vm"), ("DAY-2", "disk"), (None, "vm"), ("DAY-2", None)):
        assert taker(router, "change_vm", operation=operation, blueprint=blueprint) is None


@pytest.mark.parametrize("order", [*itertools.permutations(["any", "DELETE", "DELETE of vm"])], ids=",".join)
def test_the_strictest_handler_takes_the_run(order: tuple[str, ...]) -> None:
    """Of several handlers that fit, the most specific one takes the run, in any order of registration."""
    asking: dict[str, dict[str, str]] = {
        "any": {},
        "DELETE": {"operation": "DELETE"},
        "DELETE of vm": {"operation": "DELETE", "blueprint": "vm"},
    }
    router = ActionRouter()
    handlers = {name: register(router, functools.partial(create_vm), **asking[name]) for name in order}

    assert taker(router, "create_vm", operation="DELETE", blueprint="vm") is handlers["DELETE of vm"]
    assert taker(router, "create_vm", operation="DELETE", blueprint="disk") is handlers["DELETE"]
    assert taker(router, "create_vm", operation="DAY-2", blueprint="vm") is handlers["any"]
