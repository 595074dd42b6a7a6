"""Reading the rows of a metric from a file that is sorted by series: only the row groups that may have them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self


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

        self._file = pq.ParquetFile(path, metadata=footer, memory_map=False)
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

        groups = [i for i, (low, high) in enumerate(self._bounds) if any(low <= metric <= high for metric in metrics)]
        table = self._file.read_row_groups(groups, columns=list(columns) if columns else None, use_threads=False)
        table = table.replace_schema_metadata(None)
        at = table["taken_at"].cast(pa.int64())
        inside = pc.and_(pc.greater_equal(at, start), pc.less(at, end))
        return table.filter(pc.and_(inside, pc.is_in(table["metric"], pa.array(metrics, pa.string()))))


def _bounds(footer: Any) -> list[tuple[str, str]]:
    """The lowest and the highest metric of each row group."""
    names = footer.schema.names
    found = [footer.row_group(i).column(names.index("metric")).statistics for i in range(footer.num_row_groups)]
    return [("", "\U0010ffff") if one is None or not one.has_min_max else (one.min, one.max) for one in found]
