"""A version as one file: Parquet, CSV or JSON lines, there whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from headrace.batch.writing.part import flat
from headrace.datasets.errors import BadInput
from headrace.datasets.using.opened import OpenSet
from headrace.runtime.files import synced

FORMATS = ("parquet", "csv", "jsonl")
Write = Callable[[OpenSet, IO[bytes]], None]


def export(opened: OpenSet, path: Path, kind: str = "") -> int:
    """Write all rows into a file, whose name says the format unless `kind` does; returns the rows.

    Raises:
        BadInput: there is no such format.
        DamagedSet: the set is damaged.
    """
    kind = kind or path.suffix.lower().removeprefix(".")
    if kind not in _WRITERS:
        raise BadInput(f"{path}: unknown format {kind!r}", hint=f"one of {', '.join(FORMATS)}")
    with synced(path) as file:
        _WRITERS[kind](opened, file)
    return opened.manifest.rows


def _parquet(opened: OpenSet, file: IO[bytes]) -> None:
    schema = opened.schema.with_metadata({"headrace.dataset": opened.manifest.set, "headrace.digest": _digest(opened)})
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in opened.batches(rows=131_072):
            writer.write_table(pa.Table.from_batches([batch.replace_schema_metadata(schema.metadata)], schema))


def _digest(opened: OpenSet) -> str:
    return opened.manifest.digest


def _csv(opened: OpenSet, file: IO[bytes]) -> None:
    schema = flat(opened.schema)
    with pc.CSVWriter(file, schema) as writer:
        for batch in opened.batches():
            columns = [
                column if field.type == column.type else pa.array(list(map(_text, column.to_pylist())), pa.string())
                for field, column in zip(schema, batch.columns, strict=True)
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def _jsonl(opened: OpenSet, file: IO[bytes]) -> None:
    encoder = msgspec.json.Encoder()
    for batch in opened.batches():
        file.write(encoder.encode_lines(batch.to_pylist()))


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode().strip('"')


_WRITERS: dict[str, Write] = {"parquet": _parquet, "csv": _csv, "jsonl": _jsonl}
