"""The dict that keeps its newest entries."""

from concurrent.futures import ThreadPoolExecutor

from port_runner.bounded import BoundedDict


def test_the_oldest_entry_is_forgotten() -> None:
    """A full dict drops its oldest entry for a new one."""
    entries: BoundedDict[str, int] = BoundedDict(2)

    for number, key in enumerate("abc"):
        entries[key] = number

    assert {key: entries.get(key) for key in "abc"} == {"a": None, "b": 1, "c": 2}


def test_a_key_that_is_set_again_is_the_newest() -> None:
    """A key that is set again outlives keys that were set after its first time."""
    entries: BoundedDict[str, int] = BoundedDict(2)

    entries["a"] = 1
    entries["b"] = 2
    entries["a"] = 3
    entries["c"] = 4

    assert {key: entries.get(key) for key in entries} == {"a": 3, "c": 4}


def test_threads_do_not_exceed_the_limit() -> None:
    """Threads that set keys at the same time leave exactly as many entries as the limit allows."""
    entries: BoundedDict[int, None] = BoundedDict(50)

    def fill(start: int) -> None:
        for key in range(start, start + 2000):
            entries[key] = None
            entries.discard(key - 7)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fill, range(0, 16000, 2000)))
    for key in range(100):
        entries[key] = None

    assert len([*entries]) == 50
