"""Moving a version's chunks out of a store into a buffer. Knows no tensors: agents have no use for torch."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from headrace.runtime.logging import get_logger
from headrace.weights.errors import Superseded
from headrace.weights.format.chunks import digest_of, spans
from headrace.weights.stores.port import ChunkStore

log = get_logger("headrace.weights")

PARALLEL = max(2, min(4, os.cpu_count() or 1))
"""Chunks in flight: one is read while another is checked; more threads than cores only wait for each other."""


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
    present: list[str] | None = None,
    resident: Mapping[str, memoryview] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    parallel: int = PARALLEL,
) -> Pulled:
    """Fill ``buffer`` with a version's payload, every chunk verified.

    Args:
        manifest: what to pull.
        store: where from.
        buffer: writable, at least ``manifest.size`` bytes.
        present: what the buffer is known to hold, by chunk index: verified digests, "" for unknown. Chunks already in
            place are skipped, and the list is brought up to date as chunks arrive, so that an interrupted pull resumes
            and a recycled buffer receives only what changed.
        resident: chunks that are elsewhere in memory, by digest. They are copied instead of pulled, and trusted no more
            than a store is: what was copied is verified, and pulled if it is not what the digest names.
        cancelled: asked before each chunk; True ends the pull.
        parallel: chunks in flight.

    Raises:
        Superseded: ``cancelled`` said so.
        ChunkMissing, ChunkCorrupt, StoreUnavailable: no store could give a chunk.
    """
    started = time.perf_counter()
    known = present if present is not None else []
    known.extend([""] * (len(manifest.chunks) - len(known)))
    pending = [
        (i, digest, buffer[slice(*span)])
        for i, (digest, span) in enumerate(zip(manifest.chunks, spans(manifest.size, manifest.chunk_size), strict=True))
        if known[i] != digest
    ]
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
            known[index] = ""
            if _copied(source, digest, target):
                known[index] = digest
            else:
                absent.append((index, digest, target))
        with closing(store.get_each(manifest.model, [(digest, target) for _, digest, target in absent])) as arriving:
            for index, digest, target in absent:
                go_on()
                known[index] = ""
                next(arriving)
                known[index] = digest
                travelled.append(len(target))

    in_parallel([partial(some, pending[i::parallel]) for i in range(min(parallel, len(pending)))], parallel)
    moved = sum(travelled)
    return Pulled(moved, manifest.size - moved, time.perf_counter() - started)


def _copied(source: memoryview, digest: str, target: memoryview) -> bool:
    """Copy a chunk that is in memory; False, the target's content being undefined, unless it is what its digest names."""
    if len(source) != len(target):
        return False
    target[:] = source
    if digest_of(target) == digest:
        return True
    log.warning("chunk in memory is corrupt, pulled instead", chunk=digest)
    return False


def in_parallel(work: Sequence[Callable[[], None]], parallel: int = PARALLEL) -> None:
    """Run everything, ``parallel`` at a time; raise the first error after all that was begun has ended."""
    if len(work) <= 1 or parallel <= 1:
        for task in work:
            task()
        return
    with ThreadPoolExecutor(min(parallel, len(work)), thread_name_prefix="chunks") as pool:
        futures = [pool.submit(task) for task in work]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
