"""What this host's slots hold of verified chunks, for other agents to take: as they arrive, leased while they are sent.

A slot is placed when it begins to be filled, and withdrawn before it is written again. Between the two, a
chunk that
is in place stays as it is, so a lease needs no copy: taking a slot off waits for those who are reading it, briefly, and
then interrupts them. Whoever takes a chunk verifies it, so that this protects time, and not correctness.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from headrace.weights.format.chunks import spans
from headrace.weights.format.manifest import Manifest
from headrace.weights.host.present_chunks import PresentChunks

PATIENCE_S = 0.2
"""Seconds that a reader has to finish before it is interrupted: the slot is wanted for a newer version."""


@dataclass(frozen=True)
class Leased:
    """A chunk that stays as it is while the lease lasts."""

    model: str
    data: memoryview


@dataclass
class _Placed:
    """One slot that peers may read."""

    model: str
    payload: memoryview
    places: dict[str, list[tuple[int, int, int]]]
    """Index, start and end of a digest's chunks."""
    present: PresentChunks
    """The chunks in place."""
    growing: bool = True
    leases: dict[int, Callable[[], None]] = field(default_factory=dict)
    """How to interrupt each reader."""

    def find(self, digest: str) -> memoryview | None:
        for index, start, end in self.places.get(digest, ()):
            if self.present.has(index, digest):
                return self.payload[start:end]
        return None


class ChunkLeases:
    """See the module. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._placed: dict[Path, _Placed] = {}
        self._served: dict[str, int] = {}
        self._leases = 0
        self._changes = 0

    # The slots' side.

    def place(self, slot: Path, manifest: Manifest, payload: memoryview, present: PresentChunks) -> None:
        """Let peers read a slot that begins to be filled, or is whole.

        Args:
            slot: names it.
            manifest: the version.
            payload: the slot's.
            present: the chunks that are in place; asked whenever a peer asks.
        """
        places: dict[str, list[tuple[int, int, int]]] = {}
        for index, (start, end) in enumerate(spans(manifest.size, manifest.chunk_size)):
            places.setdefault(manifest.chunks[index], []).append((index, start, end))
        with self._changed:
            self._placed[slot] = _Placed(manifest.model, payload, places, present)
            self._change()

    def arrived(self) -> None:
        """Tell those who wait that a chunk is in place."""
        with self._changed:
            self._change()

    def settle(self, slot: Path) -> None:
        """Nothing more comes into this slot: it is whole, or was given up."""
        with self._changed:
            if slot in self._placed:
                self._placed[slot].growing = False
                self._change()

    def withdraw(self, slot: Path) -> None:
        """Take a slot off: when this returns nobody reads it."""
        with self._changed:
            placed = self._placed.pop(slot, None)
            if placed is None:
                return
            self._change()
            if not self._changed.wait_for(lambda: not placed.leases, PATIENCE_S):
                for interrupt in placed.leases.values():
                    interrupt()
                self._changed.wait_for(lambda: not placed.leases)

    def clear(self) -> None:
        """Take every slot off."""
        for slot in list(self._placed):
            self.withdraw(slot)

    def holds(self, slot: Path) -> bool:
        """Whether peers may read a slot."""
        return slot in self._placed

    # The readers' side.

    @property
    def changes(self) -> int:
        """Rises with everything that may answer a question differently."""
        return self._changes

    def wait(self, since: int, timeout_s: float) -> None:
        """Return when something changed after `changes` was ``since``, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes != since, timeout_s)

    def has(self, digest: str) -> bool:
        """Whether a chunk is here."""
        with self._changed:
            return self._find(digest)[0] is not None

    def awaits(self, digest: str) -> bool:
        """Whether a chunk is on its way here."""
        with self._changed:
            return any(placed.growing and digest in placed.places for placed in self._placed.values())

    @contextmanager
    def lease(self, digest: str, interrupt: Callable[[], None]) -> Iterator[Leased | None]:
        """Hold a chunk for reading; None if it is not here any more.

        Args:
            digest: the chunk.
            interrupt: makes the reader let go at once; called from another thread.
        """
        with self._changed:
            placed, leased = self._find(digest)
            self._leases += 1
            number = self._leases
            if placed is not None:
                placed.leases[number] = interrupt
        try:
            yield leased
        finally:
            if placed is not None:
                with self._changed:
                    del placed.leases[number]
                    self._changed.notify_all()

    def count(self, model: str, size: int) -> None:
        """Take note that so many bytes of a model's chunks were served."""
        with self._changed:
            self._served[model] = self._served.get(model, 0) + size

    def served(self, model: str) -> int:
        """Bytes of a model's chunks that others took."""
        return self._served.get(model, 0)

    def _find(self, digest: str) -> tuple[_Placed, Leased] | tuple[None, None]:
        for placed in self._placed.values():
            data = placed.find(digest)
            if data is not None:
                return placed, Leased(placed.model, data)
        return None, None

    def _change(self) -> None:
        self._changes += 1
        self._changed.notify_all()
