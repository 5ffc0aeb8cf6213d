"""`failures resend` loses nothing, and removes a message only once the function is done with it."""

import io
import json
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import pytest
from click.testing import CliRunner
from moto.sqs.models import sqs_backends

from port_runner import ActionRouter, ActionRun, Runner, Success
from port_runner.kafka import Record
from port_runner.testing import LambdaContext, kafka_event, run_message
from port_runner_cli.__main__ import main
from port_runner_cli.clients.function import invoke
from port_runner_cli.clients.kafka import KafkaMapping
from port_runner_cli.commands.failures import kept_message, resend
from port_runner_sandbox.fake_port import FakePort
from tests.support.failures_under_test import NAME, Queue, batch, logged, run, took
from tests.support.fake_lambda import ACCOUNT, REGION, FakeFunction, FakeLambda
from tests.support.function_under_test import event_file


def test_resend_removes_what_was_taken(queue: Queue, deployed: FakeFunction) -> None:
    """The function gets the record untouched, in an event of its own, and only then the message is gone."""
    seen_while_invoked: list[tuple[int, int]] = []
    attributes = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def take(event: Any) -> tuple[Any, str]:
        counts = queue.client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=attributes)["Attributes"]
        seen_while_invoked.append((int(counts[attributes[0]]), int(counts[attributes[1]])))
        return took(event)

    deployed.handler = take
    message = run_message("create_vm", run_id="r_1")
    id = queue.keep(message, offset=9)
    other = queue.keep(run_message("create_vm", run_id="r_2"), offset=10)

    result = run("resend", id[:8])

    assert result.exit_code == 0
    assert result.stdout == f"{id[:8]}: taken: r_1 ended in SUCCESS\n"
    [event] = deployed.events
    [record] = event["records"]["org_test.runs-0"]
    assert json.loads(Record("t", 0, 9, "t-0", content=record).text()) == message
    assert seen_while_invoked == [(1, 1)]  # the other one is there for all meanwhile
    assert queue.ids() == [other]


@pytest.mark.parametrize("how", ["raises", "names it", "is not there"])
def test_resend_keeps_what_was_not_taken(aws: FakeLambda, queue: Queue, deployed: FakeFunction, how: str) -> None:
    """However the function fails to take a record, its message is still visible to all: exit code 1."""

    def refuse(event: Any) -> tuple[Any, str]:
        if how == "raises":
            raise RuntimeError("1 of 1 records must be delivered again")
        if how == "is not there":
            aws.functions.clear()
        return {"batchItemFailures": [{"itemIdentifier": {"partition": "org_test.runs-0", "offset": 0}}]}, ""

    deployed.handler = refuse
    ids = [queue.keep(run_message("create_vm"), offset=n) for n in range(2)]

    result = run("resend", "--all")

    assert result.exit_code == 1
    assert [line.partition(": ")[2][:9] for line in result.stdout.splitlines()] == ["not taken"] * 2
    assert sorted(queue.ids()) == sorted(ids)


@pytest.mark.parametrize(
    "log",
    [
        lambda event: "",
        lambda event: logged(event, "run.started", run_id="r_1"),
        lambda event: logged(kafka_event({}, offset=99), "run.reported", status="SUCCESS"),
        lambda event: logged(event, "record.kept_before", reason="Port does not know its run"),
        lambda event: logged(event, "record.given_up", reason="Port does not know its run"),
        lambda event: logged(event, "action.unknown"),
    ],
    ids=["nothing", "a start", "another record", "kept before", "given up", "unknown"],
)
def test_an_invocation_that_went_well_is_not_enough(
    queue: Queue, deployed: FakeFunction, log: Callable[[Any], str]
) -> None:
    """A record that was given up is consumed, too: a message is removed only if the log says that it is done with."""
    deployed.handler = lambda event: (None, log(event))
    id = queue.keep(run_message("create_vm"))
    result = run("resend", "--all")
    assert result.exit_code == 1
    assert "not taken" in result.stdout
    assert queue.ids() == [id]


def test_resend_goes_on_after_one_that_was_not_taken(queue: Queue, deployed: FakeFunction) -> None:
    """Each message has its own outcome, oldest first."""

    def take_odd(event: Any) -> tuple[Any, str]:
        [[record]] = event["records"].values()
        if record["offset"] % 2 == 0:
            raise RuntimeError("no")
        return took(event)

    deployed.handler = take_odd
    ids = []
    for offset in range(4):
        ids.append(queue.keep(run_message("create_vm"), offset=offset))
        time.sleep(0.002)

    outcomes = json.loads(run("resend", "--all", "--json").stdout)

    assert [each["outcome"] for each in outcomes] == ["not taken", "taken"] * 2
    assert [each["id"] for each in outcomes] == ids
    assert sorted(queue.ids()) == sorted(ids[::2])


def test_an_interrupt_loses_nothing(queue: Queue, deployed: FakeFunction, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C while the function works, every message that it did not take can be received at once."""
    ids = [queue.keep(run_message("create_vm"), offset=n) for n in range(3)]

    def interrupted(*arguments: Any) -> Any:
        invoke(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(resend, "invoke", interrupted)
    result = run("resend", "--all")
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")
    assert len(deployed.events) == 1
    assert sorted(queue.ids()) == sorted(ids)


def test_messages_stay_hidden_for_as_long_as_the_function_may_take(queue: Queue, deployed: FakeFunction) -> None:
    """No other reader can take a message while it is being sent, for as long as the function works on all of them."""
    deployed.configuration["Timeout"] = 840
    seconds: list[float] = []

    def take(event: Any) -> tuple[Any, str]:
        messages = sqs_backends[ACCOUNT][REGION].queues[f"{NAME}-failures"]._messages
        seconds.extend(message.visible_at / 1000 - time.time() for message in messages)
        return took(event)

    deployed.handler = take
    queue.keep(run_message("create_vm"))
    queue.keep(run_message("create_vm"), offset=1)
    assert run("resend", "--all").exit_code == 0
    assert len(seconds) == 3
    assert min(seconds) > 2 * 840


def test_batches_of_lambda_are_fetched_from_kafka(
    aws: FakeLambda, queue: Queue, deployed: FakeFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records of which the queue has only the places are read with the mapping of their topic, then sent one by one."""
    read: list[tuple[str, str, int, int, int]] = []

    def read_records(mapping: KafkaMapping, topic: str, partition: int, first: int, last: int) -> list[Any]:
        read.append((mapping.group, topic, partition, first, last))
        [records] = kafka_event(*[run_message("create_vm")] * (last - first + 1), offset=first)["records"].values()
        return list(records)

    monkeypatch.setattr(kept_message, "read_records", read_records)
    aws.mappings += [mapping(deployed, "org_test.change.log", "wrong"), mapping(deployed, "org_test.runs", "right")]
    queue.put(batch(first=3, last=5))
    too_large = {"reason": "x", "topic": "org_test.runs", "partition": 0, "offset": 8, "timestamp": 1, "record": None}
    queue.put(too_large)

    assert run("resend", "--all").exit_code == 0

    assert read == [("right", "org_test.runs", 0, 3, 5), ("right", "org_test.runs", 0, 8, 8)]
    offsets = [[record["offset"] for record in event["records"]["org_test.runs-0"]] for event in deployed.events]
    assert offsets == [[3], [4], [5], [8]]
    assert queue.ids() == []


def test_records_of_others_in_a_batch_are_left_out(
    aws: FakeLambda, queue: Queue, deployed: FakeFunction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a batch's records only those are sent that are for this function, and they decide about the message."""
    messages = [event_file("agent_webhook_day2"), run_message("create_vm"), {"changelogDestination": {"type": "KAFKA"}}]
    [records] = kafka_event(*messages, offset=3)["records"].values()
    monkeypatch.setattr(kept_message, "read_records", lambda *place: records)
    aws.mappings.append(mapping(deployed, "org_test.runs", "group"))
    queue.put(batch(first=3, last=5))
    assert run("resend", "--all").exit_code == 0
    assert [[record["offset"] for record in event["records"]["org_test.runs-0"]] for event in deployed.events] == [[4]]
    assert queue.ids() == []


def mapping(function: FakeFunction, topic: str, group: str) -> dict[str, Any]:
    return {
        "UUID": f"uuid-{group}",
        "FunctionArn": function.arn,
        "Topics": [topic],
        "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": ["localhost:9196"]}},
        "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": group},
    }


def test_what_cannot_be_sent_stays(queue: Queue, deployed: FakeFunction) -> None:
    """A batch of a topic without a mapping, and a message that is no record, are not taken, with the reason."""
    ids = [queue.put(batch(topic="another")), queue.put("no record")]
    result = run("resend", "--all")
    assert result.exit_code == 1
    assert "no mapping for another" in result.stdout
    assert "neither a record" in result.stdout
    assert deployed.events == []
    assert sorted(queue.ids()) == sorted(ids)


# The function is the runner itself


@pytest.fixture
def runner(
    aws: FakeLambda, queue: Queue, deployed: FakeFunction, port: FakePort, monkeypatch: pytest.MonkeyPatch
) -> Callable[[bool], None]:
    """The function is the runner, with a handler for `create_vm`; the fixture says whether it has a queue."""
    router = ActionRouter()

    @router.action("create_vm")
    def create_vm(run: ActionRun[Any]) -> Success:
        return Success()

    def start(with_queue: bool) -> None:
        monkeypatch.setenv("PORT_API_URL", port.url)
        monkeypatch.setenv("PORT_CLIENT_ID", port.client_id)
        monkeypatch.setenv("PORT_CLIENT_SECRET", port.client_secret)
        monkeypatch.setenv("FAILURE_QUEUE_URL", queue.url if with_queue else "")
        log = io.StringIO()
        runner = Runner()
        runner.include(router)

        def handle(event: Any) -> tuple[Any, str]:
            before = log.tell()
            with redirect_stdout(log):
                answer = runner.lambda_handler(event, LambdaContext(5))
            return answer, log.getvalue()[before:]

        deployed.handler = handle

    return start


def test_resend_tells_how_the_run_went(queue: Queue, runner: Callable[[bool], None], port: FakePort) -> None:
    """The run that was kept ends in Port, once; a record that was sent before does no harm."""
    runner(True)
    port.add_run("r_1")
    for offset in (1, 1):
        queue.keep(run_message("create_vm", run_id="r_1"), offset=offset)

    result = run("resend", "--all")

    assert result.exit_code == 0
    assert [line.partition(": ")[2] for line in result.stdout.splitlines()] == [
        "taken: r_1 ended in SUCCESS",
        "taken: r_1 had ended before",
    ]
    assert port.runs["r_1"]["status"] == "SUCCESS"
    assert queue.ids() == []


def test_what_is_kept_again_is_not_called_taken(queue: Queue, runner: Callable[[bool], None]) -> None:
    """A record that the function keeps once more lies in the queue once, however often it is sent: exit code 1."""
    runner(True)
    id = queue.keep(run_message("create_vm", run_id="r_unknown"))

    result = run("resend", "--all")

    assert result.exit_code == 1
    assert result.stdout == f"{id[:8]}: kept again: Port does not know its run\n"
    [new] = queue.ids()
    assert new != id

    # The same process does not keep it a second time: the message must not go.
    result = run("resend", "--all")
    assert result.exit_code == 1
    assert result.stdout == f"{new[:8]}: not taken: Port does not know its run\n"
    assert queue.ids() == [new]


def test_what_the_function_gives_up_stays(queue: Queue, runner: Callable[[bool], None]) -> None:
    """If the function has no queue for a record, the message that holds it is not removed."""
    runner(False)
    id = queue.keep(run_message("create_vm", run_id="r_unknown"))

    result = CliRunner().invoke(main, ["failures", "resend", "--all", "--function", NAME, "--queue-url", queue.url])

    assert result.exit_code == 1
    assert "it has no queue" in result.stdout
    assert queue.ids() == [id]


def test_a_port_that_is_down_leaves_all_as_it_was(queue: Queue, runner: Callable[[bool], None], port: FakePort) -> None:
    """While Port cannot be reached the function takes nothing, and nothing is removed."""
    runner(True)
    port.add_run("r_1")
    id = queue.keep(run_message("create_vm", run_id="r_1"))
    port.fail("/v1/auth", status=503, headers={"Retry-After": "600"}, times=None)
    result = run("resend", id)
    assert result.exit_code == 1
    assert "not taken: 1 of 1 records must be delivered again" in result.stdout
    assert queue.ids() == [id]
