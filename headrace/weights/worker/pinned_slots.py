"""Slots as a device copies from them: each mapped a second time, for good, and pinned once.

The map that a version is held by (`headrace.weights.worker.mapping`) is private and goes with the version. Pinning
costs 0.13 s a GiB, so it is done to a shared map that stays while the slot's file does; versions come and go in it.
Such a map is read only while its file is locked, as any slot is.
"""

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from headrace.runtime.devices.port import Device
from headrace.runtime.logging import get_logger
from headrace.weights.format.manifest import Manifest
from headrace.weights.format.slot_header import SlotHeader
from headrace.weights.worker.mapping import tensors_of

log = get_logger("headrace.weights")


class _Pinned:
    """One slot's file: open, mapped and pinned."""

    def __init__(self, fd: int, size: int) -> None:
        self.fd, self.size = fd, size
        self.mapped = mmap.mmap(fd, size)  # shared, and writable: pinning a map that is neither would copy its pages
        self.address = torch.frombuffer(self.mapped, dtype=torch.uint8).data_ptr()


class PinnedSlots:
    """The slots that one worker copied from. For one thread."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._slots: dict[tuple[int, int], _Pinned] = {}
        self._refused = device.in_place

    @contextmanager
    def tensors(
        self, path: Path, mapped: mmap.mmap, manifest: Manifest, digest: str
    ) -> Iterator[dict[str, torch.Tensor]]:
        """The version's tensors, to be copied within the ``with`` block: pinned where that can be.

        Args:
            path: the slot's file.
            mapped: the map that the version is held by, which serves where the file cannot be pinned.
            manifest: the version's.
            digest: the manifest's.
        """
        self._drop_removed()
        pinned = None if self._refused else self._pinned(path)
        if pinned is None or not _locked(pinned, digest):
            yield tensors_of(mapped, manifest)
            return
        try:
            yield tensors_of(pinned.mapped, manifest)
        finally:
            fcntl.flock(pinned.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Unpin all of them."""
        for key in list(self._slots):
            self._drop(key)

    def _pinned(self, path: Path) -> _Pinned | None:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            self._refuse(f"{path}: {error.strerror}")
            return None
        facts = os.fstat(fd)
        key = facts.st_dev, facts.st_ino
        known = self._slots.get(key)
        if known is not None and known.size == facts.st_size:
            os.close(fd)
            return known
        if known is not None:  # the slot has grown
            self._drop(key)
        return self._pin(fd, key, facts.st_size)

    def _pin(self, fd: int, key: tuple[int, int], size: int) -> _Pinned | None:
        made = _Pinned(fd, size)
        if problem := self._device.pin(made.address, size):
            os.close(fd)
            self._refuse(problem)
            return None
        self._slots[key] = made
        return made

    def _refuse(self, why: str) -> None:
        """Say so once; versions are then copied from memory that is not pinned, which takes several times as long."""
        self._refused = True
        log.warning("slots are not pinned: versions reach the device slower", device=self._device.name, error=why)

    def _drop_removed(self) -> None:
        """Let go of slots whose agent is gone: what maps a removed file keeps its memory."""
        for key, slot in list(self._slots.items()):
            if not os.fstat(slot.fd).st_nlink:
                self._drop(key)

    def _drop(self, key: tuple[int, int]) -> None:
        slot = self._slots.pop(key)
        self._device.unpin(slot.address)
        os.close(slot.fd)


def _locked(pinned: _Pinned, digest: str) -> bool:
    """Whether the slot is locked now and holds the version: another agent's file may stand where the version's did."""
    try:
        fcntl.flock(pinned.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    if SlotHeader.sealed_digest(pinned.mapped) == digest:
        return True
    fcntl.flock(pinned.fd, fcntl.LOCK_UN)
    return False
