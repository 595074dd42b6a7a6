"""Token buckets: so many requests a second for long, and so many at once."""

import math
import time
from collections.abc import Callable

from headrace.runtime.access.errors import TooManyRequests
from headrace.runtime.access.keys import Principal


class Rates:
    """Every principal's bucket in this process. A role of N processes lets through N times a key's rate."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, principal: Principal) -> None:
        """Count one request.

        Raises:
            TooManyRequests: the rate is used up; says after how many seconds to come again.
        """
        if principal.rate <= 0:
            return
        now, size = self._clock(), principal.burst or max(1.0, math.ceil(principal.rate))
        left, since = self._buckets.get(principal.id, (float(size), now))
        left = min(size, left + (now - since) * principal.rate)
        if left < 1.0:
            self._buckets[principal.id] = (left, now)
            said = f"{principal.name} may make {principal.rate:g} requests a second"
            raise TooManyRequests(said, (1.0 - left) / principal.rate)
        self._buckets[principal.id] = (left - 1.0, now)
