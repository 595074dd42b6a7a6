"""Volume and latency, by intervals of the records' own time: too much, too little, too slow.

Each interval is compared with the ones before it: with their median, by how much they vary (the median absolute
deviation of logarithms), and by a factor that matters. So what follows the hour of the day moves the median with it,
and a change within a few intervals stands out. The records' timestamps decide which interval they are of: reading a
backlog fast is no high volume.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
KEPT = 60
"""Intervals that are compared with."""
LEARN = 12
"""Fewer are none."""
IN_A_ROW = 3
"""Intervals in a row that start an alert, and that end it."""
LEAST = 50
"""Records in the median interval, of fewer of which a fall says nothing."""
SIGMAS = 6.0
_OPEN_MOST = 64
LATENCY_EDGES: Floats = np.geomspace(1e-4, 1e4, 161)
"""Seconds; a quantile is told within 12 %."""


@dataclass(frozen=True)
class Odd:
    """A rate started or stopped being odd: its value, what is usual, and the limit that it has passed."""

    firing: bool
    value: float
    usual: float
    limit: float


class Baseline:
    """The last intervals' values, and whether the next ones are odd.

    Args:
        factor: a value so many times the median, or below it by the same factor where `falls`, matters.
        falls: whether a fall is odd too.
        floor: values below are never odd by being high.
    """

    def __init__(self, factor: float, *, falls: bool, floor: float = 0.0) -> None:
        self._factor, self._falls, self._floor = factor, falls, floor
        self._values: deque[float] = deque(maxlen=KEPT)
        self._odd = self._usual = 0
        self._pending: list[float] = []
        self.firing = False
        self.last = 0.0

    @property
    def usual(self) -> float | None:
        """The median of the intervals; None while there are too few."""
        return float(np.median(self._values)) if len(self._values) >= LEARN else None

    def limits(self) -> tuple[float, float] | None:
        """Below the first and above the second a value is odd; None while there are too few."""
        usual = self.usual
        if usual is None:
            return None
        logs = np.log(np.maximum(self._values, 1e-9))
        wide = SIGMAS * 1.4826 * float(np.median(np.abs(logs - np.median(logs))))
        times = max(self._factor, float(np.exp(wide)))
        low = usual / times if self._falls and usual >= LEAST else -1.0
        return low, max(usual * times, self._floor, LEAST if self._falls else 0.0)

    def take(self, value: float) -> Odd | None:
        """Take the next interval's value and return what changed. Odd ones are not compared with."""
        self.last = value
        limits = self.limits()
        if limits is None:
            self._values.append(value)
            return None
        low, high = limits
        if low <= value <= high:
            self._odd, self._usual = 0, self._usual + 1
            if not self.firing:
                for pending in self._pending:  # it was a short excursion
                    self._values.append(pending)
                self._pending.clear()
                self._values.append(value)
        else:
            self._odd, self._usual = self._odd + 1, 0
            self._pending.append(value)
        return self._changed(value, low if value < low else high)

    def _changed(self, value: float, limit: float) -> Odd | None:
        usual = self.usual or 0.0
        if not self.firing and self._odd >= IN_A_ROW:
            self.firing = True
            return Odd(True, value, usual, limit)  # noqa: FBT003 - the value is the point
        if self.firing and (self._usual >= IN_A_ROW or self._odd >= KEPT):
            if self._odd >= KEPT:  # it has lasted: this is what is usual now
                self._values.extend(self._pending)
            self.firing = False
            self._pending.clear()
            return Odd(False, value, self.usual or 0.0, limit)  # noqa: FBT003
        del self._pending[:-KEPT]
        return None

    def state(self) -> dict[str, Any]:
        """What `restore` goes on from."""
        return {
            "values": list(self._values), "odd": self._odd, "usual": self._usual, "pending": list(self._pending),
            "firing": self.firing, "last": self.last,
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._values = deque(state["values"], maxlen=KEPT)
        self._odd, self._usual, self._pending = state["odd"], state["usual"], list(state["pending"])
        self.firing, self.last = state["firing"], state["last"]


class Intervals:
    """Counts of bins by intervals of time, until an interval is over.

    Several partitions are read, none of them in step with the others: an interval is over once everything was read up
    to `slack` intervals after its start.
    """

    def __init__(self, seconds: float, bins: int, slack: int = 2) -> None:
        self.seconds, self._bins, self._slack = seconds, bins, slack
        self._open: dict[int, NDArray[np.int64]] = {}
        self._done = -1
        """The last interval that is over; none before the first record."""

    def add(self, at: Floats, places: NDArray[np.int64]) -> None:
        """Take records: times in seconds [N] and the bin of each [N]. Those of an interval that is over are dropped."""
        if not len(at):
            return
        which = np.floor(at / self.seconds).astype(np.int64)
        for interval in np.unique(which).tolist():
            if interval <= self._done:
                continue
            counts = np.bincount(places[which == interval], minlength=self._bins)
            self._open[interval] = self._open[interval] + counts if interval in self._open else counts

    def over(self, until: float | None) -> list[tuple[int, NDArray[np.int64]]]:
        """The intervals that are over, oldest first, empty ones between them too.

        `until` is the time before which everything was read; None while that is not known. The very first interval,
        which began before the first record, is left out.
        """
        if until is None or (not self._open and self._done < 0):
            return []
        last = int(until // self.seconds) - self._slack
        if self._done < 0:
            first = min(self._open)
            if last < first:
                return []
            del self._open[first]
            self._done = first
        first = max(self._done + 1, last - _OPEN_MOST)  # a pause of hours is not counted out interval by interval
        empty = np.zeros(self._bins, dtype=np.int64)
        found = [(interval, self._open.pop(interval, empty)) for interval in range(first, last + 1)]
        self._done = max(self._done, last)
        for late in [interval for interval in self._open if interval <= self._done]:
            del self._open[late]
        return found

    def state(self) -> dict[str, Any]:
        """What `restore` goes on from."""
        return {"open": [[i, counts.tolist()] for i, counts in self._open.items()], "done": self._done}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._open = {i: np.array(counts, dtype=np.int64) for i, counts in state["open"]}
        self._done = state["done"]


def latency_places(seconds: Floats) -> NDArray[np.int64]:
    """The bin of each latency."""
    return np.searchsorted(LATENCY_EDGES, seconds)


def latency_quantile(counts: NDArray[np.int64], share: float) -> float | None:
    """A quantile, in seconds, of counts by `latency_places`; None of none."""
    total = int(counts.sum())
    if not total:
        return None
    place = int(np.searchsorted(np.cumsum(counts), share * total))
    return float(LATENCY_EDGES[min(place, len(LATENCY_EDGES) - 1)])
