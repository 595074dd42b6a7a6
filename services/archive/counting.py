"""Counting what the archive kept, and giving back the memory that it took."""

import ctypes
from collections.abc import Callable
from pathlib import Path

from headrace.archive.tables import Rows
from headrace.runtime.logging import get_logger
from services.archive import metrics
from services.archive.service import Lane

log = get_logger("headrace.archive")


class Counter:
    """An `Observer` of the archive: sets the metrics, and tells of records that could not be read."""

    def kept(self, lane: Lane, rows: Rows, path: Path) -> None:
        """See `Observer.kept`."""
        table = lane.source.table.name
        metrics.KEPT.labels(table).inc(len(lane.offsets))
        metrics.SEGMENTS.labels(table).inc()
        metrics.BYTES.labels(table).inc(path.stat().st_size)
        if rows.unreadable:
            metrics.UNREADABLE.labels(table).inc(rows.unreadable)
            log.warning("records cannot be read and are kept as they came", count=rows.unreadable, first=rows.problem)
        release()


def release() -> None:
    """Give memory that Arrow and the C library hold for later back to the system."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    if _TRIM is not None:
        _TRIM(0)


def _trim() -> Callable[[int], int] | None:
    """Glibc's malloc_trim; None where the C library has none."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return found


_TRIM = _trim()
