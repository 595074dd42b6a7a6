"""What the join decides by its docstrings, found the slow and plain way; and logs to try it on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median_low

import pytest

from services.ingest.join import clock
from services.ingest.join.clock import EARLIEST_MS, FOREVER, MOST_AHEAD_MS, NEVER
from services.ingest.join.service import EVENTS, LABELS, SIDES, PairJoin, Record, Resume, Rules
from services.ingest.join.state.disk import Disk

WINDOW = 40
T0 = 1_800_000_000_000
"""Time 0 of the tests' logs."""


@contextmanager
def small_blocks(block: int, blocks: int) -> Iterator[None]:
    """Blocks so small that short logs have a low time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "BLOCK", block)
        patch.setattr(clock, "BLOCKS", blocks)
        yield


def key_of(value: bytes) -> str:
    """A record's value is its key, and perhaps what it says: "a" or "a=1"; "!" is undecodable."""
    if value == b"!":
        raise ValueError("not a record")
    return value.decode().partition("=")[0]


NOTHING = Resume(0)


def join(
    events: Resume = NOTHING, labels: Resume = NOTHING, rules: Rules | int = WINDOW, **options: object
) -> PairJoin:
    return PairJoin(rules, events, labels, key_of, key_of, **options)  # type: ignore[arg-type]


def log(*records: tuple[int, str]) -> list[Record]:
    """Records of (time after T0, key)."""
    return [Record(offset, T0 + time, key.encode()) for offset, (time, key) in enumerate(records)]


NO_LABEL = -1


def offsets(pairs: object) -> list[tuple[str, int, int]]:
    """Key, and the offsets of event and label; `NO_LABEL` where it has none."""
    return [(p.key, p.event.offset, p.label.offset if p.label else NO_LABEL) for p in pairs]  # type: ignore[attr-defined]


def spans_by_definition(timestamps: Sequence[int], window: int, skew: int) -> list[tuple[int, int]]:
    """Each record's time, as `services.ingest.join.clock` defines it."""
    low, lows, block, count, opened, seen = NEVER, list[int](), list[int](), 0, NEVER, list[int]()
    spans = []
    for timestamp in timestamps:
        spans.append(_span(timestamp, seen[-9:], low, window, skew))
        count += 1
        if timestamp >= EARLIEST_MS:
            seen.append(timestamp)
            block.append(timestamp)
        recent = median_low(seen[-9:]) if seen else NEVER
        opened = recent if opened == NEVER else opened
        if count == clock.BLOCK or recent >= opened + max(1, window // 8):
            lows += [median_low(block)] if block else []
            if len(lows) >= clock.BLOCKS:
                low = max(low, min(lows[-clock.BLOCKS :]))
            block, count, opened = [], 0, recent
    return spans


def _span(timestamp: int, recent: Sequence[int], low: int, window: int, skew: int) -> tuple[int, int]:
    known = timestamp >= EARLIEST_MS
    if not recent:
        if known and timestamp >= low:
            return timestamp, timestamp
        return (NEVER, FOREVER) if low == NEVER else (low, low + 3 * window + skew)
    middle, quarter = median_low(recent), sorted(recent)[(len(recent) - 1) // 4]
    if known and timestamp >= low and abs(timestamp - middle) <= max(skew, 4 * (middle - quarter)):
        return timestamp, timestamp
    used = timestamp if known and timestamp <= middle + MOST_AHEAD_MS else middle
    high = max(low, used, middle)
    return max(low, min(used, middle)), high if high > low else low + 3 * window + skew


def pairs_by_definition(events: list[Record], labels: list[Record], window: int = WINDOW) -> list[tuple[str, int, int]]:
    """The pairs that `services.ingest.join.service` defines."""
    sides = [firsts_by_definition(records, window) for records in (events, labels)]
    taken, pairs = set[int](), []
    for key, event, (low, high) in sides[EVENTS]:
        for other, label, (other_low, other_high) in sides[LABELS]:
            if other == key and label not in taken and other_low - high <= window and low - other_high <= window:
                taken.add(label)
                pairs.append((key, event, label))
                break
    return pairs


def corrections_by_definition(
    events: list[Record], labels: list[Record], window: int = WINDOW
) -> list[tuple[str, int, int]]:
    """The corrections that `services.ingest.join.corrections` defines."""
    spans = spans_by_definition([r.timestamp_ms for r in labels], window, window)
    firsts = {offset for _, offset, _ in firsts_by_definition(labels, window)}
    times = {offset: span for _, offset, span in firsts_by_definition(events, window)}
    found = []
    for key, event, label in pairs_by_definition(events, labels, window):
        last, (low, high) = labels[label].value, times[event]
        for record, span in zip(labels[label + 1 :], spans[label + 1 :], strict=True):
            if record.value == b"!" or key_of(record.value) != key or record.offset in firsts:
                continue
            if span[0] - high <= window and low - span[1] <= window and record.value != last:
                last = record.value
                found.append((key, event, record.offset))
    return found


def firsts_by_definition(records: list[Record], window: int) -> list[tuple[str, int, tuple[int, int]]]:
    """Key, offset and time of the records that are no duplicates."""
    last, firsts = dict[str, int](), []
    spans = spans_by_definition([r.timestamp_ms for r in records], window, window)
    for record, span in zip(records, spans, strict=True):
        if record.value == b"!":
            continue
        key, time = key_of(record.value), NEVER if span[1] == FOREVER else span[1]
        if key not in last or time - last[key] > 2 * window:
            firsts.append((key, record.offset, span))
        last[key] = max(last.get(key, NEVER), time)
    return firsts


@dataclass
class Step:
    """Read `count` records of a side, then perhaps commit, then perhaps crash."""

    side: int
    count: int
    commit: bool = False
    crash: bool = False


@dataclass
class Run:
    """A join over two logs that commits and crashes when told to."""

    logs: tuple[list[Record], list[Record]]
    rules: Rules | int = WINDOW
    disk: Disk | None = None
    """Where it spills to, all it can after every step; None: nowhere."""
    pairs: list[tuple[str, int, int]] = field(default_factory=list)
    corrected: list[tuple[str, int, int]] = field(default_factory=list)
    letters: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.committed = [Resume(0), Resume(0)]
        self.join, self.next = join(rules=self.rules, rebuild=False), [0, 0]
        self._pairs: list[tuple[str, int, int]] = []
        self._corrected: list[tuple[str, int, int]] = []
        self._letters: list[tuple[int, int]] = []

    def step(self, step: Step, ends: Sequence[int] | None = None) -> None:
        """Take it; a log ends at `ends` for now."""
        ends = ends or [len(log) for log in self.logs]
        if self.join.wants(step.side):
            until = min(ends[step.side], self.next[step.side] + step.count)
            self._take(self.join.feed(step.side, self.logs[step.side][self.next[step.side] : until]))
            self.next[step.side] = until
            if until == ends[step.side]:
                self._take(self.join.reach(step.side, until))
        if self.disk is not None:
            for store in self.join._retention.stores():
                store.spill(self.disk)
        if step.commit:
            self.commit()
        if step.crash:
            self.crash()

    def raise_low(self, ends: Sequence[int] | None = None) -> bool:
        """As the loop does, where a log was read to its end."""
        ends = ends or [len(log) for log in self.logs]
        side = self.join.lagging()
        if side is None or self.next[side] < ends[side]:
            return False
        self._take(self.join.raise_low(side))
        return True

    def commit(self) -> None:
        self.committed = [self.join.resume(EVENTS), self.join.resume(LABELS)]
        self.pairs += self._pairs
        self.corrected += self._corrected
        self.letters += self._letters
        self._pairs, self._corrected, self._letters = [], [], []

    def crash(self) -> None:
        """Lose everything that is not committed, and begin to rebuild."""
        self.next = [min(resume.begin, resume.offset) for resume in self.committed]
        self.join = join(*self.committed, rules=self.rules)
        self._pairs, self._corrected, self._letters = [], [], []
        for side in SIDES:
            self.join.reach(side, self.next[side])

    def rebuild(self) -> None:
        """Read what the rebuild needs, and not more."""
        for side in SIDES:
            while self.join.wants(side) and self.next[side] < self.committed[side].offset:
                self.step(Step(side, self.committed[side].offset - self.next[side]))

    def _take(self, output: object) -> None:
        pairs = output.pairs  # type: ignore[attr-defined]
        self._pairs += offsets(p for p in pairs if not p.corrected)
        self._corrected += offsets(p for p in pairs if p.corrected)
        self._letters += [(r.side, r.record.offset) for r in output.rejected]  # type: ignore[attr-defined]
