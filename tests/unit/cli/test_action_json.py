"""`action-json` writes an action for Port from the dataclass of its handler's inputs."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest

from port_runner import ActionRouter, ActionRun, Secret
from port_runner.routing import Route
from port_runner_cli.commands.action_json import PAYLOAD, action_definition, declared_inputs, merged
from port_runner_cli.commands.setup import read_definitions
from port_runner_cli.output import CommandFailed
from port_runner_cli.project import load_runner
from port_runner_sandbox.fake_port import FakePort
from port_runner_sandbox.fake_port.definitions import ACTION
from port_runner_sandbox.fake_port.schemas import check
from tests.support.command_under_test import command
from tests.support.project import DEFINITIONS

SHIPPED = DEFINITIONS / "create_vm_action.json"


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Cores(Enum):
    TWO = 2
    FOUR = 4


@dataclass(frozen=True)
class Service:
    identifier: str
    title: str | None = None


@dataclass(frozen=True)
class Disk:
    size: int


@dataclass(frozen=True)
class Everything:
    text: str
    whole: int
    fraction: float
    flag: bool
    size: Size
    cores: Cores
    region: Literal["eu", "us"]
    service: Service = field(metadata={"blueprint": "service"})
    services: list[Service] = field(metadata={"blueprint": "service"})
    disk: Disk
    disks: list[Disk]
    tags: list[str]
    names: Sequence[str]
    anything: list[Any]
    labels: dict[str, str]
    password: Secret[str]
    login: Secret[dict[str, Any]]
    url: str = field(metadata={"input": "docs-url"})
    left_out: str | None
    note: str | None = None
    hidden: Secret[str] | None = None
    count: int = 3
    chosen: Size = Size.SMALL
    list_of_none: list[str] = field(default_factory=list)
    list_of_some: list[str] = field(default_factory=lambda: ["a"])


INPUTS: dict[str, dict[str, Any]] = {
    "text": {"type": "string", "title": "Text"},
    "whole": {"type": "number", "title": "Whole"},
    "fraction": {"type": "number", "title": "Fraction"},
    "flag": {"type": "boolean", "title": "Flag"},
    "size": {"type": "string", "title": "Size", "enum": ["small", "large"]},
    "cores": {"type": "number", "title": "Cores", "enum": [2, 4]},
    "region": {"type": "string", "title": "Region", "enum": ["eu", "us"]},
    "service": {"type": "string", "title": "Service", "format": "entity", "blueprint": "service"},
    "services": {
        "type": "array",
        "title": "Services",
        "items": {"type": "string", "format": "entity", "blueprint": "service"},
    },
    "disk": {"type": "object", "title": "Disk"},
    "disks": {"type": "array", "title": "Disks", "items": {"type": "object"}},
    "tags": {"type": "array", "title": "Tags", "items": {"type": "string"}},
    "names": {"type": "array", "title": "Names", "items": {"type": "string"}},
    "anything": {"type": "array", "title": "Anything"},
    "labels": {"type": "object", "title": "Labels"},
    "password": {"type": "string", "title": "Password", "encryption": "aes256-gcm"},
    "login": {"type": "object", "title": "Login", "encryption": "aes256-gcm"},
    "docs-url": {"type": "string", "title": "Docs url"},
    "left_out": {"type": "string", "title": "Left out"},
    "note": {"type": "string", "title": "Note"},
    "hidden": {"type": "string", "title": "Hidden", "encryption": "aes256-gcm"},
    "count": {"type": "number", "title": "Count", "default": 3},
    "chosen": {"type": "string", "title": "Chosen", "enum": ["small", "large"], "default": "small"},
    "list_of_none": {"type": "array", "title": "List of none", "items": {"type": "string"}},
    "list_of_some": {"type": "array", "title": "List of some", "items": {"type": "string"}, "default": ["a"]},
}


def route_of(inputs: Any, *, identifier: str = "do_it", **options: Any) -> Route:
    """The route of a handler with these inputs."""
    router: Any = ActionRouter()

    def do_it(run: ActionRun[Any]) -> None:
        """Do it well.

        This is for those who read the code.
        """

    router.action(identifier, inputs=inputs, **options)(do_it)
    [route] = router.routes
    assert isinstance(route, Route)
    return route


def test_every_type_of_field_has_its_input() -> None:
    """Each type that a field may have becomes the input of Port that carries it; Port takes the whole of it."""
    definition = action_definition(route_of(Everything))
    user_inputs = definition["trigger"]["userInputs"]
    assert user_inputs["properties"] == INPUTS
    optional = {"left_out", "note", "hidden", "count", "chosen", "list_of_none", "list_of_some"}
    assert user_inputs["required"] == [name for name in INPUTS if name not in optional]
    assert user_inputs["order"] == list(INPUTS)
    check(ACTION, definition)


def test_action_says_what_its_handler_says() -> None:
    """Identifier, operation and blueprint are the registration's, the description is the docstring's first line."""
    definition = action_definition(route_of(Disk, identifier="grow_disk", operation="DAY-2", blueprint="vm"))
    assert definition["identifier"] == "grow_disk"
    assert definition["title"] == "Grow disk"
    assert definition["description"] == "Do it well"
    assert definition["trigger"]["operation"] == "DAY-2"
    assert definition["trigger"]["blueprintIdentifier"] == "vm"
    assert definition["invocationMethod"] == {"type": "KAFKA", "payload": PAYLOAD}


def test_what_the_handler_leaves_open_is_said_by_options() -> None:
    """A handler of any operation and blueprint makes a CREATE action of none, unless told otherwise."""
    trigger = action_definition(route_of(Disk))["trigger"]
    assert (trigger["operation"], "blueprintIdentifier" in trigger) == ("CREATE", False)
    trigger = action_definition(route_of(Disk), operation="DELETE", blueprint="vm")["trigger"]
    assert (trigger["operation"], trigger["blueprintIdentifier"]) == ("DELETE", "vm")


def test_handler_without_a_dataclass_has_no_inputs() -> None:
    """A handler without declared inputs has none to generate."""
    user_inputs = action_definition(route_of(None))["trigger"]["userInputs"]
    assert user_inputs == {"properties": {}, "required": [], "order": []}


@dataclass(frozen=True)
class Open:
    value: Any


@dataclass(frozen=True)
class Nothing:
    value: None


@dataclass(frozen=True)
class NoChoices:
    value: Literal[None]


@dataclass(frozen=True)
class Named:
    """A dataclass that makes its identifier itself, so that no input gives it."""

    identifier: str = field(init=False)


@dataclass(frozen=True)
class Owner:
    named: Named


@dataclass(frozen=True)
class Either:
    value: str | int


@dataclass(frozen=True)
class Unknown:
    service: Service


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (Open, "Open.value takes more than one type"),
        (Nothing, "Nothing.value takes nothing that people can enter in Port"),
        (NoChoices, "NoChoices.value takes nothing that people can enter in Port"),
        (Either, "Either.value takes more than one type"),
        (Unknown, 'field(metadata={"blueprint": "…"})'),
    ],
)
def test_what_port_has_no_input_for_is_refused(inputs: type, sentence: str) -> None:
    """A field whose type does not say which input Port should have is named, with what to do."""
    with pytest.raises(CommandFailed) as raised:
        action_definition(route_of(inputs))
    assert sentence in str(raised.value)


def test_a_dataclass_whose_identifier_is_not_an_input_is_an_object() -> None:
    """A dataclass takes an entity only if its `identifier` can be given."""
    [declared] = declared_inputs(Owner)
    assert declared.definitions == [{"type": "object"}]


def test_an_input_that_may_be_none_is_optional() -> None:
    """A choice of None lets people leave the input out, as None in a union does."""
    inputs = make_dataclass("Inputs", [("x", Literal["eu", None])])
    [declared] = declared_inputs(inputs)
    assert declared.required is False
    assert declared.definitions == [{"type": "string", "enum": ["eu"]}]


def test_shipped_action_has_the_payload_that_is_generated() -> None:
    """The shipped file sends what generated ones send."""
    [shipped] = read_definitions([SHIPPED])
    assert shipped.content["invocationMethod"] == {"type": "KAFKA", "payload": PAYLOAD}


# The command


def test_prints_the_action_of_a_handler_of_this_project() -> None:
    """Without --output the JSON goes to stdout, and nothing else does."""
    result = command("action-json", "create_vm")
    assert result.exit_code == 0, result.output
    definition = json.loads(result.stdout)
    assert definition["identifier"] == "create_vm"
    assert definition["trigger"]["userInputs"]["required"] == ["cpu", "memory", "storage", "region"]
    check(ACTION, definition)


def test_written_action_is_taken_by_setup_and_check(tmp_path: Path) -> None:
    """A generated file can be set up in Port, and check finds no difference."""
    file = tmp_path / "create_vm.json"
    result = command("action-json", "create_vm", "--output", str(file))
    assert (result.exit_code, result.stdout) == (0, f"{file}: written\n")
    with FakePort() as port:
        assert command("setup", str(file), port=port).exit_code == 0
        assert command("check", port=port).exit_code == 0
        assert json.loads(file.read_text()).items() <= port.actions["create_vm"].items()


def test_shipped_file_is_up_to_date(tmp_path: Path) -> None:
    """Generating over the shipped file changes nothing that its authors added."""
    file = tmp_path / "create_vm_action.json"
    file.write_bytes(SHIPPED.read_bytes())
    result = command("action-json", "create_vm", "--output", str(file))
    assert result.stdout == f"{file}: unchanged\n"
    assert file.read_bytes() == SHIPPED.read_bytes()


def test_generating_again_keeps_what_people_wrote() -> None:
    """Titles, descriptions, order and narrowed choices stay; types, required inputs and secrecy are the handler's."""
    existing = action_definition(route_of(Everything, blueprint="vm"))
    trigger = existing["trigger"]
    inputs = trigger["userInputs"]["properties"]
    existing["title"] = "By hand"
    existing["requiredApproval"] = True
    trigger["condition"] = {"type": "SEARCH"}
    inputs["text"] |= {"title": "By hand", "description": "By hand", "enum": ["one", "two"], "encryption": "aes256-gcm"}
    inputs["whole"] = {"type": "string", "title": "By hand", "enum": ["1", "2"]}
    inputs["region"]["enum"] = ["eu", "us", "moon"]
    inputs["gone"] = {"type": "string"}
    del inputs["flag"]
    trigger["userInputs"]["required"] = ["note", "whole"]
    trigger["userInputs"]["order"] = ["whole", "gone", "text"]
    existing["invocationMethod"]["payload"] = {"runId": "{{ .run.id }}"}

    result = merged(action_definition(route_of(Everything)), json.loads(json.dumps(existing)))

    properties = result["trigger"]["userInputs"]["properties"]
    assert result["title"] == "By hand"
    assert result["requiredApproval"] is True
    assert result["trigger"]["condition"] == {"type": "SEARCH"}
    assert result["trigger"]["blueprintIdentifier"] == "vm"
    assert result["invocationMethod"]["payload"] == {"runId": "{{ .run.id }}"}
    assert properties["text"] == {
        "type": "string",
        "title": "By hand",
        "description": "By hand",
        "enum": ["one", "two"],
    }
    assert properties["whole"] == {"type": "number", "title": "By hand"}
    assert properties["region"]["enum"] == ["eu", "us"]
    assert properties["flag"] == INPUTS["flag"]
    assert "gone" not in properties
    assert result["trigger"]["userInputs"]["order"][:3] == ["whole", "text", "fraction"]
    assert set(result["trigger"]["userInputs"]["order"]) == set(INPUTS)
    assert result["trigger"]["userInputs"]["required"][0] == "whole"
    assert "note" not in result["trigger"]["userInputs"]["required"]


def test_what_jq_decides_stays() -> None:
    """A `required` that is a query is people's, and steps take the place of an order."""
    existing = action_definition(route_of(Disk))
    existing["trigger"]["userInputs"] |= {"required": {"jqQuery": "[]"}, "steps": [{"order": ["size"]}]}
    del existing["trigger"]["userInputs"]["order"]
    result = merged(action_definition(route_of(Disk)), existing)
    assert result["trigger"]["userInputs"]["required"] == {"jqQuery": "[]"}
    assert "order" not in result["trigger"]["userInputs"]


def test_options_change_an_existing_file(tmp_path: Path) -> None:
    """--blueprint and --operation reach a file that exists."""
    file = tmp_path / "create_vm.json"
    command("action-json", "create_vm", "--output", str(file))
    result = command("action-json", "create_vm", "--blueprint", "vm", "--operation", "DAY-2", "--output", str(file))
    assert result.stdout == f"{file}: updated\n"
    trigger = json.loads(file.read_text())["trigger"]
    assert (trigger["blueprintIdentifier"], trigger["operation"]) == ("vm", "DAY-2")


def test_unknown_action_lists_those_that_there_are() -> None:
    """A handler that is not registered is named, with those that are and how to register one: code 2."""
    result = command("action-json", "delete_vm")
    assert result.exit_code == 2
    assert "No handler is registered for delete_vm; there are: create_vm." in result.stderr
    assert '@router.action("delete_vm"' in result.stderr


@pytest.mark.parametrize(
    "content", [{"identifier": "vm", "schema": {}}, {"identifier": "other", "invocationMethod": {}}]
)
def test_file_of_something_else_is_left_alone(tmp_path: Path, content: dict[str, Any]) -> None:
    """A file that holds another action, or a blueprint, is not written over."""
    file = tmp_path / "something.json"
    file.write_text(json.dumps(content))
    result = command("action-json", "create_vm", "--output", str(file))
    assert result.exit_code == 2
    assert "Name another file" in result.stderr
    assert json.loads(file.read_text()) == content


def test_automation_is_left_alone(tmp_path: Path) -> None:
    """An automation has no inputs to lay over."""
    file = tmp_path / "create_vm.json"
    file.write_text(json.dumps({"identifier": "create_vm", "trigger": {"type": "automation"}, "invocationMethod": {}}))
    result = command("action-json", "create_vm", "--output", str(file))
    assert result.exit_code == 2
    assert "people do not start" in result.stderr


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    """A file that cannot be written is named."""
    result = command("action-json", "create_vm", "--output", str(tmp_path / "none" / "a.json"))
    assert result.exit_code == 2
    assert "cannot be written: No such file" in result.stderr


# Several handlers of one action, and handlers that cannot be loaded


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is loaded in place of this project's lambda/lambda_function.py."""
    load_runner()  # so that there is a module to come back to
    folder = tmp_path / "lambda"
    folder.mkdir()
    (folder / "lambda_function.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "lambda_function")
    return folder / "lambda_function.py"


TWO = """
from port_runner import ActionRouter, Runner
router = ActionRouter()

@router.action("resize", blueprint="vm", operation="DAY-2")
def resize_vm(run): ...

@router.action("resize", blueprint="disk")
def resize_disk(run): ...

runner = Runner()
runner.include(router)
"""


def test_one_of_several_handlers_is_chosen(project: Path) -> None:
    """If several handlers take an action, --blueprint and --operation select one. Without them, all are listed."""
    project.write_text(TWO)
    result = command("action-json", "resize")
    assert result.exit_code == 2
    assert "resize_vm takes DAY-2 on vm" in result.stderr
    assert "resize_disk takes any operation on disk" in result.stderr
    chosen = json.loads(command("action-json", "resize", "--blueprint", "vm").stdout)
    assert chosen["trigger"]["operation"] == "DAY-2"
    assert command("action-json", "resize", "--blueprint", "vm", "--operation", "CREATE").exit_code == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("import nothing_of_the_kind", "No module named 'nothing_of_the_kind' (lambda/lambda_function.py, line 1)."),
        ("\n\n1 / 0", "ZeroDivisionError: division by zero (lambda/lambda_function.py, line 3)."),
        ("def", "SyntaxError: "),
        ("handler = None", "has no `runner = Runner()`"),
        (TWO + "runner.include(router)", "RegistrationError: two handlers for the action resize"),
    ],
)
def test_handlers_that_cannot_be_loaded_are_explained(project: Path, text: str, sentence: str) -> None:
    """A mistake in the project's own code is reported with file and line, without a traceback: code 2."""
    project.write_text(text)
    result = command("action-json", "resize")
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.output


def test_shipped_handlers_are_loaded() -> None:
    """The runner of lambda/lambda_function.py is what is asked."""
    assert [route.identifier for route in load_runner().routes] == ["create_vm"]
