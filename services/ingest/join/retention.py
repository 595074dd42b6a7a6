"""What the join of one partition need not hold any more, and what it cannot hold in memory."""

from services.ingest.join.rules import (
    EVENTS,
    LABELS,
    SIDES,
    Counts,
    OutOfBoundsError,
    Output,
    Pair,
    Rejected,
    Rules,
    UnmatchedError,
)
from services.ingest.join.side import Side
from services.ingest.join.state.disk import Disk
from services.ingest.join.state.open import Expired, Open, OpenRecords
from services.ingest.join.state.seen import SeenKeys

_LEAST_SPILLED = 16
"""A store is spilled that takes at least this part of the memory: small segments would cost more than they free."""


class Retention:
    """Drops what has expired, then spills what exceeds the memory, then gives up what exceeds the disk, oldest first.

    Args:
        rules: what becomes of records that expire.
        sides: events and labels.
        max_bytes: what both may take in memory.
        disk: where to spill to; without it, what exceeds the memory is given up.
    """

    def __init__(self, rules: Rules, sides: tuple[Side, Side], max_bytes: int, disk: Disk | None) -> None:
        self._rules, self._sides, self.max_bytes, self._disk = rules, sides, max_bytes, disk

    def forget(self, output: Output, counts: Counts) -> None:
        """Drop what can match nothing any more.

        No pair of an event with a label depends on when this runs. Defaults and dead letters do: it runs after every
        change of a low time, before a commit, so all that has expired at a commit was in that commit or before.
        """
        for side in SIDES:
            own, other = self._sides[side], self._sides[1 - side]
            tell = self._rules.defaults if side == EVENTS else self._rules.late == "dead_letter"
            self._expire(side, own.open.expire(other.clock.low, tell=tell), output, counts)
            own.past.expire(other.clock.low, tell=False)
            own.seen.forget(own.clock.low, other.clock.low)
        while sum(own.bytes_held for own in self._sides) > self.max_bytes:
            if not (self._spill() or self._give_up(counts)):
                return

    def _expire(self, side: int, gone: Expired, output: Output, counts: Counts) -> None:
        counts.expired[side] += gone.total
        expired = gone.records
        if side == EVENTS and self._rules.defaults:
            output.pairs += [Pair(key, open_.record, None) for key, open_ in expired]
            counts.defaults += len(expired)
        if self._rules.out_of_bounds == "dead_letter":
            output.rejected += [_out_of_bounds(side, open_) for _, open_ in expired if open_.span.odd]
        if side == LABELS and self._rules.late == "dead_letter":
            known = self._rules.out_of_bounds == "dead_letter"
            output.rejected += [_late(*late) for late in expired if not (known and late[1].span.odd)]

    def stores(self) -> list[OpenRecords | SeenKeys]:
        """All that takes memory."""
        return [store for own in self._sides for store in (own.open, own.past, own.seen)]

    def _spill(self) -> int:
        """Spill the oldest part of what takes most memory; returns how many entries that were."""
        disk, moved = self._disk, 0
        if disk is None or not disk.has_room:
            return 0
        for store in sorted(self.stores(), key=lambda store: store.hot_bytes, reverse=True):
            if not moved and store.hot_bytes >= self.max_bytes // _LEAST_SPILLED:
                moved = store.spill(disk)
        for own in self._sides:
            own.open.tidy()
            own.past.tidy()
        return moved

    def _give_up(self, counts: Counts) -> int:
        """Give up the oldest part of what takes most memory; returns how much that was."""
        most = max(self.stores(), key=lambda store: store.bytes_held)
        gone = most.give_up_oldest()
        if isinstance(most, SeenKeys):
            counts.forgotten += gone
        else:
            counts.evicted += gone
        return gone


def _late(key: str, open_: Open) -> Rejected:
    text = f"no event of the key {key!r} is within join.window_s of this label"
    return Rejected(LABELS, open_.record, UnmatchedError(text))


def _out_of_bounds(side: int, open_: Open) -> Rejected:
    record, (low, high, _) = open_.record, open_.span
    text = f"timestamp {record.timestamp_ms} is out of bounds: the log's time was about {low if low > 0 else high}"
    return Rejected(side, record, OutOfBoundsError(f"{text}, and the record's other half did not come"))
