"""Columns that say when: times with a zone, seconds since the epoch, or ISO 8601 text; as µs since the epoch."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.datasets.errors import BadInput
from headrace.replay.files import epoch_seconds


def check_time(schema: pa.Schema, name: str, where: str) -> None:
    """Raise `BadInput` unless the column can say when."""
    if name not in schema.names:
        raise BadInput(f"{where}: no column {name!r}", hint=f"there is {', '.join(schema.names[:30])}")
    kind = schema.field(name).type
    of = pa.types
    if of.is_timestamp(kind) and not kind.tz:
        raise BadInput(f"{where}, column {name}: times without a zone", hint="import it again with --zone")
    if not (of.is_timestamp(kind) or of.is_floating(kind) or of.is_integer(kind) or of.is_string(kind)):
        raise BadInput(f"{where}, column {name}: {kind} is no time", hint="a time, seconds since the epoch, ISO 8601")


def micros(column: pa.Array, name: str, first_row: int) -> np.ndarray:
    """µs since the epoch, int64 [N]. `first_row` is the number of the first one, for errors.

    Raises:
        BadInput: a row has no time.
    """
    if column.null_count:
        at = pc.index(pc.is_null(column), value=True).as_py()
        raise BadInput(f"row {first_row + at}, column {name}: no time")
    if pa.types.is_timestamp(column.type):
        return np.asarray(
            column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()).to_numpy(zero_copy_only=False)
        )
    if pa.types.is_string(column.type):
        return np.array([_of_text(text, name, first_row + i) for i, text in enumerate(column.to_pylist())], np.int64)
    seconds = np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    if not np.isfinite(seconds).all():
        raise BadInput(f"row {first_row + int(np.argmin(np.isfinite(seconds)))}, column {name}: no time")
    return np.asarray(np.round(seconds * 1e6), np.int64)


def _of_text(text: str, name: str, row: int) -> int:
    try:
        return round(epoch_seconds(text) * 1e6)
    except ValueError as error:
        raise BadInput(f"row {row}, column {name}: {text[:60]!r} is no time: {error}") from error
