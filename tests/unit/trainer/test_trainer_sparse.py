"""A trainer of a hashing embedding: killed it comes to the same bits, and what it publishes are the rows it touched."""

from pathlib import Path

import pytest
import torch

from headrace.weights.publish.lineage import Lineage
from services.trainer.publishing import Publisher
from tests.unit.trainer.world_kit import World, digest, values

ROWS = 50_000
MODEL = f"""
    def network(self):
        return torch.nn.Sequential(headrace.HashingEmbedding({ROWS}, 8), torch.nn.Flatten(), torch.nn.Linear(8, 1))

    def features(self, events):
        return torch.from_numpy(headrace.hashed([round(e.x, 1) for e in events], {ROWS})).float()[:, None]

import headrace
"""
TRAININGS = [
    {},
    {"clip_norm": 0.1, "schedule": {"kind": "inverse_time", "start": 3.0, "steps": 5}},
    {"race": [0.3, 1.0], "replay": {"window": 90, "examples": 24}},
]


@pytest.mark.parametrize("training", TRAININGS, ids=["plain", "clip and schedule", "race and replay"])
def test_killed_it_comes_to_the_same_state(tmp_path: Path, training: dict[str, object]) -> None:
    straight = World(tmp_path / "straight", values(300), training, model=MODEL)
    straight.all_learned(straight.trainer())
    killed = World(tmp_path / "killed", values(300), training, model=MODEL)
    for batches, fetch in ((5, 13), (7, 3)):
        killed.killed_after(batches, fetch)
    killed.all_learned(killed.trainer(fetch=5))
    assert digest(killed.newest()) == digest(straight.newest())


def test_a_version_changes_the_rows_that_its_examples_touched_and_travels_as_those(tmp_path: Path) -> None:
    world = World(tmp_path, values(300), {"keep": 10}, model=MODEL, settled=True)
    world.all_learned(world.trainer())
    checkpoints = [world.checkpoints.read(entry) for entry in reversed(world.checkpoints.entries())]
    first, last = (one.weights["0.rows.weight"] for one in (checkpoints[0], checkpoints[-1]))
    touched = int((first != last).any(dim=1).sum())
    assert 10 < touched <= 22, "tenths from -1.0 to 1.0, and -0.0"
    publisher = Publisher(world.checkpoints, world.store, world.announcer, keep=10, lineage=Lineage())
    sizes = [publisher.publish_checkpoint(one).weights_bytes for one in checkpoints]
    assert sizes[0] > ROWS * 8 * torch.float32.itemsize
    assert all(size < 5000 for size in sizes[1:]), sizes
