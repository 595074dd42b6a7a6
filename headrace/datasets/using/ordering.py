"""The rows of a set in the order of one of its times; of equal times in the order of the set."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from headrace.datasets.errors import DamagedSet
from headrace.datasets.using.opened import BATCH_ROWS, OpenSet
from headrace.datasets.using.sandbox import connection, identifier, quoted
from headrace.datasets.using.times import micros


def ordered_batches(opened: OpenSet, columns: Sequence[str], time: str) -> Iterator[pa.RecordBatch]:
    """All rows, some at a time. Where they are not in order, DuckDB sorts them: in bounded memory, then on disk.

    Raises:
        BadInput: a row has no time.
        DamagedSet: the set is damaged.
    """
    if _is_ordered(opened, time):
        yield from opened.batches(columns)
        return
    import duckdb

    files = ", ".join(quoted(path) for path in opened.paths())
    query = (
        f"select {', '.join(map(identifier, columns))} from read_parquet([{files}], file_row_number = true, "  # noqa: S608
        f"filename = true) order by {identifier(time)}, filename, file_row_number"
    )
    schema = opened.schema
    kept = pa.schema([schema.field(name) for name in columns])
    with TemporaryDirectory(prefix="headrace-order-") as spill:
        sorter = connection({"rows": opened.paths()}, Path(spill))
        try:
            for batch in sorter.sql(query).to_arrow_reader(BATCH_ROWS):
                arrays = [column.cast(f.type) for column, f in zip(batch.columns, kept, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=kept)
        except duckdb.Error as error:
            raise DamagedSet(f"{opened.manifest.set}: cannot be put in order: {error}") from error
        finally:
            sorter.close()


def _is_ordered(opened: OpenSet, time: str) -> bool:
    before, last = 0, None
    for batch in opened.batches([time]):
        at = micros(batch.column(0), time, before + 1)
        before += len(at)
        if len(at) and ((last is not None and at[0] < last) or bool((np.diff(at) < 0).any())):
            return False
        last = at[-1] if len(at) else last
    return True
