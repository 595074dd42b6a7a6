"""What was fetched and not yet handed out: bounded in records and in bytes, by partition, fair among partitions."""

import threading
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from headrace.streams.chunks import Partition, Record


@dataclass(frozen=True)
class Limits:
    """How much may be in memory, in records and in bytes of their values.

    The buffer takes whole fetches, so it may exceed a limit by one fetch; `room` keeps the next one small.
    """

    records: int = 20_000
    bytes: int = 64 * 1024 * 1024


class ChunkBuffer:
    """Fetched records by partition. The poll thread adds, the event loop takes."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._waiting: dict[Partition, list[Record]] = {}
        self._records = 0
        self._bytes = 0

    @property
    def records(self) -> int:
        """Records waiting."""
        return self._records

    @property
    def bytes(self) -> int:
        """Bytes of their values."""
        return self._bytes

    @property
    def full(self) -> bool:
        """Whether nothing more may be fetched for now."""
        return self._records >= self.limits.records or self._bytes >= self.limits.bytes

    @property
    def room(self) -> int:
        """Records that may still be fetched, at least 0.

        The byte limit is taken as so many records of the mean size.
        """
        by_records = self.limits.records - self._records
        mean = self._bytes / self._records if self._records else 0.0
        by_bytes = int((self.limits.bytes - self._bytes) / mean) if mean else by_records
        return max(0, min(by_records, by_bytes))

    def add(self, fetched: Mapping[Partition, Sequence[Record]]) -> None:
        """Keep records; those of a partition must follow the ones that wait already."""
        with self._lock:
            for partition, records in fetched.items():
                self._waiting.setdefault(partition, []).extend(records)
                self._records += len(records)
                self._bytes += sum(map(len, records))

    def take(self, wanted: Container[Partition], most: int) -> dict[Partition, list[Record]]:
        """Remove and return up to `most` records of `wanted` partitions.

        Each partition gives all it has while the round lasts; what gave comes last in the next round, so that a busy
        partition cannot starve the others.
        """
        with self._lock:
            taken: dict[Partition, list[Record]] = {}
            for partition in [p for p in self._waiting if p in wanted]:
                if most <= 0:
                    break
                waiting = self._waiting.pop(partition)
                taken[partition] = waiting[:most]
                if rest := waiting[most:]:
                    self._waiting[partition] = rest
                most -= len(taken[partition])
            self._forget(taken.values())
            return taken

    def drop(self, partitions: Iterable[Partition] | None = None) -> int:
        """Forget what waits of some partitions, or of all; the number of records forgotten."""
        with self._lock:
            gone = [self._waiting.pop(p, []) for p in (list(self._waiting) if partitions is None else partitions)]
            self._forget(gone)
            return sum(map(len, gone))

    def _forget(self, gone: Iterable[Sequence[Record]]) -> None:
        for records in gone:
            self._records -= len(records)
            self._bytes -= sum(map(len, records))
