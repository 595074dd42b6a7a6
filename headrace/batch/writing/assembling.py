"""The output, made of the parts in order while later ones are being done, and put into its place at the end."""

import gzip
import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from headrace.batch.job import PartResult, Plan, output_kind
from headrace.batch.writing.part import GZIP_LEVEL, flat, part_file, rejected_file
from headrace.runtime.files import sync_folder


class Assembler:
    """Writes the output beside the parts, in a thread. What is unfinished when the process dies is begun again.

    Args:
        plan: the job.
        folder: the work folder.
        schema: of the output.
        metadata: goes into a Parquet file.
    """

    def __init__(self, plan: Plan, folder: Path, schema: pa.Schema, metadata: Mapping[str, str]) -> None:
        self._folder, self._count = folder, len(plan.parts)
        self._kind, self._packed = output_kind(plan.job.output_path)
        self._schema = schema.with_metadata({name.encode(): text.encode() for name, text in metadata.items()})
        self._unfinished = folder / "output"
        self._rejected = folder / "rejected"
        self._results: dict[int, PartResult] = {}
        self._change = threading.Condition()
        self._error: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="assemble", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def add(self, result: PartResult) -> None:
        """A part is on disk and in the journal."""
        with self._change:
            self._results[result.part] = result
            self._change.notify()

    def stop(self) -> None:
        """Give up: the output is not wanted."""
        with self._change:
            self._ended = True
            self._change.notify()
        self._thread.join()

    def finish(self, output: Path, rejected: Path) -> None:
        """Wait for all parts and put the files into their places, the output last.

        Raises:
            OSError: the disk is full, or the like.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        if self._rejected.stat().st_size:
            self._rejected.replace(rejected)
        else:
            rejected.unlink(missing_ok=True)
        sync_folder(output.parent)
        self._unfinished.replace(output)
        sync_folder(output.parent)

    def _run(self) -> None:
        try:
            with self._unfinished.open("wb") as file, self._rejected.open("wb") as rejected:
                self._assemble(file, rejected)
                for one in (file, rejected):
                    one.flush()
                    os.fsync(one.fileno())
        except BaseException as error:  # noqa: BLE001 - `finish` raises it in the thread that waits
            self._error = error

    def _assemble(self, file: IO[bytes], rejected: IO[bytes]) -> None:
        sink = _ParquetOutput(file, self._schema) if self._kind == "parquet" else _TextOutput(file)
        if self._kind == "csv":
            file.write(_header(self._schema, packed=self._packed))
        for part in range(self._count):
            result = self._wait_for(part)
            if result is None:
                return
            sink.append(part_file(self._folder, part))
            if result.bad:
                with rejected_file(self._folder, part).open("rb") as source:
                    shutil.copyfileobj(source, rejected)
        sink.close()

    def _wait_for(self, part: int) -> PartResult | None:
        with self._change:
            self._change.wait_for(lambda: self._ended or part in self._results)
            return None if self._ended else self._results[part]


class _ParquetOutput:
    """A part becomes a row group."""

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(file, schema)
        self._schema = schema

    def append(self, part: Path) -> None:
        with pa.memory_map(str(part)) as source:
            table = pa.ipc.open_file(source).read_all()
            if table.num_rows:
                self._writer.write_table(table.cast(self._schema))

    def close(self) -> None:
        self._writer.close()


class _TextOutput:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def append(self, part: Path) -> None:
        with part.open("rb") as source:
            shutil.copyfileobj(source, self._file, 1 << 20)

    def close(self) -> None:
        """Nothing of its own."""


def _header(schema: pa.Schema, *, packed: bool) -> bytes:
    sink: Any = pa.BufferOutputStream()
    pc.CSVWriter(sink, flat(schema)).close()
    header = sink.getvalue().to_pybytes()
    return gzip.compress(header, GZIP_LEVEL, mtime=0) if packed else header
