"""The port through which chunks are kept, its in-memory twin, and the pairing of a fast store with a durable one.

Chunks are content-addressed and immutable: putting one twice changes nothing. They are kept per model, so that sweeping
one model never needs to know of another. The order that makes publishing safe against a concurrent sweep:

    1. claim   marks the chunks that are there as just used, and says which are not;
    2. put     writes those, which marks them too;
    3. the event that refers to them is sent.

A sweep spares whatever was marked within its grace period, which must be longer than 1 to 3 takes.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from typing import Protocol

from headrace.runtime.logging import get_logger
from headrace.weights.errors import ChunkCorrupt, ChunkMissing, StoreUnavailable
from headrace.weights.format.chunks import Buffer, verify

log = get_logger("headrace.weights")

GRACE_S = 600.0
"""Seconds for which a sweep spares a chunk after its last use by a publisher."""

_PATIENCE = 4.0
"""A store is left alone for so many times what a failed attempt took: a fifth of the time goes into such attempts."""


class ChunkStore(Protocol):
    """Where chunks are kept. All methods are safe to call from several threads."""

    name: str

    def claim(self, model: str, digests: Collection[str]) -> set[str]:
        """Mark chunks as just used and return those that are absent.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        ...

    def put(self, model: str, digest: str, data: Buffer) -> None:
        """Write one chunk; when this returns it is as durable as the store is.

        Raises:
            StoreUnavailable: the store does not answer or takes no writes.
        """
        ...

    def get_into(self, model: str, digest: str, buffer: memoryview) -> None:
        """Fill ``buffer``, exactly, with the chunk, and verify it. After an error the buffer's content is undefined.

        Raises:
            ChunkMissing: there is no such chunk.
            ChunkCorrupt: its bytes have another length or digest.
            StoreUnavailable: the store does not answer.
        """
        ...

    def get_each(self, model: str, wanted: Sequence[tuple[str, memoryview]]) -> Generator[None, None, None]:
        """Do as `get_into` with each chunk and its buffer, in this order; yield after each that is in place, verified.

        Reading ahead is up to the store, but no buffer is written before its turn. An error, as of `get_into`, is of
        the chunk whose turn it is, and ends the iteration.
        """
        ...

    def sweep(self, model: str, keep: Collection[str], grace_s: float = GRACE_S) -> int:
        """Delete the model's chunks that are not in ``keep`` and were not used for ``grace_s`` seconds.

        Return how many.
        """
        ...

    def close(self) -> None:
        """Release connections."""
        ...


class MemoryChunkStore:
    """The twin for tests and for one process."""

    name = "memory"

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.chunks: dict[tuple[str, str], bytes] = {}
        self._used: dict[tuple[str, str], float] = {}
        self._clock = clock
        self._lock = threading.Lock()

    def claim(self, model: str, digests: Collection[str]) -> set[str]:
        """See `ChunkStore.claim`."""
        with self._lock:
            for digest in digests:
                if (model, digest) in self.chunks:
                    self._used[model, digest] = self._clock()
            return {digest for digest in digests if (model, digest) not in self.chunks}

    def put(self, model: str, digest: str, data: Buffer) -> None:
        """See `ChunkStore.put`."""
        with self._lock:
            self.chunks[model, digest] = bytes(data)
            self._used[model, digest] = self._clock()

    def get_into(self, model: str, digest: str, buffer: memoryview) -> None:
        """See `ChunkStore.get_into`."""
        data = self.chunks.get((model, digest))
        if data is None:
            raise ChunkMissing(f"chunk {digest} of model {model} is not in memory")
        if len(data) != len(buffer):
            raise ChunkCorrupt(f"chunk {digest} of model {model} has {len(data)} bytes, expected {len(buffer)}")
        buffer[:] = data
        verify(model, digest, buffer, self.name)

    def get_each(self, model: str, wanted: Sequence[tuple[str, memoryview]]) -> Generator[None, None, None]:
        """See `ChunkStore.get_each`."""
        for digest, buffer in wanted:
            self.get_into(model, digest, buffer)
            yield

    def sweep(self, model: str, keep: Collection[str], grace_s: float = GRACE_S) -> int:
        """See `ChunkStore.sweep`."""
        with self._lock:
            cutoff = self._clock() - grace_s
            dead = [
                key for key, used in self._used.items() if key[0] == model and key[1] not in keep and used <= cutoff
            ]
            for key in dead:
                del self.chunks[key], self._used[key]
            return len(dead)

    def close(self) -> None:
        """Nothing to release."""


class FallbackStore:
    """A fast store in front of a durable one.

    Writes go to both, the durable one first; the fast one may fail. Reads come from the fast one; a chunk that it lost,
    damaged or cannot serve comes from the durable one and is put back. A fast store that does not answer is left alone
    for ``retry_s`` seconds, or for four times as long as it took to find out: so that an outage costs one timeout and
    not one a chunk, also where a host that is gone lets every attempt run into its timeout.
    """

    def __init__(
        self,
        fast: ChunkStore,
        durable: ChunkStore,
        *,
        retry_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = f"{fast.name}, then {durable.name}"
        self.fallbacks = 0
        """Chunks that the fast store could not give."""
        self._fast = fast
        self._durable = durable
        self._retry_s = retry_s
        self._clock = clock
        self._down_until = float("-inf")

    def lost(self, model: str, absent: Collection[str]) -> set[str]:
        """Return which of the chunks that a claim found absent the durable store lacks.

        The others are put back when read.
        """
        return self._durable.claim(model, absent)

    def claim(self, model: str, digests: Collection[str]) -> set[str]:
        """See `ChunkStore.claim`; absent means absent from either, so that a put completes both."""
        absent = self._durable.claim(model, digests)
        if self._up():
            with self._attempt():
                absent |= self._fast.claim(model, digests)
        return absent

    def put(self, model: str, digest: str, data: Buffer) -> None:
        """See `ChunkStore.put`; durable once the durable store has it."""
        self._durable.put(model, digest, data)
        self._put_fast(model, digest, data)

    def get_into(self, model: str, digest: str, buffer: memoryview) -> None:
        """See `ChunkStore.get_into`."""
        for _ in self.get_each(model, [(digest, buffer)]):
            pass

    def get_each(self, model: str, wanted: Sequence[tuple[str, memoryview]]) -> Generator[None, None, None]:
        """See `ChunkStore.get_each`; after a chunk that the durable store had to give, the fast one is asked again."""
        done = 0
        while done < len(wanted):
            if self._up():
                asked = self._clock()
                try:
                    for _ in self._fast.get_each(model, wanted[done:]):
                        done += 1
                        yield
                        asked = self._clock()
                except StoreUnavailable as error:
                    self._down(error, asked)
                except (ChunkMissing, ChunkCorrupt) as error:
                    log.warning("chunk not in the fast store", store=self._fast.name, error=error.message)
                else:
                    return
            self.fallbacks += 1
            digest, buffer = wanted[done]
            self._durable.get_into(model, digest, buffer)
            self._put_fast(model, digest, buffer)
            done += 1
            yield

    def sweep(self, model: str, keep: Collection[str], grace_s: float = GRACE_S) -> int:
        """See `ChunkStore.sweep`; counts the durable store's."""
        try:
            return self._durable.sweep(model, keep, grace_s)
        finally:  # whatever the durable one says: it is the fast one's room that runs out first
            if self._up():
                with self._attempt():
                    self._fast.sweep(model, keep, grace_s)

    def close(self) -> None:
        """Close both."""
        self._fast.close()
        self._durable.close()

    def _put_fast(self, model: str, digest: str, data: Buffer) -> None:
        if self._up():
            with self._attempt():
                self._fast.put(model, digest, data)

    @contextlib.contextmanager
    def _attempt(self) -> Iterator[None]:
        """One call to the fast store, which is left alone for a while if it does not answer."""
        asked = self._clock()
        try:
            yield
        except StoreUnavailable as error:
            self._down(error, asked)

    def _up(self) -> bool:
        return self._clock() >= self._down_until

    def _down(self, error: StoreUnavailable, asked: float) -> None:
        now = self._clock()
        pause = max(self._retry_s, _PATIENCE * (now - asked))
        self._down_until = now + pause
        log.warning("fast store left alone", store=self._fast.name, for_s=round(pause, 1), error=error.message)
