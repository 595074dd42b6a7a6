"""A folder that is watched: each file that is put there becomes a version of a set, and is then moved aside.

`rides.csv` is a version of the set `rides`, and so is each file in a folder `rides`. A file is taken once it has not
changed between two looks. One that was imported goes to `imported/`, one that was refused to `refused/`, beside a
file that says why. Names that begin with a dot or end in `.part` or `.tmp` are left alone.
"""

import time
from pathlib import Path
from typing import NamedTuple

from headrace.datasets.names import name_of_file
from headrace.runtime.errors import ConfigError
from headrace.runtime.files import sync_folder

IMPORTED, REFUSED = "imported", "refused"
_UNFINISHED = (".part", ".tmp", ".crdownload")
_WHY = ".reason.txt"


class Arrived(NamedTuple):
    """A file that is complete; `key` is the same for as long as its name and content are."""

    path: Path
    name: str
    key: str


class WatchedFolder:
    """See the module. Whoever uses it calls `arrived` now and then, and tells what became of each file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._before: dict[Path, tuple[int, int]] = {}

    def arrived(self) -> list[Arrived]:
        """Files that were there at the last look too, and have not changed since."""
        now = {path: (stat.st_size, stat.st_mtime_ns) for path in self._files() if (stat := path.stat()).st_size}
        ready = [path for path, seen in now.items() if self._before.get(path) == seen]
        self._before = now
        found = []
        for path in ready:
            try:
                name = self._name(path)
            except ConfigError as error:
                self.refused(path, str(error))
                continue
            size, mtime = now[path]
            found.append(Arrived(path, name, f"watch:{path.relative_to(self.root)}:{size}:{mtime}"))
        return found

    def imported(self, path: Path) -> Path:
        """Move a file aside that became a version; where it is now."""
        return self._move(path, IMPORTED)

    def refused(self, path: Path, reason: str) -> Path:
        """Move a file aside that did not; where it is now. The reason stands beside it."""
        moved = self._move(path, REFUSED)
        moved.with_name(moved.name + _WHY).write_text(reason + "\n")
        return moved

    def _files(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        folders = [self.root, *(p for p in self.root.iterdir() if p.is_dir() and p.name not in (IMPORTED, REFUSED))]
        return sorted(
            path
            for folder in folders
            for path in folder.iterdir()
            if path.is_file() and not path.name.startswith(".") and not path.name.endswith(_UNFINISHED)
        )

    def _name(self, path: Path) -> str:
        own = path.parent.name if path.parent != self.root else path.name.split(".")[0]
        return name_of_file(own)

    def _move(self, path: Path, to: str) -> Path:
        folder = self.root / to
        folder.mkdir(exist_ok=True)
        target = folder / path.name
        if target.exists():
            target = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{time.monotonic_ns() % 10**6}-{path.name}"
        path.rename(target)
        sync_folder(folder)
        return target
