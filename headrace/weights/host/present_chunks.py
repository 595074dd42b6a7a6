"""Which chunks of a payload are in a buffer: written by those that fill it, read by those that serve from it."""

import threading
from collections.abc import Callable, Iterable, Sequence


class PresentChunks:
    """By chunk index, the digest that is in place, "" where nothing is known. Every method may be called by any thread.

    A writer forgets a chunk before its bytes change and marks it after they were verified, so a reader that finds a
    digest may read its bytes, as long as it holds a lease on the slot.

    Args:
        digests: what is in place already.
    """

    def __init__(self, digests: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._digests = list(digests)

    @classmethod
    def of(
        cls, payload: memoryview, spans: Iterable[tuple[int, int]], digest: Callable[[memoryview], str]
    ) -> "PresentChunks":
        """Those of a payload that is there, by reading it."""
        return cls(digest(payload[start:end]) for start, end in spans)

    def resize(self, count: int) -> None:
        """Be about a payload of so many chunks: further ones are unknown, and those beyond are dropped."""
        with self._lock:
            del self._digests[count:]
            self._digests.extend([""] * (count - len(self._digests)))

    def mark(self, index: int, digest: str) -> None:
        """A chunk is in place, verified."""
        with self._lock:
            self._digests[index] = digest

    def forget(self, index: int) -> None:
        """A chunk's bytes are about to change."""
        with self._lock:
            self._digests[index] = ""

    def has(self, index: int, digest: str) -> bool:
        """Whether this chunk is in its place."""
        with self._lock:
            return index < len(self._digests) and self._digests[index] == digest

    def holds(self, chunks: Sequence[str]) -> bool:
        """Whether it is just these chunks, all in place."""
        with self._lock:
            return self._digests == list(chunks)

    def missing(self, chunks: Sequence[str]) -> list[int]:
        """Indexes of those of a payload's chunks that are not in place."""
        with self._lock:
            known = self._digests
            return [i for i, digest in enumerate(chunks) if i >= len(known) or known[i] != digest]

    def snapshot(self) -> list[str]:
        """The digests as they are now."""
        with self._lock:
            return list(self._digests)

    def __len__(self) -> int:
        return len(self._digests)
