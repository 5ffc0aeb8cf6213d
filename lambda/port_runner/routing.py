"""Registers handlers, and finds the handler of a run."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from .changes import ACTIONS, ChangeHandler, ChangeRoute, add_change_route
from .errors import RegistrationError
from .inputs import AnyInputs, make_reader
from .outcomes import InProgress, Success
from .run import ActionRun
from .secret_inputs import declared_secrets

# The default for idempotent handlers.
MAX_STARTS = 3

type Handler[I] = Callable[[ActionRun[I]], Success | InProgress | None]


@dataclass(frozen=True)
class Route:
    """A handler with the runs that it takes. *operation* and *blueprint* are ``None`` if it takes any.

    *max_starts* is 1 unless the handler is idempotent. *timeout* is in seconds, ``None`` for what the invocation has.
    """

    identifier: str
    operation: str | None
    blueprint: str | None
    idempotent: bool
    max_starts: int
    timeout: float | None
    workflow_nodes: bool
    handler: Handler[Any]
    read_inputs: Callable[[Mapping[str, Any]], Any] = field(repr=False)
    secret_inputs: frozenset[str] | None
    """The inputs that are declared as secret, or ``None`` if no dataclass declares the inputs."""
    inputs: type | None
    """The dataclass that declares the inputs."""

    @property
    def name(self) -> str:
        """The handler's function, for people."""
        return f"{self.handler.__module__}.{getattr(self.handler, '__qualname__', repr(self.handler))}"

    def takes(self, operation: str | None, blueprint: str | None) -> bool:
        return self.operation in (None, operation) and self.blueprint in (None, blueprint)

    def may_be_named(self, action: str) -> bool:
        """Return whether this could be the route of *action* once the blueprint is known."""
        return action.endswith(self.identifier) or self.identifier.endswith(action)

    @property
    def specificity(self) -> int:
        return (self.operation is not None) + (self.blueprint is not None)


class ActionRouter:
    """Collects handlers. A ``Runner`` includes it."""

    def __init__(self) -> None:
        self.routes: list[Route] = []
        self.change_routes: list[ChangeRoute] = []

    @overload
    def action[I](
        self,
        identifier: str,
        *,
        inputs: type[I],
        idempotent: bool = False,
        max_starts: int | None = None,
        timeout: float | None = None,
        workflow_nodes: bool = False,
        operation: str | None = None,
        blueprint: str | None = None,
    ) -> Callable[[Handler[I]], Handler[I]]: ...

    @overload
    def action(
        self,
        identifier: str,
        *,
        inputs: None = None,
        idempotent: bool = False,
        max_starts: int | None = None,
        timeout: float | None = None,
        workflow_nodes: bool = False,
        operation: str | None = None,
        blueprint: str | None = None,
    ) -> Callable[[Handler[Mapping[str, Any]]], Handler[Mapping[str, Any]]]: ...

    def action(
        self,
        identifier: str,
        *,
        inputs: type | None = None,
        idempotent: bool = False,
        max_starts: int | None = None,
        timeout: float | None = None,
        workflow_nodes: bool = False,
        operation: str | None = None,
        blueprint: str | None = None,
    ) -> Callable[[Handler[Any]], Handler[Any]]:
        """Register the decorated function for runs of Port's action *identifier*, and return it unchanged.

        With the dataclass *inputs*, ``run.inputs`` is an instance of it. Without it, ``run.inputs`` is a mapping. With
        *operation* (``CREATE``, ``DAY-2``, ``DELETE``) or *blueprint*, only such runs are taken.

        If the function crashed in a run, only an *idempotent* handler is started again, until it was started
        *max_starts* times (3). Otherwise the run ends as interrupted. *timeout* is the time in seconds that the handler
        may need and take: a run starts only if so much of the invocation is left. Without it, half of the invocation
        must be left, and the handler may take all of that.

        With *workflow_nodes*, the handler also takes the runs of workflow nodes whose payload names the action. It must
        then be idempotent, since Port does not tell whether such a run was started before. Raises
        ``RegistrationError``.
        """
        if not isinstance(identifier, str) or not identifier:
            raise RegistrationError(f"an action's identifier is a text, not {identifier!r}")
        if workflow_nodes and not idempotent:
            raise RegistrationError(f"the handler of {identifier} takes workflow nodes, so it must be idempotent=True")
        if max_starts is not None and not idempotent:
            raise RegistrationError(f"the handler of {identifier} has max_starts, so it must be idempotent=True")
        if max_starts is not None and (type(max_starts) is not int or max_starts < 1):
            raise RegistrationError(f"max_starts of {identifier} must be a whole number from 1, not {max_starts!r}")
        if timeout is not None and not _is_a_time(timeout):
            raise RegistrationError(f"timeout of {identifier} must be a number of seconds above 0, not {timeout!r}")
        read_inputs = AnyInputs if inputs is None else make_reader(inputs)
        secrets = None if inputs is None else declared_secrets(inputs)

        def register(handler: Handler[Any]) -> Handler[Any]:
            if not callable(handler):
                raise RegistrationError(f"the handler of {identifier} is {handler!r}, which cannot be called")
            if inspect.iscoroutinefunction(handler):
                raise RegistrationError(f"the handler of {identifier} is `async def`; nothing would await it")
            route = Route(
                identifier=identifier,
                operation=operation,
                blueprint=blueprint,
                idempotent=idempotent,
                max_starts=(max_starts or MAX_STARTS) if idempotent else 1,
                timeout=timeout,
                workflow_nodes=workflow_nodes,
                handler=handler,
                read_inputs=read_inputs,
                secret_inputs=secrets,
                inputs=inputs,
            )
            add_route(self.routes, route)
            return handler

        return register

    def change(
        self, blueprint: str, *, actions: Collection[str] = ACTIONS, own_changes: bool = False
    ) -> Callable[[ChangeHandler], ChangeHandler]:
        """Register the decorated function for changes of *blueprint*'s entities, and return it unchanged.

        Changes made with this function's own credentials are left out, unless *own_changes* is set. A listener that
        writes to the entities it listens for must then know when to stop. Raises ``RegistrationError``.
        """

        def register(handler: ChangeHandler) -> ChangeHandler:
            if not callable(handler):
                raise RegistrationError(f"the listener to {blueprint} is {handler!r}, which cannot be called")
            if inspect.iscoroutinefunction(handler):
                raise RegistrationError(f"the listener to {blueprint} is `async def`; nothing would await it")
            add_change_route(self.change_routes, ChangeRoute(blueprint, tuple(actions), own_changes, handler))
            return handler

        return register


def add_route(routes: list[Route], route: Route) -> None:
    """Add *route* to *routes*. Raises ``RegistrationError`` if another route takes exactly the same runs."""
    for other in routes:
        same = (other.identifier, other.operation, other.blueprint)
        if same == (route.identifier, route.operation, route.blueprint):
            raise RegistrationError(f"two handlers for the action {route.identifier}: {other.name} and {route.name}")
    routes.append(route)


def route_for(routes: Sequence[Route], action: str, operation: str | None, blueprint: str | None) -> Route | None:
    """Return the most specific route that takes such a run, or ``None``.

    Actions that Port migrated from its first format are called ``<blueprint>_<old identifier>``, while their messages
    still have the old identifier. A handler may name either.
    """
    fitting = [route for route in _named(routes, action, blueprint) if route.takes(operation, blueprint)]
    return max(fitting, key=lambda route: (route.identifier == action, route.specificity), default=None)


def routes_for(routes: Sequence[Route], action: str, operation: str | None, blueprint: str | None) -> Sequence[Route]:
    """Return the route that takes such a run, alone.

    If the operation is not known, return every route that could take the run. An action has one operation in Port, so
    a single route is right.
    """
    route = route_for(routes, action, operation, blueprint)
    if route is not None:
        return [route]
    if operation is not None:
        return []
    return [each for each in _named(routes, action, blueprint) if each.blueprint in (None, blueprint)]


def _is_a_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _named(routes: Sequence[Route], action: str, blueprint: str | None) -> Sequence[Route]:
    names = {action}
    if blueprint:
        names |= {f"{blueprint}_{action}", action.removeprefix(f"{blueprint}_")}
    return [route for route in routes if route.identifier in names]
