"""`check` says where Port's actions and the handlers disagree, and what to do."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest

from port_runner import ActionRouter, ActionRun, MessagePaths, Secret
from port_runner.routing import Route
from port_runner_cli.commands.action_json import PAYLOAD, action_definition
from port_runner_cli.commands.check import Disagreement, disagreements
from port_runner_sandbox.fake_port import FakePort
from tests.support.command_under_test import command
from tests.support.project import DEFINITIONS

type Json = dict[str, Any]


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True)
class Service:
    identifier: str


@dataclass(frozen=True)
class Order:
    name: str
    count: int
    region: Literal["eu", "us"]
    service: Service = field(metadata={"blueprint": "service"})
    password: Secret[str]
    tags: list[str]
    sizes: list[Size]
    note: str | None = None
    either: str | int = 0
    anything: Any = None


def handler(run: ActionRun[Any]) -> None:
    """Take an order."""


def route_of(inputs: Any = Order, identifier: str = "order", **options: Any) -> Route:
    router: Any = ActionRouter()
    router.action(identifier, inputs=inputs, **options)(handler)
    [route] = router.routes
    assert isinstance(route, Route)
    return route


def order_action() -> Json:
    """An action that agrees with the handler of `Order`."""

    @dataclass(frozen=True)
    class Definite(Order):
        either: str = ""
        anything: list[str] | None = None

    return copy.deepcopy(action_definition(route_of(Definite)))


def found_in(action: Json, *routes: Route, paths: MessagePaths | None = None) -> list[Disagreement]:
    return list(disagreements([action], routes or [route_of()], paths or MessagePaths()))


def inputs_of(action: Json) -> Json:
    properties: Json = action["trigger"]["userInputs"]["properties"]
    return properties


def test_nothing_is_found_where_both_agree() -> None:
    """A generated action agrees, for each type in Port of a field with several types."""
    assert found_in(order_action()) == []


def test_shipped_action_and_shipped_handler_agree() -> None:
    """Nothing is found in what this project ships, in files as in Port; code 0."""
    result = command("check", "--file", str(DEFINITIONS))
    assert (result.exit_code, result.stdout) == (0, "Actions and handlers agree.\n")
    with FakePort() as port:
        assert command("setup", port=port).exit_code == 0
        result = command("check", port=port)
        assert (result.exit_code, result.stdout) == (0, "Actions and handlers agree.\n")
        assert json.loads(command("check", "--json", port=port).stdout) == []


def remove(name: str) -> Callable[[Json], None]:
    def change(action: Json) -> None:
        del inputs_of(action)[name]
        required = action["trigger"]["userInputs"]["required"]
        required[:] = [each for each in required if each != name]

    return change


def define(name: str, **definition: Any) -> Callable[[Json], None]:
    return lambda action: inputs_of(action).__setitem__(name, definition)


def require(*names: str) -> Callable[[Json], None]:
    return lambda action: action["trigger"]["userInputs"]["required"].extend(names)


def optional(name: str) -> Callable[[Json], None]:
    return lambda action: action["trigger"]["userInputs"]["required"].remove(name)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (remove("count"), "the input count of Order.count is missing in Port: every run fails"),
        (remove("note"), "the input note of Order.note is missing in Port: no one can fill it in"),
        (define("color", type="string"), "no field takes the input color, so what people enter is lost"),
        (define("count", type="string"), "the input count is text in Port, and Order.count takes a number"),
        (define("tags", type="string"), "the input tags is text in Port, and Order.tags takes a list"),
        (
            define("either", type="boolean"),
            "the input either is true or false in Port, and Order.either takes a number",
        ),
        (
            define("tags", type="array", items={"type": "number"}),
            "the input tags[] is a number in Port, and Order.tags[] takes text",
        ),
        (
            define("service", type="number"),
            "the input service is a number in Port, and Order.service takes an object or text",
        ),
        (optional("count"), "the input count may be left out in Port, and Order.count must be given"),
        (require("note"), "the input note is required in Port, and Order.note may be left out"),
        (
            define("region", type="string", enum=["eu", "us", "moon"]),
            "the input region offers moon in Port, which Order.region refuses",
        ),
        (
            define("region", type="string", enum=["eu"]),
            "the input region does not offer us in Port, which Order.region takes",
        ),
        (define("region", type="string"), "the input region is free in Port, and Order.region takes only eu, us"),
        (
            define("sizes", type="array", items={"type": "string", "enum": ["small", "large", "huge"]}),
            "the input sizes[] offers huge in Port, which Order.sizes[] refuses",
        ),
        (
            define("password", type="string"),
            "the input password is not encrypted in Port, and Order.password is a Secret",
        ),
        (
            define("name", type="string", encryption="aes256-gcm"),
            "the input name is secret in Port, and Order.name would be printed",
        ),
    ],
)
def test_each_difference_of_an_input_is_said(change: Callable[[Json], None], problem: str) -> None:
    """An input missing on either side, another type, requiredness, choices, secrecy: one line each, with advice."""
    action = order_action()
    change(action)
    [found] = found_in(action)
    assert found.action == "order"
    assert found.problem.startswith(problem)
    assert found.advice.endswith(".")


@pytest.mark.parametrize(
    "change",
    [
        define("name", type="string", enum=["a", "b"]),  # Port narrows what the handler takes
        define("region", type="string", enum={"jqQuery": '["eu"]'}),
        define("service", type="object"),
        define("name", type="string", format="entity", blueprint="service"),
        define("password", type="string", encryption={"algorithm": "client-side", "key": "PEM"}),
        define("tags", type="array"),
        lambda action: action["trigger"]["userInputs"].__setitem__("required", {"jqQuery": "[]"}),
    ],
)
def test_what_cannot_disagree_is_left_alone(change: Callable[[Json], None]) -> None:
    """Choices for a free text, what JQ decides, an entity as text or object: the handler takes them."""
    action = order_action()
    change(action)
    assert found_in(action) == []


def test_handler_without_a_dataclass_takes_any_inputs() -> None:
    """Without a dataclass of the inputs there is nothing to compare."""
    assert found_in(order_action(), route_of(None)) == []


# Which handler, which action


def test_action_without_handler_is_said() -> None:
    """A KAFKA action without a handler would never end. An action of another backend is not checked."""
    action = order_action()
    action["identifier"] = "another"
    problems = {each.action: each for each in found_in(action)}
    assert problems["another"].problem == "no handler takes it, so its runs never end"
    assert '@router.action("another"' in problems["another"].advice
    action["invocationMethod"] = {"type": "WEBHOOK", "url": "https://example.com"}
    assert {each.action for each in found_in(action)} == {"order"}


def test_handler_without_action_is_said() -> None:
    """A handler whose action does not exist is named with the commands that make it."""
    [found] = disagreements([], [route_of(operation="DAY-2", blueprint="vm")], MessagePaths())
    assert found.action == "order"
    assert found.problem.endswith("handler takes its runs (DAY-2 on vm), and there is no such action")
    assert "scripts/port-runner action-json order" in found.advice


def test_operation_and_blueprint_must_fit() -> None:
    """A handler of that name for other runs is distinguished from a missing handler."""
    found = found_in(order_action(), route_of(operation="DAY-2", blueprint="vm"))
    assert found[0].problem.startswith("it is CREATE on no blueprint, and ")
    assert "takes (DAY-2 on vm) only" in found[0].problem


def test_identifier_may_begin_with_the_blueprint() -> None:
    """An action that Port moved from its first format is called <blueprint>_<identifier>; its handler need not be."""
    action = order_action()
    action["identifier"] = "vm_order"
    action["trigger"]["blueprintIdentifier"] = "vm"
    assert found_in(action) == []


def test_action_must_be_invoked_over_kafka() -> None:
    """An action that goes elsewhere never reaches its handler."""
    action = order_action()
    action["invocationMethod"] = {"type": "GITHUB"}
    [found] = found_in(action)
    assert found.problem.startswith("it is invoked by GITHUB")


def test_automation_has_no_inputs() -> None:
    """Of an automation the handler and the run's id are checked, since it has no inputs."""
    action = order_action()
    action["trigger"] = {"type": "automation", "event": {}}
    assert found_in(action) == []
    action["invocationMethod"]["payload"] = {"event": "{{ .event }}"}
    assert len(found_in(action)) == 1


# The payload


def without_run_id(payload: Json) -> None:
    del payload["context"]["runId"]


def with_other_run_id(payload: Json) -> None:
    payload["context"]["runId"] = "{{ .run.status }}"


@pytest.mark.parametrize("change", [without_run_id, with_other_run_id])
def test_payload_must_have_the_run_id(change: Callable[[Json], None]) -> None:
    """Without its run's id in the message, no run would ever end."""
    action = order_action()
    change(action["invocationMethod"]["payload"])
    [found] = found_in(action)
    assert found.problem == "of its messages it names no run, so its runs never start and never end"
    assert '"runId": "{{ .run.id }}"' in found.advice


SECRETS = {"password": "{{ .inputs.password }}"}


@pytest.mark.parametrize(
    "payload",
    [
        {"runId": "{{ .run.id }}", **SECRETS},
        {"run": "{{ .run }}", **SECRETS},
        {"theRun": "{{ .run.id }}", **SECRETS},
        {"port_context": {"run_id": "{{.run.id}}"}, **SECRETS},
        [{"a": 1}, {"runId": "{{ .run.id }}", **SECRETS}],
        {"{{ spreadValue() }}": "{{ {context: {runId: .run.id}} + .inputs }}"},
        {"{{ spreadValue() }}": "{{ .inputs }}", "port_context": {"runId": "{{ .run.id }}"}},
        {"port_payload": "{{ . }}"},
    ],
    ids=repr,
)
def test_a_payload_that_would_run_agrees(payload: Any) -> None:
    """The payload is rendered as Port renders it, and read with the runner's own code."""
    action = order_action()
    action["invocationMethod"]["payload"] = payload
    assert found_in(action) == []


@pytest.mark.parametrize("payload", [{"runId": "{{ nothing_of_that_name(3) }}"}, {"runId": "{{ .run.id"}])
def test_a_payload_that_cannot_be_rendered_does_not_agree(payload: Any) -> None:
    """`check` agrees only with what would run."""
    action = order_action()
    action["invocationMethod"]["payload"] = payload
    [found] = found_in(action)
    assert "cannot be rendered here" in found.problem


def test_a_message_for_ports_agent_does_not_agree() -> None:
    """The runner leaves a message with `agent: true` to Port's agent."""
    action = order_action()
    action["invocationMethod"]["payload"]["payload"]["action"]["invocationMethod"]["agent"] = True
    [found] = found_in(action)
    assert found.problem == "its messages are skipped: it is for Port's own agent"


def test_a_payload_without_an_encrypted_input_does_not_agree() -> None:
    """Port never shows a secret input with the run, so the message must carry it."""
    action = order_action()
    action["invocationMethod"]["payload"] = {"runId": "{{ .run.id }}"}
    [found] = found_in(action)
    assert found.problem.startswith("its messages leave out the secret input ")


def test_payload_is_needed() -> None:
    """The message of an action without a payload is not documented, so it is not checked."""
    action = order_action()
    del action["invocationMethod"]["payload"]
    [found] = found_in(action)
    assert "has no payload" in found.problem


def test_payload_names_its_own_action() -> None:
    """A payload copied from another action would bring the run to that one's handler."""
    action = order_action()
    action["invocationMethod"]["payload"]["action"] = "create_vm"
    [found] = found_in(action)
    assert found.problem == "its messages say that they are for the action create_vm"
    action["invocationMethod"]["payload"]["action"] = "order"
    assert found_in(action) == []


def test_payload_that_lists_inputs_lists_all() -> None:
    """If the payload names each input, an input that it does not name never arrives."""
    action = order_action()
    names = [name for name in inputs_of(action) if name != "count"]
    listed = {f'{{{{ if (.inputs | has("{name}")) then "{name}" else null end }}}}': f".{name}" for name in names}
    payload = copy.deepcopy(PAYLOAD)
    payload["payload"]["properties"] = {**listed, "counter": 1}
    action["invocationMethod"]["payload"] = payload
    [found] = found_in(action)
    assert found.problem == "its messages leave out the input count"


# The command


def test_disagreements_are_printed_and_fail(tmp_path: Path) -> None:
    """One line each with what to do, on a terminal or as JSON; code 1."""
    with FakePort() as port:
        command("setup", port=port)
        port.actions["create_vm"]["trigger"]["userInputs"]["properties"]["cpu"]["type"] = "string"
        port.actions["create_vm"]["trigger"]["userInputs"]["required"].remove("memory")
        result = command("check", port=port)
        document = json.loads(command("check", "--json", port=port).stdout)
    assert result.exit_code == 1
    cpu, memory = result.stdout.splitlines()
    assert cpu.startswith(
        "create_vm: the input cpu is text in Port, and CreateVm.cpu takes a number. Change the field's"
    )
    assert memory.startswith("create_vm: the input memory may be left out in Port")
    assert [each["action"] for each in document] == ["create_vm", "create_vm"]
    assert document[0]["problem"] == "the input cpu is text in Port, and CreateVm.cpu takes a number"
    assert f"create_vm: {document[0]['problem']}. {document[0]['advice']}" == cpu


def test_only_the_named_actions_are_checked() -> None:
    """Other programs may take KAFKA actions too: with names, these alone are at issue."""
    with FakePort() as port:
        command("setup", port=port)
        port.actions["foreign"] = {**port.actions["create_vm"], "identifier": "foreign"}
        assert "foreign: no handler takes it" in command("check", port=port).stdout
        assert command("check", "create_vm", port=port).exit_code == 0
        assert "create_vm" not in command("check", "foreign", port=port).stdout
        result = command("check", "create_vm", "gone", port=port)
    assert result.exit_code == 1
    assert f"Port at {port.url} has no action gone." in result.stderr


def test_files_are_checked_without_port(tmp_path: Path) -> None:
    """--file needs neither Port nor credentials, so a pull request can be checked."""
    action = json.loads((DEFINITIONS / "create_vm_action.json").read_text())
    action["trigger"]["userInputs"]["properties"].pop("region")
    action["trigger"]["userInputs"]["required"].remove("region")
    file = tmp_path / "action.json"
    file.write_text(json.dumps(action))
    result = command("check", "--file", str(file))
    assert result.exit_code == 1
    assert "the input region of CreateVm.region is missing" in result.stdout
    assert command("check", "--file", str(file), "gone").exit_code == 1
    assert command("check", "--file", str(tmp_path / "none.json")).exit_code == 2


def test_answer_that_lists_no_actions() -> None:
    """An address that is not Port is named."""
    with FakePort() as port:
        port.fail("/v1/actions", method="GET", status=200, body={"ok": True})
        result = command("check", port=port)
    assert result.exit_code == 1
    assert "did not list its actions" in result.stderr
