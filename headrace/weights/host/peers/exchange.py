"""Filling a slot from peers and the store at once.

Every chunk has a list of sources, tried in turn: this host's own memory, where another slot has it; the peers of its
route; the store. Every source that is named has a worker with a queue. A chunk that a source cannot give goes on to the
next source's queue; a peer that fails is not asked again, and what is queued there goes on too. A chunk that no source
could give is left
out: the pull that follows (`headrace.weights.host.transfer.pull`) gets it from the store, or says why it cannot be had.

What arrives is told at once, so that it can be passed on while the rest is on its way.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

from headrace.runtime.logging import get_logger
from headrace.weights.errors import ChunkCorrupt, PeerError, StoreError, Superseded, WeightsError
from headrace.weights.format.chunks import digest_of, spans
from headrace.weights.format.manifest import Manifest
from headrace.weights.host.peers.client import PeerConnection
from headrace.weights.host.peers.wire import Kind
from headrace.weights.host.present_chunks import PresentChunks
from headrace.weights.stores.port import ChunkStore

log = get_logger("headrace.weights")

MEMORY, STORE = "memory", "store"
_STORE_BATCH = 4
_POLL_S = 0.05


@dataclass(frozen=True)
class Exchanged:
    """Bytes that came from the store and from peers, and the peers that failed, with the reason."""

    from_store: int
    from_peers: int
    failed: Mapping[str, WeightsError]


@dataclass
class _Task:
    """A chunk that is wanted, in one place or several."""

    digest: str
    places: list[tuple[int, memoryview]]
    sources: deque[str]
    """Those that were not tried yet."""
    at: str = ""
    """The source that it is queued at, or being taken from."""
    done: bool = False

    @property
    def target(self) -> memoryview:
        return self.places[0][1]


@dataclass
class _Source:
    queue: deque[_Task] = field(default_factory=deque)
    failed: bool = False


class Exchange:
    """One version's; `run` does it.

    Args:
        manifest: what to get.
        buffer: writable, `manifest.size` bytes.
        present: the chunks in place, brought up to date as others arrive.
        resident: chunks elsewhere in memory, by digest.
        peers: by chunk index, the addresses to ask, in this order.
        store: asked where no peer is to be, or could give it. Without one, only what peers have already is taken: who
            waits for nobody can be waited for.
        dial: connects to an address.
        arrived: called, from any thread, after a chunk is in place and `present` says so.
        cancelled: asked often; True ends the exchange.
    """

    def __init__(
        self,
        manifest: Manifest,
        buffer: memoryview,
        *,
        present: PresentChunks,
        resident: Mapping[str, memoryview],
        peers: Callable[[int], Sequence[str]],
        store: ChunkStore | None,
        dial: Callable[[str], PeerConnection] = PeerConnection,
        arrived: Callable[[], None] = lambda: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._manifest = manifest
        self._present = present
        self._resident = resident
        self._store = store
        self._dial = dial
        self._arrived = arrived
        self._cancelled = cancelled
        self._changed = threading.Condition()
        self._sources: dict[str, _Source] = {}
        self._connections: set[PeerConnection] = set()
        self._bytes = {MEMORY: 0, STORE: 0}
        self._failed: dict[str, WeightsError] = {}
        self._stopped = threading.Event()
        present.resize(max(len(present), len(manifest.chunks)))
        self._tasks = self._plan(buffer, peers)
        self._open = len(self._tasks)

    @property
    def missing(self) -> int:
        """Bytes that have to travel."""
        return sum(len(task.target) for task in self._tasks if task.digest not in self._resident and not task.done)

    def run(self) -> Exchanged:
        """Get every chunk that can be had.

        Raises:
            Superseded: ``cancelled`` said so.
        """
        names = {MEMORY, STORE}.union(*(task.sources for task in self._tasks))
        with ThreadPoolExecutor(len(names), thread_name_prefix="exchange") as pool:
            workers: dict[str, Future[None]] = {}
            try:
                for task in self._tasks:
                    self._pass_on(task)
                for name in names:
                    workers[name] = pool.submit(self._work, name)
                self._supervise(workers)
            finally:
                self._stop()
        for worker in workers.values():
            worker.result()
        if self._open and self._cancelled():
            manifest = self._manifest
            raise Superseded(f"pulling {manifest.model} version {manifest.version} was given up for a newer version")
        from_peers = sum(size for name, size in self._bytes.items() if name not in {MEMORY, STORE})
        return Exchanged(self._bytes[STORE], from_peers, self._failed)

    def _plan(self, buffer: memoryview, peers: Callable[[int], Sequence[str]]) -> list[_Task]:
        tasks: dict[tuple[str, int], _Task] = {}
        for index, (start, end) in enumerate(spans(self._manifest.size, self._manifest.chunk_size)):
            digest = self._manifest.chunks[index]
            if self._present.has(index, digest):
                continue
            place = index, buffer[start:end]
            task = tasks.get((digest, end - start))
            if task is not None:
                task.places.append(place)
                continue
            memory = [MEMORY] if digest in self._resident else []
            store = [STORE] if self._store is not None else []
            tasks[digest, end - start] = _Task(digest, [place], deque([*memory, *peers(index), *store]))
        return list(tasks.values())

    # The supervisor, in the caller's thread.

    def _supervise(self, workers: Mapping[str, Future[None]]) -> None:
        with self._changed:
            while self._open and not self._cancelled() and not any(worker.done() for worker in workers.values()):
                self._changed.wait(_POLL_S)

    def _stop(self) -> None:
        with self._changed:
            self._stopped.set()
            for connection in self._connections:
                connection.abort()
            self._changed.notify_all()

    # Tasks on their way.

    def _pass_on(self, task: _Task) -> None:
        """Queue a chunk at its next source, or leave it out."""
        with self._changed:
            while task.sources:
                name = task.sources.popleft()
                source = self._sources.setdefault(name, _Source())
                if not source.failed:
                    task.at = name
                    source.queue.append(task)
                    break
            else:
                task.at = ""
                self._open -= 1
            self._changed.notify_all()

    def _finish(self, task: _Task, source: str) -> None:
        """A chunk is in its first place, verified: put it into the others."""
        (first, target), *twins = task.places
        self._present.mark(first, task.digest)
        for index, twin in twins:
            twin[:] = target
            self._present.mark(index, task.digest)
        task.done = True
        with self._changed:
            self._bytes[source] = self._bytes.get(source, 0) + len(target)
            self._open -= 1
            self._changed.notify_all()
        self._arrived()

    # A source's worker.

    def _work(self, name: str) -> None:
        while batch := self._next(name):
            try:
                if name == MEMORY:
                    self._from_memory(batch)
                elif name == STORE:
                    self._from_store(batch)
                else:
                    self._from_peer(name, batch)
            finally:
                for task in batch:
                    if task.at == name and not task.done:
                        self._pass_on(task)

    def _next(self, name: str) -> list[_Task]:
        """Wait for work; an empty list ends the worker."""
        with self._changed:
            source = self._sources.setdefault(name, _Source())
            while not source.queue and self._open and not self._stopped.is_set():
                self._changed.wait()
            if self._stopped.is_set() or not self._open:
                return []
            # From the store, a few at a time: what peers fail to give is then behind little.
            count = min(len(source.queue), _STORE_BATCH) if name == STORE else len(source.queue)
            return [source.queue.popleft() for _ in range(count)]

    def _from_memory(self, batch: Sequence[_Task]) -> None:
        for task in batch:
            if self._stopped.is_set():
                return
            source = self._resident[task.digest]
            if len(source) != len(task.target):
                continue
            task.target[:] = source
            if digest_of(task.target) == task.digest:
                self._finish(task, MEMORY)
            else:
                log.warning("chunk in memory is corrupt, taken elsewhere", chunk=task.digest)

    def _from_store(self, batch: Sequence[_Task]) -> None:
        if self._store is None:
            return
        done = 0
        wanted = [(task.digest, task.target) for task in batch]
        while done < len(batch) and not self._stopped.is_set():
            try:
                with closing(self._store.get_each(self._manifest.model, wanted[done:])) as arriving:
                    for _ in arriving:
                        self._finish(batch[done], STORE)
                        done += 1
                        if self._stopped.is_set():
                            return
            except StoreError as error:
                log.warning("store could not give a chunk, tried once more in the end", error=error.message)
                done += 1

    def _from_peer(self, address: str, batch: list[_Task]) -> None:
        try:
            with closing(self._dial(address)) as peer:
                self._watch(peer)
                with closing(
                    peer.take(self._manifest.model, [(task.digest, task.target) for task in batch])
                ) as replies:
                    for index, kind in replies:
                        if self._stopped.is_set():
                            return
                        if kind is Kind.CHUNK:
                            self._finish(batch[index], address)
                        elif kind is Kind.ABSENT:
                            self._pass_on(batch[index])
                        elif self._store is None:
                            return
        except (PeerError, ChunkCorrupt) as error:
            self._fail(address, error)

    def _watch(self, peer: PeerConnection) -> None:
        with self._changed:
            self._connections.add(peer)
            if self._stopped.is_set():
                peer.abort()

    def _fail(self, address: str, error: WeightsError) -> None:
        with self._changed:
            if self._stopped.is_set():
                return  # it was interrupted, and has not failed
            self._failed[address] = error
            source = self._sources[address]
            source.failed, left = True, list(source.queue)
            source.queue.clear()
        log.warning("peer given up", peer=address, error=error.message)
        for task in left:
            self._pass_on(task)
