"""The types that a field of an inputs dataclass may have, as its reader and Port's definition see them."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, make_dataclass
from typing import Any, Literal

import pytest

from port_runner import InputError, RegistrationError, Secret
from port_runner.field_types import ANY, FieldType, Kind, field_type
from port_runner.inputs import make_reader
from port_runner_cli.commands.action_json import declared_inputs


class Size(enum.Enum):
    SMALL = "s"


@dataclass(frozen=True)
class Disk:
    size: int


TEXT = FieldType(Kind.TEXT)
HINTS: dict[Any, FieldType] = {
    Any: ANY,
    object: ANY,
    str: TEXT,
    int: FieldType(Kind.WHOLE_NUMBER),
    float: FieldType(Kind.NUMBER),
    bool: FieldType(Kind.BOOLEAN),
    Literal["eu", 1]: FieldType(Kind.CHOICE, choices=(("eu", "eu"), (1, 1))),
    Size: FieldType(Kind.CHOICE, choices=(("s", Size.SMALL),)),
    Secret[str]: FieldType(Kind.SECRET, (TEXT,)),
    str | None: FieldType(Kind.UNION, (TEXT, FieldType(Kind.NONE))),
    list: FieldType(Kind.LIST, (ANY,)),
    list[str]: FieldType(Kind.LIST, (TEXT,)),
    Sequence[str]: FieldType(Kind.LIST, (TEXT,)),
    dict: FieldType(Kind.DICT, (ANY,)),
    dict[str, str]: FieldType(Kind.DICT, (TEXT,)),
    Mapping[str, str]: FieldType(Kind.DICT, (TEXT,)),
    Disk: FieldType(Kind.DATACLASS, dataclass=Disk),
}


@pytest.mark.parametrize("hint", HINTS, ids=str)
def test_each_type_hint_has_its_field_type(hint: Any) -> None:
    """A type hint is resolved in one place."""
    assert field_type(hint, "Inputs.x") == HINTS[hint]


@pytest.mark.parametrize("hint", HINTS, ids=str)
def test_a_type_that_registers_has_a_definition_in_port(hint: Any) -> None:
    """The reader and the definitions accept the same types."""
    inputs = make_dataclass("Inputs", [("x", hint)])

    make_reader(inputs)
    [declared] = declared_inputs(inputs)

    assert declared.definitions


@pytest.mark.parametrize("hint", [*HINTS, Literal["eu", None], Literal["eu"] | None, None], ids=str)
def test_takes_none_says_what_the_reader_does(hint: Any) -> None:
    """An input without a default may be left out if, and only if, its field type says that it takes None."""
    read = make_reader(make_dataclass("Inputs", [("x", hint)]))
    try:
        left_out = read({}).x is None
    except InputError:
        left_out = False

    assert field_type(type(None) if hint is None else hint, "Inputs.x").takes_none is left_out


def test_the_examples_have_every_kind() -> None:
    """A new kind needs an example here, and so a reader and a definition."""
    found = {of.kind for whole in HINTS.values() for of in (whole, *whole.parts)}

    assert found == set(Kind)


@pytest.mark.parametrize("hint", [bytes, set[str], dict[int, str], tuple[str, str], list[bytes]], ids=str)
def test_other_types_are_refused(hint: Any) -> None:
    """A type that no input can have is refused with the field's name."""
    with pytest.raises(RegistrationError, match=r"Inputs\.x"):
        field_type(hint, "Inputs.x")
