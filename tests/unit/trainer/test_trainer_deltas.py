"""The trainer's publisher and deltas: when it publishes one, and what a trainer that takes over does."""

from pathlib import Path

import msgspec
import pytest
import torch

from headrace.runtime.errors import DependencyError
from headrace.weights import Manifest, MemoryChunkStore, fetch
from headrace.weights.publish.lineage import Lineage
from services.trainer.checkpoint import Checkpoint, CheckpointFolder, Header
from services.trainer.publishing import Publisher
from services.trainer.settings import TrainerSettings
from tests.line_kit import MemoryAnnouncer

ROWS = 40_000
FIRST = Header(
    model="m", version=1, base_version=0, epoch=1, step=1, examples=1, topic="m.examples", offsets={0: 1},
    partitions=[0],
    batches=[], newest_label_us=0, created_at=1, metrics={}, progress={},
)  # fmt: skip


def checkpoint(version: int, epoch: int = 1) -> Checkpoint:
    """An embedding of 5 MB, of which 1 % changes with every version."""
    rows = torch.arange(float(ROWS)).repeat(32, 1).T.contiguous()
    for n in range(2, version + 1):
        rows[n::100] += n
    header = msgspec.structs.replace(FIRST, version=version, base_version=version - 1, epoch=epoch, created_at=version)
    return Checkpoint(header, {"rows": rows}, {}, {})


class World:
    """What outlives a trainer."""

    def __init__(self, folder: Path) -> None:
        self.store, self.announcer = MemoryChunkStore(), MemoryAnnouncer()
        self.folder = CheckpointFolder(folder, "m")

    def publisher(self, **settings: object) -> Publisher:
        lineage = TrainerSettings.model_validate({"deltas": "auto", **settings}).lineage
        return Publisher(self.folder, self.store, self.announcer, keep=3, lineage=lineage)

    def manifests(self) -> list[Manifest]:
        return [Manifest.decode(event.manifest) for event in self.announcer.events]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_sparse_updates_are_announced_as_deltas_and_every_so_often_as_an_anchor(world: World) -> None:
    publisher = world.publisher(anchor_every=3)
    published = [publisher.publish_checkpoint(checkpoint(version)) for version in range(1, 6)]
    assert [result.delta for result in published] == [False, True, True, False, True]
    assert all(result.weights_bytes < 0.02 * published[0].weights_bytes for result in published if result.delta)
    for version, manifest in enumerate(world.manifests(), 1):
        assert torch.equal(fetch(manifest, world.store)["rows"], checkpoint(version).weights["rows"])


def test_without_deltas_every_version_is_an_anchor(world: World) -> None:
    publisher = world.publisher(deltas="off")
    assert not any(publisher.publish_checkpoint(checkpoint(version)).delta for version in (1, 2))
    assert Lineage().delta(world.manifests()[0], memoryview(b"")) is None


def test_a_trainer_that_takes_over_announces_what_was_left_as_an_anchor_and_goes_on_with_deltas(world: World) -> None:
    """The one before had written the file of version 3 and its delta, and died before the event."""
    before = world.publisher()
    for version in (1, 2):
        before.publish_checkpoint(checkpoint(version))
    world.announcer.failing = DependencyError("the broker went away")
    with pytest.raises(DependencyError):
        before.publish_checkpoint(checkpoint(3))
    after = world.publisher()
    resumed = after.resume()
    assert (resumed.next_version, resumed.epoch) == (4, 2)
    assert after.publish_checkpoint(checkpoint(4, epoch=2)).delta
    assert [bool(manifest.delta) for manifest in world.manifests()] == [False, True, False, True]
    for version, manifest in enumerate(world.manifests(), 1):
        assert torch.equal(fetch(manifest, world.store)["rows"], checkpoint(version).weights["rows"])
