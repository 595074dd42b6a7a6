"""Cutting a set into parts between which nothing leaks.

By key: the part of a row is decided by the hash of its key, so a key is in one part whatever rows are added later.

By time: the cuts are times, so that rows of one time stay together. A row of an earlier part whose label became known
when a later part had begun is left out: at that time nobody could have learned from it. Where a column is not to be in
two parts, the later rows of its values are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa
import xxhash

from headrace.datasets.errors import BadInput
from headrace.datasets.importing.job import Split
from headrace.datasets.using.opened import OpenSet
from headrace.datasets.using.times import check_time, micros

LEFT_OUT = -1
_SPAN = float(1 << 64)


@dataclass
class Assigned:
    """Some rows, and the index of each one's part, `LEFT_OUT` for those in none."""

    rows: pa.RecordBatch
    parts: np.ndarray


@dataclass
class Cuts:
    """How a set is cut; `times` are where the parts after the first begin, µs since the epoch."""

    times: list[int] = field(default_factory=list)


def hashes(column: pa.Array, name: str, first_row: int, seed: int = 0) -> np.ndarray:
    """A hash of each value's text, uint64 [N], the same in every release.

    Raises:
        BadInput: a row has no value.
    """
    if column.null_count:
        at = column.is_null().index(True).as_py()
        raise BadInput(f"row {first_row + at}, column {name}: no value to split by")
    encoded = column.dictionary_encode()
    digest = xxhash.xxh3_64_intdigest
    values = [digest(str(value).encode(), seed) for value in encoded.dictionary.to_pylist()]
    places: np.ndarray = encoded.indices.to_numpy(zero_copy_only=False)
    found: np.ndarray = np.array(values, np.uint64)[places]
    return found


class Splitting:
    """A split of one set.

    Raises:
        BadInput: it does not have the columns.
    """

    def __init__(self, split: Split, parent: OpenSet) -> None:
        self._split, self._parent, manifest = split, parent, parent.manifest
        own = manifest.time if split.by == "time" else manifest.key
        self.column = split.column or own
        if not self.column:
            raise BadInput(
                f"{manifest.set} names no {split.by}", hint=f"--column NAME says which one is its {split.by}"
            )
        self.schema = parent.schema
        if split.by == "time":
            check_time(self.schema, self.column, manifest.set)
        self.label_time = (split.label_time or manifest.label_time) if split.by == "time" else ""
        if self.label_time:
            check_time(self.schema, self.label_time, manifest.set)
        for name in (self.column, split.group):
            if name and name not in self.schema.names:
                raise BadInput(f"{manifest.set}: no column {name!r}", hint=f"it has {', '.join(self.schema.names)}")
        self.parts = list(split.shares)
        self.cuts = self._cuts() if split.by == "time" else Cuts()

    def _cuts(self) -> Cuts:
        """The times at which parts begin: each part has its share of the rows, but for rows of one time."""
        rows = self._parent.manifest.rows
        times, at = np.empty(rows, np.int64), 0
        for batch in self._parent.batches([self.column]):
            times[at : at + batch.num_rows] = micros(batch.column(0), self.column, at + 1)
            at += batch.num_rows
        if not rows:
            raise BadInput(f"{self._parent.manifest.set} has no rows")
        times.sort()
        ends = np.cumsum(list(self._split.shares.values()))[:-1]
        found = [int(times[min(rows - 1, round(float(end) * rows))]) for end in ends]
        bounds = [int(times[0]), *found]
        if any(later <= earlier for earlier, later in pairwise(bounds)):
            raise BadInput(f"{self._parent.manifest.set}: too few different times in {self.column} for these shares")
        return Cuts(found)

    def assigned(self) -> Iterator[Assigned]:
        """All rows in order, with their parts.

        Raises:
            BadInput: a row has no time or key.
        """
        before, seen = 0, self._seen()
        for batch in self._parent.batches():
            parts = self._parts(batch, before + 1)
            if self._split.group:
                group = hashes(batch.column(self._split.group), self._split.group, before + 1)
                for later in range(1, len(self.parts)):
                    again = np.isin(group, seen[later - 1]) & (parts == later)
                    parts[again] = LEFT_OUT
            yield Assigned(batch, parts)
            before += batch.num_rows

    def _parts(self, batch: pa.RecordBatch, first_row: int) -> np.ndarray:
        if self._split.by == "key":
            at = hashes(batch.column(self.column), self.column, first_row, self._split.seed).astype(np.float64) / _SPAN
            ends = np.cumsum(list(self._split.shares.values()))[:-1]
            return np.searchsorted(ends, at, side="right").astype(np.int64)
        times = micros(batch.column(self.column), self.column, first_row)
        cuts = np.array(self.cuts.times, np.int64)
        parts = np.searchsorted(cuts, times, side="right").astype(np.int64)
        if self.label_time:
            known = micros(batch.column(self.label_time), self.label_time, first_row)
            begins = np.append(cuts, np.iinfo(np.int64).max)
            parts[known >= begins[parts]] = LEFT_OUT
        return parts

    def _seen(self) -> list[np.ndarray]:
        """For each part the hashes of the group's values that it and those before it have."""
        if not self._split.group:
            return []
        found: list[list[np.ndarray]] = [[] for _ in self.parts]
        before = 0
        for batch in self._parent.batches():
            parts = self._parts(batch, before + 1)
            group = hashes(batch.column(self._split.group), self._split.group, before + 1)
            for part in range(len(self.parts)):
                found[part].append(np.unique(group[parts == part]))
            before += batch.num_rows
        own = [np.unique(np.concatenate(values)) for values in found]
        return [np.unique(np.concatenate(own[: i + 1])) for i in range(len(own))]
