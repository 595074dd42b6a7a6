"""Whether a batch is executed on the event loop or handed to a thread.

A handover to a thread and back costs more than a small model's whole execution, and a long execution on the loop
keeps every other request and health check waiting. So a batch whose like took less than the limit runs on the loop.
"""

import resource
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_SIZES = 40  # powers of two of events
_WEIGHT = 0.1
_CLIP = 4.0  # times the limit: one execution that was interrupted says little
_TOO_LONG = 20.0  # times the limit: not again soon
_TRIES, _MOST_TRIES = 3, 4096
_THREAD = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What `work` returns, and the seconds that it kept its thread.

    They are the processor's time where the thread never waited: by the clock it would count that other processes ran.
    """
    waits = resource.getrusage(_THREAD).ru_nvcsw
    started, processor = time.perf_counter(), time.thread_time()
    result = work()
    if resource.getrusage(_THREAD).ru_nvcsw == waits:
        return result, time.thread_time() - processor
    return result, time.perf_counter() - started


class Pace:
    """Learns from executions, by the power of two of their events.

    Args:
        limit_s: seconds that an execution may keep the loop; 0 sends every batch to a thread.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit = limit_s
        self._on_loop: list[float | None] = [None] * _SIZES  # the mean of executions on the loop
        self._light = [0] * _SIZES  # executions in a thread that used little of the processor
        self._wanted = [_TRIES] * _SIZES  # how many of those until the loop is tried

    def on_loop(self, events: int) -> bool:
        """Whether a batch of so many events runs on the loop."""
        mean = self._on_loop[events.bit_length()]
        return mean is not None and mean < self._limit

    def ran_on_loop(self, events: int, seconds: float) -> None:
        """A batch kept the loop so long."""
        size = events.bit_length()
        mean = self._on_loop[size] or 0.0
        mean += _WEIGHT * (min(seconds, _CLIP * self._limit) - mean)
        self._on_loop[size] = seconds if seconds > _TOO_LONG * self._limit else mean
        if not self.on_loop(events):
            self._light[size] = 0
            self._wanted[size] = min(2 * self._wanted[size], _MOST_TRIES)

    def ran_in_thread(self, events: int, processor_s: float) -> None:
        """A batch ran in a thread. What it took by the clock says little there: threads wait for each other."""
        size = events.bit_length()
        self._light[size] = self._light[size] + 1 if processor_s < self._limit / 2 else 0
        if self._light[size] >= self._wanted[size]:
            self._on_loop[size] = min(processor_s, self._limit / 2)
            self._light[size] = 0
