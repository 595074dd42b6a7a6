"""Writing a segment: it is there whole or not at all, and follows the one before.

One process at a time writes to an archive (`Lock`). What makes a record be kept exactly once is that the segments
themselves say where to go on: there is no second place that could disagree.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.archive.segments.listing import Segment, list_segments, path_of
from headrace.archive.segments.manifest import Manifest
from headrace.runtime.errors import DependencyError, FencedError
from headrace.runtime.files import sync_folder

Step = Callable[[str], None]
"""Is told of each durable step after it is done; tests die there."""
WRITTEN, SYNCED, RENAMED, DURABLE = "written", "synced", "renamed", "durable"

COMPRESSION: dict[str, Any] = {"compression": "zstd", "compression_level": 1}
UNFINISHED = ".tmp"


def ignore(_: str) -> None:
    """What is told of steps where nobody asks."""


class Lock:
    """Keeps other processes from writing to the same archive, until this one ends.

    Raises:
        DependencyError: another process has it.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._file = os.open(root / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise DependencyError(
                f"another process writes to {root}", hint="an archive has one writer: stop the other one"
            ) from error

    def release(self) -> None:
        """Let others write."""
        os.close(self._file)


def sweep(folder: Path) -> int:
    """Remove what a writer that died has left unfinished; returns how many files. Only the holder of the lock may."""
    doomed = [path for path in folder.rglob(f".*{UNFINISHED}") if path.is_file()]
    for path in doomed:
        path.unlink(missing_ok=True)
    return len(doomed)


def write_segment(folder: Path, table: Any, manifest: Manifest, step: Step = ignore) -> Segment:
    """Keep the rows of an Arrow table as the segment that its manifest describes, which follows the last one there.

    Raises:
        FencedError: the segments in the folder do not end where this one begins: somebody else writes too.
        OSError: the storage refuses.
    """
    import pyarrow.parquet as pq

    def fill(file: Any) -> None:
        pq.write_table(table.replace_schema_metadata(manifest.metadata()), file, **COMPRESSION)

    def check() -> None:
        end = list_segments(folder).ends.get(manifest.partition, 0)
        if end > manifest.first:
            raise FencedError(
                f"{folder}: partition {manifest.partition} is kept up to offset {end}, "
                f"and this process was to go on at {manifest.first}",
                hint="another archive writes to the same folder; this instance stops",
            )

    path = path_of(folder, manifest.partition, manifest.first, manifest.next)
    place(path, fill, step, check)
    return Segment(manifest.partition, manifest.first, manifest.next, path)


def place(
    path: Path, fill: Callable[[Any], None], step: Step = ignore, check: Callable[[], None] | None = None
) -> None:
    """Put a file at `path`, whole and durable, in place of any that is there.

    Raises:
        OSError: the storage refuses; there is no new file then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}{UNFINISHED}")
    try:
        with beside.open("wb") as file:
            fill(file)  # 1. write it beside
            file.flush()
            step(WRITTEN)
            os.fsync(file.fileno())  # 2. make its bytes durable
        step(SYNCED)
        if check is not None:
            check()
        beside.replace(path)  # 3. give it its name: from here on it counts
        step(RENAMED)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)  # 4. make the name durable
    step(DURABLE)
