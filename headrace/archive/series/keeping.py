"""Folding days that are over into minutes and hours, and days of a month that is over into one file.

Each file is made of the samples up to an offset, or of a finer file, and says so itself. A process that dies leaves the
file before, or the new one; the next round sees which. Files are made one metric after the other, so that memory holds
one metric's rows.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.archive.folder import HOURS, MINUTES, topic_folders
from headrace.archive.segments.listing import Segment, list_segments
from headrace.archive.segments.manifest import Manifest, read_manifest
from headrace.archive.segments.writing import Step, ignore
from headrace.archive.series.days import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    DaysFile,
    DaysManifest,
    Offsets,
    day_of,
    list_days,
    month_of,
    read_days_manifest,
    span_of,
    write_days,
)
from headrace.archive.series.files import SeriesFile
from headrace.archive.series.folding import fold

LATE_MS = 600_000
"""A day is over so long after its end: samples of its last minutes are written by then."""


@dataclass(frozen=True)
class Taken:
    """A segment of samples with its manifest."""

    segment: Segment
    manifest: Manifest

    @property
    def source(self) -> str:
        """The name of its partition in `Offsets`."""
        return f"{self.manifest.topic_id}/{self.manifest.partition}"

    @property
    def days(self) -> range:
        """The days that it has samples of."""
        return range(day_of(self.manifest.from_ms), self.manifest.to_ms + 1, DAY_MS)


@dataclass(frozen=True)
class Piece:
    """The rows of a file with times in `[start, end)`; of samples, those from an offset on."""

    path: Path
    start: int
    end: int
    since: int = 0


class Folding:
    """The folded files of the archive in a folder. Only the holder of the archive's lock may use it."""

    def __init__(self, root: Path, step: Step = ignore) -> None:
        self._root, self._step = root, step
        self._manifests = dict[Path, Manifest]()

    def samples(self) -> list[Taken]:
        """Every current segment of samples, oldest first."""
        found = [
            Taken(one, self._manifests.get(one.path) or read_manifest(one.path))
            for folder in topic_folders(self._root, "metrics")
            for one in list_segments(folder).current
        ]
        self._manifests = {one.segment.path: one.manifest for one in found}
        return sorted(found, key=lambda one: one.manifest.from_ms)

    def fold_days(self, now_ms: int) -> int:
        """Fold every day that is over and has samples that are not folded yet; returns how many files were written."""
        taken, over = self.samples(), day_of(now_ms - LATE_MS)
        days = sorted({day for one in taken for day in one.days if day < over})
        written = sum(self._minutes(day, [one for one in taken if day in one.days]) for day in days)
        return written + self._hours()

    def is_folded(self, one: Taken) -> bool:
        """Whether every sample of a segment is in hours, and so in minutes too."""
        known = _known(self._root / HOURS)
        return all(known.get(day, {}).get(one.source, 0) >= one.segment.next for day in one.days)

    def merge_months(self, now_ms: int) -> int:
        """Make one file of the days of each month that is over; returns how many files were written."""
        return sum(self._merge_months(self._root / name, now_ms) for name in (MINUTES, HOURS))

    def _minutes(self, day: int, taken: Sequence[Taken]) -> int:
        folder = self._root / MINUTES
        before = _holding(folder, day)
        done = read_days_manifest(before.path).days if before else {}
        offsets = dict(done.get(day, {}))
        new = [one for one in taken if one.segment.next > offsets.get(one.source, 0)]
        if not new:
            return 0
        pieces = [Piece(one.segment.path, day, day + DAY_MS, offsets.get(one.source, 0)) for one in new]
        for one in new:
            offsets[one.source] = max(offsets.get(one.source, 0), one.segment.next)
        span = before or span_of(folder, day, day + DAY_MS)
        pieces += [Piece(before.path, span.start, span.end)] if before else []
        write_days(span, folded(pieces, MINUTE_MS), DaysManifest(MINUTE_MS, {**done, day: offsets}), self._step)
        return 1

    def _hours(self) -> int:
        """Bring the hours to where the minutes are."""
        minutes, hours, written = self._root / MINUTES, self._root / HOURS, 0
        for day, offsets in _known(minutes).items():
            holder, before = _holding(minutes, day), _holding(hours, day)
            done = read_days_manifest(before.path).days if before else {}
            if done.get(day) == offsets or holder is None:
                continue
            span = before or span_of(hours, day, day + DAY_MS)
            pieces = [Piece(holder.path, day, day + DAY_MS)]
            if before:  # the day's hours are made anew of its minutes, the other days stay
                pieces += [Piece(before.path, span.start, day), Piece(before.path, day + DAY_MS, span.end)]
            write_days(span, folded(pieces, HOUR_MS), DaysManifest(HOUR_MS, {**done, day: offsets}), self._step)
            written += 1
        return written

    def _merge_months(self, folder: Path, now_ms: int) -> int:
        months, written = dict[tuple[int, int], list[DaysFile]](), 0
        for one in list_days(folder)[0]:
            months.setdefault(month_of(one.start), []).append(one)
        for (start, end), files in months.items():
            if len(files) < 2 or now_ms < end + DAY_MS + LATE_MS:
                continue
            manifests = [read_days_manifest(one.path) for one in files]
            days = {day: offsets for one in manifests for day, offsets in one.days.items()}
            width, pieces = manifests[0].width_ms, [Piece(one.path, one.start, one.end) for one in files]
            write_days(span_of(folder, start, end), folded(pieces, width), DaysManifest(width, days), self._step)
            written += 1
        return written


def folded(pieces: Sequence[Piece], width_ms: int) -> Iterator[Any]:
    """The rows of all pieces, folded, one metric after the other."""
    with ExitStack() as stack:
        files = [(piece, stack.enter_context(SeriesFile(piece.path))) for piece in pieces]
        for metric in sorted({metric for _, file in files for metric in file.metrics()}):
            tables = [_rows(piece, file, metric) for piece, file in files]
            yield fold([table for table in tables if table.num_rows], width_ms)


def _rows(piece: Piece, file: SeriesFile, metric: str) -> Any:
    import pyarrow.compute as pc

    table = file.read([metric], piece.start, piece.end)
    return table.filter(pc.greater_equal(table["_offset"], piece.since)) if piece.since else table


def _holding(folder: Path, day: int) -> DaysFile | None:
    return next((one for one in list_days(folder)[0] if one.start <= day < one.end), None)


def _known(folder: Path) -> dict[int, Offsets]:
    return {day: offsets for one in list_days(folder)[0] for day, offsets in read_days_manifest(one.path).days.items()}
