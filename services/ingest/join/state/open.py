"""The records of a log that wait for something, by key."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from services.ingest.join.clock import FOREVER, Span
from services.ingest.join.state.disk import Disk
from services.ingest.join.state.records import Record, Records, new_record
from services.ingest.join.state.seen import OPEN_PARTS
from services.ingest.join.state.segment import Probe
from services.ingest.join.state.spilled import Bucket, SpilledRecords

OPEN_BYTES, PAST_BYTES = 300, 500
"""What an open record, and an event with its label, cost beyond the value: strings, numbers, tuples, slots of dicts."""


class Open(NamedTuple):
    """An open record whose time is not exact, or one of several of its key; it expires as one of the time `until`."""

    record: Record
    span: Span
    until: int


Entry = Record | list[Open]
"""What is open of one key: a record whose time is its timestamp, or a list, the oldest first."""


class Expired(NamedTuple):
    """How many records expired, and those of them that are told."""

    total: int
    records: list[tuple[str, Open]]


class OpenRecords:
    """The records of a log that have no other half yet, by key; of one key the oldest is joined first.

    Args:
        window_ms: the join's window.
        parts: buckets in a window. With more of them fewer records expire at once.
        each: bytes that a record costs beyond its value.
    """

    def __init__(self, window_ms: int, parts: int = OPEN_PARTS, each: int = OPEN_BYTES) -> None:
        self._each = each
        self._window, self._width = window_ms, max(1, window_ms // parts)
        self.by_key: dict[str, Entry] = {}
        self._buckets: dict[int, list[str]] = {}
        self._spilled = SpilledRecords()
        self.count, self.value_bytes = 0, 0
        """In memory."""

    def __len__(self) -> int:
        return self.count + self._spilled.count

    @property
    def hot_bytes(self) -> int:
        """About what the records in memory take."""
        return self.count * self._each + self.value_bytes

    @property
    def bytes_held(self) -> int:
        """About what all this takes in memory."""
        return self.hot_bytes + self._spilled.bytes_held

    def load(self, probe: Probe) -> None:
        """Bring records of these keys back into memory, where they are: all below sees only those."""
        if not self._spilled.count:
            return
        for key, record in self._spilled.take(probe):
            found, time = self.by_key.get(key), record.timestamp_ms
            if found is None:
                self.by_key[key] = record
            else:
                chain = [*_chain(found), Open(record, Span(time, time), time)]
                self.by_key[key] = sorted(chain, key=lambda open_: open_.record.offset)
            self._buckets.setdefault(time // self._width, []).append(key)
            self.count += 1
            self.value_bytes += len(record.value)

    def add(self, key: str, record: Record, span: Span) -> None:
        """Open a record."""
        found = self.by_key.get(key)
        if found is None and not span.odd:
            self.by_key[key] = record
        else:
            chain = _chain(found)
            chain.append(Open(record, span, span.high))
            self.by_key[key] = chain
        self._buckets.setdefault(span.high // self._width, []).append(key)
        self.count += 1
        self.value_bytes += len(record.value)

    def add_all(self, keys: Sequence[str], records: Records, messages: Sequence[Any]) -> None:
        """Open records of different keys that have none open, whose times are their timestamps."""
        times = records.timestamps
        fields = zip(records.offsets, times, records.values, messages, strict=True)
        self.by_key.update(zip(keys, map(new_record, fields), strict=True))
        number = min(times) // self._width
        if max(times) // self._width == number:
            self._buckets.setdefault(number, []).extend(keys)
        else:
            for key, time in zip(keys, times, strict=True):
                self._buckets.setdefault(time // self._width, []).append(key)
        self.count += len(keys)
        self.value_bytes += sum(map(len, records.values))

    def take_all(self, keys: Sequence[str]) -> "list[Entry | None]":
        """Close and return what is open of each key, whatever its time; the caller puts back what does not fit.

        The keys are different.
        """
        found = list(map(self.by_key.pop, keys, repeat(None)))
        taken = [entry for entry in found if entry is not None]
        records = [record for entry in taken for record in _records(entry)] if list in map(type, taken) else taken
        self._closed(len(records), sum([len(record[2]) for record in records]))
        return found

    def put_back(self, key: str, entry: "Entry") -> None:
        """Open again what `take_all` returned for a key."""
        self.by_key[key], records = entry, _records(entry)
        self._closed(-len(records), -sum(len(record.value) for record in records))

    def take(self, key: str, span: Span) -> Open | None:
        """Close and return the oldest record of this key that is at most a window away."""
        found = self.by_key.get(key)
        if found is None:
            return None
        for open_ in _chain(found):
            if self._is_near(open_.span, span):
                self._close(key, open_.record)
                return open_
        return None

    def near(self, key: str, span: Span) -> list[Open]:
        """The records of this key that are at most a window away, in the order in which they came."""
        return [open_ for open_ in _chain(self.by_key.get(key)) if self._is_near(open_.span, span)]

    def _is_near(self, one: Span, other: Span) -> bool:
        return one.low - other.high <= self._window and other.low - one.high <= self._window

    def expire(self, other_low: int, *, tell: bool) -> Expired:
        """Close what the other log has passed by more than a window: nothing can join it any more.

        Of those on disk, which all have exact times, it is told which they were only if `tell`.
        """
        before = (other_low - self._window) // self._width
        gone = list[tuple[str, Open]]()
        for number in [n for n in self._buckets if n < before]:
            gone += self._close_bucket(number)
        count, told = self._spilled.expire(before, tell=tell) if self._spilled.count else (0, [])
        for key, record in told:
            (open_,) = _chain(record)
            gone.append((key, open_))
        return Expired(len(gone) - len(told) + count, gone)

    def low_that_expires(self, most: int, low: int) -> int:
        """The other log's low time, up to `low`, by which about `most` records expire, or those of one bucket."""
        counts, total = Counter({number: len(keys) for number, keys in self._buckets.items()}), 0
        for number, count in self._spilled.counts():
            counts[number] += count
        for number in sorted(counts):
            by = (number + 1) * self._width + self._window
            if by >= low:
                return low
            total += counts[number]
            if total >= most:
                return by
        return low

    def spill(self, disk: Disk) -> int:
        """Put the oldest records on disk, about half of those in memory; returns how many that were.

        Only records with exact times, which nearly all are.
        """
        wanted, count, buckets = max(1, self.count // 2), 0, list[Bucket]()
        for number in sorted(self._buckets):
            bucket = Bucket(number, *self._exact(number))
            if bucket.keys:
                buckets.append(bucket)
                count += len(bucket.keys)
            if count >= wanted:
                break
        if not buckets or not self._spilled.write(disk, buckets):
            return 0
        for number, keys, records in buckets:
            for key, record in zip(keys, records, strict=True):
                self._close(key, record)
            self._tidy(number)
        return count

    def tidy(self) -> None:
        """Forget the keys of records that were closed before their time."""
        for number in list(self._buckets):
            self._tidy(number)

    def _tidy(self, number: int) -> None:
        left = [key for key in self._buckets[number] if key in self.by_key]
        if left:
            self._buckets[number] = left
        else:
            del self._buckets[number]

    def _exact(self, number: int) -> tuple[list[str], list[Record]]:
        """Keys and records of a bucket whose times are exact."""
        found = [
            (key, open_.record)
            for key in dict.fromkeys(self._buckets[number])
            for open_ in _chain(self.by_key.get(key))
            if open_.until // self._width == number and not open_.span.odd
        ]
        return [key for key, _ in found], [record for _, record in found]

    def give_up_oldest(self) -> int:
        """Close the oldest segment's or bucket's records, whatever may come; returns how many there were."""
        if self._spilled.count:
            return self._spilled.give_up_oldest()
        return len(list(self._close_bucket(min(self._buckets)))) if self._buckets else 0

    def bound(self, until: int) -> None:
        """Let records without any time expire as if they had this one; they are joined whatever the other's time is."""
        keys = self._buckets.pop(FOREVER // self._width, [])
        for key in keys:
            chain = _chain(self.by_key.get(key))
            bounded = [open_._replace(until=until) if open_.until == FOREVER else open_ for open_ in chain]
            if bounded:
                self.by_key[key] = bounded
        if keys:
            self._buckets.setdefault(until // self._width, []).extend(keys)

    def _close_bucket(self, number: int) -> Iterator[tuple[str, Open]]:
        for key in self._buckets.pop(number):
            if (found := self.by_key.get(key)) is None:
                continue
            for open_ in list(_chain(found)):
                if open_.until // self._width == number:
                    self._close(key, open_.record)
                    yield key, open_

    def _close(self, key: str, gone: Record) -> None:
        left = [open_ for open_ in _chain(self.by_key[key]) if open_.record.offset != gone.offset]
        if left:
            self.by_key[key] = left
        else:
            del self.by_key[key]
        self._closed(1, len(gone.value))

    def _closed(self, records: int, value_bytes: int) -> None:
        self.count -= records
        self.value_bytes -= value_bytes


def _records(entry: Entry) -> list[Record]:
    return [open_.record for open_ in _chain(entry)]


def _chain(found: Entry | None) -> list[Open]:
    if found is None:
        return []
    if isinstance(found, list):
        return found
    time = found.timestamp_ms
    return [Open(found, Span(time, time), time)]
