"""Records are put into an event as Lambda does it."""

from port_runner_cli.clients.kafka import make_event


def test_an_event_has_its_records_by_partition() -> None:
    """Records of several partitions stand each under its own key, as Lambda sends them."""
    records = [{"topic": "a-b", "partition": n, "offset": 1} for n in (0, 1, 0)]
    event = make_event(records)
    assert {key: len(found) for key, found in event["records"].items()} == {"a-b-0": 2, "a-b-1": 1}
    assert event["eventSource"] == "SelfManagedKafka"
