"""Volume and latency of a pipeline, by intervals of the records' own time."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.drift.rates import LATENCY_EDGES, Baseline, Intervals, Odd, latency_places, latency_quantile

Floats = NDArray[np.float64]
P99 = 0.99


class FlowLimits(NamedTuple):
    """Of `drift:` in pipeline.yaml."""

    interval_s: float = 10.0
    volume: float = 3.0
    latency: float = 3.0
    latency_floor_s: float = 0.25


class Flow:
    """How many events come, and how long their predictions take."""

    def __init__(self, limits: FlowLimits) -> None:
        self._limits = limits
        self._events = Intervals(limits.interval_s, 1)
        self._latencies = Intervals(limits.interval_s, len(LATENCY_EDGES) + 1)
        self.volume = Baseline(limits.volume, falls=True)
        self.latency = Baseline(limits.latency, falls=False, floor=limits.latency_floor_s)

    def events(self, at: Floats) -> None:
        """Take events, by their timestamps in seconds."""
        self._events.add(at, np.zeros(len(at), dtype=np.int64))

    def predictions(self, at: Floats, latency: Floats) -> None:
        """Take predictions: when they were made, and how long after the event, in seconds."""
        self._latencies.add(at, latency_places(np.maximum(latency, 0.0)))

    def tick(self, read_until: float | None) -> tuple[list[Odd], list[Odd]]:
        """What changed, of volume and of latency. Everything before `read_until` was read; None: that is not known."""
        volume = [self.volume.take(float(counts[0])) for _, counts in self._events.over(read_until)]
        quantiles = [latency_quantile(counts, P99) for _, counts in self._latencies.over(read_until)]
        latency = [self.latency.take(seconds) for seconds in quantiles if seconds is not None]
        return [odd for odd in volume if odd is not None], [odd for odd in latency if odd is not None]

    def per_second(self, value: float | None) -> float | None:
        """A count of an interval as a rate."""
        return None if value is None else value / self._limits.interval_s

    def shown(self) -> dict[str, Any]:
        """For REST."""
        limits = self.volume.limits()
        high = self.latency.limits()
        return {
            "volume": {
                "per_second": self.per_second(self.volume.last), "usual": self.per_second(self.volume.usual),
                "low": self.per_second(max(0.0, limits[0])) if limits else None,
                "high": self.per_second(limits[1]) if limits else None,
                "state": _state(self.volume), "interval_s": self._limits.interval_s,
            },
            "latency": {
                "p99_s": self.latency.last, "usual_s": self.latency.usual, "limit_s": high[1] if high else None,
                "state": _state(self.latency),
            },
        }  # fmt: skip

    def state(self) -> dict[str, Any]:
        """What `restore` goes on from."""
        return {
            "events": self._events.state(), "latencies": self._latencies.state(), "volume": self.volume.state(),
            "latency": self.latency.state(), "interval_s": self._limits.interval_s,
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            ValueError: it is of other intervals.
        """
        if state["interval_s"] != self._limits.interval_s:
            raise ValueError("the intervals are other ones")
        self._events.restore(state["events"])
        self._latencies.restore(state["latencies"])
        self.volume.restore(state["volume"])
        self.latency.restore(state["latency"])


def _state(baseline: Baseline) -> str:
    if baseline.usual is None:
        return "learning"
    return "odd" if baseline.firing else "usual"
