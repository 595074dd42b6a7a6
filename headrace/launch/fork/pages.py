"""Giving memory back that only the imports needed."""

import ctypes
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+) ")
_MADV_DONTNEED = 4


def drop_file_pages() -> None:
    """Unmap the pages of libraries that this process has read: 200 MB of torch's, most of them read only by the import.

    They stay in the kernel's file cache. A process that needs one again, this one or a forked one, maps it from there.
    Only mappings are unmapped that cannot be written and hold the file's content unchanged.
    """
    madvise = ctypes.CDLL(None).madvise
    for start, end in unwritten_files(Path("/proc/self/smaps").read_text().splitlines()):
        madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)


def unwritten_files(smaps: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Start and end of each such mapping, from the lines of /proc/<pid>/smaps."""
    mapping: tuple[int, int] | None = None
    for line in smaps:
        if found := _MAPPING.match(line):
            start, end, permissions, inode = found.groups()
            is_file = inode != "0" and "w" not in permissions
            mapping = (int(start, 16), int(end, 16)) if is_file else None
        elif mapping and line.startswith("Anonymous:") and line.split()[1] == "0":
            yield mapping
