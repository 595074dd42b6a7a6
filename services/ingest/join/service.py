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
from itertools import repeat
from typing import Any

from services.ingest.join.clock import FOREVER, NEVER, Span
from services.ingest.join.corrections import Corrections
from services.ingest.join.rules import (
    EVENTS,
    LABELS,
    SIDES,
    Counts,
    KeyOf,
    OutOfBoundsError,
    Output,
    Pair,
    Rejected,
    Rules,
    UnmatchedError,
)
from services.ingest.join.side import Resume, Side
from services.ingest.join.state.disk import Disk
from services.ingest.join.state.open import Expired, Open, OpenRecords
from services.ingest.join.state.records import Record, Records, new_record
from services.ingest.join.state.seen import OPEN_PARTS, SeenKeys
from services.ingest.join.state.segment import Probe

__all__ = ["EVENTS", "LABELS", "NEVER", "SIDES", "Counts", "KeyOf", "Output", "Pair", "PairJoin", "Record", "Records",
           "Rejected", "Resume", "Rules", "UnmatchedError"]  # fmt: skip

_LEAST_SPILLED = 16
"""A store is spilled that takes at least this part of the memory: small segments would cost more than they free."""
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
        self._disk = disk
        self.rules = Rules(rules) if isinstance(rules, int) else rules
        self.counts, self.rebuilding, self.max_bytes = Counts(), rebuild, max_bytes
        window, skew, parts = self.rules.window_ms, self.rules.skew, FINE_PARTS if self.rules.defaults else OPEN_PARTS
        self._sides = (Side(events, key_of_event, window, skew, parts), Side(labels, key_of_label, window, skew))
        past = [own.past for own in self._sides]
        self._corrections = Corrections(past[EVENTS], past[LABELS]) if self.rules.corrections else None

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
        self._forget(output)
        return output

    def _go_on(self, output: Output) -> None:
        for own in self._sides:
            own.position = own.committed.offset
            own.repeat_raises(own.position)
        self._forget(Output())
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
            self._join(side, records[start:end], output)
            own.repeat_raises(offset)
            start = end
        self._join(side, records[start:] if start else records, output)
        self._forget(output)

    def _join(self, side: int, records: Records, output: Output) -> None:
        if not len(records):
            return
        own = self._sides[side]
        spans = own.place(records)
        keys, bad = own.keys_of(records)
        output.rejected += [Rejected(side, records.record(i), error) for i, error in bad]
        self._look_up(side, Probe(keys))
        if spans is None and own.are_new(keys):
            self._join_plain(side, keys, records, output)
        else:
            self._join_each(side, keys, records, spans, output)
        own.position = records.offsets[-1] + 1
        own.settle()

    def _look_up(self, side: int, probe: Probe) -> None:
        """Find on disk what the records of these keys may meet."""
        self._sides[side].seen.look_up(probe)
        self._sides[1 - side].open.load(probe)
        self._sides[1 - side].past.load(probe)

    def _join_plain(self, side: int, keys: list[str], records: Records, output: Output) -> None:
        """The hot path: no record is bad, a duplicate or out of bounds, and none has an open one of its key."""
        own, by_key, odd = self._sides[side], self._sides[1 - side].open.by_key, list[tuple[str, Record]]()
        found = list(map(by_key.get, keys))
        own.seen.add_all(keys, records.timestamps, records.offsets[0])
        if not any(found):
            own.open.add_all(keys, records, self._kept(side, records.messages, keys))
            return
        window, pairs, left, size = self.rules.window_ms, output.pairs, list[int](), 0
        joined = len(output.pairs)
        for i, (key, match, record) in enumerate(zip(keys, found, map(new_record, records.rows()), strict=True)):
            if match is None:
                left.append(i)
            elif type(match) is Record and -window <= match[1] - record[1] <= window:
                del by_key[key]
                size += len(match[2])
                pairs.append(Pair(key, record, match) if side == EVENTS else Pair(key, match, record))
            else:
                odd.append((key, record))
        taken = len(keys) - len(left) - len(odd)
        self._sides[1 - side].open.closed(taken, size)
        self.counts.matched += taken
        if self._corrections is not None:
            for pair in output.pairs[joined:]:
                self._answer(pair, Span(pair.event.timestamp_ms, pair.event.timestamp_ms), output)
        for key, record in odd:
            self._place(side, key, record, Span(record.timestamp_ms, record.timestamp_ms), output)
        if left:
            waiting, names = records.pick(left), [keys[i] for i in left]
            own.open.add_all(names, waiting, self._kept(side, waiting.messages, names))

    def _join_each(
        self, side: int, keys: Sequence[str | None], records: Records, spans: list[Span] | None, output: Output
    ) -> None:
        own, width = self._sides[side], 2 * self.rules.window_ms
        for i, key in enumerate(keys):
            time = records.timestamps[i]
            span = spans[i] if spans is not None else Span(time, time)
            if span.odd:
                self.counts.out_of_bounds[side] += 1
                self.counts.sample = side, records.record(i)
            if key is None:
                continue
            last = own.seen.last(key)
            bucket = own.seen.add(key, span.high if last is None else max(last, span.high), records.offsets[i])
            time = NEVER if span.high == FOREVER else span.high
            if last is not None and time - last <= width:
                self.counts.duplicates += 1
                if self._corrections is not None and side == LABELS:
                    self._add(self._corrections.repeat(key, records.record(i)._replace(message=None), span), output)
            elif (match := self._place(side, key, records.record(i), span, output)) is not None:
                bucket.partner = min(bucket.partner, match.record.offset)

    def _place(self, side: int, key: str, record: Record, span: Span, output: Output) -> Open | None:
        """Join a record, or let it wait; returns its other half if one of the two has no exact time."""
        own, other = self._sides[side], self._sides[1 - side]
        found = other.open.take(key, span)
        if found is None:
            (kept,) = self._kept(side, [record.message], [key], odd=span.odd)
            own.open.add(key, record._replace(message=kept), span)
            return None
        self.counts.matched += 1
        match = found.record
        pair = Pair(key, record, match) if side == EVENTS else Pair(key, match, record)
        output.pairs.append(pair)
        if self._corrections is not None:
            self._answer(pair, span if side == EVENTS else found.span, output)
        if not span.odd and not found.span.odd:
            return None
        other.seen.pin(found.until, record.offset)
        return found

    def _answer(self, pair: Pair, span: Span, output: Output) -> None:
        """An event has its label: see what corrects it, and keep of it what later corrections need."""
        assert self._corrections is not None
        (kept,) = self._kept(EVENTS, [pair.event.message], [pair.key])
        pair = pair._replace(event=pair.event._replace(message=kept))
        self._add(self._corrections.answer(pair, span), output)

    def _add(self, corrected: list[Pair], output: Output) -> None:
        output.pairs += corrected
        self.counts.corrected += len(corrected)

    def _kept(self, side: int, messages: Sequence[Any], keys: Sequence[str], *, odd: bool = False) -> list[Any]:
        late = side == LABELS and self.rules.late == "dead_letter"
        if late or (odd and self.rules.out_of_bounds == "dead_letter"):
            return list(map(self.rules.kept_whole, messages, keys))
        return list(repeat(None, len(messages))) if side == LABELS else list(map(self.rules.kept, messages, keys))

    def _forget(self, output: Output) -> None:
        """Drop what can match nothing any more.

        No pair of an event with a label depends on when this runs. Defaults and dead letters do: it runs after every
        change of a low time, before a commit, so all that has expired at a commit was in that commit or before.
        """
        for side in SIDES:
            own, other = self._sides[side], self._sides[1 - side]
            tell = self.rules.defaults if side == EVENTS else self.rules.late == "dead_letter"
            self._expire(side, own.open.expire(other.clock.low, tell=tell), output)
            own.past.expire(other.clock.low, tell=False)
            own.seen.forget(own.clock.low, other.clock.low)
        while sum(own.bytes_held for own in self._sides) > self.max_bytes:
            if not (self._spill() or self._give_up()):
                return

    def _expire(self, side: int, gone: Expired, output: Output) -> None:
        self.counts.expired[side] += gone.total
        expired = gone.records
        if side == EVENTS and self.rules.defaults:
            output.pairs += [Pair(key, open_.record, None) for key, open_ in expired]
            self.counts.defaults += len(expired)
        if self.rules.out_of_bounds == "dead_letter":
            output.rejected += [_out_of_bounds(side, open_) for _, open_ in expired if open_.span.odd]
        if side == LABELS and self.rules.late == "dead_letter":
            known = self.rules.out_of_bounds == "dead_letter"
            output.rejected += [_late(*late) for late in expired if not (known and late[1].span.odd)]

    def _stores(self) -> list[OpenRecords | SeenKeys]:
        return [store for own in self._sides for store in (own.open, own.past, own.seen)]

    def _spill(self) -> int:
        """Spill the oldest part of what takes most memory; returns how many entries that were."""
        disk, moved = self._disk, 0
        if disk is None or not disk.has_room:
            return 0
        for store in sorted(self._stores(), key=lambda store: store.hot_bytes, reverse=True):
            if not moved and store.hot_bytes >= self.max_bytes // _LEAST_SPILLED:
                moved = store.spill(disk)
        for own in self._sides:
            own.open.tidy()
            own.past.tidy()
        return moved

    def _give_up(self) -> int:
        """Give up the oldest part of what takes most memory; returns how much that was."""
        most = max(self._stores(), key=lambda store: store.bytes_held)
        gone = most.give_up_oldest()
        if isinstance(most, SeenKeys):
            self.counts.forgotten += gone
        else:
            self.counts.evicted += gone
        return gone


def _late(key: str, open_: Open) -> Rejected:
    text = f"no event of the key {key!r} is within join.window_s of this label"
    return Rejected(LABELS, open_.record, UnmatchedError(text))


def _out_of_bounds(side: int, open_: Open) -> Rejected:
    record, (low, high, _) = open_.record, open_.span
    text = f"timestamp {record.timestamp_ms} is out of bounds: the log's time was about {low if low > 0 else high}"
    return Rejected(side, record, OutOfBoundsError(f"{text}, and the record's other half did not come"))
