"""The join of one partition's events with its labels, as a state machine that knows no Kafka.

What is decided depends on the two logs alone, never on how reads of them interleave, so that a restart, a replay and a
rebalance all decide the same:

- A record's time is its own timestamp, or a span of time where that is out of bounds (`services.ingest.join.clock`). So
  a wrong timestamp can cost its own record the pair, and no other.
- A record is a duplicate if its key was seen in the same log within two windows before. The first one is kept.
- An event and a label of the same key, neither a duplicate, belong together if their times are at most one window
  apart. Where one has several candidates, the oldest two of the key are joined first.
- An event that the low time of the labels has passed by more than a window will never get a label: it has expired. And
  vice versa.

A log without new records holds back its low time. `raise_low` lets the other log's time count for it: the caller has
made sure that it has read the log to its end. That is the one decision that is not in the logs, so it is committed with
the offsets, and a rebuild repeats it at the same offset.

The state is memory only; the log is its backup. With every offset the join commits where reading must begin to rebuild
it, and the clock's state there (`Resume`). After a crash it reads from there up to the committed offsets with nothing
emitted; only when both sides are there does the join go on. (Going on with one side early would commit offsets above
pairs that were not emitted yet.)
"""

from collections.abc import Sequence

from services.ingest.join.clock import NEVER
from services.ingest.join.matching import Matching
from services.ingest.join.retention import Retention
from services.ingest.join.rules import (
    EVENTS,
    LABELS,
    SIDES,
    Counts,
    KeyOf,
    Output,
    Pair,
    Rejected,
    Rules,
    UnmatchedError,
)
from services.ingest.join.side import Resume, Side
from services.ingest.join.state.disk import Disk
from services.ingest.join.state.records import Record, Records
from services.ingest.join.state.seen import OPEN_PARTS

__all__ = ["EVENTS", "LABELS", "NEVER", "SIDES", "Counts", "KeyOf", "Output", "Pair", "PairJoin", "Record", "Records",
           "Rejected", "Resume", "Rules", "UnmatchedError"]  # fmt: skip

FINE_PARTS, MOST_DEFAULTS = 256, 20_000
"""Where expired events make pairs, buckets of open ones in a window, and how many may expire by one `raise_low`."""


class PairJoin:
    """Joins one partition.

    Args:
        rules: how; a number is a window in ms.
        events: where the events were committed.
        labels: where the labels were committed.
        key_of_event: see `KeyOf`.
        key_of_label: see `KeyOf`.
        rebuild: False if reading starts at the committed offsets, because there is nothing before them.
        max_bytes: what the state may take in memory. Beyond, records or keys are spilled, the oldest first. Without a
            disk, or where it is full, records are given up (`Counts.evicted`), or keys (`Counts.forgotten`).
        disk: where to spill to.
    """

    def __init__(
        self, rules: Rules | int, events: Resume, labels: Resume, key_of_event: KeyOf, key_of_label: KeyOf, *,
        rebuild: bool = True, max_bytes: int = 1 << 30, disk: Disk | None = None,
    ) -> None:  # fmt: skip
        self.rules = Rules(rules) if isinstance(rules, int) else rules
        self.rebuilding = rebuild
        window, skew, parts = self.rules.window_ms, self.rules.skew, FINE_PARTS if self.rules.defaults else OPEN_PARTS
        self._sides = (Side(events, key_of_event, window, skew, parts), Side(labels, key_of_label, window, skew))
        self._matching = Matching(self.rules, self._sides)
        self._retention = Retention(self.rules, self._sides, max_bytes, disk)

    @property
    def counts(self) -> Counts:
        """What happened since somebody took this away by setting another."""
        return self._matching.counts

    @counts.setter
    def counts(self, counts: Counts) -> None:
        self._matching.counts = counts

    @property
    def max_bytes(self) -> int:
        """What the state may take in memory."""
        return self._retention.max_bytes

    @max_bytes.setter
    def max_bytes(self, max_bytes: int) -> None:
        self._retention.max_bytes = max_bytes

    def resume(self, side: int) -> Resume:
        """What to commit for this side: everything below was processed and, once `Output` is committed, emitted."""
        own, other = self._sides[side], self._sides[1 - side]
        return own.committed if self.rebuilding else own.resume(min(own.seen.first_offset, other.seen.partner_offset))

    def waiting(self, side: int) -> int:
        """How many records wait for their other half."""
        return len(self._sides[side].open)

    def seen(self, side: int) -> int:
        """How many keys are remembered, to tell duplicates."""
        return len(self._sides[side].seen)

    def bytes_held(self, side: int) -> int:
        """About what this side's state takes in memory."""
        return self._sides[side].bytes_held

    def hot_bytes(self, side: int) -> int:
        """The part of it that could be spilled."""
        return self._sides[side].hot_bytes

    def low(self, side: int) -> int:
        """The low time of a log in ms; NEVER at its beginning."""
        return self._sides[side].clock.low

    def read_to(self, side: int) -> int:
        """The offset up to which a log was read, records that no reader sees included."""
        return self._sides[side].read_to

    def wants(self, side: int) -> bool:
        """False while this side is rebuilt and waits for the other: reading on would only fill memory."""
        return not self.rebuilding or not self._sides[side].reached

    def feed(self, side: int, records: Sequence[Record] | Records) -> Output:
        """Take the next records of one log, in their order."""
        output, own = Output(), self._sides[side]
        if not len(records):
            return output
        columns = Records.of(records)
        if not self.rebuilding:
            self._process(side, columns, output)
        else:
            below = sum(offset < own.committed.offset for offset in columns.offsets)
            self._process(side, columns[:below], Output())
            own.held.append(columns[below:])
        self.reach(side, columns.offsets[-1] + 1, output)
        return output

    def reach(self, side: int, position: int, output: Output | None = None) -> Output:
        """Say that this log was read up to `position`: its last records may be ones that no reader sees."""
        output = output if output is not None else Output()
        own = self._sides[side]
        own.read_to = max(own.read_to, position)
        own.reached = own.reached or position >= own.committed.offset
        if self.rebuilding and all(s.reached for s in self._sides):
            self._go_on(output)
        return output

    def lagging(self) -> int | None:
        """The side whose low time is so far behind the other's that `raise_low` is worth while; None: neither.

        A log without any timestamp is left alone: its records are joined by their key until the memory is full. An
        empty one is not.
        """
        if self.rebuilding:
            return None
        for side in SIDES:
            if len(self._sides[side].seen) and self._sides[side].clock.recent == NEVER:
                continue
            wanted = self.low(1 - side) - self.rules.skew
            if wanted > 0 and wanted >= self.low(side) + max(1, self.rules.window_ms // 4):
                return side
        return None

    def raise_low(self, side: int) -> Output:
        """Let the other log's low time count for this log, which was read to its end: none of its records is missing.

        From here on its records' times are at least the other log's low time less `skew_ms`.
        """
        output, low = Output(), self.low(1 - side) - self.rules.skew
        if self.rules.defaults and side == LABELS:
            low = self._sides[EVENTS].open.low_that_expires(MOST_DEFAULTS, low)
        self._sides[side].raise_low(low)
        self._retention.forget(output, self.counts)
        return output

    def _go_on(self, output: Output) -> None:
        for own in self._sides:
            own.position = own.committed.offset
            own.repeat_raises(own.position)
        self._retention.forget(Output(), self.counts)
        self.counts, self.rebuilding = Counts(), False
        for side in SIDES:
            held, self._sides[side].held = self._sides[side].held, []
            for records in held:
                self._process(side, records, output)

    def _process(self, side: int, records: Records, output: Output) -> None:
        own, start = self._sides[side], 0
        for offset in own.raises_due():
            end = next((i for i, at in enumerate(records.offsets) if at >= offset), len(records))
            if end == len(records):
                break
            self._matching.join(side, records[start:end], output)
            own.repeat_raises(offset)
            start = end
        self._matching.join(side, records[start:] if start else records, output)
        self._retention.forget(output, self.counts)
