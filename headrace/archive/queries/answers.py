"""Answers of queries as JSON, CSV and Parquet. Times are UTC."""

import csv
import io
import math
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from headrace.archive.queries.running import Answer


def plain_rows(table: Any) -> list[list[Any]]:
    """The rows as values that JSON has: times as ISO 8601 in UTC, bytes as text, numbers that JSON lacks as None."""
    return [list(row) for row in zip(*(_plain_column(column) for column in table.columns), strict=True)]


def shown(answer: Answer) -> dict[str, Any]:
    """As REST answers it."""
    columns = [{"name": one.name, "type": str(one.type)} for one in answer.table.schema]
    return {"columns": columns, "rows": plain_rows(answer.table), "truncated": answer.is_cut}


def as_objects(table: Any) -> list[dict[str, Any]]:
    """A dictionary for each row."""
    names = table.column_names
    return [dict(zip(names, row, strict=True)) for row in plain_rows(table)]


def csv_bytes(table: Any) -> bytes:
    """As CSV with a header; values that are lists or structs as JSON."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.column_names)
    for row in plain_rows(table):
        writer.writerow(
            [msgspec.json.encode(value).decode() if isinstance(value, list | dict) else value for value in row]
        )
    return text.getvalue().encode()


def parquet_bytes(table: Any) -> bytes:
    """As a Parquet file."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _plain_column(column: Any) -> list[Any]:
    return [plain(value) for value in column.to_pylist()]


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {name: plain(one) for name, one in value.items()}
        case list() | tuple():
            return [plain(one) for one in value]
        case datetime():
            return value.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
        case Decimal():  # DuckDB's type of 1.5, and of sums of integers
            return int(value) if _has_no_fraction(value) else float(value)
    return value if value is None or isinstance(value, bool | int | str) else _text(value)


def _text(value: Any) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _has_no_fraction(value: Decimal) -> bool:
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= 0
