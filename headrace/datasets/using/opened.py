"""A version that is read: its files are verified when they are first asked for."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.datasets.catalogue import Catalogue
from headrace.datasets.errors import DamagedSet
from headrace.datasets.manifest import Manifest
from headrace.datasets.names import Wanted

BATCH_ROWS = 16_384


class OpenSet:
    """A version of a set. `manifest` says what it is."""

    def __init__(self, catalogue: Catalogue, manifest: Manifest) -> None:
        self.manifest = manifest
        self._catalogue = catalogue
        self._paths: list[Path] | None = None

    @classmethod
    def of(cls, catalogue: Catalogue, text: str | Wanted) -> "OpenSet":
        """What `name` or `name@version` is.

        Raises:
            ConfigError: it is no name of a set, or there is none.
        """
        return cls(catalogue, catalogue.manifest(text))

    def paths(self) -> list[Path]:
        """Local Parquet files with all rows, in order.

        Raises:
            DamagedSet: a file is missing, or is not what its digest says.
        """
        if self._paths is None:
            store = self._catalogue.store
            self._paths = [store.local(file.path, file.size, file.sha256) for file in self.manifest.files]
        return self._paths

    @property
    def schema(self) -> pa.Schema:
        """The columns with their types."""
        return pq.read_schema(self.paths()[0]).remove_metadata()

    def batches(self, columns: Sequence[str] | None = None, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
        """All rows in order, some at a time; `columns` of None are all.

        Raises:
            DamagedSet: a file cannot be read.
        """
        for path in self.paths():
            try:
                with pq.ParquetFile(path, memory_map=True) as source:
                    yield from source.iter_batches(rows, columns=columns)
            except (OSError, pa.ArrowException) as error:
                raise DamagedSet(f"{self.manifest.set}: {path}: {error}") from error

    def rows(self, offset: int, limit: int) -> list[dict[str, object]]:
        """Some rows; only the row groups that hold them are read."""
        found: list[dict[str, object]] = []
        for file, path in zip(self.manifest.files, self.paths(), strict=True):
            if offset >= file.rows:
                offset -= file.rows
                continue
            with pq.ParquetFile(path, memory_map=True) as source:
                for group in range(source.num_row_groups):
                    held = source.metadata.row_group(group).num_rows
                    if offset < held:
                        table = source.read_row_group(group).slice(offset, limit - len(found))
                        found += table.to_pylist()
                        if len(found) >= limit:
                            return found
                    offset = max(0, offset - held)
        return found
