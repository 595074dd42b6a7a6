"""What the protocol's statistics count, since this process started.

They are the model's over all its versions: a version lives for seconds here, and a counter that starts again with each
would tell nobody anything. Times are nanoseconds.
"""

import threading
import time
from dataclasses import dataclass, field
from typing import Any


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


@dataclass(frozen=True, slots=True)
class Phases:
    """Where one execution's time went, in ns: waiting for the worker, making features, the network, making the answer."""

    queue: int
    compute_input: int
    compute_infer: int
    compute_output: int


@dataclass(slots=True)
class _Batch:
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)


class Statistics:
    """Counts requests. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.success, self.fail, self.queue = Duration(), Duration(), Duration()
        self.compute_input, self.compute_infer, self.compute_output = Duration(), Duration(), Duration()
        self.inference_count = 0
        self.execution_count = 0
        self.last_inference_ms = 0
        self._batches: dict[int, _Batch] = {}

    def succeeded(self, total_ns: int, phases: Phases, events: int) -> None:
        """One request of `events` events was answered, in an execution of its own."""
        with self._lock:
            self.success.add(total_ns)
            self.queue.add(phases.queue)
            self.inference_count += events
            self.execution_count += 1
            self.last_inference_ms = time.time_ns() // 1_000_000
            batch = self._batches.get(events)
            if batch is None:
                batch = self._batches[events] = _Batch()
            for one in (self, batch):
                one.compute_input.add(phases.compute_input)
                one.compute_infer.add(phases.compute_infer)
                one.compute_output.add(phases.compute_output)

    def failed(self, total_ns: int) -> None:
        """One request was not answered."""
        with self._lock:
            self.fail.add(total_ns)

    def as_dict(self, model: str, version: int) -> dict[str, Any]:
        """A ModelStatistics, under the version that is live."""
        with self._lock:
            durations = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
            nothing = Duration().as_dict()
            return {
                "name": model,
                "version": str(version),
                "last_inference": self.last_inference_ms,
                "inference_count": self.inference_count,
                "execution_count": self.execution_count,
                "inference_stats": {
                    **{name: getattr(self, name).as_dict() for name in durations},
                    "cache_hit": nothing,
                    "cache_miss": nothing,
                },
                "batch_stats": [
                    {"batch_size": size, **{name: getattr(batch, name).as_dict() for name in durations[3:]}}
                    for size, batch in sorted(self._batches.items())
                ],
                "memory_usage": [],
            }
