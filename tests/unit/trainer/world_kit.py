"""The trainer's world for tests: examples, checkpoints and announcements that outlive its crashes."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from headrace.model.pipeline import load_pipeline
from headrace.runtime.devices.host import HOST
from headrace.runtime.devices.port import Device
from headrace.weights import MemoryChunkStore
from services.trainer.checkpoint import Checkpoint, CheckpointFolder
from services.trainer.publishing import Publisher
from services.trainer.service import Trainer
from services.trainer.tree import flatten
from tests.line_kit import MemoryAnnouncer, MemoryExamples, Recorder, example, write_toy


def values(count: int, partitions: int = 2) -> dict[int, list[bytes]]:
    """Examples of a straight line, spread over partitions."""
    return {
        p: [example(p, o, 10 * o + 3 * p, math.sin(o * 7 + p)) for o in range(count // partitions)]
        for p in range(partitions)
    }


@dataclass
class World:
    """Everything outside the trainer, which outlives its crashes."""

    folder: Path
    examples: dict[int, list[bytes]]
    training: dict[str, Any] = field(default_factory=dict)
    announcer: MemoryAnnouncer = field(default_factory=MemoryAnnouncer)
    store: MemoryChunkStore = field(default_factory=MemoryChunkStore)
    recorder: Recorder = field(default_factory=Recorder)
    device: Device = HOST
    now: float = 0.0
    model: str = ""
    """Python to append to the toy's model.py."""
    settled: bool = False
    """Wait for each publication, so that checkpoints are at the same steps however slow the disk is."""

    def trainer(self, fetch: int = 7, warm_up: int = 0) -> Trainer:
        folder = write_toy(
            self.folder / "toy", **{"checkpoint_examples": 64, "checkpoint_s": 1e9, "keep": 3, **self.training}
        )
        if self.model:
            (folder / "model.py").write_text((folder / "model.py").read_text() + self.model)
        pipeline = load_pipeline(folder)
        publisher = Publisher(self.checkpoints, self.store, self.announcer, keep=pipeline.spec.training.keep)
        log = MemoryExamples(self.examples, fetch)
        trainer = Trainer(
            pipeline, log, publisher, self.recorder, warm_up=warm_up, clock=lambda: self.now, device=self.device
        )
        trainer.start()
        return trainer

    @property
    def checkpoints(self) -> CheckpointFolder:
        return CheckpointFolder(self.folder / "storage", "toy")

    def newest(self) -> Checkpoint:
        return self.checkpoints.read(self.checkpoints.entries()[0])

    def until(self, trainer: Trainer, done: Callable[[], bool], most: int = 10_000) -> None:
        for _ in range(most):
            if self.settled:
                trainer._settle(wait=True)
            if done():
                return
            if not trainer.step() and trainer.batcher.due_in() < math.inf:
                self.now += 0.01
        raise AssertionError("never done")

    def killed_after(self, batches: int, fetch: int) -> None:
        """A trainer that learns so many batches and is gone; what it had begun to publish is done."""
        trainer, end = self.trainer(fetch), self.recorder.batches + batches
        self.until(trainer, lambda: self.recorder.batches >= end)
        trainer._settle(wait=True)
        trainer._thread.shutdown()

    def all_learned(self, trainer: Trainer) -> None:
        """Train until nothing is left, and publish."""
        total = sum(map(len, self.examples.values()))
        self.until(trainer, lambda: sum(trainer.batcher.positions.values()) == total)
        trainer.finish()


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return dict(trainer.learner.network.state_dict())


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def digest(checkpoint: Checkpoint) -> str:
    """Of all that training changes: weights, optimizers, averages, lanes, random generators, and plain state."""
    tensors = dict(checkpoint.weights)
    parts = {"optimizer": checkpoint.optimizer, "random": checkpoint.random, "lanes": checkpoint.lanes}
    plain = [flatten(value, name, tensors) for name, value in parts.items()]
    header = checkpoint.header
    plain += [header.step, header.examples, header.offsets, header.learning, header.progress["model"]]
    made = hashlib.sha256(repr(plain).encode())
    for name in sorted(tensors):
        made.update(name.encode() + tensors[name].numpy().tobytes())
    return made.hexdigest()
