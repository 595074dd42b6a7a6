"""Data sets in a folder: of this host, or of storage that hosts share."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.datasets.storing.digest import verify
from headrace.runtime.errors import DependencyError
from headrace.runtime.files import sync_folder, synced


class FolderStore:
    """See `headrace.datasets.storing.port.SetStore`. The folder is made when something is kept."""

    def __init__(self, root: Path) -> None:
        self.name, self._root = str(root), root
        self._verified: dict[str, tuple[int, int, str]] = {}

    def put(self, path: str, file: Path) -> None:
        """See `SetStore.put`: a further link to the file where that can be, since it is durable; else a copy."""
        with self._translated(f"keep {path}"):
            target = self._made(path)
            beside = target.with_name(f".{target.name}.{os.getpid()}")
            beside.unlink(missing_ok=True)
            try:
                beside.hardlink_to(file)
            except OSError:  # another file system, or one without links
                with file.open("rb") as source, synced(target) as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
                return
            beside.replace(target)
            beside.unlink(missing_ok=True)  # where both were one file already, renaming does nothing
            sync_folder(target.parent)

    def create(self, path: str, data: bytes) -> bool:
        """See `SetStore.create`: a link to a whole file, which fails if the name is taken."""
        with self._translated(f"keep {path}"):
            target = self._made(path)
            beside = target.with_name(f".{target.name}.{os.getpid()}.{time.monotonic_ns()}")
            try:
                with beside.open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                try:
                    target.hardlink_to(beside)
                except FileExistsError:
                    return False
            finally:
                beside.unlink(missing_ok=True)
            sync_folder(target.parent)
            return True

    def replace(self, path: str, data: bytes) -> None:
        """See `SetStore.replace`."""
        with self._translated(f"keep {path}"), synced(self._made(path)) as file:
            file.write(data)

    def read(self, path: str) -> bytes:
        """See `SetStore.read`."""
        with self._translated(f"read {path}"):
            return (self._root / path).read_bytes()

    def local(self, path: str, size: int, sha256: str) -> Path:
        """See `SetStore.local`: the file itself; read again only if it has changed since this process verified it."""
        found = self._root / path
        with contextlib.suppress(OSError):
            now = found.stat()
            known = (now.st_mtime_ns, now.st_ino, sha256)
            if self._verified.get(path) == known and now.st_size == size:
                return found
            verify(found, size, sha256, str(found))
            self._verified[path] = known
            return found
        verify(found, size, sha256, str(found))
        return found

    def names(self, folder: str) -> list[str]:
        """See `SetStore.names`."""
        with self._translated(f"list {folder}"):
            try:
                return sorted(entry.name for entry in (self._root / folder).iterdir() if not entry.name.startswith("."))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def remove(self, path: str) -> None:
        """See `SetStore.remove`."""
        target = self._root / path
        with self._translated(f"remove {path}"):
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            if target.parent.is_dir():
                sync_folder(target.parent)

    def age_s(self, path: str) -> float:
        """See `SetStore.age_s`."""
        target = self._root / path
        with self._translated(f"look at {path}"):
            try:
                times = [target.stat().st_mtime, *(one.stat().st_mtime for one in target.rglob("*"))]
            except FileNotFoundError:
                return 0.0
        return max(0.0, time.time() - max(times))

    def _made(self, path: str) -> Path:
        """The path, in a folder that is there and whose own name is durable."""
        target = self._root / path
        missing = [parent for parent in target.parents if not parent.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        for folder in reversed(missing):
            sync_folder(folder.parent)
        return target

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DependencyError(
                f"{self.name}: cannot {what}: {error.strerror or error}", hint="is there room, and may this user write?"
            ) from error
