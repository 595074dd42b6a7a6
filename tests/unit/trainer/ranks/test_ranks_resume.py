"""Two ranks that are killed and resume come to the bits of two that were not, with everything that training can do."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch.multiprocessing.spawn import spawn

from headrace.model.pipeline import load_pipeline
from headrace.weights import MemoryChunkStore
from services.trainer.checkpoint import Checkpoint, CheckpointFolder
from services.trainer.publishing import Publisher
from services.trainer.ranks.group import Group
from services.trainer.ranks.publishing import RankPublisher
from services.trainer.ranks.trainer import RankTrainer
from tests.line_kit import MemoryAnnouncer, MemoryExamples, Recorder, example, write_toy
from tests.unit.trainer.ranks.test_ranks_equal import join_group, unused_port
from tests.unit.trainer.world_kit import digest

__all__ = ["unused_port"]

COUNT, ROUNDS_UNTIL_KILLED = 320, 9
EVERYTHING: dict[str, Any] = {
    "race": [0.5, 1.0, 2.0], "replay": {"window": 100, "examples": 10, "steps": 2}, "average": 0.9, "clip_norm": 0.5,
    "drift": {"ratio": 1.05, "examples": 20}, "gates": {"worse": 1.0, "examples": 64, "least": 16},
    "schedule": {"kind": "inverse_time", "steps": 4, "start": 2.0}, "checkpoint_examples": 64, "checkpoint_s": 1e9,
    "keep": 50,
}  # fmt: skip


def rank(number: int, path: Path, port: int) -> None:
    group, announcer = join_group(number, port), MemoryAnnouncer()
    straight = trainer(group, path, "straight", MemoryAnnouncer())
    learn(straight, COUNT)
    killed = trainer(group, path, "killed", announcer)
    for _ in range(ROUNDS_UNTIL_KILLED):
        one_round(killed)
    killed._thread.shutdown()
    resumed = trainer(group, path, "killed", announcer)
    assert resumed.learner.examples < killed.learner.examples
    learn(resumed, COUNT)
    if number == 0:
        torch.save({"restarts": straight.learner.restarts}, path / "seen.pt")
    group.close()


def trainer(group: Group, path: Path, name: str, announcer: MemoryAnnouncer) -> RankTrainer:
    pipeline = load_pipeline(path)
    log = MemoryExamples({p: drifting(p) for p in range(4) if p % group.size == group.rank}, 1000)
    store = MemoryChunkStore()
    first = Publisher(CheckpointFolder(path / name, "toy"), store, announcer, keep=50) if group.rank == 0 else None
    made = RankTrainer(pipeline, log, RankPublisher(group, store, first), Recorder(), group, clock=lambda: 0.0)
    made.start()
    return made


def drifting(partition: int) -> list[bytes]:
    """Examples of a straight line; of the second half, far out on it, where the error is larger."""
    half = COUNT // 8
    return [
        example(partition, o, 10 * o + 3 * partition, (1 if o < half else 5) * math.sin(o * 7 + partition))
        for o in range(2 * half)
    ]


def one_round(trainer: RankTrainer) -> None:
    """With its publication: checkpoints are then at the same steps however slow the disk is."""
    trainer.round()
    trainer._settle(wait=True)


def learn(trainer: RankTrainer, count: int) -> None:
    while trainer.learner.examples < count:
        one_round(trainer)
    trainer.finish()
    trainer._thread.shutdown()


def without_progress(checkpoint: Checkpoint) -> str:
    header = msgspec.structs.replace(checkpoint.header, progress={"model": (0.0, 0)})
    return digest(dataclasses.replace(checkpoint, header=header))


@pytest.mark.parametrize("training", [EVERYTHING], ids=["everything"])
def test_ranks_that_resume_come_to_the_same_bits(tmp_path: Path, unused_port: int, training: dict[str, Any]) -> None:
    path = write_toy(tmp_path / "toy", partitions=4, **training)
    spawn(rank, (path, unused_port), nprocs=2)  # type: ignore[no-untyped-call]
    newest = []
    for name in ("straight", "killed"):
        folder = CheckpointFolder(path / name, "toy")
        newest.append(folder.read(folder.entries()[0]))
    straight, killed = newest
    totals = [header.progress["model"] for header in (straight.header, killed.header)]
    assert totals[0] == pytest.approx(totals[1])  # figures to show: a sum of the ranks' sums
    assert without_progress(straight) == without_progress(killed)
    assert straight.header.gated == killed.header.gated
    assert straight.header.offsets == dict.fromkeys(range(4), COUNT // 4)
    assert set(straight.header.learning.window) == {0, 1, 2, 3}
    assert len(straight.random["ranks"]) == 1
    assert torch.load(path / "seen.pt")["restarts"] > 0
