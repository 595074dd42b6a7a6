"""Open records on disk: each can be taken once, by its key, or expires with its bucket of time."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from services.ingest.join.state.disk import Disk
from services.ingest.join.state.records import Record
from services.ingest.join.state.rows import is_row_of, read_record_row, record_row
from services.ingest.join.state.segment import Probe, Segment


class Bucket(NamedTuple):
    """Records of one bucket of time that are to be spilled."""

    number: int
    keys: list[str]
    records: list[Record]


class _Run:
    """A segment whose rows are in the order of their buckets; those that were taken are marked."""

    def __init__(self, segment: Segment, numbers: Sequence[int], ends: Sequence[int]) -> None:
        self.segment, self.numbers, self._ends = segment, list(numbers), list(ends)
        self.taken = np.zeros(len(segment), np.bool_)
        self.first = 0
        """Of the rows: those before have expired."""

    def cut(self, count: int) -> tuple[int, int]:
        """Let the first `count` buckets go; returns the rows that these were."""
        first, self.first = self.first, self._ends[count - 1]
        del self.numbers[:count], self._ends[:count]
        return first, self.first

    def live(self, first: int = 0, end: int | None = None) -> int:
        """How many rows are neither taken nor gone."""
        first = max(first, self.first) if end is None else first
        return int(np.count_nonzero(~self.taken[first:end]))

    def live_by_bucket(self) -> Iterator[tuple[int, int]]:
        """Number and count of each bucket."""
        first = self.first
        for number, end in zip(self.numbers, self._ends, strict=True):
            yield number, self.live(first, end)
            first = end

    @property
    def index_bytes(self) -> int:
        """What it takes in memory."""
        return self.segment.index_bytes + self.taken.nbytes


class SpilledRecords:
    """All of one store's records that are on disk, oldest first."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self.count = 0

    @property
    def bytes_held(self) -> int:
        """What this takes in memory."""
        return sum(run.index_bytes for run in self._runs)

    def write(self, disk: Disk, buckets: Sequence[Bucket]) -> bool:
        """Spill records, by bucket in the order of their numbers; False if the disk is full."""
        keys = [key for bucket in buckets for key in bucket.keys]
        rows = (record_row(*pair) for bucket in buckets for pair in zip(bucket.keys, bucket.records, strict=True))
        segment = Segment.write(disk, keys, rows)
        if segment is None:
            return False
        ends = np.cumsum([len(bucket.keys) for bucket in buckets]).tolist()
        self._runs.append(_Run(segment, [bucket.number for bucket in buckets], ends))
        self.count += len(keys)
        return True

    def take(self, probe: Probe) -> list[tuple[str, Record]]:
        """Take out the records of these keys."""
        found = list[tuple[str, Record]]()
        for run in self._runs:
            for i, at in run.segment.find(probe):
                key = probe.keys[i]
                if key is None or at < run.first or run.taken[at] or not is_row_of(key, row := run.segment.row(at)):
                    continue
                run.taken[at] = True
                found.append(read_record_row(row))
        self.count -= len(found)
        return found

    def expire(self, before: int, *, tell: bool) -> tuple[int, list[tuple[str, Record]]]:
        """Let buckets below the number `before` go: how many records these were, and (`tell`) which."""
        count, told = 0, list[tuple[str, Record]]()
        for run in self._runs:
            if (buckets := bisect_left(run.numbers, before)) == 0:
                continue
            first, end = run.cut(buckets)
            count += run.live(first, end)
            if tell:
                rows = zip(run.taken[first:end].tolist(), run.segment.rows(first, end), strict=True)
                told += [read_record_row(row) for taken, row in rows if not taken]
        self._runs = [run for run in self._runs if run.numbers]
        self.count -= count
        return count, told

    def counts(self) -> Iterator[tuple[int, int]]:
        """Number and count of each bucket; a number may come twice."""
        for run in self._runs:
            yield from run.live_by_bucket()

    def give_up_oldest(self) -> int:
        """Let the oldest segment go; returns how many records it had."""
        if not self._runs:
            return 0
        gone = self._runs.pop(0).live()
        self.count -= gone
        return gone
