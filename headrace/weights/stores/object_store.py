"""Chunks in an object store, or any file system that fsspec has a driver for: s3://, gs://, abfs://, sftp://, memory://.

A chunk is `<prefix>/<model>/chunks/<first two digits>/<digest>`, as on shared storage. An object store shows an object
whole or not at all, so there a chunk is one put; elsewhere it is written to a temporary name and moved.

An object's modification time cannot be set. A claim therefore counts a chunk that is older than `FRESH_S` as absent:
putting it again is what marks it as used. What a claim found is then safe from sweeps for the rest of their grace, as
long as that is `GRACE_S` or more. A sweep looks at an object's age once more right before it deletes it; a chunk that
was unused for the whole grace period and is put again between these two requests is lost, and the next checkpoint that
needs it puts it again.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Collection, Generator, Iterator, Sequence
from datetime import datetime
from typing import Any

import fsspec
from fsspec.registry import known_implementations

from headrace.runtime.errors import ConfigError
from headrace.weights.errors import ChunkCorrupt, ChunkMissing, StoreUnavailable
from headrace.weights.format.chunks import Buffer, verify
from headrace.weights.stores.port import GRACE_S

FRESH_S = GRACE_S / 2
"""Seconds for which a chunk that was put is not put again."""

_PUTS_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "oss", "r2", "memory"}
_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
}
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")


class ObjectStoreChunkStore:
    """See `headrace.weights.stores.port.ChunkStore`.

    Args:
        url: protocol, bucket and prefix. Addresses and credentials come from where the driver looks for them:
            AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, FSSPEC_<PROTOCOL>_<OPTION>.
        options: further arguments of the driver.

    Raises:
        ConfigError: fsspec knows no such protocol, or its driver is not installed or refuses the options.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self.name = f"object store {url}"
        self._fs, self._root = open_file_system(url, options)
        protocols = {self._fs.protocol} if isinstance(self._fs.protocol, str) else set(self._fs.protocol)
        self._puts_whole = bool(protocols & _PUTS_WHOLE)

    def claim(self, model: str, digests: Collection[str]) -> set[str]:
        """See `ChunkStore.claim`; chunks that are there and older than `FRESH_S` count as absent."""
        if not digests:
            return set()
        with self._translated(f"list the chunks of model {model}"):
            since = time.time() - FRESH_S
            fresh = {_name(path) for path, used in self._listing(model) if used >= since}
        return set(digests) - fresh

    def put(self, model: str, digest: str, data: Buffer) -> None:
        """See `ChunkStore.put`."""
        path, value = self._path(model, digest), bytes(data)
        with self._translated(f"write chunk {digest} of model {model}"):
            if self._puts_whole:
                self._fs.pipe_file(path, value)
                return
            folder = path.rsplit("/", 1)[0]
            temporary = f"{folder}/.tmp-{os.getpid()}-{secrets.token_hex(8)}"  # of the dead: swept when old
            self._fs.makedirs(folder, exist_ok=True)
            self._fs.pipe_file(temporary, value)
            self._fs.mv(temporary, path)

    def get_into(self, model: str, digest: str, buffer: memoryview) -> None:
        """See `ChunkStore.get_into`."""
        with self._translated(f"read chunk {digest} of model {model}"):
            try:
                data = self._fs.cat_file(self._path(model, digest))
            except FileNotFoundError as error:
                raise ChunkMissing(f"chunk {digest} of model {model} is not in {self.name}") from error
        if len(data) != len(buffer):
            raise ChunkCorrupt(
                f"chunk {digest} of model {model} in {self.name} has {len(data)} bytes, expected {len(buffer)}"
            )
        buffer[:] = data
        verify(model, digest, buffer, self.name)

    def get_each(self, model: str, wanted: Sequence[tuple[str, memoryview]]) -> Generator[None, None, None]:
        """See `ChunkStore.get_each`."""
        for digest, buffer in wanted:
            self.get_into(model, digest, buffer)
            yield

    def sweep(self, model: str, keep: Collection[str], grace_s: float = GRACE_S) -> int:
        """See `ChunkStore.sweep`.

        Ages are by the store's clock, which must not be off by more than a part of the grace.
        """
        kept, swept = set(keep), 0
        with self._translated(f"sweep the chunks of model {model}"):
            cutoff = time.time() - grace_s
            for path, used in self._listing(model):
                if _name(path) in kept or used > cutoff:
                    continue
                with contextlib.suppress(FileNotFoundError):  # another sweep was faster
                    if seconds_of(self._fs.modified(path)) <= cutoff:  # put again since it was listed?
                        self._fs.rm_file(path)
                        swept += 1
        return swept

    def close(self) -> None:
        """Nothing to release: fsspec shares a driver's connections within the process."""

    def _path(self, model: str, digest: str) -> str:
        return f"{self._root}/{model}/chunks/{digest[:2]}/{digest}"

    def _listing(self, model: str) -> list[tuple[str, float]]:
        """Every object of a model with the time of its last put."""
        try:
            found: dict[str, dict[str, Any]] = self._fs.find(f"{self._root}/{model}/chunks", detail=True)
        except FileNotFoundError:
            return []
        return [(path, _used(path, info)) for path, info in found.items() if info["type"] == "file"]

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except ChunkMissing:
            raise
        except Exception as error:  # every driver has errors of its own, and few of them are OSErrors
            raise StoreUnavailable(
                f"{self.name} cannot {what}: {type(error).__name__}: {error}",
                hint="Are the address, the bucket and the credentials right?",
            ) from error


def open_file_system(url: str, options: dict[str, Any]) -> tuple[Any, str]:
    """Return fsspec's file system and the path within it; what it lists is never cached."""
    protocol = url.split("://", 1)[0] if "://" in url else ""
    try:
        fs, root = fsspec.url_to_fs(url, use_listings_cache=False, **options)
    except ImportError as error:
        package = _PACKAGES.get(protocol)
        hint = (
            f"pip install {package}"
            if package
            else known_implementations.get(protocol, {}).get("err", "install its driver")
        )
        raise ConfigError(
            f"storage_url {url}: the driver of {protocol}:// is not installed: {error}", hint=hint
        ) from error
    except Exception as error:
        raise ConfigError(
            f"storage_url {url}: {type(error).__name__}: {error}",
            hint="as fsspec takes it: s3://bucket/prefix, gs://…, file:///…",
        ) from error
    return fs, root.rstrip("/")


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _used(path: str, info: dict[str, Any]) -> float:
    for name in _TIMES:
        if info.get(name):
            return seconds_of(info[name])
    raise LookupError(f"its driver does not tell when {path} was written, and sweeps go by that")


def seconds_of(value: float | str | datetime) -> float:
    """A modification time in seconds of the Unix epoch, in whichever form a driver gives it."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.timestamp() if isinstance(value, datetime) else float(value)
