"""Moving a version's chunks out of a store into a buffer. Knows no tensors: agents have no use for torch."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from headrace.runtime.logging import get_logger
from headrace.weights.errors import Superseded
from headrace.weights.format.chunks import digest_of, spans
from headrace.weights.format.parallel import PARALLEL, in_parallel
from headrace.weights.host.present_chunks import PresentChunks
from headrace.weights.stores.port import ChunkStore

log = get_logger("headrace.weights")


class Chunked(Protocol):
    """Bytes cut into chunks, belonging to a version: a manifest is one, and so is a part of what it refers to."""

    @property
    def model(self) -> str:
        """The model's name."""
        ...

    @property
    def version(self) -> int:
        """The version that they are pulled for."""
        ...

    @property
    def size(self) -> int:
        """Bytes in all."""
        ...

    @property
    def chunk_size(self) -> int:
        """Bytes of every chunk but the last."""
        ...

    @property
    def chunks(self) -> list[str]:
        """The chunks' digests, in order."""
        ...


@dataclass(frozen=True)
class Pulled:
    """What a pull moved: bytes that travelled, and bytes that were here already, in place or elsewhere in memory."""

    bytes_pulled: int
    bytes_reused: int
    seconds: float
    bytes_from_peers: int = 0
    """Of those that travelled: from other agents, and not from a store."""


def pull(
    manifest: Chunked,
    store: ChunkStore,
    buffer: memoryview,
    *,
    present: PresentChunks | None = None,
    resident: Mapping[str, memoryview] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    parallel: int = PARALLEL,
) -> Pulled:
    """Fill ``buffer`` with a version's payload, every chunk verified.

    Args:
        manifest: what to pull.
        store: where from.
        buffer: writable, at least ``manifest.size`` bytes.
        present: which chunks the buffer is known to hold. Those in place are skipped, and it is brought up to date as
            chunks arrive, so that an interrupted pull resumes and a recycled buffer receives only what changed.
        resident: chunks that are elsewhere in memory, by digest. They are copied instead of pulled, and trusted no more
            than a store is: what was copied is verified, and pulled if it is not what the digest names.
        cancelled: asked before each chunk; True ends the pull.
        parallel: chunks in flight.

    Raises:
        Superseded: ``cancelled`` said so.
        ChunkMissing, ChunkCorrupt, StoreUnavailable: no store could give a chunk.
    """
    started = time.perf_counter()
    known = present if present is not None else PresentChunks()
    known.resize(max(len(known), len(manifest.chunks)))
    cut = list(spans(manifest.size, manifest.chunk_size))
    pending = [(i, manifest.chunks[i], buffer[slice(*cut[i])]) for i in known.missing(manifest.chunks)]
    travelled: list[int] = []

    def go_on() -> None:
        if cancelled():
            raise Superseded(f"pulling {manifest.model} version {manifest.version} was given up for a newer version")

    def some(share: list[tuple[int, str, memoryview]]) -> None:
        absent = []
        for index, digest, target in share:
            go_on()
            source = resident.get(digest) if resident else None
            if source is None:
                absent.append((index, digest, target))
                continue
            known.forget(index)
            if _copied(source, digest, target):
                known.mark(index, digest)
            else:
                absent.append((index, digest, target))
        with closing(store.get_each(manifest.model, [(digest, target) for _, digest, target in absent])) as arriving:
            for index, digest, target in absent:
                go_on()
                known.forget(index)
                next(arriving)
                known.mark(index, digest)
                travelled.append(len(target))

    in_parallel([partial(some, pending[i::parallel]) for i in range(min(parallel, len(pending)))], parallel)
    moved = sum(travelled)
    return Pulled(moved, manifest.size - moved, time.perf_counter() - started)


def _copied(source: memoryview, digest: str, target: memoryview) -> bool:
    """Copy a chunk that is in memory.

    False, the target's content being undefined, unless it is what its digest names.
    """
    if len(source) != len(target):
        return False
    target[:] = source
    if digest_of(target) == digest:
        return True
    log.warning("chunk in memory is corrupt, pulled instead", chunk=digest)
    return False
