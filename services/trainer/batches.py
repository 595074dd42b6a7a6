"""Which examples make a batch, and in which order: the part of training that a replay must repeat.

Order: partitions are merged by the time of the label, then by partition and offset. On a log that does not grow, the
sequence of batches is a function of the log and of where reading began: a full batch is taken only when every partition
either has a whole batch waiting or was read to its end. On a growing log, what happens to be there decides, so every
batch's end is written down (`Batch.ends`) and goes into the checkpoint: read up to the same ends and merge, and the
same batches come again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from heapq import merge
from itertools import chain, islice, pairwise
from typing import Any, NamedTuple

from headrace.contracts.records import Example

STALL_S = 5.0
"""Seconds after which a partition that neither answers nor is at its end, say without a leader, is not waited for."""


class Item(NamedTuple):
    """An example as it waits, ordered by its first three fields.

    `message` is its record, in case it becomes a dead letter.
    """

    label_ms: int
    partition: int
    offset: int
    example: Example[Any, Any]
    message: Any = None


new_item = partial(tuple.__new__, Item)
"""An Item from its five fields in a tuple, without a call of Python code."""


class Batch(NamedTuple):
    """Examples in their order, and the next offset of every partition once they are learned from."""

    items: list[Item]
    ends: dict[int, int]


def merged(queues: Mapping[int, Iterable[Item]], most: int | None = None) -> list[Item]:
    """The first `most` items of several partitions' items: always the least of the heads."""
    heads = [list(islice(queue, most)) for queue in queues.values()]
    if all(left.label_ms <= right.label_ms for head in heads for left, right in pairwise(head)):
        return sorted(chain.from_iterable(heads))[
            :most
        ]  # the same, since labels' times rise, and several times as fast
    return list(islice(merge(*heads), most))


class Batcher:
    """Collects examples and forms batches.

    Args:
        positions: partition → next offset to read.
        size: examples in a full batch.
        max_wait_s: after which what is there makes a partial batch.
        clock: monotonic seconds.
    """

    def __init__(self, positions: Mapping[int, int], size: int, max_wait_s: float, clock: Callable[[], float]) -> None:
        self._size, self._max_wait_s, self._clock = size, max_wait_s, clock
        self._queues: dict[int, deque[Item]] = {p: deque() for p in sorted(positions)}
        self._read, self._trained = dict(positions), dict(positions)
        self._at_end: set[int] = set()
        self._since: float | None = None

    @property
    def positions(self) -> dict[int, int]:
        """The next offset of every partition after the batches taken so far."""
        return dict(self._trained)

    @property
    def waiting(self) -> int:
        """Examples not in a batch yet."""
        return sum(map(len, self._queues.values()))

    def backlog(self, partition: int) -> int:
        """Examples of one partition not in a batch yet."""
        return len(self._queues[partition])

    def add(self, partition: int, items: Sequence[Item], read_to: int) -> None:
        """Take the next examples of a partition, which is now read up to `read_to`, undecodable records included."""
        self._queues[partition].extend(items)
        self._read[partition] = read_to
        self._at_end.discard(partition)
        if self._since is None and items:
            self._since = self._clock()
        if not self._queues[partition]:
            self._trained[partition] = read_to

    def at_end(self, partition: int, end: int) -> None:
        """The partition was read to its end, `end`."""
        self._at_end.add(partition)
        self._read[partition] = max(end, self._read[partition])

    def due_in(self) -> float:
        """Seconds until a partial batch is due; 0 if it is, infinity if nothing waits."""
        return float("inf") if self._since is None else max(0.0, self._since + self._max_wait_s - self._clock())

    def take(self, *, partial: bool = False) -> Batch | None:
        """The next batch, if there is one: full, or partial when it is due, or (`partial`) at once."""
        if self._since is None:
            return None
        due = partial or self.due_in() == 0.0
        if self.waiting < self._size and not due:
            return None
        if not self._settled() and not partial and self._clock() - self._since < self._max_wait_s + STALL_S:
            return None
        return self._cut()

    def _settled(self) -> bool:
        """Whether nothing that is still to be read could belong into the next batch."""
        return all(p in self._at_end or len(queue) >= self._size for p, queue in self._queues.items())

    def _cut(self) -> Batch:
        items = merged(self._queues, self._size)
        for item in items:
            self._queues[item.partition].popleft()
            self._trained[item.partition] = item.offset + 1
        for partition, queue in self._queues.items():
            if not queue:
                self._trained[partition] = self._read[partition]
        self._since = self._clock() if self.waiting else None
        return Batch(items, dict(self._trained))
