"""Watched columns of a Parquet file. It needs pyarrow, so nothing else here imports it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.drift.schema import Column, ColumnSpec
from headrace.runtime.errors import ConfigError, DataError


def parquet_columns(path: Path, specs: Sequence[ColumnSpec], limit: int) -> tuple[list[Column], int]:
    """The columns of the first `limit` rows, and how many rows that are.

    Raises:
        ConfigError: the file cannot be opened, or lacks a column.
        DataError: a column is of another kind.
    """
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: {error}") from error
    names = set(file.schema_arrow.names)
    for spec in specs:
        if spec.name.partition(".")[0] not in names:
            raise ConfigError(f"{path}: no column {spec.name!r}", hint=f"it has {', '.join(sorted(names))}")
    wanted = sorted({spec.name.partition(".")[0] for spec in specs})
    batches, count = [], 0
    for batch in file.iter_batches(65_536, columns=wanted):
        part = batch.slice(0, limit - count)
        batches.append(part)
        count += part.num_rows
        if count >= limit:
            break
    table = pa.Table.from_batches(batches, schema=batches[0].schema) if batches else file.read(columns=wanted)
    return [_column(path, table, spec) for spec in specs], count


def _column(path: Path, table: Any, spec: ColumnSpec) -> Column:
    head, *inner = spec.name.split(".")
    values = table[head]
    for name in inner:
        values = pc.struct_field(values, name)
    if spec.kind == "number":
        try:
            found: Column = pc.cast(values, pa.float64(), safe=False).to_numpy()
        except pa.ArrowException as error:
            raise DataError(f"{path}: column {spec.name}: {error}") from error
        return found
    column = np.empty(len(values), dtype=object)
    column[:] = values.to_pylist()
    return column
