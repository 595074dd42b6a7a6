"""Sets of offsets in a few bytes, and the audit of the sink: events with two predictions, events without any."""

from bisect import bisect_right


class OffsetSet:
    """A set of offsets as disjoint half-open intervals: one interval if a partition is read in order, however long."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, offset: int) -> bool:
        at = bisect_right(self._starts, offset) - 1
        return at >= 0 and offset < self._ends[at]

    @property
    def intervals(self) -> list[tuple[int, int]]:
        """The intervals (first, after the last), ascending."""
        return list(zip(self._starts, self._ends, strict=True))

    @property
    def low(self) -> int:
        """The lowest offset; 0 of an empty set."""
        return self._starts[0] if self._starts else 0

    @property
    def high(self) -> int:
        """One past the highest offset; 0 of an empty set."""
        return self._ends[-1] if self._ends else 0

    def add(self, offset: int) -> bool:
        """Add one offset; False if it was there already."""
        starts, ends = self._starts, self._ends
        if ends and offset == ends[-1]:  # nearly always, since partitions are read in order
            ends[-1] += 1
            self._size += 1
            return True
        at = bisect_right(starts, offset) - 1
        if at >= 0 and offset < ends[at]:
            return False
        self._size += 1
        joins_left = at >= 0 and ends[at] == offset
        joins_right = at + 1 < len(starts) and starts[at + 1] == offset + 1
        if joins_left and joins_right:
            ends[at] = ends.pop(at + 1)
            del starts[at + 1]
        elif joins_left:
            ends[at] += 1
        elif joins_right:
            starts[at + 1] = offset
        else:
            starts.insert(at + 1, offset)
            ends.insert(at + 1, offset + 1)
        return True

    def count(self, low: int, high: int) -> int:
        """How many offsets lie in [low, high)."""
        total = 0
        for i in range(max(bisect_right(self._starts, low) - 1, 0), len(self._starts)):
            if self._starts[i] >= high:
                break
            total += max(0, min(high, self._ends[i]) - max(low, self._starts[i]))
        return total


class SinkAudit:
    """Checks by offsets that every event has exactly one prediction or dead letter.

    Events, predictions and dead letters may come in any order relative to each other; the counts are right once all
    three were read up to the same moment.
    """

    def __init__(self) -> None:
        self._events: dict[int, OffsetSet] = {}
        self._answers: dict[int, OffsetSet] = {}
        self.duplicates = 0

    def event(self, partition: int, offset: int) -> bool:
        """Take an event; False if it was read before."""
        return _of(self._events, partition).add(offset)

    def prediction(self, partition: int, offset: int) -> bool:
        """Take the prediction of the event at `partition` and `offset`; a second answer is counted, and False."""
        if _of(self._answers, partition).add(offset):
            return True
        self.duplicates += 1
        return False

    def dead_letter(self, partition: int, offset: int) -> None:
        """Take the dead letter of the event at `partition` and `offset`; several readers may each write one."""
        _of(self._answers, partition).add(offset)

    @property
    def missing(self) -> int:
        """Events without an answer below the highest answered event of their partition."""
        total = 0
        for partition, events in self._events.items():
            answers = _of(self._answers, partition)
            low, high = events.low, min(answers.high, events.high)
            total += max(0, events.count(low, high) - answers.count(low, high))
        return total

    @property
    def unpredicted(self) -> int:
        """Events without an answer so far."""
        total = 0
        for partition, events in self._events.items():
            low, high = events.low, events.high
            total += max(0, len(events) - _of(self._answers, partition).count(low, high))
        return total


def _of(sets: dict[int, OffsetSet], partition: int) -> OffsetSet:
    found = sets.get(partition)
    if found is None:
        found = sets[partition] = OffsetSet()
    return found
