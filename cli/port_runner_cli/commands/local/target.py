"""The Port that `local` runs against: a fake Port made for the message, or an existing one."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from port_runner_cli.clients.port import PortAccess, PortConnection, PortRefused
from port_runner_cli.commands.setup import read_definitions, set_up
from port_runner_cli.output import SettingsError

type Json = dict[str, Any]


class Target(Protocol):
    """A Port with the runs of the messages."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables with which the function finds this Port."""

    def prepare(self, invocations: Sequence[Any]) -> None:
        """Make sure that Port has the runs of the run requests. Raises CommandFailed."""

    def run(self, invocation: Any) -> Json:
        """Return the run as it is now."""

    def log(self, invocation: Any) -> list[str]:
        """Return the messages of the run's log."""

    def entities(self) -> list[Json]:
        """Return the entities that changed since `prepare`, as far as this is known."""


@dataclass
class FakeTarget:
    """A fake Port with the blueprints and actions of port/ and the messages' runs."""

    port: Any
    connection: PortConnection
    before: Mapping[tuple[str, str], Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        # The message comes from another Port, so its secret and signatures do not fit this one.
        return {
            "PORT_API_URL": self.port.url,
            "PORT_CLIENT_ID": self.port.client_id,
            "PORT_CLIENT_SECRET": self.port.client_secret,
            "VERIFY_SIGNATURE": "off",
        }

    def prepare(self, invocations: Sequence[Any]) -> None:
        for each in invocations:
            if each.is_workflow_node:
                self.port.add_node_run(each.run_id)
            else:
                self.port.add_run(each.run_id, each.action, blueprint=each.blueprint, properties=each.inputs)
            if each.blueprint and each.entity:
                # A handler that needs the missing entity reports it itself.
                with suppress(PortRefused):
                    self._add_entity(each.blueprint, each.entity)
        self.before = {key: dict(entity) for key, entity in self.port.entities.items()}

    def _add_entity(self, blueprint: str, entity: Mapping[str, Any]) -> None:
        content = {name: entity[name] for name in ("identifier", "title", "properties", "relations") if name in entity}
        path = f"/blueprints/{quote(blueprint, safe='')}/entities"
        self.connection.call("POST", path, content, query={"upsert": "true"}, what="the message's entity")

    def run(self, invocation: Any) -> Json:
        if invocation.is_workflow_node:
            return dict(self.port.node_runs[invocation.run_id])
        return dict(self.port.runs[invocation.run_id])

    def log(self, invocation: Any) -> list[str]:
        return [line["message"] for line in self.port.run_logs.get(invocation.run_id, [])]

    def entities(self) -> list[Json]:
        """Return new, changed and deleted entities."""
        now = self.port.entities
        changed = [{"blueprint": key[0], **entity} for key, entity in now.items() if self.before.get(key) != entity]
        gone = [{"blueprint": key[0], "identifier": key[1], "deleted": True} for key in self.before if key not in now]
        return [*changed, *gone]


@dataclass(frozen=True)
class RealTarget:
    """An existing Port that has the runs."""

    port: PortConnection
    client_id: str
    client_secret: str = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PORT_API_URL": self.port.url,
            "PORT_CLIENT_ID": self.client_id,
            "PORT_CLIENT_SECRET": self.client_secret,
        }

    def prepare(self, invocations: Sequence[Any]) -> None:
        for each in invocations:
            self.run(each)

    def run(self, invocation: Any) -> Json:
        if invocation.is_workflow_node:  # Port has no call that reads such a run
            return {}
        what = f"to show the run {invocation.run_id}"
        answer = self.port.call("GET", f"/actions/runs/{quote(invocation.run_id, safe='')}", what=what)
        return dict(answer["run"])

    def log(self, invocation: Any) -> list[str]:
        if invocation.is_workflow_node:
            return []
        path = f"/actions/runs/{quote(invocation.run_id, safe='')}/logs"
        answer = self.port.call("GET", path, what="to show the run's log")
        return [str(line.get("message")) for line in answer.get("runLogs", [])]

    def entities(self) -> list[Json]:
        return []


@contextmanager
def fake_target() -> Iterator[Target]:
    """Start a new fake Port. Raises SettingsError if the sandbox is not installed."""
    try:
        from port_runner_sandbox.fake_port import FakePort
    except ImportError as error:
        raise SettingsError(
            f"The fake Port of sandbox/ is not installed ({error}). Run this in the project's folder with its "
            "development environment, or name a Port with --port-url."
        ) from error
    with FakePort() as port, PortConnection(port.url, port.client_id, port.client_secret) as connection:
        set_up(connection, read_definitions(), tell=_say_nothing)
        yield FakeTarget(port, connection)


def _say_nothing(text: str, style: str) -> None:
    del text, style


@contextmanager
def real_target(access: PortAccess) -> Iterator[Target]:
    """Connect to an existing Port. Raises CommandFailed."""
    credentials = access.credentials()
    with PortConnection(access.url, *credentials) as port:
        yield RealTarget(port, *credentials)
