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

Buffer = bytes | bytearray | memoryview


def digest_of(data: Buffer) -> str:
    """Return the 32-character hex digest that names ``data``."""
    return xxhash.xxh3_128_hexdigest(data)


def spans(size: int, chunk_size: int) -> Iterator[tuple[int, int]]:
    """Yield ``(start, end)`` of every chunk of a payload of ``size`` bytes, in order. No chunks for an empty payload."""
    for start in range(0, size, chunk_size):
        yield start, min(start + chunk_size, size)


def count(size: int, chunk_size: int) -> int:
    """Return how many chunks a payload of ``size`` bytes has."""
    return -(-size // chunk_size)


def verify(model: str, digest: str, data: Buffer, where: str) -> None:
    """Raise `ChunkCorrupt` unless ``data`` has ``digest``; ``where`` names the store for the message."""
    found = digest_of(data)
    if found != digest:
        raise ChunkCorrupt(
            f"chunk {digest} of model {model} in {where} is corrupt: its {len(data)} bytes have the digest {found}",
            hint="Delete the chunk; it is refilled from the other store or by the next checkpoint.",
        )
