"""Events and labels of several partitions, merged in the order of time.

A backlog is read partition by partition, which is not the order in which the records were written. A baseline must not
learn from a label before it predicts an older event.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Generic, TypeVar

T = TypeVar("T")
Lane = tuple[str, int]
_TIME = itemgetter(0)


class TimeMerge(Generic[T]):
    """Holds items back until no lane can bring an older one.

    A lane is a (topic, partition), whose items are about in the order of time. A lane that is read to its end holds
    nothing back. At most `limit` items are held; of more, the oldest go on regardless.
    """

    def __init__(self, lanes: Iterable[Lane], limit: int = 100_000) -> None:
        self._newest: dict[Lane, float] = dict.fromkeys(lanes, float("-inf"))
        self._at_end: set[Lane] = set()
        self._held: list[tuple[float, T]] = []
        self._limit = limit

    def __len__(self) -> int:
        return len(self._held)

    def put(self, lane: Lane, at: float, item: T) -> None:
        """Add an item of time `at`."""
        self._at_end.discard(lane)
        if at > self._newest.get(lane, float("-inf")):
            self._newest[lane] = at
        self._held.append((at, item))

    def at_end(self, lane: Lane) -> None:
        """The lane is read to its end."""
        self._at_end.add(lane)

    def ready(self) -> Iterator[T]:
        """Take out what can go on, oldest first."""
        watermark = min((at for lane, at in self._newest.items() if lane not in self._at_end), default=float("inf"))
        self._held.sort(
            key=_TIME
        )  # stable, so ties stay in the order of arrival; fast, since each lane is nearly sorted
        ready = max(bisect_right(self._held, watermark, key=_TIME), len(self._held) - self._limit)
        going, self._held = self._held[:ready], self._held[ready:]
        for _, item in going:
            yield item
