"""Pulling versions into this host's shared memory: one pool of slots a model."""

import re
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from headrace.weights import ChunkStore, Manifest
from headrace.weights.format.manifest import content_digest
from headrace.weights.host.peers.chunk_leases import ChunkLeases
from headrace.weights.host.peers.routes import Routes
from headrace.weights.host.rebuilding import rebuild
from headrace.weights.host.slots import SHM_ROOT, Slot, SlotPool
from headrace.weights.host.transfer import Pulled
from services.ckpt.agent import metrics
from services.ckpt.agent.pulling.peers import Peers


class HostSlots:
    """Puts versions into slots. One thread may use it at a time.

    Args:
        store: where chunks come from.
        run: names this agent's run on this host; a successor of the same name adopts its slots.
        limit: slots a model.
        parallel: chunks pulled at a time.
        root: where the pools' folders are.
        peers: takes chunks from other agents; without it, everything is pulled from the store.
        leases: shows what the slots hold, for other agents to take.
    """

    def __init__(
        self,
        store: ChunkStore,
        run: str,
        *,
        limit: int,
        parallel: int,
        root: Path = SHM_ROOT,
        peers: Peers | None = None,
        leases: ChunkLeases | None = None,
    ) -> None:
        self._store = store
        self._peers = peers
        self._leases = leases or ChunkLeases()
        self._run = run
        self._limit = limit
        self._parallel = parallel
        self._root = root
        self._pools: dict[str, SlotPool] = {}

    def fill(
        self,
        manifest: Manifest,
        keep: set[str],
        cancelled: Callable[[], bool],
        routes: Routes | None = None,
        slots: int = 0,
    ) -> tuple[Path, Pulled]:
        """Return the slot that holds a version, pulling what this host lacks.

        Chunks that another slot of the model holds, unchanged since an earlier version, are copied from there; a
        version published as a delta is built from the newest version that it goes on from.

        Args:
            manifest: the version.
            keep: digests of the model's versions whose slots must stay.
            cancelled: asked before each chunk; True ends the pull.
            routes: from which agents to take chunks; None takes all from the store.
            slots: how many the model needs, if that is more than the limit.

        Raises:
            Superseded: ``cancelled`` said so.
            SlotsBusy: no slot may be written now; try again when a worker lets one go.
            SlotError, StoreError, DeltaError: there is no room, or no store could give a chunk.
        """
        pool, digest = self._pool(manifest.model), manifest.digest
        slot = pool.find(digest)
        if slot is not None:
            self._show(slot, manifest)
            return slot.path, Pulled(0, manifest.size, 0.0)
        pool.limit = max(self._limit, slots)
        chain = {link.base for link in manifest.delta.links} if manifest.delta else ()
        slot = pool.acquire(manifest.size, keep, digest, spare=chain)
        try:
            pulled = self._write(pool, slot, manifest, cancelled, routes)
        except BaseException:
            slot.abandon()
            raise
        finally:
            self._leases.settle(slot.path)
        slot.seal(manifest, digest)
        metrics.SHARED_MEMORY.labels(manifest.model).set(pool.memory)
        return slot.path, pulled

    def _write(
        self, pool: SlotPool, slot: Slot, manifest: Manifest, cancelled: Callable[[], bool], routes: Routes | None
    ) -> Pulled:
        """Fill a slot that is locked: from other agents as far as they go, and then from the store.

        The own chunks of a version with a delta are in no store. Where it can be built from what is here, it is;
        elsewhere peers that have it give them. Others take them when it is whole: building may write a chunk more than
        once.
        """
        started = time.perf_counter()
        self._leases.withdraw(slot.path)
        buffer = slot.begin(manifest, manifest.digest)
        resident = pool.resident(manifest.chunk_size, but=slot)
        payloads = pool.contents(but=slot)
        if not manifest.delta:
            self._leases.place(slot.path, manifest, buffer, slot.chunks)
        bases = {link.base for link in manifest.delta.links} if manifest.delta else set()
        store = peers = 0
        if self._peers is not None and routes is not None and not _any_of(bases, [slot.chunks.snapshot(), *payloads]):
            source = None if manifest.delta else self._store
            store, peers = self._peers.take(
                manifest, buffer, slot.chunks, resident=resident, routes=routes, store=source, cancelled=cancelled
            )
        pulled = rebuild(
            manifest,
            self._store,
            buffer,
            present=slot.chunks,
            resident=resident,
            payloads=payloads,
            cancelled=cancelled,
            parallel=self._parallel,
        )
        if manifest.delta:
            self._leases.place(slot.path, manifest, buffer, slot.chunks)
        moved = pulled.bytes_pulled + store + peers
        seconds = time.perf_counter() - started
        return replace(
            pulled,
            bytes_pulled=moved,
            bytes_reused=max(0, manifest.size - moved),
            bytes_from_peers=peers,
            seconds=seconds,
        )

    def _show(self, slot: Slot, manifest: Manifest) -> None:
        """Offer a slot to other agents that an agent before this one has filled."""
        if not self._leases.holds(slot.path) and slot.resident(manifest.chunk_size):
            self._leases.place(slot.path, manifest, slot.payload, slot.chunks)
            self._leases.settle(slot.path)

    def close(self) -> None:
        """Remove every slot; workers that map one keep its memory until they let go."""
        self._leases.clear()
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    def _pool(self, model: str) -> SlotPool:
        if model not in self._pools:
            readable = re.sub(r"[^A-Za-z0-9_.-]", "_", model)[:40]
            name = f"{self._run}-{readable}-{zlib.crc32(model.encode()):08x}"
            self._pools[model] = SlotPool(name, limit=self._limit, root=self._root)
        return self._pools[model]


def _any_of(bases: set[str], payloads: list[list[str]]) -> bool:
    """Whether one of the payloads is a base; payloads are the digests of their chunks."""
    return bool(bases) and any(content_digest(chunks) in bases for chunks in payloads)
