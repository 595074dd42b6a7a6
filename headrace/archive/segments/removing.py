"""Removing segments: what merged ones have replaced, and what is too old or too much.

The newest segment of each partition is never removed: it says where to go on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.archive.segments.listing import Listing, Segment
from headrace.archive.segments.manifest import Manifest


@dataclass(frozen=True)
class Kept:
    """A current segment, its manifest and its size in bytes."""

    segment: Segment
    manifest: Manifest
    size: int


def too_old(kept: Iterable[Kept], before_ms: int) -> list[Kept]:
    """Those whose newest record is from before a time, without the newest of each partition."""
    return [one for one in _not_newest(kept) if one.manifest.to_ms < before_ms]


def too_much(kept: Sequence[Kept], most: int) -> list[Kept]:
    """The oldest of those that have more than `most` bytes together, without the newest of each partition."""
    left, found = sum(one.size for one in kept), list[Kept]()
    for one in sorted(_not_newest(kept), key=lambda k: k.manifest.to_ms):
        if left <= most:
            break
        found.append(one)
        left -= one.size
    return found


def _not_newest(kept: Iterable[Kept]) -> list[Kept]:
    by_partition: dict[tuple[Path, int], list[Kept]] = {}
    for one in kept:
        by_partition.setdefault((one.segment.path.parent, one.segment.partition), []).append(one)
    return [one for some in by_partition.values() for one in sorted(some, key=lambda k: k.segment.first)[:-1]]


def replaced_long_ago(listing: Listing, now_s: float, grace_s: float) -> list[Path]:
    """The files that a merged segment has replaced `grace_s` seconds ago or earlier: no query reads them any more."""
    found = list[Path]()
    for one in listing.replaced:
        merged = next(other for other in listing.current if other.covers(one))
        if now_s - merged.path.stat().st_mtime >= grace_s:
            found.append(one.path)
    return found


def remove(paths: Iterable[Path]) -> int:
    """Remove files; returns how many. Dying in between leaves some, which the next round removes."""
    count = 0
    for path in paths:
        path.unlink(missing_ok=True)
        count += 1
    return count
