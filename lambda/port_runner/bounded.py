"""A dict that cannot grow without end: a process lives through many runs."""

import threading
from collections.abc import Iterator


class BoundedDict[K, V]:
    """A mapping that keeps the newest *limit* entries. Setting a key makes it the newest. Safe for several threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[K, V] = {}
        self._lock = threading.Lock()

    def __setitem__(self, key: K, value: V) -> None:
        with self._lock:
            self._entries.pop(key, None)  # a dict keeps the order of insertion
            self._entries[key] = value
            if len(self._entries) > self._limit:
                del self._entries[next(iter(self._entries))]

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def get(self, key: K) -> V | None:
        """Return the entry of *key*, or ``None``."""
        return self._entries.get(key)

    def discard(self, key: K) -> None:
        """Remove the entry of *key*, if there is one."""
        with self._lock:
            self._entries.pop(key, None)

    def __iter__(self) -> Iterator[K]:
        """Return the keys as they are now, oldest first."""
        with self._lock:
            return iter(tuple(self._entries))
