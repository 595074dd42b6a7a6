"""Which segments a folder holds.

A segment's name says its partition and the offsets `[first, next)` that it covers, so the names alone tell what is
there. A merged segment covers those that it was made of: until they are removed both are in the folder, and only the
merged one counts.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from headrace.runtime.errors import DependencyError

_NAME = re.compile(r"p(\d{5})-(\d{20})-(\d{20})\.parquet")


@dataclass(frozen=True, order=True)
class Segment:
    """The records of a partition with offsets from `first` to before `next`."""

    partition: int
    first: int
    next: int
    path: Path = field(compare=False)

    def covers(self, other: "Segment") -> bool:
        """Whether everything in `other` is in this one too."""
        return self.partition == other.partition and self.first <= other.first and other.next <= self.next


@dataclass(frozen=True)
class Listing:
    """The segments that count, in the order of partition and offset, and those that a merged one has replaced."""

    current: tuple[Segment, ...]
    replaced: tuple[Segment, ...]

    @property
    def ends(self) -> dict[int, int]:
        """By partition, the offset after the last record that is kept."""
        return {one.partition: one.next for one in self.current}

    def of(self, partition: int) -> list[Segment]:
        """The segments of one partition, oldest first."""
        return [one for one in self.current if one.partition == partition]


def path_of(folder: Path, partition: int, first: int, end: int) -> Path:
    """Where the segment of these records is, or will be."""
    return folder / f"p{partition:05d}-{first:020d}-{end:020d}.parquet"


def named(path: Path) -> Segment | None:
    """The segment of that file name; None for any other file."""
    found = _NAME.fullmatch(path.name)
    return Segment(int(found[1]), int(found[2]), int(found[3]), path) if found else None


def list_segments(folder: Path) -> Listing:
    """The segments in a folder; none if there is no folder.

    Raises:
        DependencyError: two segments hold some of the same records.
    """
    try:
        found = [one for path in folder.iterdir() if (one := named(path)) is not None]
    except FileNotFoundError:
        found = []
    return arranged(found)


def arranged(segments: Iterable[Segment]) -> Listing:
    """Tell current segments from replaced ones.

    Raises:
        DependencyError: two segments overlap and neither covers the other.
    """
    current, replaced = list[Segment](), list[Segment]()
    for one in sorted(segments, key=lambda s: (s.partition, s.first, -s.next)):
        last = current[-1] if current else None
        if last is None or last.partition != one.partition or one.first >= last.next:
            current.append(one)
        elif last.covers(one):
            replaced.append(one)
        else:
            raise DependencyError(
                f"{last.path} and {one.path.name} both hold offset {one.first} of partition {one.partition}",
                hint="two archives have written here: move one of the files away",
            )
    return Listing(tuple(current), tuple(replaced))
