"""The archive's logic: records in, segments out. It imports no client library and reads no clock."""

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from headrace.archive.segments.manifest import Manifest
from headrace.archive.segments.writing import Step, ignore, write_segment
from headrace.archive.tables import Encoder, Records, Rows, Table

READ, COMMITTED = "read", "committed"
"""Further durable steps, beside those of a segment."""


@dataclass(frozen=True)
class Source:
    """One partition of a topic, and where its segments go."""

    table: Table
    topic_id: str
    partition: int
    folder: Path

    @property
    def name(self) -> tuple[str, int]:
        """The topic partition."""
        return self.table.topic, self.partition


@dataclass
class Lane:
    """The records of a partition that are read and not kept yet.

    `first` is the offset at which the next segment begins, `next` the one after the last record that was read. `size`
    is in bytes, `since` when the oldest was read.
    """

    source: Source
    first: int
    encode: Encoder
    next: int = field(init=False)
    size: int = field(init=False)
    since: float = field(init=False)

    def __post_init__(self) -> None:
        self.next = self.first
        self.clear()

    def clear(self) -> None:
        """Forget the records."""
        self.offsets, self.at_ms = array("q"), array("q")
        self.keys, self.values = list[bytes | None](), list[bytes | None]()
        self.size, self.since = 0, float("inf")

    def add(self, offset: int, at_ms: int, key: bytes | None, value: bytes | None, now: float) -> None:
        """Take a record; one that was taken before is passed over."""
        if offset < self.next:
            return
        self.next = offset + 1
        self.offsets.append(offset)
        self.at_ms.append(at_ms)
        self.keys.append(key)
        self.values.append(value)
        self.size += len(value or b"") + len(key or b"") + _OVERHEAD
        self.since = min(self.since, now)

    def rows(self) -> Rows:
        """The records as rows."""
        return self.encode(Records(self.source.partition, self.offsets, self.at_ms, self.keys, self.values))


_OVERHEAD = 100  # bytes of a record's Python objects


@dataclass(frozen=True)
class Limits:
    """When records are written: after so many seconds, records or bytes of a partition, or bytes in all."""

    seconds: float
    rows: int
    bytes: int
    all_bytes: int


class Observer(Protocol):
    """Is told what was kept."""

    def kept(self, lane: Lane, rows: Rows, path: Path) -> None:
        """A segment is durable at `path`; its records are still in the lane."""
        ...


class Archive:
    """All partitions that one archive keeps. Not thread-safe.

    Args:
        lanes: where each partition goes on.
        limits: when records are written.
        commit: is told of a partition's offset that everything before is durable.
        observer: is told what was kept.
        step: is told of each durable step after it is done.
    """

    def __init__(
        self, lanes: Iterable[Lane], limits: Limits, *, commit: Callable[[str, int, int], None], observer: Observer,
        step: Step = ignore,
    ) -> None:  # fmt: skip
        self.lanes = {lane.source.name: lane for lane in lanes}
        self._limits, self._commit, self._observer, self._step = limits, commit, observer, step

    @property
    def bytes(self) -> int:
        """Of the records that wait."""
        return sum(lane.size for lane in self.lanes.values())

    def keep_due(self, now: float) -> int:
        """Write what is due at `now`, in seconds of the clock that the records were added by; how many segments."""
        limits, due = self._limits, list[Lane]()
        for lane in self.lanes.values():
            full = len(lane.offsets) >= limits.rows or lane.size >= limits.bytes
            if full or now - lane.since >= limits.seconds:
                due.append(lane)
        left = self.bytes - sum(lane.size for lane in due)
        for lane in sorted(self.lanes.values(), key=lambda one: -one.size):
            if left > limits.all_bytes and lane not in due:
                due.append(lane)
                left -= lane.size
        return sum(self.keep(lane) for lane in due)

    def keep_all(self) -> int:
        """Write everything that waits."""
        return sum(self.keep(lane) for lane in self.lanes.values() if lane.offsets)

    def keep(self, lane: Lane) -> bool:
        """Write a partition's records as a segment; False where they make no rows. The durable order is that here.

        Raises:
            FencedError: another process has written to the folder.
            OSError: the storage refuses.
        """
        self._step(READ)
        rows, source = lane.rows(), lane.source
        if not rows.table.num_rows:
            lane.clear()  # of no concern here; the next segment covers their offsets too
            return False
        manifest = Manifest(
            source.table.topic, source.topic_id, source.partition,
            lane.first, lane.next, rows.table.num_rows, rows.from_ms, rows.to_ms,
        )  # fmt: skip
        segment = write_segment(source.folder, rows.table, manifest, self._step)  # 1. to 4. the segment is durable
        self._commit(source.table.topic, source.partition, lane.next)  # 5. for whoever looks at the group's lag
        self._step(COMMITTED)
        self._observer.kept(lane, rows, segment.path)
        lane.clear()
        lane.first = lane.next
        return True
