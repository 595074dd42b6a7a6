"""Rows by key in a file, with an index in memory of 10 to 14 bytes a row.

The index has the upper half of each key's hash, sorted, with where the row is, and a filter of two bits of 16 a key, so
that a key that is not there (1.5 % apart) costs no search. Whoever finds a row compares its key. The hashes are
Python's own, which differ from process to process, as segments do.
"""

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from services.ingest.join.state.disk import Disk

_FEW = 24
"""So many keys are looked up one by one: numpy's calls would take longer."""
_BITS_A_KEY, _OTHER_BITS = 16, 25

Integers = npt.NDArray[np.int64]


class Probe:
    """Keys to be looked up in segments; None is none."""

    def __init__(self, keys: Sequence[str | None]) -> None:
        self.keys = keys

    @cached_property
    def hashes(self) -> Integers:
        """Of each key."""
        return hashes_of(self.keys)


def hashes_of(keys: Sequence[str | None]) -> Integers:
    """Python's hashes, as an array."""
    return np.fromiter(map(hash, keys), np.int64, len(keys))


class Segment:
    """Rows on disk that never change.

    Args:
        file: descriptor of a file of the rows, one after the other.
        lengths: of the rows.
        hashes: of the rows' keys.
    """

    def __init__(self, disk: Disk, file: int, lengths: Sequence[int], hashes: Integers) -> None:
        size = sum(lengths)
        self._file, kind = file, np.uint32 if size < 1 << 32 else np.uint64
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(kind)
        tops = (hashes >> 32).astype(np.int32)
        self._order = np.argsort(tops, kind="stable").astype(np.uint32)
        self._tops = tops[self._order]
        bits = max(64, 1 << (len(lengths) * _BITS_A_KEY - 1).bit_length())
        self._mask, flags = bits - 1, np.zeros(bits, np.bool_)
        flags[hashes & self._mask] = True
        flags[(hashes >> _OTHER_BITS) & self._mask] = True
        self._filter = np.packbits(flags, bitorder="little")
        disk.belongs(file, size, self)

    @classmethod
    def write(cls, disk: Disk, keys: Sequence[str], rows: Iterable[bytes]) -> "Segment | None":
        """Write the keys' rows; None if the disk is full."""
        lengths = list[int]()
        file = disk.write(rows, lengths)
        return None if file is None else cls(disk, file, lengths, hashes_of(keys))

    def __len__(self) -> int:
        return len(self._tops)

    @property
    def index_bytes(self) -> int:
        """What the index takes in memory."""
        return sum(array.nbytes for array in (self._starts, self._order, self._tops, self._filter))

    def find(self, probe: Probe) -> list[tuple[int, int]]:
        """Which key may be which row: indexes of both, and nearly all that are told are right."""
        if len(probe.keys) <= _FEW:
            likely = [i for i, key in enumerate(probe.keys) if self._is_likely(hash(key))]
        else:
            likely = self._all_likely(probe.hashes)
        if not likely:
            return []
        tops = np.array([hash(probe.keys[i]) >> 32 for i in likely], np.int32)
        first, last = (np.searchsorted(self._tops, tops, side).tolist() for side in ("left", "right"))
        rows = zip(likely, first, last, strict=True)
        return [(i, int(self._order[at])) for i, start, end in rows for at in range(start, end)]

    def row(self, number: int) -> bytes:
        """One of the rows."""
        start, end = int(self._starts[number]), int(self._starts[number + 1])
        return os.pread(self._file, end - start, start)

    def rows(self, first: int, end: int) -> Iterable[bytes]:
        """Some that follow one another, read at once."""
        starts = self._starts[first : end + 1].tolist()
        data = os.pread(self._file, starts[-1] - starts[0], starts[0])
        return (data[start - starts[0] : end - starts[0]] for start, end in pairwise(starts))

    def _is_likely(self, hash_: int) -> bool:
        bits = self._filter
        one, other = hash_ & self._mask, (hash_ >> _OTHER_BITS) & self._mask
        return bool(bits[one >> 3] >> (one & 7) & 1 and bits[other >> 3] >> (other & 7) & 1)

    def _all_likely(self, hashes: Integers) -> list[int]:
        one = hashes & self._mask
        hits = np.flatnonzero(self._filter[one >> 3] >> (one & 7) & 1)
        other = (hashes[hits] >> _OTHER_BITS) & self._mask
        found: list[int] = hits[(self._filter[other >> 3] >> (other & 7) & 1).astype(np.bool_)].tolist()
        return found
