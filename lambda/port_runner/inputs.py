"""A run's inputs as the dataclass that a handler asks for.

The types a field may have: ``str``, ``int``, ``float``, ``bool``, ``Any``, ``dict``, ``Literal`` of these, an
``Enum``, another dataclass, a ``list`` of any of these, and ``None`` beside one of them. A field with a default is
optional. An input whose name is no Python name is written ``field(metadata={"input": "docs-url"})``.

A whole number may come as ``2.0``, since JSON from JavaScript knows one kind of number. Of an input that is an entity
Port sends the identifier or the entity's object, as the action's author chose: a ``str`` takes the identifier of
either, a dataclass with a field ``identifier`` takes either.
"""

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union

from .errors import InputError, RegistrationError

type Reader = Callable[[Any], Any]


class Misfit(Exception):
    """A value is not what a field asks for; *wants* completes «must be …», *path* leads to it from the input."""

    def __init__(self, wants: str, path: str = "") -> None:
        super().__init__(wants)
        self.wants = wants
        self.path = path


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


def reader_of(inputs: type) -> Callable[[Mapping[str, Any]], Any]:
    """A function from a run's inputs to an instance of the dataclass *inputs*.

    It raises ``InputError`` with one sentence about all that does not fit. Raises ``RegistrationError`` itself for
    what is no dataclass or has a field of a type that no input can have.
    """
    if not (isinstance(inputs, type) and dataclasses.is_dataclass(inputs)):
        raise RegistrationError(f"inputs={inputs!r} is no dataclass")
    read = _dataclass_reader(inputs)

    def read_inputs(values: Mapping[str, Any]) -> Any:
        try:
            return read(values)
        except Misfits as misfits:
            raise InputError(misfits.sentence(), input=misfits.found[0].path) from None

    return read_inputs


class Misfits(Misfit):
    """Everything that does not fit in one object."""

    def __init__(self, found: Sequence[Misfit]) -> None:
        super().__init__(found[0].wants, found[0].path)
        self.found = found

    def sentence(self) -> str:
        """One sentence for the developer who ran the action; it never repeats a value."""
        said = [
            f"{misfit.path} is missing" if misfit.wants == MISSING else f"{misfit.path} must be {misfit.wants}"
            for misfit in self.found
        ]
        return f"The inputs do not fit: {'; '.join(said)}."


MISSING = "given"


def _dataclass_reader(kind: type) -> Reader:
    try:
        hints = typing.get_type_hints(kind)
    except NameError as error:
        raise RegistrationError(f"{kind.__qualname__} has a field of an unknown type: {error}") from None
    readers = {
        field.name: (
            str(field.metadata.get("input", field.name)),
            _reader(hints[field.name], kind, field.name),
            field,
        )
        for field in dataclasses.fields(kind)
        if field.init
    }

    def read(values: Any) -> Any:
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
            except Misfits as misfits:
                found += [Misfit(each.wants, _joined(key, each.path)) for each in misfits.found]
            except Misfit as misfit:
                found.append(Misfit(misfit.wants, _joined(key, misfit.path)))
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


def _joined(key: str, path: str) -> str:
    return f"{key}{path}" if path.startswith("[") or not path else f"{key}.{path}"


def _reader(hint: Any, kind: type, name: str) -> Reader:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return lambda value: value
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin in (Union, types.UnionType):
        return _union_reader([_reader(argument, kind, name) for argument in arguments])
    if origin is Literal:
        return _choice_reader({value: value for value in arguments})
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _choice_reader({member.value: member for member in hint})
    if hint is list or origin in (list, Sequence):
        return _list_reader(_reader(arguments[0], kind, name) if arguments else lambda value: value)
    if hint is dict or origin in (dict, Mapping):
        return _object
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass_reader(hint)
    raise RegistrationError(f"{kind.__qualname__}.{name} has a type that no input can have: {hint}")


def _none(value: Any) -> Any:
    if value is not None:
        raise Misfit("left out")
    return None


def _text(value: Any) -> Any:
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
        return float(value)
    except OverflowError:
        raise Misfit("a number of ordinary size") from None


def _true_or_false(value: Any) -> Any:
    if not isinstance(value, bool):
        raise Misfit("true or false")
    return value


def _object(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise Misfit("an object")
    return dict(value)


_PLAIN: dict[Any, Reader] = {
    type(None): _none,
    str: _text,
    int: _whole_number,
    float: _number,
    bool: _true_or_false,
}


def _union_reader(readers: Sequence[Reader]) -> Reader:
    def read(value: Any) -> Any:
        wants: list[Misfit] = []
        for each in readers:
            try:
                return each(value)
            except Misfit as misfit:
                if each is not _none:
                    wants.append(misfit)
        if len(wants) == 1:
            raise wants[0]
        raise Misfit(" or ".join(misfit.wants for misfit in wants))

    return read


def _choice_reader(choices: Mapping[Any, Any]) -> Reader:
    wants = "one of " + ", ".join(str(choice) for choice in choices)

    def read(value: Any) -> Any:
        for choice, result in choices.items():
            if value == choice and isinstance(value, bool) == isinstance(choice, bool):
                return result
        raise Misfit(wants)

    return read


def _list_reader(read_item: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise Misfit("a list")
        items: list[Any] = []
        found: list[Misfit] = []
        for index, item in enumerate(value):
            try:
                items.append(read_item(item))
            except Misfits as misfits:
                found += [Misfit(each.wants, f"[{index}].{each.path}") for each in misfits.found]
            except Misfit as misfit:
                found.append(Misfit(misfit.wants, f"[{index}]{misfit.path}"))
        if found:
            raise Misfits(found)
        return items

    return read
