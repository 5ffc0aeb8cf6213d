"""Reads a run's inputs into the dataclass of its handler.

Allowed field types: ``str``, ``int``, ``float``, ``bool``, ``Any``, ``Literal`` of these, an ``Enum``, another
dataclass, a ``list`` or a ``dict`` of any of these, and a union of any of them, also with ``None``. Of a union, the
first type that fits is taken. A field with a default is optional. For an input whose name is not a Python name, write
``field(metadata={"input": "docs-url"})``.

A whole number may arrive as ``2.0``, because JSON from JavaScript has one kind of number. For an input that is an
entity, Port sends the identifier or the entity's object, as the action's author chose. A ``str`` takes the identifier
from either form. A dataclass with a field ``identifier`` takes either form.
"""

import dataclasses
import math
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .errors import InputError, RegistrationError
from .field_types import FieldType, Kind, field_type
from .secret_inputs import Secret, object_in

type Reader = Callable[[Any], Any]


class Misfit(Exception):
    """A value does not fit a field. *expected* completes "must be …". *path* leads from the input to the value."""

    def __init__(self, expected: str, path: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.path = path

    def at(self, key: str) -> "list[Misfit]":
        """Return the same misfit, seen from the object or list that holds the value under *key*."""
        path = self.path if self.path.startswith("[") or not self.path else f".{self.path}"
        return [Misfit(self.expected, f"{key}{path}")]


class AnyInputs(Mapping[str, Any]):
    """The inputs of a handler without a dataclass: a read-only mapping. A missing key raises ``InputError``."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise InputError(f"The input {name} is missing.", input=name) from None

    def get(self, name: str, default: Any = None) -> Any:
        return self._values.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._values)})"  # the values must never be printed


def make_reader(inputs: type) -> Callable[[Mapping[str, Any]], Any]:
    """Return a function that turns a run's inputs into an instance of the dataclass *inputs*.

    That function raises ``InputError`` with one sentence about everything that does not fit. Raises
    ``RegistrationError`` itself if *inputs* is not a dataclass or has a field of a type that no input can have.
    """
    if not (isinstance(inputs, type) and dataclasses.is_dataclass(inputs)):
        raise RegistrationError(f"inputs={inputs!r} is no dataclass")
    try:
        read = _dataclass_reader(inputs)
    except RecursionError:
        raise RegistrationError(f"{inputs.__qualname__} holds itself, which no input can") from None

    def read_inputs(values: Mapping[str, Any]) -> Any:
        try:
            return read(values)
        except Misfits as misfits:
            raise InputError(misfits.sentence(), input=misfits.found[0].path) from None

    return read_inputs


class Misfits(Misfit):
    """All misfits within one object."""

    def __init__(self, found: Sequence[Misfit]) -> None:
        super().__init__(found[0].expected, found[0].path)
        self.found = found

    def at(self, key: str) -> list[Misfit]:
        return [seen for misfit in self.found for seen in misfit.at(key)]

    def sentence(self) -> str:
        """Return one sentence for the developer who ran the action. It never repeats a value."""
        said = [
            f"{misfit.path} is missing" if misfit.expected == MISSING else f"{misfit.path} must be {misfit.expected}"
            for misfit in self.found
        ]
        return f"The inputs do not fit: {'; '.join(said)}."


MISSING = "given"


def _input_fields(kind: type) -> list[tuple[dataclasses.Field[Any], FieldType]]:
    """Return the fields of the dataclass *kind* that are inputs, with their types. Raises ``RegistrationError``."""
    try:
        hints = typing.get_type_hints(kind)
    except RecursionError:
        raise
    except Exception as error:  # a type in quotes can be any expression
        raise RegistrationError(f"{kind.__qualname__} has a field of an unknown type: {error}") from None
    for name, hint in hints.items():
        if hint is dataclasses.InitVar or isinstance(hint, dataclasses.InitVar):
            raise RegistrationError(f"{kind.__qualname__}.{name} is an InitVar, which no input can be: make it a field")
    if not kind.__dataclass_params__.init:  # type: ignore[attr-defined]
        raise RegistrationError(f"{kind.__qualname__} has init=False, so nothing can make it of inputs")
    return [
        (field, field_type(hints[field.name], f"{kind.__qualname__}.{field.name}"))
        for field in dataclasses.fields(kind)
        if field.init
    ]


def _dataclass_reader(kind: type) -> Reader:
    readers: dict[str, tuple[str, Reader, dataclasses.Field[Any]]] = {}
    for field, of in _input_fields(kind):
        _refuse_nested_secret(of, f"{kind.__qualname__}.{field.name}")
        readers[field.name] = (str(field.metadata.get("input", field.name)), _reader(of), field)

    def read(values: Any) -> Any:
        values = _object_in(values)
        if isinstance(values, str) and "identifier" in readers:
            values = {"identifier": values}
        if not isinstance(values, Mapping):
            raise Misfit("an object")
        found: list[Misfit] = []
        arguments: dict[str, Any] = {}
        for name, (key, read_field, field) in readers.items():
            if values.get(key) is None and _has_default(field):
                continue
            try:
                if key not in values:
                    # For a missing input, a field without a default gets None, if its type allows that.
                    arguments[name] = _absent(read_field)
                else:
                    arguments[name] = read_field(values[key])
            except Misfit as misfit:
                found += misfit.at(key)
        if found:
            raise Misfits(found)
        return kind(**arguments)

    return read


def _refuse_nested_secret(of: FieldType, name: str) -> None:
    """Raise ``RegistrationError`` for a secret within an input: Port encrypts whole inputs only."""
    members = of.parts if of.kind is Kind.UNION else (of,)
    if any(_holds_secret(member) for member in members if member.kind is not Kind.SECRET):
        raise RegistrationError(f"{name} has a secret within it, but Port encrypts whole inputs: make it an input")


def _holds_secret(of: FieldType) -> bool:
    parts = of.parts if of.dataclass is None else [part for _, part in _input_fields(of.dataclass)]
    return any(part.kind is Kind.SECRET or _holds_secret(part) for part in parts)


def _absent(read: Reader) -> Any:
    try:
        return read(None)
    except Misfit:
        raise Misfit(MISSING) from None


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _reader(of: FieldType) -> Reader:
    """Return the function that reads a value of this field type. It raises ``Misfit`` for a value that does not fit."""
    if of.kind in _PLAIN:
        return _PLAIN[of.kind]
    if of.kind is Kind.CHOICE:
        return _choice_reader(of.choices)
    if of.dataclass is not None:
        return _dataclass_reader(of.dataclass)
    return _COMPOSED[of.kind]([_reader(part) for part in of.parts])


def _secret_reader(parts: Sequence[Reader]) -> Reader:
    [read] = parts

    def read_secret(value: Any) -> Any:
        return Secret(read(value))  # a value that arrived as plain text must stay hidden too

    return read_secret


def _revealed(value: Any) -> Any:
    """Return a secret's content, for a field that is not declared as a secret."""
    return value.reveal() if isinstance(value, Secret) else value


def _object_in(value: Any) -> Any:
    """Return the object in a secret, for a field that asks for one. Port encrypts an object as its JSON."""
    if not isinstance(value, Secret):
        return value
    secret = object_in(value)
    return value.reveal() if secret is None else secret.reveal()


def _none(value: Any) -> Any:
    if value is not None:
        raise Misfit("left out")
    return None


def _text(value: Any) -> Any:
    value = _revealed(value)
    if isinstance(value, Mapping) and isinstance(value.get("identifier"), str):
        return value["identifier"]
    if not isinstance(value, str):
        raise Misfit("text")
    return value


def _whole_number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise Misfit("a whole number")
    return int(value)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Misfit("a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):  # JSON has no such number, so Port would not accept it back
        raise Misfit("a number of ordinary size")
    return number


def _true_or_false(value: Any) -> Any:
    if not isinstance(value, bool):
        raise Misfit("true or false")
    return value


def _any(value: Any) -> Any:
    return value


_PLAIN: dict[Kind, Reader] = {
    Kind.ANY: _any,
    Kind.NONE: _none,
    Kind.TEXT: _text,
    Kind.WHOLE_NUMBER: _whole_number,
    Kind.NUMBER: _number,
    Kind.BOOLEAN: _true_or_false,
}


def _union_reader(readers: Sequence[Reader]) -> Reader:
    def read(value: Any) -> Any:
        misfits: list[Misfit] = []
        for each in readers:
            try:
                return each(value)
            except Misfit as misfit:
                if each is not _none:
                    misfits.append(misfit)
        within = [misfit for misfit in misfits if isinstance(misfit, Misfits)]
        if within:  # the value is of the right kind: say what is missing from the type that comes closest
            raise min(within, key=lambda misfits: len(misfits.found))
        raise Misfit(" or ".join(dict.fromkeys(misfit.expected for misfit in misfits)))

    return read


def _choice_reader(choices: Sequence[tuple[Any, Any]]) -> Reader:
    expected = "one of " + ", ".join(str(choice) for choice, _ in choices)

    def read(value: Any) -> Any:
        value = _revealed(value)
        for choice, result in choices:
            if value == choice and isinstance(value, bool) == isinstance(choice, bool):
                return result
        raise Misfit(expected)

    return read


def _list_reader(parts: Sequence[Reader]) -> Reader:
    [read_item] = parts

    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise Misfit("a list")
        items: list[Any] = []
        found: list[Misfit] = []
        for index, item in enumerate(value):
            try:
                items.append(read_item(item))
            except Misfit as misfit:
                found += misfit.at(f"[{index}]")
        if found:
            raise Misfits(found)
        return items

    return read


def _dict_reader(parts: Sequence[Reader]) -> Reader:
    [read_value] = parts

    def read(value: Any) -> Any:
        value = _object_in(value)
        if not isinstance(value, Mapping):
            raise Misfit("an object")
        try:
            return {key: read_value(each) for key, each in value.items()}
        except Misfit as misfit:
            raise Misfits(misfit.at("*")) from None  # the keys are content, like the values, and must not be repeated

    return read


_COMPOSED: dict[Kind, Callable[[Sequence[Reader]], Reader]] = {
    Kind.SECRET: _secret_reader,
    Kind.UNION: _union_reader,
    Kind.LIST: _list_reader,
    Kind.DICT: _dict_reader,
}
