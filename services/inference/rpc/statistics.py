"""What the protocol's statistics and the role's metrics count, since this process started.

They are the model's over all its versions: a version lives for seconds here, and a counter that starts again with each
would tell nobody anything. Times are nanoseconds. Only the event loop's thread counts, so that no lock is taken for a
request; other threads may read at any time.
"""

import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.runtime.metrics import LATENCY_BUCKETS, SIZE_BUCKETS

PHASE_BUCKETS = (0.00001, 0.00002, 0.00005, 0.0001, 0.0002, *LATENCY_BUCKETS)


@dataclass(slots=True)
class Duration:
    """How often, and for how long in total."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Count one more."""
        self.count += 1
        self.ns += ns

    def as_dict(self) -> dict[str, int]:
        """As the protocol writes it."""
        return {"count": self.count, "ns": self.ns}


class Histogram:
    """Counts of values by upper bounds, the last of which is infinite."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(b for b in bounds if b != float("inf"))
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[str, float]]:
        """As Prometheus has them: an upper bound, and how many values are at most that."""
        total, found = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), list(self.counts), strict=True):
            total += count
            found.append((bound, float(total)))
        return found


@dataclass(slots=True)
class Execution:
    """One execution's time in ns: making events and features, the network, making the answers; and its events."""

    started: int
    compute_input: int
    compute_infer: int
    compute_output: int
    events: int
    counted: bool = False


@dataclass(slots=True)
class _Batch:
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)

    def add(self, execution: Execution) -> None:
        self.compute_input.add(execution.compute_input)
        self.compute_infer.add(execution.compute_infer)
        self.compute_output.add(execution.compute_output)


class Statistics:
    """Counts requests and executions."""

    def __init__(self) -> None:
        self.success, self.fail, self.queue = Duration(), Duration(), Duration()
        self.cache_hit, self.cache_miss = Duration(), Duration()
        self.compute = _Batch()
        self.inference_count = 0
        self.execution_count = 0
        self.last_inference_ms = 0
        self.seconds, self.events = Histogram(LATENCY_BUCKETS), Histogram(SIZE_BUCKETS)
        self.batch_events = Histogram(SIZE_BUCKETS)
        self.phases = {
            phase: Histogram(PHASE_BUCKETS) for phase in ("queue", "compute_input", "compute_infer", "compute_output")
        }
        self._batches: dict[int, _Batch] = {}

    def succeeded(self, total_ns: int, queue_ns: int, execution: Execution, events: int) -> None:
        """One request of `events` events was answered by an execution, which may be other requests' too."""
        self.success.add(total_ns)
        self.queue.add(queue_ns)
        self.compute.add(execution)
        self.inference_count += events
        self.seconds.observe(total_ns * 1e-9)
        self.events.observe(events)
        self.phases["queue"].observe(queue_ns * 1e-9)
        if not execution.counted:
            execution.counted = True
            self._executed(execution)

    def found(self, total_ns: int, lookup_ns: int, events: int) -> None:
        """One request of `events` events was answered from the response cache; nothing was executed."""
        self.success.add(total_ns)
        self.queue.add(0)
        self.cache_hit.add(lookup_ns)
        self.seconds.observe(total_ns * 1e-9)
        self.events.observe(events)

    def _executed(self, execution: Execution) -> None:
        self.execution_count += 1
        self.last_inference_ms = time.time_ns() // 1_000_000
        batch = self._batches.get(execution.events)
        if batch is None:
            batch = self._batches[execution.events] = _Batch()
        batch.add(execution)
        self.batch_events.observe(execution.events)
        self.phases["compute_input"].observe(execution.compute_input * 1e-9)
        self.phases["compute_infer"].observe(execution.compute_infer * 1e-9)
        self.phases["compute_output"].observe(execution.compute_output * 1e-9)

    def failed(self, total_ns: int) -> None:
        """One request was answered with an error."""
        self.fail.add(total_ns)
        self.seconds.observe(total_ns * 1e-9)

    def as_dict(self, model: str, version: int) -> dict[str, Any]:
        """A ModelStatistics, under the version that is live."""
        return {
            "name": model,
            "version": str(version),
            "last_inference": self.last_inference_ms,
            "inference_count": self.inference_count,
            "execution_count": self.execution_count,
            "inference_stats": {
                **{name: getattr(self, name).as_dict() for name in ("success", "fail", "queue")},
                **_compute(self.compute),
                "cache_hit": self.cache_hit.as_dict(),
                "cache_miss": self.cache_miss.as_dict(),
            },
            "batch_stats": [{"batch_size": size, **_compute(batch)} for size, batch in sorted(self._batches.items())],
            "memory_usage": [],
        }


def _compute(batch: _Batch) -> dict[str, dict[str, int]]:
    names = ("compute_input", "compute_infer", "compute_output")
    return {name: getattr(batch, name).as_dict() for name in names}
