"""Reading the rows of a metric from a file that is sorted by series: only the row groups that may have them."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from headrace.archive.series.samples import SERIES

Key = tuple[str, str, int, str, str]
"""A series: metric, model, version, slice, and labels as text."""


@dataclass(frozen=True)
class Run:
    """Consecutive rows of one series, in the order of time: times in ms since the epoch, and columns by name."""

    key: Key
    times: Any
    columns: dict[str, Any]


class SeriesFile:
    """A file of samples or of folded rows. A context manager.

    Args:
        path: of the file.
        footer: as `read_footer` gives it, where it is known.

    Raises:
        FileNotFoundError: it is gone.
    """

    def __init__(self, path: Path, footer: Any = None) -> None:
        import pyarrow.parquet as pq

        texts = [name for name in SERIES if name != "version"]
        self._file = pq.ParquetFile(path, metadata=footer, memory_map=False, read_dictionary=texts)
        self._bounds = _bounds(self._file.metadata)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def metrics(self) -> list[str]:
        """The names of its metrics, in order."""
        import pyarrow.compute as pc

        found = {low for low, high in self._bounds if low == high}
        mixed = [i for i, (low, high) in enumerate(self._bounds) if low != high]
        if mixed:
            column = self._file.read_row_groups(mixed, columns=["metric"], use_threads=False)["metric"]
            found.update(pc.unique(column).to_pylist())
        return sorted(found)

    def read(self, metrics: Sequence[str], start: int, end: int, columns: Sequence[str] | None = None) -> Any:
        """The rows of some metrics with times in `[start, end)`, in ms since the epoch."""
        import pyarrow as pa
        import pyarrow.compute as pc

        groups = self._groups_of(metrics)
        table = self._file.read_row_groups(groups, columns=list(columns) if columns else None, use_threads=False)
        table = _plain(table.replace_schema_metadata(None))
        at = table["taken_at"].cast(pa.int64())
        inside = pc.and_(pc.greater_equal(at, start), pc.less(at, end))
        return table.filter(pc.and_(inside, pc.is_in(table["metric"], pa.array(metrics, pa.string()))))

    def runs(
        self,
        metrics: Collection[str] | None,
        span: tuple[int, int],
        columns: Sequence[str],
        chosen: Callable[[Key], bool],
    ) -> Iterator[Run]:
        """The rows of `[start, end)`, in ms since the epoch, of the series that are `chosen`, of some metrics or all.

        Of samples, which have no columns of folded rows, each is its value, and counts one.
        """
        for group in range(len(self._bounds)) if metrics is None else self._groups_of(metrics):
            head = self._file.read_row_group(group, columns=list(SERIES), use_threads=False)
            found = [one for one in _runs(head) if (metrics is None or one[2][0] in metrics) and chosen(one[2])]
            if not found:
                continue
            times, values = self._values(group, columns)
            for first, end, key in found:
                low, high = (first + int(i) for i in np.searchsorted(times[first:end], span))
                if low < high:
                    yield Run(key, times[low:high], {name: values[name][low:high] for name in columns})

    def _values(self, group: int, columns: Sequence[str]) -> tuple[Any, dict[str, Any]]:
        """The times and these columns of a row group."""
        there = [name for name in columns if name in self._file.schema_arrow.names]
        wanted = ["taken_at", *(there if "count" in there or not columns else ["value"])]
        table = self._file.read_row_group(group, columns=wanted, use_threads=False)
        times = table["taken_at"].to_numpy().astype("datetime64[ms]").astype(np.int64)
        if "value" in wanted and "count" not in wanted:
            value = table["value"].to_numpy()
            return times, {name: np.ones(len(value), np.int64) if name == "count" else value for name in columns}
        return times, {name: table[name].to_numpy() for name in there}

    def _groups_of(self, metrics: Collection[str]) -> list[int]:
        return [i for i, (low, high) in enumerate(self._bounds) if any(low <= metric <= high for metric in metrics)]


def _runs(head: Any) -> list[tuple[int, int, Key]]:
    """Where each series of a row group begins and ends, and which it is."""
    if not head.num_rows:
        return []
    columns = [head[name].combine_chunks() for name in SERIES]
    changed = np.zeros(head.num_rows, dtype=bool)
    changed[0] = True
    for column in columns:
        codes = (column.indices if hasattr(column, "indices") else column).to_numpy(zero_copy_only=False)
        changed[1:] |= codes[1:] != codes[:-1]
    starts = np.flatnonzero(changed).tolist()
    keys = zip(*(column.take(np.asarray(starts)).to_pylist() for column in columns), strict=True)
    return list(zip(starts, [*starts[1:], head.num_rows], keys, strict=True))


def _plain(table: Any) -> Any:
    """The table with texts as such, not as dictionaries."""
    import pyarrow as pa

    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table[field.name].cast(pa.string()))
    return table


def _bounds(footer: Any) -> list[tuple[str, str]]:
    """The lowest and the highest metric of each row group."""
    names = footer.schema.names
    found = [footer.row_group(i).column(names.index("metric")).statistics for i in range(footer.num_row_groups)]
    return [("", "\U0010ffff") if one is None or not one.has_min_max else (one.min, one.max) for one in found]
