"""The join of one partition's events with its labels, as a state machine that knows no Kafka.

What is decided depends on the two logs alone, never on how reads of them interleave, so that a restart, a replay and a
rebalance all decide the same:

- A record's time is the greatest timestamp in its partition up to and including it: its partition's watermark.
- A record is a duplicate if its key was seen in the same log within two windows before. The first one wins.
- An event and a label of the same key, neither a duplicate, belong together if their times are at most one window
  apart. Two first records of one key are more than two windows apart, so neither side can have a second candidate.
- An event that the labels' watermark has passed by more than a window will never get a label: it has expired. And vice
versa.

The state is memory only; the log is its backup. It is a function of the two prefixes that were processed, so after a
crash it is rebuilt by reading again what lies up to three windows below the committed times, up to the committed
offsets, with nothing emitted; only when both sides are there does the join go on. (Going on with one side early would
commit offsets above pairs that were not emitted yet.)
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

EVENTS, LABELS = 0, 1
SIDES = (EVENTS, LABELS)
NEVER = -1
"""The watermark of a log in which nothing was read yet."""

KeyOf = Callable[[bytes], str]
"""A record's key from its value; raises ValueError (as msgspec's errors are) if the value does not fit the schema."""


class Record(NamedTuple):
    """A record as it came from the log; `message` is the whole of it, for whoever sends it on."""

    offset: int
    timestamp_ms: int
    value: bytes
    message: Any = None


class Pair(NamedTuple):
    """An event with its label."""

    key: str
    event: Record
    label: Record


class Rejected(NamedTuple):
    """A record that could not be decoded."""

    side: int
    record: Record
    error: Exception


class Resume(NamedTuple):
    """Where one side's log was committed: the next offset, and the watermark then."""

    offset: int
    watermark: int = NEVER


@dataclass
class Counts:
    """What happened, for metrics; nothing is counted twice by a rebuild."""

    matched: int = 0
    duplicates: int = 0
    expired: list[int] = field(default_factory=lambda: [0, 0])
    evicted: int = 0


@dataclass
class Output:
    """What is to be sent, in one transaction with the positions."""

    pairs: list[Pair] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


class _Waiting:
    """A record without its other half yet; `older` is another one of the same key."""

    __slots__ = ("key", "older", "record", "time")

    def __init__(self, key: str, time: int, record: Record, older: "_Waiting | None") -> None:
        self.key = key
        self.time = time
        self.record: Record | None = record
        self.older = older


class _Side:
    """One log's part of the state."""

    def __init__(self, resume: Resume, key_of: KeyOf) -> None:
        self.key_of = key_of
        self.committed = resume
        self.position = resume.offset
        self.watermark = NEVER
        self.reached = False
        self.held: list[Record] = []
        self.seen: dict[str, int] = {}
        self.seen_order: deque[tuple[int, str]] = deque()
        self.waiting: dict[str, _Waiting] = {}
        self.waiting_order: deque[_Waiting] = deque()

    def remove(self, gone: _Waiting) -> None:
        """Take one out of the chain of its key."""
        gone.record = None
        node: _Waiting | None = self.waiting[gone.key]
        if node is gone:
            if gone.older is None:
                del self.waiting[gone.key]
            else:
                self.waiting[gone.key] = gone.older
            return
        while node is not None and node.older is not gone:
            node = node.older
        if node is not None:
            node.older = gone.older


def reread_from(events: Resume, labels: Resume, window_ms: int) -> int | None:
    """The timestamp from which both logs must be read again to go on from these offsets; None means from their beginning."""
    if NEVER in (events.watermark, labels.watermark):
        return None
    return max(0, min(events.watermark, labels.watermark) - 3 * window_ms)


class PairJoin:
    """Joins one partition.

    Args:
        window_ms: how far apart an event and its label may be.
        events: where the events were committed.
        labels: where the labels were committed.
        key_of_event: see `KeyOf`.
        key_of_label: see `KeyOf`.
        rebuild: False if reading starts at the committed offsets, because there is nothing before them.
        max_waiting: records of one side that may wait for their other half; beyond, the oldest are given up
        (`Counts.evicted`).
    """

    def __init__(
        self, window_ms: int, events: Resume, labels: Resume, key_of_event: KeyOf, key_of_label: KeyOf, *,
        rebuild: bool = True, max_waiting: int = 1_000_000,
    ) -> None:  # fmt: skip
        self.counts = Counts()
        self.rebuilding = rebuild
        self._window = window_ms
        self._max_waiting = max_waiting
        self._sides = (_Side(events, key_of_event), _Side(labels, key_of_label))

    def resume(self, side: int) -> Resume:
        """What to commit for this side: everything below was processed and, once `Output` is committed, emitted."""
        own = self._sides[side]
        return own.committed if self.rebuilding else Resume(own.position, own.watermark)

    def waiting(self, side: int) -> int:
        """How many records wait for their other half."""
        return len(self._sides[side].waiting)

    def seen(self, side: int) -> int:
        """How many keys are remembered, to tell duplicates."""
        return len(self._sides[side].seen)

    def wants(self, side: int) -> bool:
        """False while this side is rebuilt and waits for the other: reading on would only fill memory."""
        return not self.rebuilding or not self._sides[side].reached

    def feed(self, side: int, records: Sequence[Record]) -> Output:
        """Take the next records of one log, in their order."""
        output = Output()
        if not self.rebuilding:
            self._process(side, records, output)
            return output
        own = self._sides[side]
        below = [r for r in records if r.offset < own.committed.offset]
        self._process(side, below, Output())
        own.held.extend(records[len(below) :])
        self.reach(side, records[-1].offset + 1 if records else 0, output)
        return output

    def reach(self, side: int, position: int, output: Output | None = None) -> Output:
        """Say that this log was read up to `position`: its last records may be ones that no reader sees."""
        output = output if output is not None else Output()
        own = self._sides[side]
        own.reached = own.reached or position >= own.committed.offset
        if self.rebuilding and all(s.reached for s in self._sides):
            self._go_on(output)
        return output

    def _go_on(self, output: Output) -> None:
        self.counts = Counts()
        self.rebuilding = False
        for own in self._sides:
            own.position = own.committed.offset
            own.watermark = max(own.watermark, own.committed.watermark)
        for side in SIDES:
            held, self._sides[side].held = self._sides[side].held, []
            self._process(side, held, output)

    def _process(self, side: int, records: Sequence[Record], output: Output) -> None:
        """The hot loop: one pass, locals only."""
        own, other = self._sides[side], self._sides[1 - side]
        watermark, seen, horizon, key_of = own.watermark, own.seen, 2 * self._window, own.key_of
        for record in records:
            watermark = max(watermark, record.timestamp_ms)
            try:
                key = key_of(record.value)
            except ValueError as error:
                output.rejected.append(Rejected(side, record, error))
                continue
            last = seen.get(key)
            seen[key] = watermark
            own.seen_order.append((watermark, key))
            if last is not None and watermark - last <= horizon:
                self.counts.duplicates += 1
                continue
            match = self._match(other, key, watermark)
            if match is None:
                waiting = _Waiting(key, watermark, record, own.waiting.get(key))
                own.waiting[key] = waiting
                own.waiting_order.append(waiting)
            else:
                self.counts.matched += 1
                output.pairs.append(Pair(key, record, match) if side == EVENTS else Pair(key, match, record))
        if records:
            own.watermark, own.position = watermark, records[-1].offset + 1
        self._forget()

    def _match(self, other: _Side, key: str, time: int) -> Record | None:
        node = other.waiting.get(key)
        while node is not None and abs(node.time - time) > self._window:
            node = node.older
        if node is None:
            return None
        record = node.record
        other.remove(node)
        return record

    def _forget(self) -> None:
        """Drop what can match nothing any more. Only memory: no decision depends on when this runs."""
        for side in SIDES:
            own, other = self._sides[side], self._sides[1 - side]
            order, limit = own.waiting_order, other.watermark - self._window
            while order and (order[0].record is None or order[0].time < limit or len(own.waiting) > self._max_waiting):
                node = order.popleft()
                if node.record is not None:
                    own.remove(node)
                    if node.time < limit:
                        self.counts.expired[side] += 1
                    else:
                        self.counts.evicted += 1
            seen_order, seen_limit = own.seen_order, own.watermark - 2 * self._window
            while seen_order and seen_order[0][0] < seen_limit:
                time, key = seen_order.popleft()
                if own.seen.get(key) == time:
                    del own.seen[key]
