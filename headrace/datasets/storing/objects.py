"""Data sets in an object store, or anything that fsspec has a driver for: s3://, gs://, abfs://, memory://, ...

Objects are whole or not there. A manifest is put on the condition that its name is free (`If-None-Match` in S3), which
the driver must know: one that does not is refused when the first version is made, not worked around. Files are read
from a cache on this host, named by their digests and verified when they are fetched and when they are used.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace.datasets.errors import DamagedSet
from headrace.datasets.storing.digest import verify
from headrace.runtime.errors import DependencyError
from headrace.weights.stores.object_store import open_file_system, seconds_of

CACHE_BYTES = 20 << 30
"""The cache's files that were not used for longest go when it is larger."""
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


class ObjectStore:
    """See `headrace.datasets.storing.port.SetStore`.

    Args:
        url: protocol, bucket and prefix; addresses and credentials come from where the driver looks for them.
        cache: folder for files that are read; made when one is.
        options: further arguments of the driver.

    Raises:
        ConfigError: fsspec knows no such protocol, or its driver is not installed.
    """

    def __init__(self, url: str, cache: Path, *, cache_bytes: int = CACHE_BYTES, **options: Any) -> None:
        self.name, self._cache, self._cache_bytes = f"object store {url}", cache, cache_bytes
        self._fs, self._root = open_file_system(url, options)

    def put(self, path: str, file: Path) -> None:
        """See `SetStore.put`."""
        with self._translated(f"write {path}"):
            self._fs.put_file(str(file), self._full(path))

    def create(self, path: str, data: bytes) -> bool:
        """See `SetStore.create`."""
        with self._translated(f"write {path}"):
            try:
                self._fs.pipe_file(self._full(path), data, mode="create")
            except FileExistsError:
                return False
            return True

    def replace(self, path: str, data: bytes) -> None:
        """See `SetStore.replace`."""
        with self._translated(f"write {path}"):
            self._fs.pipe_file(self._full(path), data)

    def read(self, path: str) -> bytes:
        """See `SetStore.read`."""
        with self._translated(f"read {path}"):
            return bytes(self._fs.cat_file(self._full(path)))

    def local(self, path: str, size: int, sha256: str) -> Path:
        """See `SetStore.local`: from the cache, fetched where it is not there or damaged."""
        target = self._cache / f"{sha256}.parquet"
        where = f"{path} in {self.name}"
        if target.exists():
            with contextlib.suppress(DamagedSet):
                verify(target, size, sha256, str(target))
                os.utime(target, (time.time(), target.stat().st_mtime))  # whoever reads it goes by its mtime
                return target
        self._cache.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{sha256}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            with self._translated(f"read {path}"):
                self._fs.get_file(self._full(path), str(beside))
            verify(beside, size, sha256, where)
            beside.replace(target)
        except FileNotFoundError as error:
            raise DamagedSet(f"{where}: no such object") from error
        finally:
            beside.unlink(missing_ok=True)
        self._evict(but=target)
        return target

    def names(self, folder: str) -> list[str]:
        """See `SetStore.names`."""
        with self._translated(f"list {folder}"):
            try:
                found = self._fs.ls(self._full(folder).rstrip("/"), detail=False)
            except FileNotFoundError:
                return []
            return sorted({str(path).rstrip("/").rsplit("/", 1)[-1] for path in found})

    def remove(self, path: str) -> None:
        """See `SetStore.remove`."""
        with self._translated(f"remove {path}"), contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._full(path), recursive=True)

    def age_s(self, path: str) -> float:
        """See `SetStore.age_s`; by the store's clock."""
        with self._translated(f"look at {path}"):
            try:
                found = self._fs.find(self._full(path), detail=True).values()
            except FileNotFoundError:
                return 0.0
            times = [seconds_of(info[name]) for info in found for name in _TIMES if info.get(name)]
        return max(0.0, time.time() - max(times)) if times else 0.0

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _evict(self, but: Path) -> None:
        """Remove what was not used for longest; a file that is open somewhere stays readable there."""
        files = [(one.stat().st_atime, one.stat().st_size, one) for one in self._cache.iterdir() if one.is_file()]
        total = sum(size for _, size, _ in files)
        for _, size, one in sorted(files):
            if total <= self._cache_bytes:
                return
            if one != but:
                one.unlink(missing_ok=True)
                total -= size

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, DependencyError):
            raise
        except Exception as error:  # every driver has errors of its own, and few of them are OSErrors
            raise DependencyError(
                f"{self.name} cannot {what}: {type(error).__name__}: {error}",
                hint="are the address, the bucket and the credentials right?",
            ) from error
