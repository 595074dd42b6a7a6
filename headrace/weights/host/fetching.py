"""A whole version as tensors in memory of their own: for clients without an agent, tests and notebooks."""

import torch

from headrace.weights.format.manifest import Manifest
from headrace.weights.format.payload import view
from headrace.weights.host.rebuilding import rebuild
from headrace.weights.stores.port import ChunkStore


def fetch(manifest: Manifest, store: ChunkStore) -> dict[str, torch.Tensor]:
    """Return a version's tensors, every chunk of them verified.

    Raises:
        ChainBroken, DeltaError: of a version with a delta, no way led to it.
        ChunkMissing, ChunkCorrupt, StoreUnavailable: no store could give a chunk.
    """
    buffer = bytearray(manifest.size)
    rebuild(manifest, store, memoryview(buffer))
    return view(buffer, manifest.tensors)
