"""Pulling versions into this host's shared memory: one pool of slots a model."""

import re
import zlib
from collections.abc import Callable
from pathlib import Path

from headrace.weights import ChunkStore, Manifest
from headrace.weights.rebuilding import rebuild
from headrace.weights.slots import SHM_ROOT, SlotPool
from headrace.weights.transfer import Pulled
from services.ckpt import metrics


class HostSlots:
    """Puts versions into slots. One thread may use it at a time.

    Args:
        store: where chunks come from.
        run: names this agent's run on this host; a successor of the same name adopts its slots.
        limit: slots a model.
        parallel: chunks pulled at a time.
        root: where the pools' folders are.
    """

    def __init__(self, store: ChunkStore, run: str, *, limit: int, parallel: int, root: Path = SHM_ROOT) -> None:
        self._store = store
        self._run = run
        self._limit = limit
        self._parallel = parallel
        self._root = root
        self._pools: dict[str, SlotPool] = {}

    def fill(self, manifest: Manifest, keep: set[str], cancelled: Callable[[], bool]) -> tuple[Path, Pulled]:
        """Return the slot that holds a version, pulling what this host lacks.

        Chunks that another slot of the model holds, unchanged since an earlier version, are copied from there; a version
        published as a delta is built from the newest version that it goes on from.

        Args:
            manifest: the version.
            keep: digests of the model's versions whose slots must stay.
            cancelled: asked before each chunk; True ends the pull.

        Raises:
            Superseded: ``cancelled`` said so.
            SlotsBusy: no slot may be written now; try again when a worker lets one go.
            SlotError, StoreError, DeltaError: there is no room, or no store could give a chunk.
        """
        pool, digest = self._pool(manifest.model), manifest.digest
        slot = pool.find(digest)
        if slot is not None:
            return slot.path, Pulled(0, manifest.size, 0.0)
        chain = {link.base for link in manifest.delta.links} if manifest.delta else ()
        slot = pool.acquire(manifest.size, keep, digest, spare=chain)
        try:
            buffer = slot.begin(manifest, digest)
            resident = pool.resident(manifest.chunk_size, but=slot)
            pulled = rebuild(
                manifest,
                self._store,
                buffer,
                present=slot.chunks,
                resident=resident,
                payloads=pool.contents(but=slot),
                cancelled=cancelled,
                parallel=self._parallel,
            )
        except BaseException:
            slot.abandon()
            raise
        slot.seal(manifest, digest)
        metrics.SHARED_MEMORY.labels(manifest.model).set(pool.memory)
        return slot.path, pulled

    def close(self) -> None:
        """Remove every slot; workers that map one keep its memory until they let go."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    def _pool(self, model: str) -> SlotPool:
        if model not in self._pools:
            readable = re.sub(r"[^A-Za-z0-9_.-]", "_", model)[:40]
            name = f"{self._run}-{readable}-{zlib.crc32(model.encode()):08x}"
            self._pools[model] = SlotPool(name, limit=self._limit, root=self._root)
        return self._pools[model]
