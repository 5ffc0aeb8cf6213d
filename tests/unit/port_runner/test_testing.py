"""The helpers for users' own tests behave as the real run, and make what Port and Lambda send."""

import enum
import inspect
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any

import pytest

import port_runner.testing
from handlers.vm import CreateVm, create_vm
from port_runner import (
    ActionRun,
    Entity,
    InputError,
    MessagePaths,
    PortApiError,
    RegistrationError,
    Secret,
    Success,
)
from port_runner.kafka import records_from_event
from port_runner.messages import RunRequest, read_message
from port_runner.testing import LambdaContext, RecordedRun, kafka_event, make_run, run_message


@dataclass(frozen=True)
class Size:
    cpu: int


def a_run(**more: Any) -> RecordedRun[Size]:
    return make_run("resize_vm", Size(cpu=2), **more)


def public_members(kind: type) -> dict[str, Any]:
    return {name: member for name, member in inspect.getmembers(kind) if not name.startswith("_")}


def test_the_example_of_the_module_works() -> None:
    """The example in the module's docstring works."""
    lines = [line for line in (port_runner.testing.__doc__ or "").splitlines() if "run" in line and "=" in line]
    names = {"make_run": make_run, "CreateVm": CreateVm, "create_vm": create_vm}
    names["Success"] = lambda *_: Success("VM in eu-west-1 (vm-r_test) is being deployed.")

    assert [line.split()[0] for line in lines] == ["run", "assert", "assert"]
    exec("\n".join(lines), names)


# Like the real run


@pytest.mark.parametrize("name", sorted(public_members(ActionRun)))
def test_a_recorded_run_has_everything_that_a_run_has(name: str) -> None:
    """Same members, same parameters, same defaults: a handler that works in a test cannot fail in Lambda by a name."""
    real, recorded = (public_members(kind)[name] for kind in (ActionRun, RecordedRun))

    assert isinstance(recorded, type(real))
    if inspect.isfunction(real):
        assert inspect.signature(recorded) == inspect.signature(real)


def test_every_member_can_be_used() -> None:
    """No member of a recorded run reaches for what only a real one has."""
    run = a_run()

    for name, member in public_members(type(run)).items():
        if isinstance(member, property):
            getattr(run, name)


def test_a_run_is_what_it_was_made_of() -> None:
    """The handler sees the arguments of make_run."""
    run = a_run(
        run_id="r_1", operation="DAY-2", blueprint="vm", entity={"identifier": "vm-1", "title": "VM"}, message={"a": 1}
    )

    assert (run.id, run.action, run.operation, run.blueprint) == ("r_1", "resize_vm", "DAY-2", "vm")
    assert (run.entity, run.entity_identifier) == ({"identifier": "vm-1", "title": "VM"}, "vm-1")
    assert (run.inputs, run.message) == (Size(cpu=2), {"a": 1})
    assert run.user_email is not None
    assert 0 < run.seconds_left <= 60


def test_what_is_not_given_is_ordinary() -> None:
    """Without more a run is a CREATE without an entity."""
    run = a_run()

    assert (run.id, run.operation, run.entity, run.entity_identifier) == ("r_test", "CREATE", None, None)


def test_two_runs_share_nothing() -> None:
    """A run does not see the records of another run."""
    first, second = a_run(), a_run()
    first.log("a")
    first.upsert_entity("vm", identifier="vm-1")

    assert (second.lines, second.entities) == ([], {})


def test_what_is_told_is_recorded_in_order() -> None:
    """Lines, labels, links and external ids can be asserted on; a link that is there is not shown twice."""
    run = a_run()
    run.log("first")
    run.log(2)  # type: ignore[arg-type]
    run.label("Half way")
    run.link("https://a", "https://b")
    run.link("https://b", "https://c")
    run.external_run_id("build-7")

    assert (run.lines, run.labels) == (["first", "2"], ["Half way"])
    assert (run.links, run.external_run_ids) == (["https://a", "https://b", "https://c"], ["build-7"])


# Entities as Port would keep them


def test_upsert_creates_and_merges() -> None:
    """An upsert changes what it names and leaves the rest; a property of None is cleared."""
    run = a_run()
    run.upsert_entity("vm", identifier="vm-1", title="VM", properties={"cpu": 1, "disk": 2}, relations={"host": "h1"})

    merged = run.upsert_entity("vm", identifier="vm-1", properties={"cpu": 4, "disk": None}, team="core", icon="Server")

    assert merged == Entity("vm", "vm-1", "VM", {"cpu": 4}, {"host": "h1"})
    assert run.entities == {("vm", "vm-1"): merged}


def test_upsert_without_merge_replaces() -> None:
    """Without merge what is not named is cleared."""
    run = a_run()
    run.upsert_entity("vm", identifier="vm-1", title="VM", properties={"cpu": 1})

    assert run.upsert_entity("vm", identifier="vm-1", merge=False) == Entity("vm", "vm-1", None, {}, {})


def test_upsert_makes_an_identifier_up() -> None:
    """Without an identifier each entity gets one of its own, as Port does it."""
    run = a_run()

    made = {run.upsert_entity("vm", title="VM").identifier for _ in range(3)}

    assert len(made) == 3
    assert {identifier for _, identifier in run.entities} == made


def test_upsert_of_many() -> None:
    """Many entities are kept one by one, in Port's own words."""
    run = a_run()
    run.upsert_entities("vm", [{"identifier": "a", "properties": {"cpu": 1}}, {"identifier": "b", "title": "B"}])
    run.upsert_entities("vm", [{"identifier": "a", "title": "A"}], merge=False)

    assert [(each.title, each.properties) for each in run.entities.values()] == [("A", {}), ("B", {})]


def test_entities_of_one_identifier_differ_by_blueprint() -> None:
    """An entity is known by blueprint and identifier together."""
    run = a_run()
    run.upsert_entity("vm", identifier="x", title="VM")
    run.upsert_entity("disk", identifier="x", title="Disk")

    assert [run.get_entity(each, "x").title for each in ("vm", "disk")] == ["VM", "Disk"]  # type: ignore[union-attr]


def test_what_a_test_puts_there_is_found() -> None:
    """Entities that a handler expects are put into `entities`; it can read, change and delete them."""
    run = a_run()
    run.entities["vm", "vm-1"] = Entity("vm", "vm-1", "VM", {"cpu": 1}, {})

    assert run.get_entity("vm", "vm-1") == Entity("vm", "vm-1", "VM", {"cpu": 1}, {})
    assert run.update_entity("vm", "vm-1", properties={"cpu": 2}).properties == {"cpu": 2}
    run.delete_entity("vm", "vm-1", delete_dependents=True)
    assert run.entities == {}


def test_what_is_not_there() -> None:
    """Reading finds None, deleting is done already, and updating is refused as Port refuses it."""
    run = a_run()

    assert run.get_entity("vm", "vm-1") is None
    run.delete_entity("vm", "vm-1")
    with pytest.raises(PortApiError) as caught:
        run.update_entity("vm", "vm-1", title="VM")
    assert (caught.value.status, caught.value.code) == (404, "not_found")
    assert run.entities == {}


# Events and messages


def invocation_of(message: Any) -> RunRequest:
    (record,) = records_from_event(kafka_event(message))
    reading = read_message(record, MessagePaths())
    assert isinstance(reading, RunRequest)
    return reading


def test_a_run_message_is_read_as_what_it_says() -> None:
    """run_message and the library agree on Port's envelope."""
    message = run_message("resize_vm", {"cpu": 2}, run_id="r_1", operation="DAY-2", blueprint="vm", entity="vm-1")

    invocation = invocation_of(message)

    assert (invocation.run_id, invocation.action, invocation.operation) == ("r_1", "resize_vm", "DAY-2")
    assert (invocation.blueprint, invocation.entity_identifier) == ("vm", "vm-1")
    assert (invocation.inputs, invocation.message) == ({"cpu": 2}, message)


def test_a_run_message_has_no_inputs_where_none_are_given() -> None:
    """A run without inputs has an empty object of them, as Port sends it."""
    assert invocation_of(run_message("drop_vm")).inputs == {}


def test_a_kafka_event_holds_its_messages_in_order() -> None:
    """Any JSON, bytes as they are and tombstones become records with rising offsets of one partition."""
    event = kafka_event({"ž": 1}, b"\xff", None, [1], topic="a-b.c", partition=2, offset=40)

    records = records_from_event(json.loads(json.dumps(event)))

    assert [record.place for record in records] == [f"a-b.c-2@{offset}" for offset in (40, 41, 42, 43)]
    assert [record.identifier["partition"] for record in records] == ["a-b.c-2"] * 4
    assert json.loads(records[0].text()) == {"ž": 1}
    assert "value" not in records[2].content


def test_a_kafka_event_is_new_or_as_old_as_it_is_told() -> None:
    """Without a timestamp a record was written just now."""
    (new,), (old,) = records_from_event(kafka_event({})), records_from_event(kafka_event({}, timestamp=1000))

    assert new.age is not None
    assert new.age < 5
    assert old.timestamp == 1000


def test_a_lambda_context_runs_out() -> None:
    """The context counts down to nothing, and each has a request id of its own."""
    context, spent = LambdaContext(seconds=10), LambdaContext(seconds=-1)

    time.sleep(0.02)

    assert 9000 < context.get_remaining_time_in_millis() < 10_000
    assert spent.get_remaining_time_in_millis() == 0
    assert context.aws_request_id != spent.aws_request_id


def test_inputs_without_a_dataclass_are_a_mapping() -> None:
    """A handler that names no dataclass is given a mapping, here as there."""
    inputs: Mapping[str, Any] = {"cpu": 2}

    assert make_run("resize_vm", inputs).inputs["cpu"] == 2


class Kind(enum.Enum):
    SMALL = "s"


@dataclass
class Disk:
    size: int
    label: str | None = None


@dataclass(frozen=True, eq=False)
class Everything:
    whole: int = 1
    number: float = 1.5
    text: str = "a"
    anything: Any = None
    maybe: str | None = "eu"
    either: int | str = 1
    kind: Kind = Kind.SMALL
    disk: Disk | None = None
    disks: list[Disk] = field(default_factory=list)
    names: Sequence[str] = ()
    free: dict[str, Any] = field(default_factory=dict)
    password: Secret[str] | None = None
    login: Secret[dict[str, Any]] | None = None
    hyphened: str = field(default="", metadata={"input": "docs-url"})


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"whole": 2, "number": 3, "either": "a", "maybe": "us"},
        {"disk": Disk(1, "a"), "disks": [Disk(1), Disk(2)], "names": ["a"], "kind": Kind.SMALL},
        {"anything": [1, {"a": None}], "free": {"a": [Secret("s3cret")]}},
        {"password": Secret("s3cret"), "login": Secret({"user": "a"}), "anything": Secret("s3cret")},
    ],
)
def test_inputs_that_the_runner_can_make(given: Any) -> None:
    """A handler is tested with any instance that a run can give it, secrets and defaults of any type included."""
    inputs = Everything(**given)

    assert make_run("resize_vm", inputs).inputs is inputs


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"whole": "two"}, "whole must be a whole number"),
        ({"whole": True}, "whole must be a whole number"),
        ({"either": 1.5}, "either must be a whole number or text"),
        ({"text": None}, "text must be of the type str"),
        ({"maybe": None}, "maybe must be of the type str"),
        ({"hyphened": 5}, "docs-url must be text"),
        ({"names": ("a",)}, "names must be a list"),
        ({"kind": "s"}, "kind must be of the type Kind"),
        ({"disk": {"size": 1}}, "disk must be of the type Disk"),
        ({"disk": Disk("1")}, "disk.size must be a whole number"),  # type: ignore[arg-type]
        ({"disks": [Disk(1), {"size": 1}]}, "disks[1] must be of the type Disk"),
        ({"disks": [Disk(1), Disk(1, 2)]}, "disks[1].label must be text"),  # type: ignore[arg-type]
        ({"free": {"s3cret": Disk(1)}}, "free.* must be of the type dict"),
        ({"anything": Kind.SMALL}, "anything must be of the type str"),
        ({"password": "s3cret"}, "password must be of the type Secret"),
        ({"text": Secret("s3cret")}, "text must be of the type str"),
    ],
)
def test_inputs_that_the_runner_never_makes(given: Any, said: str) -> None:
    """A handler cannot be tested with inputs that no run can give it. The sentence is that of a run, without values."""
    with pytest.raises(InputError) as caught:
        make_run("resize_vm", Everything(**given))

    assert str(caught.value) == f"The inputs do not fit: {said}."
    assert caught.value.input == said.split(" must")[0]


def test_inputs_that_compute_a_field() -> None:
    """A dataclass may change its own fields: the values are not compared, only their types."""

    @dataclass
    class Inputs:
        cpu: int
        memory: int = 1

        def __post_init__(self) -> None:
            self.cpu *= 2
            self.memory += self.cpu

    inputs = Inputs(2)

    assert make_run("resize_vm", inputs).inputs is inputs
    assert inputs == Inputs(2)


@dataclass
class WithInitVar:
    cpu: InitVar[int]


def test_inputs_that_cannot_be_registered() -> None:
    """A dataclass that no handler can be registered with is refused in its test too."""
    with pytest.raises(RegistrationError, match=r"WithInitVar\.cpu is an InitVar"):
        make_run("resize_vm", WithInitVar(1))
