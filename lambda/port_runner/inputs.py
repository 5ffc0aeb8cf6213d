"""A run's inputs as the dataclass that a handler asks for.

The types a field may have: ``str``, ``int``, ``float``, ``bool``, ``Any``, ``Literal`` of these, an ``Enum``, another
dataclass, a ``list`` or a ``dict`` of any of these, and ``None`` beside one of them. A field with a default is
optional. An input whose name is no Python name is written ``field(metadata={"input": "docs-url"})``.

A whole number may come as ``2.0``, since JSON from JavaScript knows one kind of number. Of an input that is an entity
Port sends the identifier or the entity's object, as the action's author chose: a ``str`` takes the identifier of
either, a dataclass with a field ``identifier`` takes either.
"""

import dataclasses
import enum
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union

from .errors import InputError, RegistrationError
from .secret_inputs import Secret, object_in

type Reader = Callable[[Any], Any]


class Misfit(Exception):
    """A value is not what a field asks for; *wants* completes «must be …», *path* leads to it from the input."""

    def __init__(self, wants: str, path: str = "") -> None:
        super().__init__(wants)
        self.wants = wants
        self.path = path

    def at(self, key: str) -> "list[Misfit]":
        """The same, as seen from what holds the value under *key*."""
        path = self.path if self.path.startswith("[") or not self.path else f".{self.path}"
        return [Misfit(self.wants, f"{key}{path}")]


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
        super().__init__(found[0].wants, found[0].path)
        self.found = found

    def at(self, key: str) -> list[Misfit]:
        return [seen for misfit in self.found for seen in misfit.at(key)]

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
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
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


def _reader(hint: Any, kind: type, name: str) -> Reader:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return lambda value: value
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin is Secret:
        if arguments[0] is not str and dict not in (arguments[0], typing.get_origin(arguments[0])):
            raise RegistrationError(f"{kind.__qualname__}.{name}: a Secret holds a text or a dict, not {arguments[0]}")
        return _secret_reader(_reader(arguments[0], kind, name))
    if origin in (Union, types.UnionType):
        return _union_reader([_reader(argument, kind, name) for argument in arguments])
    if origin is Literal:
        return _choice_reader([(value, value) for value in arguments])
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _choice_reader([(member.value, member) for member in hint])
    if hint is list or origin in (list, Sequence):
        return _list_reader(_reader(arguments[0] if arguments else Any, kind, name))
    if hint is dict or (origin in (dict, Mapping) and arguments[0] is str):
        return _dict_reader(_reader(arguments[1] if arguments else Any, kind, name))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass_reader(hint)
    raise RegistrationError(f"{kind.__qualname__}.{name} has a type that no input can have: {hint}")


def _secret_reader(read: Reader) -> Reader:
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


def _choice_reader(choices: Sequence[tuple[Any, Any]]) -> Reader:
    wants = "one of " + ", ".join(str(choice) for choice, _ in choices)

    def read(value: Any) -> Any:
        value = _revealed(value)
        for choice, result in choices:
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
            except Misfit as misfit:
                found += misfit.at(f"[{index}]")
        if found:
            raise Misfits(found)
        return items

    return read


def _dict_reader(read_value: Reader) -> Reader:
    def read(value: Any) -> Any:
        value = _object_in(value)
        if not isinstance(value, Mapping):
            raise Misfit("an object")
        try:
            return {key: read_value(each) for key, each in value.items()}
        except Misfit as misfit:
            raise Misfits(misfit.at("*")) from None  # its keys are content like its values, and not repeated

    return read
