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
    """A current segment, its manifest, its size in bytes, and the files there that it has replaced."""

    segment: Segment
    manifest: Manifest
    size: int
    replaced: tuple[Path, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its files in the order of removing: without it, what it has replaced would count again."""
        return (*self.replaced, self.segment.path)


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


def covered_by(segment: Segment, listing: Listing) -> tuple[Path, ...]:
    """The files that a current segment has replaced."""
    return tuple(one.path for one in listing.replaced if segment.covers(one))


def remove(paths: Iterable[Path]) -> int:
    """Remove files; returns how many. Dying in between leaves some, which the next round removes."""
    count = 0
    for path in paths:
        path.unlink(missing_ok=True)
        count += 1
    return count
