"""The keys that a log has had, to tell duplicates."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.ingest.join.clock import FOREVER, NEVER
from services.ingest.join.state.disk import Disk
from services.ingest.join.state.rows import key_row, read_key_row
from services.ingest.join.state.segment import Probe, Segment

KEY_BYTES = 180
"""What a remembered key costs: its string, a number, slots of dicts."""
OPEN_PARTS = 4
"""Buckets of open records in a window."""
_NO_OFFSET = FOREVER


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
    segments: list[Segment] = field(default_factory=list)
    """More keys, on disk; one may be here as well as there."""


class SeenKeys:
    """The keys of a log with the time of their newest record, to tell duplicates."""

    def __init__(self, window_ms: int) -> None:
        self._window, self._width = window_ms, max(1, window_ms // 2)
        self._margin = max(1, window_ms // OPEN_PARTS)
        self._buckets: dict[int, KeyBucket] = {}
        self._spilled: dict[str, int] = {}
        self.count = 0
        """In memory."""

    def __len__(self) -> int:
        return self.count + sum(len(segment) for segment in self._segments())

    @property
    def hot_bytes(self) -> int:
        """About what the keys in memory take."""
        return self.count * KEY_BYTES

    @property
    def bytes_held(self) -> int:
        """About what all this takes in memory."""
        return self.hot_bytes + sum(segment.index_bytes for segment in self._segments())

    @property
    def first_offset(self) -> int:
        """The least offset that is needed to rebuild this."""
        return min((b.first for b in self._buckets.values()), default=_NO_OFFSET)

    @property
    def partner_offset(self) -> int:
        """The least offset of the other log that is needed to rebuild this."""
        return min((b.partner for b in self._buckets.values()), default=_NO_OFFSET)

    def look_up(self, probe: Probe) -> None:
        """Find which of these keys are on disk. `last` and `add_new` may be asked about these keys, until the next."""
        self._spilled.clear()
        for segment in self._segments():
            for i, at in segment.find(probe):
                key, time = read_key_row(segment.row(at))
                if key == probe.keys[i]:
                    self._spilled[key] = max(time, self._spilled.get(key, time))

    def last(self, key: str) -> int | None:
        """The time of the key's newest record; NEVER if that has none."""
        times = [b.keys[key] for b in self._buckets.values() if b.keys is not None and key in b.keys]
        if (spilled := self._spilled.get(key)) is not None:
            times.append(spilled)
        return max(times, default=None)

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

    def add_new(self, keys: Sequence[str], times: Sequence[int], first_offset: int) -> bool:
        """Remember records if their keys are different and unknown; else nothing is changed.

        Args:
            keys: theirs, looked up before.
            times: theirs, each exact.
            first_offset: the least offset.
        """
        number = min(times) // self._width
        bucket = self._buckets.get(number)
        others = [b.keys for b in self._buckets.values() if b is not bucket and b.keys]
        if self._spilled or not all(other.keys().isdisjoint(keys) for other in others):
            return False
        if max(times) // self._width != number or bucket is None or bucket.keys is None:
            known = bucket.keys if bucket is not None and bucket.keys else {}
            if len(set(keys)) < len(keys) or not known.keys().isdisjoint(keys):
                return False
            for key, time in zip(keys, times, strict=True):
                self.add(key, time, first_offset)
            return True
        if not _insert_new(bucket.keys, keys, times):
            return False
        bucket.first = min(bucket.first, first_offset)
        self.count += len(keys)
        return True

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

    def spill(self, disk: Disk) -> int:
        """Put the keys of one bucket, the largest, on disk; returns how many that were."""
        timeless = FOREVER // self._width
        buckets = [b for number, b in self._buckets.items() if b.keys and number != timeless]
        bucket = max(buckets, key=lambda one: len(one.keys or ()), default=None)
        if bucket is None or not bucket.keys:
            return 0
        segment = Segment.write(disk, list(bucket.keys), (key_row(*item) for item in bucket.keys.items()))
        if segment is None:
            return 0
        moved = len(bucket.keys)
        bucket.segments.append(segment)
        bucket.keys = {}
        self.count -= moved
        return moved

    def give_up_oldest(self) -> int:
        """Drop the keys of the oldest bucket, whatever may come; returns how many there were."""
        number = min((n for n, b in self._buckets.items() if b.keys or b.segments), default=None)
        return 0 if number is None else self._drop(self._buckets[number])

    def _drop(self, bucket: KeyBucket) -> int:
        in_memory, on_disk = len(bucket.keys or ()), sum(map(len, bucket.segments))
        self.count -= in_memory
        bucket.keys, bucket.segments = None, []
        return in_memory + on_disk

    def _segments(self) -> list[Segment]:
        return [segment for bucket in self._buckets.values() for segment in bucket.segments]

    def _bucket(self, number: int) -> KeyBucket:
        if (bucket := self._buckets.get(number)) is None:
            bucket = self._buckets[number] = KeyBucket()
        return bucket


def _insert_new(into: dict[str, int], keys: Sequence[str], times: Sequence[int]) -> bool:
    """Insert different keys that are not there; if one is, leave the dict as it was.

    One look-up a key: `setdefault` changes no entry that is there, and what it has inserted is the dict's end.
    """
    before = len(into)
    deque(map(into.setdefault, keys, times), 0)
    if len(into) == before + len(keys):
        return True
    for _ in range(len(into) - before):
        into.popitem()
    return False
