"""Record batches kept on disk between two passes: what a column is, is known only when all of it was seen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa


class Spool:
    """Batches of one schema in an Arrow file, which is no durable thing: an import that died reads its input again."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema, self.rows = schema, 0
        self._path = path
        self._writer: Any = pa.ipc.new_file(str(path), schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))

    def add(self, batch: pa.RecordBatch) -> None:
        """Keep a batch."""
        self._writer.write_batch(batch)
        self.rows += batch.num_rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The batches again, in their order; nothing can be added from now on."""
        self.close()
        with pa.memory_map(str(self._path)) as source:
            reader = pa.ipc.open_file(source)
            for i in range(reader.num_record_batches):
                yield reader.get_batch(i)
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Finish writing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
