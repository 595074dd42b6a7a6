"""The worker's side of shared memory: mapping a slot under a shared lock, without a copy.

The map is private and copy-on-write: nothing that a network does to its tensors, a running statistic or a counter,
reaches the slot or another worker; and a tensor over it needs no read-only flag, which torch does not have. The lock
lives as long as the map, since `mmap` holds a duplicate of the file descriptor: when the last tensor over it is gone,
the memory is unmapped and the lock released.
"""

import fcntl
import mmap
import os
from pathlib import Path

import torch

from headrace.weights.errors import SlotError
from headrace.weights.format.manifest import Manifest
from headrace.weights.format.payload import view
from headrace.weights.format.slot_header import PAYLOAD_START, SlotHeader
from headrace.weights.worker.staging_throttle import GiveWay

_THINNED_AT_ONCE = 1 << 20  # bytes: 0.1 ms or so


def tensors_of(mapped: mmap.mmap, manifest: Manifest) -> dict[str, torch.Tensor]:
    """The tensors of the version that a slot holds; they keep the map, and with it the lease, alive."""
    return view(mapped, manifest.tensors, PAYLOAD_START)


def thin(mapped: mmap.mmap, give_way: GiveWay) -> None:
    """Take the pages out of a map that nobody uses any more, piece by piece.

    Unmapping takes all of them out under the lock that every page fault and allocation of the process needs, for
    milliseconds where they are many. Whoever should still look at a tensor finds the slot's bytes.
    """
    for start in range(0, len(mapped), _THINNED_AT_ONCE):
        give_way()
        mapped.madvise(mmap.MADV_DONTNEED, start, min(_THINNED_AT_ONCE, len(mapped) - start))


def map_slot(path: Path, manifest: Manifest, digest: str) -> mmap.mmap:
    """Map a slot, under a shared lock that lives as long as the map.

    Raises:
        SlotError: the slot is gone, is being written, or holds another version than ``digest``.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SlotError(f"cannot open slot {path} of {manifest.model} {manifest.version}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        mapped = mmap.mmap(
            fd, PAYLOAD_START + manifest.size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )
    except BlockingIOError as error:
        raise SlotError(f"slot {path} is being written, and no longer {manifest.model} {manifest.version}") from error
    except (OSError, ValueError) as error:
        raise SlotError(f"cannot map slot {path} of {manifest.model} version {manifest.version}: {error}") from error
    finally:
        os.close(fd)
    if SlotHeader.sealed_digest(mapped) != digest:
        mapped.close()
        raise SlotError(f"slot {path} no longer holds {manifest.model} version {manifest.version}")
    return mapped
