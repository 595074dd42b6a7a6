"""Chunks as files of a folder that every host sees: a local disk on one machine, a network folder on many.

A chunk is `<root>/<model>/chunks/<first two digits>/<digest>`, written to a temporary name, synced, renamed, and its
folder synced, so that a name either is absent or has all its bytes. Its modification time is when it was last claimed.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Collection, Generator, Iterator, Sequence
from pathlib import Path

from headrace.runtime.files import sync_folder
from headrace.weights.errors import ChunkCorrupt, ChunkMissing, StoreUnavailable
from headrace.weights.format.chunks import Buffer, verify
from headrace.weights.stores.port import GRACE_S

_TEMPORARY = ".tmp-"
_CONDEMNED = ".gone-"


class SharedStorageChunkStore:
    """See `headrace.weights.stores.port.ChunkStore`; ``root`` is made when first written to."""

    def __init__(self, root: Path) -> None:
        self.name = f"shared storage {root}"
        self._root = root

    def claim(self, model: str, digests: Collection[str]) -> set[str]:
        """See `ChunkStore.claim`."""
        return {digest for digest in digests if not self._touch(self._path(model, digest))}

    def put(self, model: str, digest: str, data: Buffer) -> None:
        """See `ChunkStore.put`."""
        path = self._path(model, digest)
        temporary = path.with_name(f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(path.parent)
        except OSError as error:
            raise StoreUnavailable(
                f"cannot write chunk {digest} of model {model} to {path.parent}: {error.strerror}",
                hint="Is the shared storage mounted, writable and not full?",
            ) from error

    def get_into(self, model: str, digest: str, buffer: memoryview) -> None:
        """See `ChunkStore.get_into`."""
        try:
            with self._path(model, digest).open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if size != len(buffer):
                    raise ChunkCorrupt(
                        f"chunk {digest} of model {model} in {self.name} has {size} bytes, expected {len(buffer)}"
                    )
                filled = 0
                while filled < size:
                    got = file.readinto(buffer[filled:])
                    if not got:
                        raise ChunkCorrupt(f"chunk {digest} of model {model} in {self.name} ends after {filled} bytes")
                    filled += got
        except FileNotFoundError as error:
            raise ChunkMissing(f"chunk {digest} of model {model} is not in {self.name}") from error
        except OSError as error:
            raise StoreUnavailable(f"cannot read chunk {digest} from {self.name}: {error.strerror}") from error
        verify(model, digest, buffer, self.name)

    def get_each(self, model: str, wanted: Sequence[tuple[str, memoryview]]) -> Generator[None, None, None]:
        """See `ChunkStore.get_each`."""
        for digest, buffer in wanted:
            self.get_into(model, digest, buffer)
            yield

    def sweep(self, model: str, keep: Collection[str], grace_s: float = GRACE_S) -> int:
        """See `ChunkStore.sweep`.

        A file is renamed away before its age is looked at for the last time: a claim that comes between finds it absent
        and writes it anew, one that came before made it young, and it is renamed back.
        """
        try:
            return self._sweep(model, keep, time.time() - grace_s)
        except OSError as error:
            raise StoreUnavailable(
                f"cannot sweep the chunks of model {model} from {self.name}: {error.strerror}",
                hint="Is the shared storage mounted and writable?",
            ) from error

    def _sweep(self, model: str, keep: Collection[str], cutoff: float) -> int:
        swept = 0
        for path in self._files(model):
            kept = path.name in keep and not path.name.startswith((_TEMPORARY, _CONDEMNED))
            if kept or not _older(path, cutoff):
                continue
            condemned = path.with_name(f"{_CONDEMNED}{path.name}")
            with contextlib.suppress(FileNotFoundError):  # another sweep of the same model was faster
                path.rename(condemned)
                if _older(condemned, cutoff):
                    condemned.unlink()
                    swept += 1
                else:
                    condemned.rename(path)
        return swept

    def close(self) -> None:
        """Nothing to release."""

    def _path(self, model: str, digest: str) -> Path:
        return self._root / model / "chunks" / digest[:2] / digest

    def _files(self, model: str) -> Iterator[Path]:
        with contextlib.suppress(FileNotFoundError):
            for folder in sorted((self._root / model / "chunks").iterdir()):
                yield from sorted(folder.iterdir())

    @staticmethod
    def _touch(path: Path) -> bool:
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StoreUnavailable(f"cannot mark {path} as used: {error.strerror}") from error
        return True


def _older(path: Path, cutoff: float) -> bool:
    try:
        return path.stat().st_mtime <= cutoff
    except FileNotFoundError:
        return False
