"""What the join of one partition holds in memory of each log: the keys it has seen, and the records that are open.

Both are kept in buckets of time, so that what can no longer matter is dropped a bucket at a time. `bytes_held` counts
what an entry costs in CPython, measured (see benchmarks/join), plus the length of its value.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from services.ingest.join.clock import FOREVER, NEVER, Span

KEY_BYTES, OPEN_BYTES, PAST_BYTES = 180, 300, 500
"""What a remembered key, an open record and an event with its label cost beyond the record's value: strings, numbers,
tuples, slots of dicts."""
OPEN_PARTS = 4
"""Buckets of open records in a window."""
_NO_OFFSET = FOREVER


class Record(NamedTuple):
    """A record as it came from the log; `message` is what else is needed of it, for whoever sends it on."""

    offset: int
    timestamp_ms: int
    value: bytes
    message: Any = None


new_record = partial(tuple.__new__, Record)
"""A Record from its fields in a tuple, without a call of Python code: for `map` over columns."""


@dataclass
class Records:
    """Records of one log in their order, by column."""

    offsets: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, records: "Sequence[Record] | Records") -> "Records":
        """The columns of some records."""
        return records if isinstance(records, Records) else cls(*map(list, zip(*records, strict=True)))

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, part: slice) -> "Records":
        return Records(*(column[part] for column in self._columns()))

    def pick(self, indexes: Sequence[int]) -> "Records":
        """Some of them."""
        return Records(*([column[i] for i in indexes] for column in self._columns()))

    def _columns(self) -> tuple[list[Any], ...]:
        return self.offsets, self.timestamps, self.values, self.messages

    def rows(self) -> "zip[tuple[int, int, bytes, Any]]":
        """The fields of each."""
        return zip(*self._columns(), strict=True)

    def record(self, i: int) -> Record:
        """One of them."""
        return Record(self.offsets[i], self.timestamps[i], self.values[i], self.messages[i])


@dataclass
class KeyBucket:
    """Keys whose newest record lies in one half of a window.

    `first` is the least offset of them, and `partner` the least offset, in the other log, of a record that was joined
    with one of them whose time is not exact.
    """

    first: int = _NO_OFFSET
    partner: int = _NO_OFFSET
    keys: dict[str, int] | None = field(default_factory=dict)
    """None once no duplicate can come any more; the offsets still matter to who rebuilds the state."""


class SeenKeys:
    """The keys of a log with the time of their newest record, to tell duplicates."""

    def __init__(self, window_ms: int) -> None:
        self._window, self._width = window_ms, max(1, window_ms // 2)
        self._margin = max(1, window_ms // OPEN_PARTS)
        self._buckets: dict[int, KeyBucket] = {}
        self.count = 0

    def __len__(self) -> int:
        return self.count

    @property
    def bytes_held(self) -> int:
        """About what all this takes."""
        return self.count * KEY_BYTES

    @property
    def first_offset(self) -> int:
        """The least offset that is needed to rebuild this."""
        return min((b.first for b in self._buckets.values()), default=_NO_OFFSET)

    @property
    def partner_offset(self) -> int:
        """The least offset of the other log that is needed to rebuild this."""
        return min((b.partner for b in self._buckets.values()), default=_NO_OFFSET)

    def last(self, key: str) -> int | None:
        """The time of the key's newest record; NEVER if that has none."""
        times = [b.keys[key] for b in self._buckets.values() if b.keys is not None and key in b.keys]
        return max(times, default=None)

    def has_any(self, keys: Sequence[str | None]) -> bool:
        """Whether one of the keys is known."""
        return any(b.keys is not None and not b.keys.keys().isdisjoint(keys) for b in self._buckets.values())

    def add(self, key: str, time: int, offset: int) -> KeyBucket:
        """Remember a record of this key; its time is FOREVER if it has none."""
        bucket = self._bucket(time // self._width)
        if bucket.keys is None:
            bucket.keys = {}
        before, time = len(bucket.keys), NEVER if time == FOREVER else time
        bucket.keys[key] = max(time, bucket.keys.get(key, time))
        self.count += len(bucket.keys) - before
        bucket.first = min(bucket.first, offset)
        return bucket

    def add_all(self, keys: Sequence[str], times: Sequence[int], first_offset: int) -> None:
        """Remember records of different, unknown keys; `first_offset` is their least."""
        number = min(times) // self._width
        bucket = self._bucket(number)
        if max(times) // self._width != number or bucket.keys is None:
            for key, time in zip(keys, times, strict=True):
                self.add(key, time, first_offset)
            return
        bucket.keys.update(zip(keys, times, strict=True))
        bucket.first = min(bucket.first, first_offset)
        self.count += len(keys)

    def pin(self, time: int, partner: int) -> None:
        """While keys of this time matter, the record at this offset of the other log does."""
        bucket = self._bucket(time // self._width)
        bucket.partner = min(bucket.partner, partner)

    def forget(self, own_low: int, other_low: int) -> None:
        """Drop keys of which no duplicate can come, and offsets that nobody who rebuilds the state can need."""
        for number, bucket in list(self._buckets.items()):
            end = (number + 1) * self._width - 1
            if end + 2 * self._window >= own_low:
                continue
            self._drop(bucket)
            # The margin: an open record leaves with its bucket, so it may stay longer than a window by that much.
            if end + 2 * self._window + self._margin < own_low and end + 3 * self._window + self._margin < other_low:
                del self._buckets[number]

    def bound(self, until: int) -> None:
        """From now on every record has a time: drop the keys of those without; their offsets are needed until then."""
        bucket = self._buckets.pop(FOREVER // self._width, None)
        if bucket is not None:
            self._drop(bucket)
            into = self._bucket(until // self._width)
            into.first, into.partner = min(into.first, bucket.first), min(into.partner, bucket.partner)

    def give_up_oldest(self) -> int:
        """Drop the keys of the oldest bucket, whatever may come; returns how many there were."""
        number = min((n for n, bucket in self._buckets.items() if bucket.keys), default=None)
        return 0 if number is None else self._drop(self._buckets[number])

    def _drop(self, bucket: KeyBucket) -> int:
        dropped = len(bucket.keys or ())
        self.count -= dropped
        bucket.keys = None
        return dropped

    def _bucket(self, number: int) -> KeyBucket:
        if (bucket := self._buckets.get(number)) is None:
            bucket = self._buckets[number] = KeyBucket()
        return bucket


class Open(NamedTuple):
    """An open record whose time is not exact, or one of several of its key; it expires as one of the time `until`."""

    record: Record
    span: Span
    until: int


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
        self.by_key: dict[str, Record | list[Open]] = {}
        """A record whose time is its timestamp, or a list, the oldest first."""
        self._buckets: dict[int, list[str]] = {}
        self.count, self.value_bytes = 0, 0

    def __len__(self) -> int:
        return self.count

    @property
    def bytes_held(self) -> int:
        """About what all this takes."""
        return self.count * self._each + self.value_bytes

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

    def take(self, key: str, span: Span) -> Open | None:
        """Close and return the oldest record of this key that is at most a window away."""
        found = self.by_key.get(key)
        if found is None:
            return None
        for open_ in _chain(found):
            if self._is_near(open_.span, span):
                self._close(key, open_)
                return open_
        return None

    def near(self, key: str, span: Span) -> list[Open]:
        """The records of this key that are at most a window away, in the order in which they came."""
        return [open_ for open_ in _chain(self.by_key.get(key)) if self._is_near(open_.span, span)]

    def _is_near(self, one: Span, other: Span) -> bool:
        return one.low - other.high <= self._window and other.low - one.high <= self._window

    def expire(self, other_low: int) -> list[tuple[str, Open]]:
        """Close and return what the other log has passed by more than a window: nothing can join it any more."""
        limit, gone = other_low - self._window, list[tuple[str, Open]]()
        for number in [n for n in self._buckets if (n + 1) * self._width - 1 < limit]:
            gone += self._close_bucket(number)
        return gone

    def low_that_expires(self, most: int, low: int) -> int:
        """The other log's low time, up to `low`, by which about `most` records expire, or those of one bucket."""
        count = 0
        for number in sorted(self._buckets):
            by = (number + 1) * self._width + self._window
            if by >= low:
                return low
            count += len(self._buckets[number])
            if count >= most:
                return by
        return low

    def give_up_oldest(self) -> int:
        """Close the records of the oldest bucket, whatever may come; returns how many there were."""
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

    def closed(self, records: int, value_bytes: int) -> None:
        """So many were taken out of `by_key` by the caller."""
        self.count -= records
        self.value_bytes -= value_bytes

    def _close_bucket(self, number: int) -> Iterator[tuple[str, Open]]:
        for key in self._buckets.pop(number):
            if (found := self.by_key.get(key)) is None:
                continue
            for open_ in list(_chain(found)):
                if open_.until // self._width == number:
                    self._close(key, open_)
                    yield key, open_

    def _close(self, key: str, gone: Open) -> None:
        left = [open_ for open_ in _chain(self.by_key[key]) if open_.record.offset != gone.record.offset]
        if left:
            self.by_key[key] = left
        else:
            del self.by_key[key]
        self.closed(1, len(gone.record.value))


def _chain(found: Record | list[Open] | None) -> list[Open]:
    if found is None:
        return []
    if isinstance(found, list):
        return found
    time = found.timestamp_ms
    return [Open(found, Span(time, time), time)]
