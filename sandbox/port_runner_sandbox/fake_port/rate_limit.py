"""A limit of requests within a time, with Port's headers."""

import math
import time
from dataclasses import dataclass
from typing import Literal


@dataclass
class RateLimit:
    """A limit for all requests: `limit` of them within each period.

    Port's documentation calls `x-ratelimit-reset` the time of the reset in seconds since the epoch. Older pages and
    Port's own clients take it for the seconds that are left. `reset` chooses, because a client must cope with both.
    """

    limit: int
    period_seconds: float = 300.0
    reset: Literal["epoch", "seconds"] = "epoch"
    _used: int = 0
    _ends_at: float = 0.0

    def count(self) -> tuple[bool, dict[str, str]]:
        """Count a request. Return whether it is within the limit, and the headers of its answer."""
        moment = time.time()
        if moment >= self._ends_at:
            self._used, self._ends_at = 0, moment + self.period_seconds
        self._used += 1
        seconds = math.ceil(self._ends_at - moment)
        headers = {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-period": str(math.ceil(self.period_seconds)),
            "x-ratelimit-remaining": str(max(self.limit - self._used, 0)),
            "x-ratelimit-reset": str(seconds if self.reset == "seconds" else math.ceil(self._ends_at)),
        }
        if self._used <= self.limit:
            return True, headers
        return False, {**headers, "retry-after": str(seconds)}
