"""Chunks that every store lost or damaged.

The trainer hears of it from agents, puts them back, and begins a new chain.
"""

from pathlib import Path

import pytest
import torch

from headrace.model.pipeline import load_pipeline
from headrace.weights import Manifest, MemoryChunkStore, fetch
from headrace.weights.errors import LOST
from services.trainer.checkpoint import CheckpointFolder
from services.trainer.chunk_repair import LISTEN_EVERY_S, MEND_EVERY_S
from services.trainer.publishing import Publisher
from services.trainer.service import Trainer
from tests.line_kit import MemoryAnnouncer, MemoryExamples, MemoryReports, Recorder, example, write_toy
from tests.unit.trainer.test_trainer_deltas import World, checkpoint


def damage(store: MemoryChunkStore, digest: str, how: str, model: str = "m") -> None:
    """Take a chunk away, or flip a bit of it."""
    data = store.chunks.pop((model, digest))
    if how == "corrupt":
        store.chunks[model, digest] = data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("how", ["missing", "corrupt"])
@pytest.mark.parametrize("what", ["anchor", "first link", "last link"])
def test_a_version_whose_chain_is_broken_is_had_again_and_the_next_is_an_anchor(
    tmp_path: Path, how: str, what: str
) -> None:
    """Bit for bit, by whoever has nothing yet; and deltas go on after the anchor."""
    world = World(tmp_path)
    publisher = world.publisher()
    for version in (1, 2, 3):
        publisher.publish_checkpoint(checkpoint(version))
    anchor, _, third = world.manifests()
    broken = {
        "anchor": anchor.chunks,
        "first link": third.delta.links[0].chunks,
        "last link": third.delta.links[1].chunks,
    }  # type: ignore[union-attr]
    damage(world.store, broken[what][0], how)
    with pytest.raises(LOST):
        fetch(third, world.store)
    assert publisher.put_back(3) > 0
    assert torch.equal(fetch(third, world.store)["rows"], checkpoint(3).weights["rows"])
    published = [publisher.publish_checkpoint(checkpoint(version)) for version in (4, 5)]
    assert [result.delta for result in published] == [False, True]
    for manifest in world.manifests()[3:]:
        assert torch.equal(fetch(manifest, world.store)["rows"], checkpoint(manifest.version).weights["rows"])


def test_of_a_version_whose_file_is_gone_nothing_is_put_back_and_the_next_is_an_anchor(tmp_path: Path) -> None:
    """Which is all that the fleet needs, unless an operator keeps it at the old one."""
    world = World(tmp_path)
    publisher = world.publisher()
    for version in range(1, 6):
        publisher.publish_checkpoint(checkpoint(version))
    assert publisher.put_back(1) == 0
    assert not publisher.publish_checkpoint(checkpoint(6)).delta


class Training:
    """A trainer that has learned all that there is, and its fleet's reports."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.store, self.announcer, self.recorder = MemoryChunkStore(), MemoryAnnouncer(), Recorder()
        self.reports = MemoryReports()
        pipeline = load_pipeline(write_toy(folder / "toy", checkpoint_s=2.0))
        publisher = Publisher(CheckpointFolder(folder / "storage", "toy"), self.store, self.announcer, keep=3)
        log = MemoryExamples({0: [example(0, o, o, o / 16) for o in range(16)]})
        self.trainer = Trainer(
            pipeline, log, publisher, self.recorder, lost_chunks=self.reports, clock=lambda: self.now
        )  # fmt: skip
        self.trainer.start()
        while self.recorder.batches < 1:
            self.step(0.1)
        self.step(2.0)

    def step(self, seconds: float) -> None:
        self.now += seconds
        self.trainer.step()
        self.trainer._settle(wait=True)

    def complain(self) -> None:
        """Of the newest version; and hear it, mend, and let the usual time between two versions pass."""
        self.reports.versions = {self.versions[-1]}
        self.step(LISTEN_EVERY_S)
        self.step(2.0)

    @property
    def versions(self) -> list[int]:
        return [event.version for event in self.announcer.events]

    def newest(self) -> Manifest:
        return Manifest.decode(self.announcer.events[-1].manifest)


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(tmp_path)


def test_what_agents_miss_is_put_back_and_followed_by_a_version_though_nothing_was_learned(training: Training) -> None:
    """A fleet that refused the broken version would have to wait for the next example otherwise."""
    assert training.versions == [1, 2]
    damage(training.store, training.newest().chunks[0], "corrupt", "toy")
    with pytest.raises(LOST):
        fetch(training.newest(), training.store)
    training.complain()
    assert (training.versions, training.recorder.chunks_put_back) == ([1, 2, 3], 1)
    for event in training.announcer.events:
        fetch(Manifest.decode(event.manifest), training.store)
    training.step(MEND_EVERY_S)
    assert training.versions == [1, 2, 3]


def test_an_agent_that_sees_other_stores_complains_in_vain(training: Training) -> None:
    """Nothing was lost here: no version follows, and the stores are looked at only now and then."""
    for _ in range(10):
        training.complain()
    assert (training.versions, training.recorder.chunks_put_back) == ([1, 2], 0)


def test_reports_are_heard_in_turn_and_none_is_forgotten(training: Training) -> None:
    """The second one comes right after the first was dealt with."""
    damage(training.store, training.newest().chunks[0], "missing", "toy")
    training.complain()
    damage(training.store, training.newest().chunks[0], "missing", "toy")
    training.complain()
    assert training.recorder.chunks_put_back == 1
    training.step(MEND_EVERY_S)
    assert training.recorder.chunks_put_back == 2
    fetch(training.newest(), training.store)
