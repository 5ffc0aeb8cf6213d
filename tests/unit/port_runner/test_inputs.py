"""A run's inputs become the dataclass that a handler asks for, or one sentence that a developer can act on."""

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, fields, make_dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import (  # noqa: UP035, users may still write them
    Annotated,
    Any,
    ClassVar,
    Dict,
    Final,
    List,
    Literal,
    LiteralString,
    NamedTuple,
    Never,
    NewType,
    NotRequired,
    Required,
    Self,
    TypedDict,
)
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from port_runner import InputError, RegistrationError, Secret
from port_runner.inputs import AnyInputs, make_reader


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Level(enum.IntEnum):
    LOW = 0
    HIGH = 1


@dataclass(frozen=True)
class Disk:
    size: int
    label: str | None = None


@dataclass(frozen=True)
class Volume:
    name: str
    size: str


@dataclass(frozen=True)
class Service:
    """An input that is an entity."""

    identifier: str
    title: str | None = None


@dataclass(frozen=True)
class Everything:
    """A field of every type that an input can have."""

    text: str
    whole: int
    number: float
    flag: bool
    anything: Any
    free: dict[str, Any]
    labels: dict[str, str]
    choice: Literal["eu", "us"]
    size: Size
    disk: Disk
    disks: list[Disk]
    names: Sequence[str]
    grid: list[list[int]]
    service: Service
    maybe: str | None
    either: int | str
    hyphened: str = field(metadata={"input": "docs-url"})
    defaulted: int = 7
    made: list[str] = field(default_factory=lambda: ["made"])


EVERYTHING: dict[str, Any] = {
    "text": "a",
    "whole": 2,
    "number": 1.5,
    "flag": False,
    "anything": [1, {"a": None}],
    "free": {"a": 1},
    "labels": {"team": "core"},
    "choice": "us",
    "size": "l",
    "disk": {"size": 10, "unknown": 1},
    "disks": [{"size": 1, "label": "a"}, {"size": 2}],
    "names": ["x", "y"],
    "grid": [[1], [], [2, 3]],
    "service": {"identifier": "orders", "title": "Orders", "properties": {}},
    "maybe": None,
    "either": "b",
    "docs-url": "https://example.com",
}


def of_type(hint: Any, **more: Any) -> Any:
    """A dataclass of one field, `x`."""
    return make_dataclass("Inputs", [("x", hint, field(**more))], frozen=True)


def read(hint: Any, value: Any) -> Any:
    return make_reader(of_type(hint))({"x": value}).x


def sentence_for(inputs: type, values: Mapping[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        make_reader(inputs)(values)
    return str(caught.value)


# What fits


def test_every_type_at_once() -> None:
    """Every type that the module promises is read from JSON; what no field asks for is passed over."""
    assert make_reader(Everything)({**EVERYTHING, "somethingElse": 1}) == Everything(
        text="a",
        whole=2,
        number=1.5,
        flag=False,
        anything=[1, {"a": None}],
        free={"a": 1},
        labels={"team": "core"},
        choice="us",
        size=Size.LARGE,
        disk=Disk(10),
        disks=[Disk(1, "a"), Disk(2)],
        names=["x", "y"],
        grid=[[1], [], [2, 3]],
        service=Service("orders", "Orders"),
        maybe=None,
        either="b",
        hyphened="https://example.com",
        defaulted=7,
        made=["made"],
    )


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (int, 2.0, 2),
        (int, -0.0, 0),
        (int, 1e300, int(1e300)),
        (int, 10**400, 10**400),
        (float, 2, 2.0),
        (float, -1e308, -1e308),
        (int | float, 2.5, 2.5),
        (int | None, None, None),
        (Literal[1, 2], 1.0, 1),
        (Literal["a", None], None, None),
        (Level, 1, Level.HIGH),
        (Literal[Size.LARGE], "l", Size.LARGE),
        (Annotated[int, "cores"], 2.0, 2),
        (list[Annotated[int, []]], [2.0], [2]),
        (Dict, {"a": 1}, {"a": 1}),  # noqa: UP006
        (List[Disk], [{"size": 1}], [Disk(1)]),  # noqa: UP006
        (Disk | Volume, {"name": "a", "size": "b"}, Volume("a", "b")),
        ("int | None", 2.0, 2),
        (list, [1, "a"], [1, "a"]),
        (list[Any], [None], [None]),
        (dict, {"a": {"b": 1}}, {"a": {"b": 1}}),
        (Mapping[str, int], {"a": 1.0}, {"a": 1}),
        (dict[str, list[Disk]], {"a": [{"size": 1}]}, {"a": [Disk(1)]}),
        (str, "", ""),
        (object, 1, 1),
    ],
)
def test_values_that_fit(hint: Any, value: Any, expected: Any) -> None:
    """Numbers from JavaScript fit where they mean the same, and everything keeps its value and gets its type."""
    result = read(hint, value)

    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize("choices", [Literal[1, True], Literal[True, 1]])
def test_one_and_true_are_different_choices(choices: Any) -> None:
    """Python takes 1 and True for the same, JSON does not."""
    assert read(choices, 1) is not True
    assert read(choices, True) is True


def test_entities_come_as_text_or_object() -> None:
    """Of an input that is an entity a text takes the identifier and a dataclass takes both forms, in lists too."""
    whole = {"identifier": "orders", "title": "Orders", "blueprint": "service"}

    assert read(str, "orders") == read(str, whole) == "orders"
    assert read(list[str], ["orders", {"identifier": "payments"}]) == ["orders", "payments"]
    assert read(Service, "orders") == Service("orders")
    assert read(Service, whole) == Service("orders", "Orders")
    assert read(list[Service], ["orders", whole]) == [Service("orders"), Service("orders", "Orders")]
    assert read(Service | None, "orders") == Service("orders")


def test_left_out_inputs() -> None:
    """An input that is left out or null gets the field's default, and None where the field takes None."""
    inputs = make_dataclass("Inputs", [("a", int, field(default=1)), ("b", list[int], field(default_factory=list))])
    for values in ({}, {"a": None, "b": None}):
        assert make_reader(inputs)(values) == inputs()

    assert make_reader(of_type(str | None))({}).x is None
    assert make_reader(of_type(str | None, default="eu"))({"x": None}).x == "eu"


def test_defaults_are_not_shared() -> None:
    """A default factory is called for each run."""
    read_inputs = make_reader(of_type(list[str], default_factory=list))

    read_inputs({}).x.append("one run's own")

    assert read_inputs({}).x == []


def test_fields_that_are_no_inputs() -> None:
    """A field with init=False is the dataclass's own and never looked for."""

    @dataclass
    class Inputs:
        a: int
        doubled: int = field(init=False)

        def __post_init__(self) -> None:
            self.doubled = 2 * self.a

    assert make_reader(Inputs)({"a": 2, "doubled": 100}).doubled == 4


def test_the_name_of_an_input_is_metadata() -> None:
    """An input whose name is no Python name is found by it, and named by it when it does not fit."""
    inputs = of_type(str, metadata={"input": "docs-url"})

    assert make_reader(inputs)({"docs-url": "a", "x": "b"}).x == "a"
    assert sentence_for(inputs, {"x": "b"}) == "The inputs do not fit: docs-url is missing."


# What does not fit


@pytest.mark.parametrize(
    ("hint", "value", "wants"),
    [
        (str, 1, "text"),
        (str, None, "text"),
        (str, True, "text"),
        (str, ["a"], "text"),
        (str, {"identifier": 5}, "text"),
        (int, "1", "a whole number"),
        (int, 1.5, "a whole number"),
        (int, True, "a whole number"),
        (int, math.nan, "a whole number"),
        (int, math.inf, "a whole number"),
        (int, None, "a whole number"),
        (float, "1.5", "a number"),
        (float, False, "a number"),
        (float, math.nan, "a number of ordinary size"),
        (float, math.inf, "a number of ordinary size"),
        (float, -math.inf, "a number of ordinary size"),
        (float, 10**400, "a number of ordinary size"),
        (bool, 1, "true or false"),
        (bool, 0, "true or false"),
        (bool, "true", "true or false"),
        (Literal["eu", "us"], "EU", "one of eu, us"),
        (Literal["eu", "us"], ["eu"], "one of eu, us"),
        (Literal[1, 2], True, "one of 1, 2"),
        (Literal[True], 1, "one of True"),
        (Size, "SMALL", "one of s, l"),
        (Size, {}, "one of s, l"),
        (Level, False, "one of 0, 1"),
        (Disk, 5, "an object"),
        (Disk, "10", "an object"),
        (Service, [], "an object"),
        (list[int], {"0": 1}, "a list"),
        (list[int], "12", "a list"),
        (dict, [], "an object"),
        (dict[str, str], "a", "an object"),
        (int | None, "1", "a whole number"),
        (int | str, 1.5, "a whole number or text"),
        (int | bool | None, "1", "a whole number or true or false"),
    ],
)
def test_values_that_do_not_fit(hint: Any, value: Any, wants: str) -> None:
    """One that is of another type is refused with what it must be: nothing is converted, bools are no numbers."""
    assert sentence_for(of_type(hint), {"x": value}) == f"The inputs do not fit: x must be {wants}."


def test_all_misfits_are_said_at_once() -> None:
    """One sentence names everything that does not fit, in the order of the fields; the error names the first."""
    values = {"size": "x", "label": 5}

    with pytest.raises(InputError) as caught:
        make_reader(make_dataclass("Inputs", [("region", str), ("size", int), ("label", str)]))(values)

    said = "The inputs do not fit: region is missing; size must be a whole number; label must be text."
    assert str(caught.value) == said
    assert caught.value.input == "region"


def test_misfits_within_are_said_with_their_place() -> None:
    """A misfit inside lists and objects is named by its path."""

    @dataclass
    class Inputs:
        disk: Disk
        disks: list[Disk]
        grid: list[list[int]]
        names: list[str] | None

    values = {"disk": {}, "disks": [{"size": 1}, {"size": "x", "label": 1}, 5], "grid": [[1], ["a"]], "names": [1]}

    assert sentence_for(Inputs, values) == (
        "The inputs do not fit: disk.size is missing; disks[1].size must be a whole number; "
        "disks[1].label must be text; disks[2] must be an object; grid[1][0] must be a whole number; "
        "names[0] must be text."
    )


def test_misfits_in_a_free_object_do_not_repeat_its_keys() -> None:
    """The keys of an object without fields are content like its values."""
    assert sentence_for(of_type(dict[str, str]), {"x": {"s3cret": 1}}) == "The inputs do not fit: x.* must be text."
    assert (
        sentence_for(of_type(dict[str, Disk]), {"x": {"s3cret": {}}}) == "The inputs do not fit: x.*.size is missing."
    )


def test_required_inputs_that_are_left_out_are_missing() -> None:
    """A field without a default that does not accept None reports that the input is missing, for every type."""
    for hint in (str, int, Size, Disk, list[int], dict, Literal["a"]):
        assert sentence_for(of_type(hint), {}) == "The inputs do not fit: x is missing."


@pytest.mark.parametrize(
    ("hint", "value", "said"),
    [
        (Disk | list[int], {"size": "x"}, "x.size must be a whole number"),
        (int | Disk, {}, "x.size is missing"),
        (Disk | Volume, {"size": "x"}, "x.size must be a whole number"),
        (Volume | Disk, {"size": "x"}, "x.name is missing"),
        (Volume | Disk, {"size": []}, "x.size must be a whole number"),
        (list[Disk] | list[Volume], [{"size": 1}, {"size": []}], "x[1].size must be a whole number"),
        (list[Disk | None] | None, [None, {"size": []}], "x[1].size must be a whole number"),
        (dict[str, Disk | int], {"s3cret": {"size": "x"}}, "x.*.size must be a whole number"),
        (list[Disk | list[Disk]], [[{"size": 1, "label": 2}]], "x[0][0].label must be text"),
        (Disk | Volume | list[int], 5, "x must be an object or a list"),
        (Disk | Volume, 5, "x must be an object"),
        (Literal["eu", 1, True] | Disk, "us", "x must be one of eu, 1, True or an object"),
    ],
)
def test_misfits_in_a_union_are_said_with_their_place(hint: Any, value: Any, said: str) -> None:
    """If the value is of one member's kind, its misfit is named by its path: that of the member that comes closest."""
    assert sentence_for(of_type(hint), {"x": value}) == f"The inputs do not fit: {said}."


# What cannot be registered


@dataclass
class Recursive:
    children: "list[Recursive]"


@dataclass
class Unknown:
    x: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("inputs", [int, dict, "CreateVm", None, Disk(1), Size])
def test_what_is_no_dataclass_cannot_be_registered(inputs: Any) -> None:
    """inputs= takes a dataclass, not an instance of one nor another type."""
    with pytest.raises(RegistrationError, match="is no dataclass"):
        make_reader(inputs)


@pytest.mark.parametrize(
    "hint", [bytes, set[int], tuple[int, ...], complex, dict[int, str], list[bytes], bytes | None, Mapping]
)
def test_types_that_no_input_can_have(hint: Any) -> None:
    """A field of a type that JSON cannot give is refused at import, by its name."""
    with pytest.raises(RegistrationError, match=r"Inputs\.x has a type that no input can have"):
        make_reader(of_type(hint))


type Alias = list[Disk]
type Endless = list[Endless]


@dataclass
class Generic[T]:
    item: T


class Pair(NamedTuple):
    first: int


class Typed(TypedDict):
    first: Required[int]
    second: NotRequired[int]


class Pairs(enum.Enum):
    ONE = (1, 1)


class Nothing(enum.Enum):
    pass


@pytest.mark.parametrize(
    "hint",
    [
        *(
            Alias,
            Endless,
            list[Alias],
            NewType("Cores", int),
            Secret,
            Self,
            Never,
            LiteralString,
            Final[int],
            type[int],
        ),
        *(Generic, Generic[int], list[Generic[int]], Pair, Typed, Pairs, Nothing, Literal[b"eu"], Literal["eu", b"us"]),
        *(Decimal, datetime, date, UUID, Sequence, tuple, [int], {}, 5, ..., "1 / 0", "print", InitVar, InitVar[int]),
        *(list[InitVar[int]], Secret[int], Secret[Alias], Callable[[int], int]),  # type: ignore[type-var]
    ],
    ids=str,
)
def test_every_other_type_is_refused(hint: Any) -> None:
    """A type that no input can have is refused with the name of its dataclass, also of one within another."""
    inputs: Any = make_dataclass("Inputs", [("x", hint)])

    with pytest.raises(RegistrationError, match=r"Inputs|Generic"):
        make_reader(inputs)
    with pytest.raises(RegistrationError, match=r"Inputs|Generic"):
        make_reader(make_dataclass("Outer", [("inners", list[inputs])]))


@dataclass
class WithInitVar:
    cpu: int
    twice: InitVar[int] = 5

    def __post_init__(self, twice: int) -> None:
        self.cpu += twice


def test_an_init_var_is_refused() -> None:
    """An InitVar is no field, so it would never be read. With or without a default it is refused by its name."""
    with pytest.raises(RegistrationError, match=r"^WithInitVar\.twice is an InitVar"):
        make_reader(WithInitVar)


def test_a_dataclass_without_its_own_init_is_refused() -> None:
    """With init=False, nothing takes the inputs."""
    with pytest.raises(RegistrationError, match="Inputs has init=False"):
        make_reader(make_dataclass("Inputs", [("x", int)], init=False))


def test_fields_that_are_no_inputs_have_any_type() -> None:
    """The type of a field with init=False, or of a ClassVar, does not matter."""

    @dataclass
    class Inputs:
        cpu: int
        digest: bytes = field(init=False, default=b"")
        known: ClassVar[set[int]] = set()

    assert make_reader(Inputs)({"cpu": 1}) == Inputs(cpu=1)


@pytest.mark.parametrize("hint", ["Nowhere", "enum.Nowhere", "list[", "int | 'x"])
def test_forward_references_that_lead_nowhere(hint: str) -> None:
    """A type that cannot be found or read is refused at import, with the dataclass's name."""
    with pytest.raises(RegistrationError, match="Inputs has a field of an unknown type"):
        make_reader(of_type(hint))
    with pytest.raises(RegistrationError, match="Unknown has a field of an unknown type: name 'Nowhere'"):
        make_reader(Unknown)


def test_a_dataclass_that_holds_itself() -> None:
    """Inputs are finite, so a dataclass within itself is refused at import."""
    with pytest.raises(RegistrationError, match="Recursive holds itself"):
        make_reader(Recursive)


# Without a dataclass


def test_any_inputs_are_a_mapping_that_says_what_is_missing() -> None:
    """Without a dataclass the inputs are a mapping whose missing key ends the run with a sentence."""
    inputs = AnyInputs({"cpu": 2, "title": None})

    assert dict(inputs) == {"cpu": 2, "title": None}
    assert (inputs["cpu"], inputs.get("region"), inputs.get("region", "eu"), len(inputs)) == (2, None, "eu", 2)
    assert ("cpu" in inputs, "region" in inputs, list(inputs)) == (True, False, ["cpu", "title"])
    with pytest.raises(InputError, match=r"^The input region is missing\.$") as caught:
        inputs["region"]
    assert caught.value.input == "region"


def test_any_inputs_print_no_values() -> None:
    """The printed form of inputs has only their names, and inputs cannot be changed."""
    values = {"token": "s3cret"}
    inputs = AnyInputs(values)
    values["token"] = "changed"

    assert repr(inputs) == str(inputs) == "AnyInputs(token)"
    assert inputs["token"] == "s3cret"
    assert not hasattr(inputs, "__setitem__")


# Any JSON

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["size", "label", "a"]), inner),
    max_leaves=6,
)


def has_type(value: Any, hint: Any) -> bool:
    """Return whether *value* has the type that the annotation of one of Everything's fields promises."""
    checks: dict[Any, Any] = {
        dict[str, Any]: lambda: isinstance(value, dict),
        dict[str, str]: lambda: isinstance(value, dict) and all(isinstance(each, str) for each in value.values()),
        Literal["eu", "us"]: lambda: value in ("eu", "us"),
        list[Disk]: lambda: isinstance(value, list) and all(has_type(each, Disk) for each in value),
        list[list[int]]: lambda: all(has_type(row, list[int]) for row in value),
        list[int]: lambda: isinstance(value, list) and all(has_type(each, int) for each in value),
        list[str]: lambda: isinstance(value, list) and all(isinstance(each, str) for each in value),
        Sequence[str]: lambda: has_type(value, list[str]),
        str | None: lambda: value is None or isinstance(value, str),
        int | str: lambda: has_type(value, int) or isinstance(value, str),
        int: lambda: isinstance(value, int) and not isinstance(value, bool),
        float: lambda: isinstance(value, float) and math.isfinite(value),
        Any: lambda: True,
    }
    if hint in checks:
        return bool(checks[hint]())
    return isinstance(value, hint) and all(
        has_type(getattr(value, each.name), each.type) for each in (fields(hint) if hint in (Disk, Service) else ())
    )


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*EVERYTHING, "defaulted", "made"]), JSON), st.booleans())
def test_any_json_fits_or_is_an_input_error(changes: dict[str, Any], complete: bool) -> None:
    """For any message, every field has its declared type, or an InputError names an input."""
    try:
        inputs = make_reader(Everything)({**(EVERYTHING if complete else {}), **changes})
    except InputError as error:
        names = error.input
    else:
        names = "text"
        assert all(has_type(getattr(inputs, each.name), each.type) for each in fields(Everything)), inputs
    assert names.split(".")[0].split("[")[0] in {*EVERYTHING, "defaulted", "made"}


READERS = [
    make_reader(of_type(hint)) for hint in (int, bool, Disk, list[int], dict[str, int], Literal["eu"], Size, int | bool)
]


@settings(deadline=None)
@given(st.text(min_size=3), st.sampled_from(READERS))
def test_sentences_never_repeat_a_value(value: str, read_inputs: Any) -> None:
    """Inputs can be secret, so a sentence about one that does not fit holds nothing of it, keys included."""
    secret = f"<{value}>"
    for misfit in (secret, [secret], {secret: secret}, {"size": secret}):
        with pytest.raises(InputError) as caught:
            read_inputs({"x": misfit})
        assert secret not in str(caught.value)


@dataclass(frozen=True)
class Login:
    user: str
    password: Secret[str]


@pytest.mark.parametrize(
    "hint", [Login, list[Login], dict[str, Login], Login | None, list[Secret[str]], dict[str, Secret[str]]], ids=str
)
def test_a_secret_within_an_input_is_refused(hint: Any) -> None:
    """Port encrypts whole inputs, so a secret within one would stay encrypted. It is refused at registration."""
    with pytest.raises(RegistrationError, match="Port encrypts whole inputs"):
        make_reader(of_type(hint))
