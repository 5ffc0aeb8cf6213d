"""Finds the run in Port that a message leads to, and the handlers that take it."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .bounded import BoundedDict
from .errors import PortApiError, PortNotFoundError, PortUnavailableError
from .logs import log
from .messages import RunRequest, find_inputs
from .port_api import PortClient
from .routing import Route, routes_for
from .run_api import ActionRunApi, NodeRunApi, RunApi, RunState, is_refusal

# Of the ids in a message that may be the run's, how many are tried.
MOST_RUN_IDS = 10
# An action's operation can be edited in Port.
KNOWN_OPERATION_SECONDS = 300.0
REMEMBERED_ACTIONS = 1000


@dataclass(frozen=True)
class Found:
    """A run request as the run in Port is, with the run's state at the moment *at* of ``time.monotonic()``."""

    run_request: RunRequest
    state: RunState
    at: float


class RunFinder:
    """Finds runs. *asks_about_all* is set if a run without a handler here is not left to others."""

    def __init__(self, routes: Sequence[Route], port: PortClient, *, asks_about_all: bool) -> None:
        self._routes = routes
        self._port = port
        self._asks_about_all = asks_about_all
        self._action_runs = ActionRunApi(port)
        self._node_runs = NodeRunApi(port)
        self._operations: BoundedDict[str, tuple[str | None, float]] = BoundedDict(REMEMBERED_ACTIONS)

    def is_for_others(self, run_request: RunRequest) -> bool:
        """Return whether the message alone says that no handler here takes its run. Then Port is not asked."""
        if not run_request.is_envelope or run_request.action is None or self._asks_about_all:
            return False
        if run_request.is_workflow_node:
            return False
        if run_request.blueprint is None:
            return not any(route.may_be_named(run_request.action) for route in self._routes)
        return not self.routes_of(run_request)

    def find(self, run_request: RunRequest, until: float) -> Found | None:
        """Return the first of the message's runs that has a handler here, or else the first that Port knows."""
        first = None
        for run_id in run_ids(run_request):
            candidate = replace(run_request, run_id=run_id)
            state = self._read_run(candidate, until)
            if state is None:
                continue
            candidate = self._with_operation(_completed(candidate, state), until)
            found = Found(candidate, state, time.monotonic())
            if self.routes_of(candidate):
                return found
            first = first or found
        return first

    def _with_operation(self, run_request: RunRequest, until: float) -> RunRequest:
        """Add the operation of the run's action if a handler depends on it. Neither message nor run may tell it."""
        action = run_request.action
        if (
            action is None
            or run_request.operation
            or all(route.operation is None for route in self.routes_of(run_request))
        ):
            return run_request
        known = self._operations.get(action)
        if known is None or time.monotonic() - known[1] > KNOWN_OPERATION_SECONDS:
            try:
                known = self._port.get_operation(action, until=until), time.monotonic()
            except PortUnavailableError:
                raise
            except PortApiError as error:  # the credentials may lack the permission to read actions
                log.warning("action.not_read", error=error, status=error.status)
                known = None, time.monotonic()
            self._operations[action] = known
        return replace(run_request, operation=known[0])

    def routes_of(self, run_request: RunRequest) -> Sequence[Route]:
        """Return the handler of the run. Return several if only the operation, which is not known, would tell."""
        if run_request.action is None:
            return ()
        routes = [route for route in self._routes if route.workflow_nodes or not run_request.is_workflow_node]
        return routes_for(routes, run_request.action, run_request.operation, run_request.blueprint)

    def api_of(self, run_request: RunRequest) -> RunApi:
        """Return the calls about runs of this kind."""
        return self._node_runs if run_request.is_workflow_node else self._action_runs

    def _read_run(self, run_request: RunRequest, until: float) -> RunState | None:
        """Return the run as Port has it, or ``None`` if Port does not know it, or does not take its id."""
        try:
            return self.api_of(run_request).read(run_request.run_id, until=until)
        except PortNotFoundError:
            return None
        except PortApiError as error:
            if not is_refusal(error):
                raise
            return None


def run_ids(run_request: RunRequest) -> Iterator[str]:
    """Return the ids in the message that are tried, in order."""
    return itertools.islice(itertools.chain([run_request.run_id], run_request.other_run_ids()), MOST_RUN_IDS)


def _completed(run_request: RunRequest, state: RunState) -> RunRequest:
    """Return *run_request* as the run in Port is. The message supplies only what Port leaves out."""
    return replace(
        run_request,
        action=state.action or run_request.action,
        blueprint=state.blueprint or run_request.blueprint,
        entity_identifier=state.entity_identifier or run_request.entity_identifier,
        inputs=_inputs(run_request, state),
    )


def _inputs(run_request: RunRequest, state: RunState) -> Mapping[str, Any]:
    if run_request.inputs is not None and (run_request.has_certain_inputs or not state.inputs):
        return run_request.inputs
    return state.inputs or find_inputs(run_request.message)
