"""`failures` shows the queue without changing it, and removes only what is named."""

import json

import pytest

from port_runner.kafka import Record
from port_runner.testing import run_message
from tests.support.failures_under_test import NAME, Queue, batch, run
from tests.support.fake_lambda import FakeFunction, FakeLambda


def test_list_shows_what_is_kept_and_takes_nothing(queue: Queue, deployed: FakeFunction) -> None:
    """Every message stands in a line of its own, more than SQS gives at once, and each can be received right after."""
    ids = [queue.keep(run_message("create_vm", run_id=f"r_{n}"), offset=n) for n in range(23)]

    result = run("list")

    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert sorted(line.split("  ")[0] for line in lines) == sorted(id[:8] for id in ids)
    assert {tuple(line.split("  ")[2:5]) for line in lines} == {
        ("create_vm", f"r_{n}", f"org_test.runs-0@{n}") for n in range(23)
    }
    assert all("Port does not know its run" in line for line in lines)
    assert sorted(queue.ids()) == sorted(ids)
    assert deployed.events == []


def test_list_reads_every_kind_of_message(queue: Queue, deployed: FakeFunction) -> None:
    """A batch that Lambda gave up, a record too large for the queue, and what is neither, are all listed."""
    queue.put(batch())
    queue.put({"reason": "too large", "topic": "t", "partition": 1, "offset": 7, "timestamp": None, "record": None})
    for foreign in ("no JSON", ["a list"], {"KafkaBatchInfo": {"recordsInfo": 3}}, {"topic": "t", "offset": "x"}):
        queue.put(foreign)

    found = json.loads(run("list", "--json").stdout)

    assert [each["places"] for each in found] == [["org_test.runs-0@3 to 4"], ["t-1@7"], [], [], [], []]
    assert "RetryAttemptsExhausted" in found[0]["reason"]
    assert "no record" in found[2]["reason"]


def test_list_says_that_nothing_is_there(queue: Queue, deployed: FakeFunction) -> None:
    """An empty queue is said to be empty."""
    result = run("list")
    assert (result.exit_code, result.stdout) == (0, "The queue is empty.\n")


def test_show_masks_what_is_secret(queue: Queue, deployed: FakeFunction) -> None:
    """Inputs that are secret, and headers, are in no output of show; the rest of the message is."""
    message = run_message("create_vm", {"region": "eu-west-1", "password": "canary-of-an-input"})
    message["payload"]["censoredProperties"] = ["password"]
    message["headers"] = {"X-Port-Signature": "canary-of-a-header"}
    id = queue.keep(message, outcome={"status": "SUCCESS", "summary": "It is there."})

    for arguments in ((), ("--json",)):
        result = run("show", id[:8], *arguments)
        assert result.exit_code == 0
        assert "canary" not in result.output
        assert "eu-west-1" in result.stdout
        assert "It is there." in result.stdout
    assert queue.ids() == [id]


def test_show_event_is_what_the_function_would_get(queue: Queue, deployed: FakeFunction) -> None:
    """With --event the record comes as it was, in an event that can be handed to the function."""
    message = run_message("create_vm", run_id="r_1")
    id = queue.keep(message, offset=5)

    event = json.loads(run("show", id, "--event").stdout)

    [record] = event["records"]["org_test.runs-0"]
    assert record["offset"] == 5
    content = Record("org_test.runs", 0, 5, "org_test.runs-0", content=record)
    assert json.loads(content.text()) == message


def test_show_of_what_is_no_message(queue: Queue, deployed: FakeFunction) -> None:
    """Only the length of a record that is not JSON is shown, because its content is unknown."""
    id = queue.keep(b"canary, and no JSON", reason="its value is not JSON")
    result = run("show", id)
    assert result.exit_code == 0
    assert "19 bytes" in result.stdout
    assert "canary" not in result.output


@pytest.mark.parametrize("command", ["show", "resend", "remove"])
def test_an_id_must_be_of_one_message(queue: Queue, deployed: FakeFunction, command: str) -> None:
    """The beginning of an id is enough; one that is not there, or could be several, is refused and nothing is done."""
    ids = [queue.keep(run_message("create_vm"), offset=n) for n in range(40)]
    first = next(id[0] for id in ids if sum(other[0] == id[0] for other in ids) > 1)

    for wanted, sentence in (("zz", "zz is not in the queue"), (first, "begins the ids of")):
        result = run(command, wanted)
        assert result.exit_code == 2
        assert sentence in result.stderr
    assert len(queue.ids()) == 40
    assert deployed.events == []


def test_without_a_queue(aws: FakeLambda) -> None:
    """A function that has no queue, and one that is not there, are named."""
    aws.add(FakeFunction(NAME))
    result = run("list")
    assert result.exit_code == 2
    assert "no FAILURE_QUEUE_URL" in result.stderr
    aws.functions.clear()
    result = run("list")
    assert result.exit_code == 1
    assert NAME in result.stderr


def test_remove_asks_first(queue: Queue, deployed: FakeFunction) -> None:
    """Without a yes nothing is removed; with one, only what was named, and nothing is run."""
    ids = [queue.keep(run_message("create_vm"), offset=n) for n in range(3)]
    for answer in ("n\n", ""):
        assert run("remove", ids[0], answer=answer).exit_code == 1
        assert sorted(queue.ids()) == sorted(ids)
    assert run("remove", ids[0], answer="y\n").exit_code == 0
    assert sorted(queue.ids()) == sorted(ids[1:])
    assert run("remove", "--all", "--yes").exit_code == 0
    assert queue.ids() == []
    assert deployed.events == []


@pytest.mark.parametrize("command", ["resend", "remove"])
def test_all_is_said_with_a_word(queue: Queue, deployed: FakeFunction, command: str) -> None:
    """Neither ids nor --all, or both, is a mistake in usage."""
    id = queue.keep(run_message("create_vm"))
    for arguments in ((), (id, "--all")):
        assert run(command, *arguments).exit_code == 2
    assert queue.ids() == [id]
