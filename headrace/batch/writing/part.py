"""One part on disk: predictions in the form that the output is assembled from, and the rejected rows beside them.

For Parquet a part is an Arrow file, which is encoded once, when the output is assembled. For CSV and JSON lines it is
the text itself; compressed, it is a gzip member of its own.
"""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.csv as pc

from headrace.batch.job import Kind, PartResult, Rejected
from headrace.batch.predicting import Predicted
from headrace.runtime.files import synced


def part_file(folder: Path, part: int) -> Path:
    """Where a part's predictions are."""
    return folder / f"part-{part:06d}.out"


def rejected_file(folder: Path, part: int) -> Path:
    """Where a part's rejected rows are."""
    return folder / f"part-{part:06d}.rejected.jsonl"


class _Sink(Protocol):
    def write(self, batch: pa.RecordBatch) -> Any: ...

    def close(self) -> Any: ...


class _JsonLines:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, batch: pa.RecordBatch) -> None:
        names = batch.schema.names
        columns = [column.to_pylist() for column in batch.columns]
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        self._file.write(_ENCODER.encode_lines(rows))

    def close(self) -> None:
        """Nothing of its own."""


_ENCODER = msgspec.json.Encoder()
GZIP_LEVEL = 3


class _Csv:
    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        self._schema = flat(schema)
        self._writer = pc.CSVWriter(file, self._schema, write_options=pc.WriteOptions(include_header=False))

    def write(self, batch: pa.RecordBatch) -> None:
        columns = [
            column if field.type == column.type else pa.array(_as_text(column), pa.string())
            for field, column in zip(self._schema, batch.columns, strict=True)
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def flat(schema: pa.Schema) -> pa.Schema:
    """The schema of a CSV file: columns that a cell cannot hold are JSON, or base64, as text."""
    return pa.schema([pa.field(f.name, f.type if _is_cell(f.type) else pa.string()) for f in schema])


def _is_cell(kind: pa.DataType) -> bool:
    of = pa.types
    return not (of.is_nested(kind) or of.is_binary(kind) or of.is_large_binary(kind) or of.is_dictionary(kind))


def _as_text(column: pa.Array) -> list[str | None]:
    values = column.to_pylist()
    return [v if v is None or isinstance(v, str) else msgspec.json.encode(v).decode().strip('"') for v in values]


def write_part(
    folder: Path, part: int, kind: Kind, schema: pa.Schema, predicted: Iterator[Predicted], *, packed: bool
) -> PartResult:
    """Write a part, durable when this returns; one written before, by a process that died, is replaced."""
    rows = 0
    rejected: list[Rejected] = []
    target, beside = part_file(folder, part), rejected_file(folder, part)
    beside.unlink(missing_ok=True)
    with synced(target) as file, _compressed(file, packed=packed) as body:
        sink = _sink(body, kind, schema)
        for one in predicted:
            sink.write(one.batch)
            rejected += one.bad
            rows += one.batch.num_rows
        sink.close()
    if rejected:
        with synced(beside) as file:
            file.write(_ENCODER.encode_lines(rejected))
    return PartResult(part, rows, len(rejected), target.stat().st_size, beside.stat().st_size if rejected else 0)


@contextmanager
def _compressed(file: IO[bytes], *, packed: bool) -> Iterator[Any]:
    if not packed:
        yield file
        return
    with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as body:
        yield body


def _sink(file: Any, kind: Kind, schema: pa.Schema) -> _Sink:
    if kind == "parquet":
        return _Arrow(file, schema)
    return _Csv(file, schema) if kind == "csv" else _JsonLines(file)


class _Arrow:
    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        self._writer = pa.ipc.new_file(file, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch)

    def close(self) -> None:
        self._writer.close()
