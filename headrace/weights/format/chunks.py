"""Cutting a payload into content-addressed chunks.

A payload is one safetensors byte string. Chunk i holds bytes [i * chunk_size, (i + 1) * chunk_size) of it; only the
last one may be shorter. A chunk's name is the xxh3_128 hex digest of its bytes: fast enough (16 GB/s) to check every
byte on every pull, and only a guard against accidents; against an adversary the manifest that lists the digests is
signed.
"""

from collections.abc import Iterator

import xxhash

from headrace.weights.errors import ChunkCorrupt

CHUNK_SIZE = 4 << 20
"""Bytes a chunk: the size at which Redis moved the most bytes a second; smaller and larger values are slower."""

PIECE = 256 << 10
"""Bytes that a running digest takes at a time: a fraction of a core's cache, large enough that calls cost nothing."""

Buffer = bytes | bytearray | memoryview


def digest_of(data: Buffer) -> str:
    """Return the 32-character hex digest that names ``data``."""
    return xxhash.xxh3_128_hexdigest(data)


class RunningDigest:
    """The digest of a chunk that arrives piece by piece: each is read while the processor's cache still has it.

    Args:
        data: the whole chunk's buffer, being filled from its start.
    """

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._hash = xxhash.xxh3_128()
        self._hashed = 0

    def filled(self, size: int) -> None:
        """The first ``size`` bytes are there."""
        if size - self._hashed >= PIECE or size == len(self._data):
            self._hash.update(self._data[self._hashed : size])
            self._hashed = size

    def hexdigest(self) -> str:
        """Return the digest of the whole chunk, once it is there."""
        return self._hash.hexdigest()


def spans(size: int, chunk_size: int) -> Iterator[tuple[int, int]]:
    """Yield ``(start, end)`` of every chunk of a payload of ``size`` bytes, in order.

    No chunks for an empty payload.
    """
    for start in range(0, size, chunk_size):
        yield start, min(start + chunk_size, size)


def count(size: int, chunk_size: int) -> int:
    """Return how many chunks a payload of ``size`` bytes has."""
    return -(-size // chunk_size)


def verify(model: str, digest: str, data: Buffer, where: str) -> None:
    """Raise `ChunkCorrupt` unless ``data`` has ``digest``; ``where`` names the store for the message."""
    expect(model, digest, digest_of(data), len(data), where)


def expect(model: str, digest: str, found: str, size: int, where: str) -> None:
    """Raise `ChunkCorrupt` unless the digest ``found`` of a chunk of ``size`` bytes is the one that names it."""
    if found != digest:
        raise ChunkCorrupt(
            f"chunk {digest} of model {model} in {where} is corrupt: its {size} bytes have the digest {found}",
            hint="Delete the chunk; it is refilled from the other store or by the next checkpoint.",
        )
