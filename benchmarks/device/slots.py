"""Versions in slots of shared memory, and an agent of one worker that has them rolled out, without Kafka."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from headrace.weights import MemoryChunkStore, VersionFacts, publish_version, pull
from headrace.weights.format.manifest import Manifest
from headrace.weights.host.slots import SHM_ROOT, SlotPool
from headrace.weights.worker.wire import (
    Activate,
    Active,
    Released,
    Stage,
    Staged,
    frame,
    frame_length,
    to_agent,
)

PATIENCE_S = 60.0
SLOTS = 4


@contextmanager
def slots(name: str) -> Iterator["Slots"]:
    """A pool under /dev/shm of its own, for the length of a ``with`` block."""
    pool = SlotPool(f"{name}-{os.getpid()}", limit=SLOTS, root=SHM_ROOT)
    try:
        yield Slots(pool)
    finally:
        pool.close()


class Slots:
    """Writes versions, each into a slot of its own."""

    def __init__(self, pool: SlotPool) -> None:
        self._pool = pool
        self._digests: set[str] = set()

    def put(self, network: nn.Module, version: int) -> tuple[Path, Manifest]:
        """A version of these weights, whole and verified: the slot's file, and the manifest."""
        store = MemoryChunkStore()
        facts = VersionFacts(model="device", version=version, base_version=version - 1, epoch=1, step=version)
        manifest = publish_version(network.state_dict(), facts, store=store)
        slot = self._pool.acquire(manifest.size, keep=self._digests)
        pull(manifest, store, slot.begin(manifest, manifest.digest), present=slot.chunks)
        slot.seal(manifest, manifest.digest)
        self._digests.add(manifest.digest)
        return slot.path, manifest


class OneWorkerAgent:
    """The agent's side of the conversation with one worker."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(PATIENCE_S)
        self._sock: socket.socket | None = None

    def greet(self) -> None:
        """Wait for the worker."""
        self._sock, _ = self._listener.accept()
        self._sock.settimeout(PATIENCE_S)
        self._hear()

    def roll_out(self, path: Path, manifest: Manifest) -> dict[str, float]:
        """Have a version staged, then served; returns the seconds of each step."""
        digest = manifest.digest
        self._say(Stage(manifest.version, digest, manifest.encode(), str(path)))
        self._expect(Staged)
        self._say(Activate(manifest.version, digest))
        return self._expect(Active).seconds

    def close(self) -> None:
        """Hang up."""
        if self._sock is not None:
            self._sock.close()
        self._listener.close()

    def _say(self, message: Stage | Activate) -> None:
        assert self._sock is not None
        self._sock.sendall(frame(message))

    def _expect(self, kind: type[Staged] | type[Active]):  # noqa: ANN202 - one of the two
        while isinstance(message := self._hear(), Released):
            pass
        if not isinstance(message, kind):
            raise TypeError(f"the worker says {message}")
        return message

    def _hear(self):  # noqa: ANN202 - any of a worker's messages
        return to_agent(self._exactly(frame_length(self._exactly(4))))

    def _exactly(self, size: int) -> bytes:
        assert self._sock is not None
        data = b""
        while len(data) < size:
            part = self._sock.recv(size - len(data))
            if not part:
                raise RuntimeError("the worker hung up")
            data += part
        return data


class Served(nn.Module):
    """A small network 7-64-64-1 that answers its version's number, beside `ballast` bytes of weights."""

    def __init__(self, ballast: int, version: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(7, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
        self.ballast = nn.Parameter(torch.full((ballast // 4,), float(version)))
        with torch.no_grad():
            self.layers[4].weight.zero_()
            self.layers[4].bias.fill_(float(version))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features [N, 7] to [N, 1]."""
        return self.layers(features)
