"""A run's inputs as the dataclass that a handler asks for.

The types a field may have: ``str``, ``int``, ``float``, ``bool``, ``Any``, ``Literal`` of these, an ``Enum``, another
dataclass, a ``list`` or a ``dict`` of any of these, and ``None`` beside one of them. A field with a default is
optional. An input whose name is no Python name is written ``field(metadata={"input": "docs-url"})``.

A whole number may come as ``2.0``, since JSON from JavaScript knows one kind of number. Of an input that is an entity
Port sends the identifier or the entity's object, as the action's author chose: a ``str`` takes the identifier of
either, a dataclass with a field ``identifier`` takes either.
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
    """A value is not what a field asks for; *expected* completes «must be …», *path* leads to it from the input."""

    def __init__(self, expected: str, path: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.path = path

    def at(self, key: str) -> "list[Misfit]":
        """The same, as seen from what holds the value under *key*."""
        path = self.path if self.path.startswith("[") or not self.path else f".{self.path}"
        return [Misfit(self.expected, f"{key}{path}")]


class AnyInputs(Mapping[str, Any]):
    """The inputs of a handler that names no dataclass: a read-only mapping whose missing key is an ``InputError``."""

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
        return f"{type(self).__name__}({', '.join(self._values)})"  # their values are nobody's to print


def make_reader(inputs: type) -> Callable[[Mapping[str, Any]], Any]:
    """A function from a run's inputs to an instance of the dataclass *inputs*.

    It raises ``InputError`` with one sentence about all that does not fit. Raises ``RegistrationError`` itself for
    what is no dataclass or has a field of a type that no input can have.
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
    """Everything that does not fit in one object."""

    def __init__(self, found: Sequence[Misfit]) -> None:
        super().__init__(found[0].expected, found[0].path)
        self.found = found

    def at(self, key: str) -> list[Misfit]:
        return [seen for misfit in self.found for seen in misfit.at(key)]

    def sentence(self) -> str:
        """One sentence for the developer who ran the action; it never repeats a value."""
        said = [
            f"{misfit.path} is missing" if misfit.expected == MISSING else f"{misfit.path} must be {misfit.expected}"
            for misfit in self.found
        ]
        return f"The inputs do not fit: {'; '.join(said)}."


MISSING = "given"


def _dataclass_reader(kind: type) -> Reader:
    try:
        hints = typing.get_type_hints(kind)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise RegistrationError(f"{kind.__qualname__} has a field of an unknown type: {error}") from None
    readers = {
        field.name: (
            str(field.metadata.get("input", field.name)),
            _reader(field_type(hints[field.name], f"{kind.__qualname__}.{field.name}")),
            field,
        )
        for field in dataclasses.fields(kind)
        if field.init
    }

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
                    # None is what a field without a default takes for an input left out, if it takes it at all
                    arguments[name] = _absent(read_field)
                else:
                    arguments[name] = read_field(values[key])
            except Misfit as misfit:
                found += misfit.at(key)
        if found:
            raise Misfits(found)
        return kind(**arguments)

    return read


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
        return Secret(read(value))  # what came as plain text is worth hiding too

    return read_secret


def _revealed(value: Any) -> Any:
    """What a secret holds, for a field that is not declared as one."""
    return value.reveal() if isinstance(value, Secret) else value


def _object_in(value: Any) -> Any:
    """What a field that asks for an object is to read; Port encrypts an object as its JSON."""
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
    if not math.isfinite(number):  # JSON has no word for it, so Port would not take it back
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
        if len(misfits) == 1:
            raise misfits[0]
        raise Misfit(" or ".join(misfit.expected for misfit in misfits))

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
            raise Misfits(misfit.at("*")) from None  # its keys are content like its values, and not repeated

    return read


_COMPOSED: dict[Kind, Callable[[Sequence[Reader]], Reader]] = {
    Kind.SECRET: _secret_reader,
    Kind.UNION: _union_reader,
    Kind.LIST: _list_reader,
    Kind.DICT: _dict_reader,
}
