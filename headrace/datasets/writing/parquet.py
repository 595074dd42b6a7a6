"""Parquet files of bounded size and row groups, with what is counted about each column on the way."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.datasets.manifest import ColumnFacts
from headrace.datasets.storing.digest import sha256_of
from headrace.runtime.files import sync_folder

GROUP_ROWS = 131_072
FILE_ROWS = 2_097_152
FILE_BYTES = 512 << 20
_LONGEST_TEXT = 200


@dataclass(frozen=True)
class WrittenFile:
    """A file in the work folder: durable, closed."""

    path: Path
    rows: int
    size: int
    sha256: str


class SetWriter:
    """Writes batches of one schema, in their order, into files `part-00000.parquet`, ... of a folder.

    Memory is bounded by a row group. A folder's earlier files are written over.
    """

    def __init__(
        self, folder: Path, schema: pa.Schema, *, group_rows: int = GROUP_ROWS, file_rows: int = FILE_ROWS
    ) -> None:
        self.schema = schema
        self._folder, self._group_rows, self._file_rows = folder, group_rows, file_rows
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = self._rows = 0
        self._writer: pq.ParquetWriter | None = None
        self._files: list[WrittenFile] = []
        self._counts = [_Counted(name) for name in schema.names]

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch."""
        if not batch.num_rows:
            return
        for counted, column in zip(self._counts, batch.columns, strict=True):
            counted.add(column)
        for piece in self._pieces(batch):
            self._waiting.append(piece)
            self._waiting_rows += piece.num_rows
            if self._waiting_rows >= self._group_rows:
                self._write_group()

    def _pieces(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        start = 0
        while start < batch.num_rows:
            length = min(self._group_rows - self._waiting_rows, batch.num_rows - start)
            yield batch.slice(start, length)
            start += length

    def finish(self) -> list[WrittenFile]:
        """The files, durable; one at least, so that the schema of an empty set is kept too."""
        if self._waiting_rows or (not self._files and self._writer is None):
            self._write_group()
        self._close()
        return self._files

    @property
    def facts(self) -> list[ColumnFacts]:
        """What was counted of each column."""
        return [counted.facts(str(kind.type)) for counted, kind in zip(self._counts, self.schema, strict=True)]

    @property
    def rows(self) -> int:
        """Rows in closed files."""
        return sum(file.rows for file in self._files)

    @property
    def size(self) -> int:
        """Bytes of closed files."""
        return sum(file.size for file in self._files)

    def _write_group(self) -> None:
        if self._writer is None:
            self._path = self._folder / f"part-{len(self._files):05d}.parquet"
            self._writer = pq.ParquetWriter(self._path, self.schema, compression="zstd", compression_level=3)
        table = pa.Table.from_batches(self._waiting, self.schema)
        self._writer.write_table(table, row_group_size=self._group_rows)
        self._rows += self._waiting_rows
        self._waiting, self._waiting_rows = [], 0
        if self._rows >= self._file_rows or self._path.stat().st_size >= FILE_BYTES:
            self._close()

    def _close(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        with self._path.open("rb+") as file:
            os.fsync(file.fileno())
        sync_folder(self._folder)
        size = self._path.stat().st_size
        self._files.append(WrittenFile(self._path, self._rows, size, sha256_of(self._path)))
        self._rows = 0


@dataclass
class _Counted:
    name: str
    missing: int = 0
    low: Any = None
    high: Any = None
    comparable: bool = field(default=True)

    def add(self, column: pa.Array) -> None:
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.dictionary_decode()
            kind = column.type
        self.missing += column.null_count
        if pa.types.is_floating(kind):
            nan = pc.is_nan(column)
            self.missing += pc.sum(nan).as_py() or 0
            column = column.filter(pc.and_(pc.is_finite(column), pc.invert(nan)))
        if not self.comparable or not _has_order(kind):
            self.comparable = False
            return
        found = pc.min_max(column).as_py()
        if found["min"] is not None:
            self.low = found["min"] if self.low is None else min(self.low, found["min"])
            self.high = found["max"] if self.high is None else max(self.high, found["max"])

    def facts(self, kind: str) -> ColumnFacts:
        return ColumnFacts(name=self.name, type=kind, missing=self.missing, min=_plain(self.low), max=_plain(self.high))


def _has_order(kind: pa.DataType) -> bool:
    of = pa.types
    return (
        of.is_integer(kind) or of.is_floating(kind) or of.is_temporal(kind)
        or of.is_string(kind) or of.is_large_string(kind)
    ) and not of.is_duration(kind)  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, str):
        return value[:_LONGEST_TEXT]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, int | float | bool) or value is None else str(value)
