"""Which files answer for which time: the coarsest that is fine enough, and finer or coarser ones where it has nothing.

No time is answered for by two files, so nothing is counted twice.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from headrace.archive.folder import HOURS, MINUTES, topic_folders
from headrace.archive.segments.listing import list_segments
from headrace.archive.segments.manifest import manifest_in, read_footer
from headrace.archive.series.days import DAY_MS, HOUR_MS, MINUTE_MS, day_of, list_days
from headrace.archive.series.keeping import Piece

Span = tuple[int, int]
"""`[start, end)`, in ms since the epoch."""
SAMPLES = "metrics"


class Footers:
    """Footers of files, read once as long as the file is the same."""

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._known = dict[Path, tuple[tuple[int, int], Any]]()

    def of(self, path: Path) -> Any:
        """The file's footer.

        Raises:
            FileNotFoundError: the file is gone.
        """
        found = path.stat()
        mark = (found.st_ino, found.st_mtime_ns)
        known = self._known.get(path)
        if known is None or known[0] != mark:
            if len(self._known) >= self._most:
                self._known.clear()
            known = self._known[path] = (mark, read_footer(path))
        return known[1]


def pieces_for(root: Path, start: int, end: int, step_ms: int, footers: Footers) -> list[Piece]:
    """The pieces of files that together have the samples of `[start, end)`, for steps of `step_ms`.

    Raises:
        FileNotFoundError: a file has gone meanwhile: ask again.
    """
    return [piece for pieces in tiers_for(root, (start, end), step_ms, footers).values() for piece in pieces]


def tiers_for(root: Path, span: Span, step_ms: int, footers: Footers) -> dict[str, list[Piece]]:
    """The same by tier: `SAMPLES`, `MINUTES`, `HOURS`."""
    samples = _samples(root, footers)
    found: dict[str, list[Piece]] = {SAMPLES: samples, MINUTES: _days(root / MINUTES), HOURS: _days(root / HOURS)}
    open_spans, chosen = [span], dict[str, list[Piece]]()
    for tier in _order(step_ms):
        covered = _covered(tier, found)
        left = _without(open_spans, covered)
        chosen[tier] = [cut for piece in found[tier] for cut in _within(piece, _without(open_spans, left))]
        open_spans = left
    return chosen


def _order(step_ms: int) -> Sequence[str]:
    if step_ms >= HOUR_MS:
        return HOURS, MINUTES, SAMPLES
    return (MINUTES, SAMPLES, HOURS) if step_ms >= MINUTE_MS else (SAMPLES, MINUTES, HOURS)


def _samples(root: Path, footers: Footers) -> list[Piece]:
    """The segments of samples, with the times that they span."""
    listed = [one for folder in topic_folders(root, SAMPLES) for one in list_segments(folder).current]
    manifests = [(one.path, manifest_in(footers.of(one.path).metadata, one.path)) for one in listed]
    return [Piece(path, manifest.from_ms, manifest.to_ms + 1) for path, manifest in manifests]


def _days(folder: Path) -> list[Piece]:
    return [Piece(one.path, one.start, one.end) for one in list_days(folder)[0]]


def _covered(tier: str, found: dict[str, list[Piece]]) -> list[Span]:
    """The time that a tier answers for.

    Of samples the oldest may be removed already, in part of a day: where that day is folded, it is not for them.
    """
    if tier != SAMPLES:
        return [(piece.start, piece.end) for piece in found[tier]]
    if not found[SAMPLES]:
        return []
    oldest = day_of(min(piece.start for piece in found[SAMPLES]))
    is_folded = any(piece.start <= oldest < piece.end for piece in found[MINUTES])
    return [(oldest + DAY_MS if is_folded else oldest, 1 << 62)]


def _within(piece: Piece, spans: Iterable[Span]) -> list[Piece]:
    """The parts of a piece that are in the spans."""
    cuts = ((max(piece.start, start), min(piece.end, end)) for start, end in spans)
    return [Piece(piece.path, start, end, piece.since) for start, end in cuts if start < end]


def _without(spans: Iterable[Span], covered: Iterable[Span]) -> list[Span]:
    """What is left of the spans."""
    left = list(spans)
    for start, end in covered:
        parts = [part for one in left for part in ((one[0], min(one[1], start)), (max(one[0], end), one[1]))]
        left = [part for part in parts if part[0] < part[1]]
    return left
