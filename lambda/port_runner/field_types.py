"""The types that a field of an inputs dataclass may have.

``inputs`` makes the reader of a value from a field type, and the command line makes Port's definition of an input from
it. So both accept the same types.
"""

import dataclasses
import enum
import types
import typing
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, Union

from .errors import RegistrationError
from .secret_inputs import Secret


class Kind(enum.Enum):
    """The kinds of field types."""

    ANY = enum.auto()
    NONE = enum.auto()
    TEXT = enum.auto()
    WHOLE_NUMBER = enum.auto()
    NUMBER = enum.auto()
    BOOLEAN = enum.auto()
    CHOICE = enum.auto()
    SECRET = enum.auto()
    UNION = enum.auto()
    LIST = enum.auto()
    DICT = enum.auto()
    DATACLASS = enum.auto()


@dataclasses.dataclass(frozen=True)
class FieldType:
    """The type of one field.

    *parts* are the types within it: of a secret's content, of a list's items, of a dict's values, or of the members of
    a union. *choices* are pairs of the value in JSON and the value that the handler gets.
    """

    kind: Kind
    parts: tuple["FieldType", ...] = ()
    choices: tuple[tuple[Any, Any], ...] = ()
    dataclass: type | None = None

    @property
    def takes_none(self) -> bool:
        """Return whether ``None`` fits, so that the input may be left out without a default."""
        return (
            self.kind in (Kind.ANY, Kind.NONE)
            or any(value is None for value, _ in self.choices)
            or (self.kind is Kind.UNION and any(part.takes_none for part in self.parts))
        )


_PLAIN = {
    Any: Kind.ANY,
    object: Kind.ANY,
    type(None): Kind.NONE,
    str: Kind.TEXT,
    int: Kind.WHOLE_NUMBER,
    float: Kind.NUMBER,
    bool: Kind.BOOLEAN,
}
ANY = FieldType(Kind.ANY)


def field_type(hint: Any, field: str) -> FieldType:
    """Return the field type of the type hint *hint*. *field* names the field in an error.

    Raises ``RegistrationError`` for a type that no input can have.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _choice(tuple(hint), field)
    if origin is None and isinstance(hint, Hashable) and hint in _PLAIN:
        return FieldType(_PLAIN[hint])
    if origin is Secret:
        if arguments[0] is not str and dict not in (arguments[0], typing.get_origin(arguments[0])):
            raise RegistrationError(f"{field}: a Secret holds a text or a dict, not {arguments[0]}")
        return FieldType(Kind.SECRET, (field_type(arguments[0], field),))
    if origin in (Union, types.UnionType):
        return FieldType(Kind.UNION, tuple(field_type(argument, field) for argument in arguments))
    if origin is Literal:
        return _choice(arguments, field)
    if hint is list or origin in (list, Sequence):
        return FieldType(Kind.LIST, (field_type(arguments[0], field) if arguments else ANY,))
    if hint is dict or (origin in (dict, Mapping) and (not arguments or arguments[0] is str)):
        return FieldType(Kind.DICT, (field_type(arguments[1], field) if arguments else ANY,))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return FieldType(Kind.DATACLASS, dataclass=hint)
    raise RegistrationError(f"{field} has a type that no input can have: {hint}")


def _choice(values: Sequence[Any], field: str) -> FieldType:
    """Return the type of a field with these values. A member of an ``Enum`` has its value in JSON."""
    choices = tuple((each.value if isinstance(each, enum.Enum) else each, each) for each in values)
    if not choices:
        raise RegistrationError(f"{field} has a type without any choice")
    for value, _ in choices:
        if not isinstance(value, str | int | float | list | dict | None):
            raise RegistrationError(f"{field} has a choice that no input can have: {value!r}")
    return FieldType(Kind.CHOICE, choices=choices)
