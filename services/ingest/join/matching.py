"""What a record of one log meets in the other: pairs, in the order of the record that completes them."""

from collections.abc import Sequence
from itertools import repeat
from typing import Any

from services.ingest.join.clock import FOREVER, NEVER, Span
from services.ingest.join.corrections import Corrections
from services.ingest.join.rules import EVENTS, LABELS, Counts, Output, Pair, Rejected, Rules, new_pair
from services.ingest.join.side import Side
from services.ingest.join.state.open import Entry, Open
from services.ingest.join.state.records import Record, Records, new_record
from services.ingest.join.state.segment import Probe


class Matching:
    """Joins the records of one partition, each log's in their order.

    Args:
        rules: how.
        sides: events and labels; what is found open is taken from there, and what finds nothing is put there.
    """

    def __init__(self, rules: Rules, sides: tuple[Side, Side]) -> None:
        self._rules, self._sides = rules, sides
        self.counts = Counts()
        past = [own.past for own in sides]
        self._corrections = Corrections(past[EVENTS], past[LABELS]) if rules.corrections else None

    def join(self, side: int, records: Records, output: Output) -> None:
        """Take the next records of one log."""
        if not len(records):
            return
        own = self._sides[side]
        spans = own.place(records)
        keys, bad = own.keys_of(records)
        output.rejected += [Rejected(side, records.record(i), error) for i, error in bad]
        self._look_up(side, Probe(keys))
        if spans is None and own.remember_new(keys, records):
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
        """The hot path: no record is bad, a duplicate or out of bounds, and none has an open one of its key.

        What is plain about an open record is joined here, and the rest by `_place`: one of several of its key, one
        without an exact time, one that is too far away.
        """
        other, joined = self._sides[1 - side].open, len(output.pairs)
        found = other.take_all(keys)
        left, odd = list(range(len(keys))), list[int]()
        if any(found):
            left, odd = self._pair_all(side, keys, found, records, output.pairs)
            self.counts.matched += len(output.pairs) - joined
        if self._corrections is not None:
            for pair in output.pairs[joined:]:
                self._answer(pair, Span(pair.event.timestamp_ms, pair.event.timestamp_ms), output)
        for i in odd:
            time = records.timestamps[i]
            self._place(side, keys[i], records.record(i), Span(time, time), output)
        if left:
            waiting, names = (records.pick(left), [keys[i] for i in left]) if len(left) < len(keys) else (records, keys)
            self._sides[side].open.add_all(names, waiting, self._kept(side, waiting.messages, names))

    def _pair_all(
        self, side: int, keys: list[str], found: list[Entry | None], records: Records, pairs: list[Pair]
    ) -> tuple[list[int], list[int]]:
        """Append the pairs that are plain; returns which records found nothing, and which may have others."""
        window, left, odd, other = self._rules.window_ms, list[int](), list[int](), self._sides[1 - side].open
        for i, (key, match, record) in enumerate(zip(keys, found, map(new_record, records.rows()), strict=True)):
            if match is None:
                left.append(i)
            elif type(match) is Record and -window <= match[1] - record[1] <= window:
                pairs.append(new_pair((key, record, match, False) if side == EVENTS else (key, match, record, False)))
            else:
                other.put_back(key, match)
                odd.append(i)
        return left, odd

    def _join_each(
        self, side: int, keys: Sequence[str | None], records: Records, spans: list[Span] | None, output: Output
    ) -> None:
        own, width = self._sides[side], 2 * self._rules.window_ms
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
        late = side == LABELS and self._rules.late == "dead_letter"
        if late or (odd and self._rules.out_of_bounds == "dead_letter"):
            return list(map(self._rules.kept_whole, messages, keys))
        return list(repeat(None, len(messages))) if side == LABELS else list(map(self._rules.kept, messages, keys))
