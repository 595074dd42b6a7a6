"""Where what does not fit into memory goes: unnamed files, gone with the process.

They are a cache. The log is the durable copy of all of it, and a process that begins rebuilds its state from there, so
nothing on disk outlives the process that wrote it and nothing has to agree with what was committed.
"""

import os
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path

from headrace.runtime.logging import get_logger

log = get_logger("headrace.join")


class Disk:
    """Files of at most `most` bytes together, in a folder. Several partitions share one."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self.used = 0

    @property
    def has_room(self) -> bool:
        """Whether more may be written."""
        return self.used < self._most

    def write(self, rows: Iterable[bytes], lengths: list[int]) -> int | None:
        """A file of the rows, whose lengths are appended to `lengths`: its descriptor; None if the disk is full.

        It is the caller's to say to whom it `belongs`.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder, buffering=1 << 20) as file:
                lengths.extend(map(file.write, rows))
                file.flush()
                return os.dup(file.fileno())
        except OSError as error:
            log.warning("the join cannot spill", folder=str(self._folder), error=str(error))
            return None

    def belongs(self, descriptor: int, size: int, owner: object) -> None:
        """Keep a file, and count its bytes, for as long as its owner lives."""
        self.used += size
        weakref.finalize(owner, self._free, descriptor, size)

    def _free(self, descriptor: int, size: int) -> None:
        os.close(descriptor)
        self.used -= size
