"""The trainer: exact over crashes, honest about its errors, and nothing half-done reaches the fleet."""

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from headrace.contracts.events_pb2 import DeadLetter
from headrace.model.pipeline import load_pipeline
from headrace.runtime.devices.host import HOST
from headrace.runtime.errors import DataError, DependencyError
from headrace.weights import Manifest, fetch
from services.trainer.batches import Item, merged
from services.trainer.checkpoint import Checkpoint, CheckpointFolder
from services.trainer.learner import Learner
from services.trainer.publishing import Publisher
from services.trainer.service import Trainer
from tests.device_kit import SlowCopies
from tests.line_kit import MemoryExamples, example, write_toy
from tests.unit.trainer.test_trainer_resume import SETTINGS
from tests.unit.trainer.world_kit import World, digest, equal, values, weights_of


def test_a_new_model_is_published_before_its_first_label(tmp_path: Path) -> None:
    world = World(tmp_path, values(0))
    trainer = world.trainer()
    (event,) = world.announcer.events
    assert (event.version, event.base_version, event.epoch, event.step, event.newest_label_us) == (1, 0, 1, 0, 0)
    manifest = Manifest.decode(event.manifest)
    assert equal(fetch(manifest, world.store), weights_of(trainer))
    assert manifest.offsets == {"toy.examples": {0: 0, 1: 0}}


def test_it_learns_and_says_how_it_stands_beside_its_baseline(tmp_path: Path) -> None:
    world = World(tmp_path, values(3000))
    trainer = world.trainer()
    world.all_learned(trainer)
    metrics = world.announcer.events[-1].metrics
    assert metrics["error"] < 0.5 * metrics["baseline.mean"]
    assert metrics["examples"] == 3000
    assert world.announcer.events[-1].newest_label_us == max(10 * 1499 + 3, 10 * 1499) * 1000


def test_versions_rise_by_one_each_from_the_one_before(tmp_path: Path) -> None:
    world = World(tmp_path, values(400))
    trainer = world.trainer()

    def done() -> bool:
        trainer._settle(wait=True)  # a slow disk would make them fewer
        return sum(trainer.batcher.positions.values()) == 400

    world.until(trainer, done)
    trainer.finish()
    events = world.announcer.events
    assert [event.version for event in events] == list(range(1, len(events) + 1))
    assert [event.base_version for event in events] == list(range(len(events)))
    assert len(events) >= 5


def test_on_a_device_it_comes_to_the_same_weights_and_a_checkpoint_resumes_on_another(tmp_path: Path) -> None:
    """Here the other device is this processor too, told to copy: features go there, outputs come back."""
    straight = World(tmp_path / "straight", values(600), SETTINGS["everything"])
    straight.all_learned(straight.trainer())

    device = SlowCopies()
    world = World(tmp_path / "moved", values(600), SETTINGS["everything"], device=device)
    first = world.trainer()
    world.until(first, lambda: world.recorder.batches >= 9)
    first._settle(wait=True)
    assert device.there > device.back > 0
    world.device = HOST
    world.all_learned(world.trainer())
    assert digest(world.newest()) == digest(straight.newest())


def test_a_checkpoint_made_again_from_the_one_before_and_the_log_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    """The log grew while it was read, so batches were as they happened to be; the ends in the checkpoint tell which."""
    world = World(tmp_path, {0: [], 1: []}, training={"checkpoint_examples": 40, "keep": 2, "max_wait_s": 0.02})
    trainer, everything = world.trainer(fetch=5), values(400)
    log: MemoryExamples = trainer._log  # type: ignore[assignment]
    for n in range(400):
        log.values[n % 2].append(everything[n % 2][n // 2])
        trainer.step()
        world.now += 0.007
    trainer.finish()
    folder = world.checkpoints
    newest, base = (folder.read(entry) for entry in folder.entries()[:2])
    assert newest.header.base_version == base.header.version
    assert len({len(ends) for ends in newest.header.batches}) == 1

    pipeline = load_pipeline(tmp_path / "toy")
    learner, start = Learner(pipeline, 100, base), base.header.offsets
    for row in newest.header.batches:
        ends = dict(zip(newest.header.partitions, row, strict=True))
        learner.learn(merged({p: items(pipeline, log.values[p], p, start[p], ends[p]) for p in ends}))
        start = ends
    assert equal(dict(learner.network.state_dict()), newest.weights)


def items(pipeline: Any, log: list[bytes], partition: int, start: int, end: int) -> list[Item]:
    decoded = [pipeline.example_decoder.decode(log[o]) for o in range(start, end)]
    return [Item(e.label_ms, partition, start + i, e) for i, e in enumerate(decoded)]


def test_a_trainer_that_died_between_file_and_event_announces_it_at_the_next_start(tmp_path: Path) -> None:
    world = World(tmp_path, values(64), training={"checkpoint_examples": 64})
    trainer = world.trainer()
    world.announcer.failing = DependencyError("the broker went away")
    with pytest.raises(DependencyError):
        world.all_learned(trainer)
    left = world.newest().header
    assert left.version == 2
    assert [event.version for event in world.announcer.events] == [1]

    resumed = world.trainer()
    event = world.announcer.events[-1]
    assert (event.version, event.epoch, event.created_at_us) == (2, 1, left.created_at)
    assert (resumed.version, resumed.epoch) == (2, 2)
    world.trainer()
    assert [event.version for event in world.announcer.events] == [1, 2]


def test_a_file_that_a_fenced_trainer_left_gives_way_to_the_announced_one(tmp_path: Path) -> None:
    world = World(tmp_path, values(64), training={"checkpoint_examples": 64})
    world.all_learned(world.trainer())
    announced = world.newest()
    header = msgspec.structs.replace(announced.header, epoch=9, created_at=1)
    stray = Checkpoint(header, announced.weights, announced.optimizer, announced.random)
    world.checkpoints.write(stray)
    resumed = world.trainer()
    assert resumed._publisher.resume().checkpoint.header.created_at == announced.header.created_at  # type: ignore[union-attr]
    assert resumed.epoch == 10


def test_with_its_files_lost_a_model_begins_anew_above_the_versions_that_were_announced(tmp_path: Path) -> None:
    world = World(tmp_path, values(200))
    world.all_learned(world.trainer())
    last = world.announcer.events[-1]
    for entry in world.checkpoints.entries():
        entry.path.unlink()
    trainer = world.trainer()
    assert world.announcer.events[-1].version == last.version + 1 == trainer.version
    assert world.announcer.events[-1].epoch == last.epoch + 1


def test_an_undecodable_example_becomes_one_dead_letter_over_a_crash(tmp_path: Path) -> None:
    world = World(tmp_path, values(200))
    world.examples[0][30] = b'{"key": 1}'
    trainer = world.trainer()
    world.until(trainer, lambda: world.recorder.letters == 1)
    trainer._settle(wait=True)
    world.all_learned(world.trainer())
    (letter,) = world.announcer.sent
    dead = DeadLetter.FromString(letter.value)
    assert (dead.topic, dead.partition, dead.offset, dead.phase, dead.value) == (
        "toy.examples",
        0,
        30,
        "decode",
        b'{"key": 1}',
    )


def test_an_example_that_the_model_raises_on_is_set_aside_and_the_rest_is_learned(tmp_path: Path) -> None:
    world = World(tmp_path, values(64))
    world.examples[1][5] = example(1, 5, 55, 2e6)
    trainer = world.trainer()
    world.all_learned(trainer)
    (letter,) = world.announcer.sent
    assert DeadLetter.FromString(letter.value).phase == "features"
    assert trainer.learner.examples == 63


def test_a_model_that_raises_on_everything_stops_the_trainer(tmp_path: Path) -> None:
    world = World(tmp_path, {0: [example(0, o, o, 2e6) for o in range(64)]})
    with pytest.raises(DataError, match="not one of 16 examples"):
        world.all_learned(world.trainer())


def test_an_example_whose_loss_is_not_finite_is_set_aside(tmp_path: Path) -> None:
    world = World(tmp_path, values(64))
    world.examples[0][3] = example(0, 3, 33, 0.5, y=1e6)
    trainer = world.trainer()
    world.all_learned(trainer)
    assert not trainer.learner.skipped
    assert (trainer.learner.steps, trainer.learner.examples) == (4, 63)
    assert all(t.isfinite().all() for t in weights_of(trainer).values())


def test_weights_that_stop_being_finite_are_never_published(tmp_path: Path) -> None:
    world = World(tmp_path, values(128))
    trainer = world.trainer()
    world.until(trainer, lambda: world.recorder.batches == 2)
    with torch.no_grad():
        next(trainer.learner.network.parameters()).fill_(math.nan)
    world.all_learned(trainer)
    assert world.recorder.restores == 1
    for event in world.announcer.events:
        tensors = fetch(Manifest.decode(event.manifest), world.store)
        assert all(t.isfinite().all() for t in tensors.values())


def test_baselines_learn_again_from_the_log_at_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path, values(128))
    world.all_learned(world.trainer())
    baseline: Any = world.trainer(warm_up=1000).learner.progress._baselines["mean"]
    assert baseline.n == 128


def test_what_was_learned_is_published_after_a_while_even_if_it_is_little(tmp_path: Path) -> None:
    world = World(tmp_path, values(16), training={"checkpoint_s": 2.0, "checkpoint_examples": 1000})
    trainer = world.trainer()
    world.until(trainer, lambda: world.recorder.batches == 1)
    assert [event.version for event in world.announcer.events] == [1]
    world.now += 2.0
    trainer.step()
    trainer._settle(wait=True)
    assert [event.version for event in world.announcer.events] == [1, 2]
    world.now += 10.0
    trainer.step()
    trainer._settle(wait=True)
    assert len(world.announcer.events) == 2


def test_a_further_models_trainer_has_versions_of_its_own_and_leaves_dead_letters_to_the_champions(
    tmp_path: Path,
) -> None:
    """Its checkpoints are named for it.

    What it cannot learn from is counted, since a replay would teach the champion twice.
    """
    world = World(tmp_path, values(400))
    world.examples[0][3] = b"no json"
    folder = write_toy(
        world.folder / "toy", models=[{"name": "next", "role": "shadow", "training": {"learning_rate": 0.1}}]
    )
    pipeline = load_pipeline(folder).of_model("next")
    checkpoints = CheckpointFolder(world.folder / "storage", pipeline.model_name)
    publisher = Publisher(checkpoints, world.store, world.announcer, keep=3)
    trainer = Trainer(pipeline, MemoryExamples(world.examples), publisher, world.recorder, clock=lambda: world.now)
    trainer.start()
    world.all_learned(trainer)
    assert {event.model for event in world.announcer.events} == {"toy.next"}
    assert checkpoints.read(checkpoints.entries()[0]).header.model == "toy.next"
    assert trainer.learner.optimizer.param_groups[0]["lr"] == 0.1
    assert (world.announcer.sent, world.recorder.letters) == ([], 1)
