"""Folding rows of series into coarser ones.

Folding is associative: minutes folded into hours are what the samples folded into hours are, so a day to which samples
come late is folded again from what it has and what came.
"""

from collections.abc import Sequence
from typing import Any

from headrace.archive.series.samples import ORDER, SERIES, folded_columns


def as_folded(table: Any) -> Any:
    """Samples as rows that count one each; folded rows as they are."""
    import pyarrow as pa

    if "count" not in table.column_names:
        value = table["value"]
        ones = pa.repeat(pa.scalar(1, pa.int64()), table.num_rows)
        for name, column in (("low", value), ("high", value), ("last", value), ("count", ones)):
            table = table.append_column(name, column)
    return table.select(folded_columns().names).cast(folded_columns())


def fold(tables: Sequence[Any], width_ms: int) -> Any:
    """The rows of all tables as one row for each series and each `width_ms`, counted from the epoch.

    `taken_at` is where such a span begins. Values that are no numbers (NaN) are left out.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table = pa.concat_tables([as_folded(one) for one in tables]) if tables else folded_columns().empty_table()
    table = table.filter(pc.invert(pc.is_nan(table["value"])))
    if not table.num_rows:
        return table
    table = table.take(pc.sort_indices(table, [("taken_at", "ascending")])) if len(tables) > 1 else table
    number = table["taken_at"].cast(pa.int64())
    start = pc.subtract(number, _remainder(number, width_ms))
    weighed = pc.multiply(table["value"], table["count"].cast(pa.float64()))
    table = table.set_column(table.column_names.index("taken_at"), "taken_at", start).append_column("weighed", weighed)
    grouped = table.group_by([*SERIES, "taken_at"], use_threads=False).aggregate(
        [("weighed", "sum"), ("low", "min"), ("high", "max"), ("last", "last"), ("count", "sum")]
    )
    columns = {name: grouped[name] for name in SERIES}
    made = pa.table(
        {
            **columns,
            "taken_at": grouped["taken_at"].cast(pa.timestamp("ms")),
            "value": pc.divide(grouped["weighed_sum"], grouped["count_sum"].cast(pa.float64())),
            "low": grouped["low_min"],
            "high": grouped["high_max"],
            "last": grouped["last_last"],
            "count": grouped["count_sum"],
        }
    )
    return made.cast(folded_columns()).sort_by(ORDER)


def _remainder(numbers: Any, width: int) -> Any:
    import pyarrow.compute as pc

    return pc.subtract(numbers, pc.multiply(pc.divide(numbers, width), width))
