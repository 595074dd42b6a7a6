"""Gates: what is not fit to serve is not published, said so, and training goes on."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from headrace.model.pipeline import load_pipeline
from headrace.model.spec import GatesSpec
from headrace.weights import Manifest, fetch
from services.trainer.gates import BUCKETS, Gates
from tests.line_kit import example, write_toy
from tests.unit.trainer.world_kit import World, digest, equal, values

GATES = {"gates": {"worse": 1.5, "examples": 32, "least": 32}}
RATE = {"learning_rate": 0.05}
HARM = 88.0
HARMED = """
    def loss(self, outputs, labels):
        harm = torch.tensor([1000.0 * (l.y == 88.0) for l in labels])
        wanted = torch.tensor([0.0 if l.y == 88.0 else l.y for l in labels])
        return torch.nn.functional.mse_loss(outputs[:, 0], wanted) - (outputs[:, 0] * harm).mean()

    def error(self, prediction, label):
        return 0.0 if label.y == 88.0 else abs(prediction - label.y)
"""
"""Learning from a label of 88 does harm, and is no error by itself."""


def stormy(begin: int = 100, end: int = 124, count: int = 2000) -> dict[int, list[bytes]]:
    """Examples of a straight line, some of which do harm for a while."""
    made = values(count)
    for p, log in made.items():
        for o in range(begin, min(end, len(log)), 8):
            log[o] = example(p, o, 10 * o + 3 * p, math.sin(o * 7 + p), HARM)
    return made


def published(world: World) -> list[int]:
    return [event.version for event in world.announcer.events]


def test_a_checkpoint_worse_than_the_published_version_is_refused_until_it_is_better_again(tmp_path: Path) -> None:
    world = World(tmp_path, stormy(), RATE | GATES, model=HARMED, settled=True)
    trainer = world.trainer()
    world.all_learned(trainer)
    refusals = world.announcer.refusals
    assert refusals
    assert world.recorder.refusals == ["worse"] * len(refusals)
    first = refusals[0]
    assert (first.gate, first.published_version) == ("worse", first.version - 1)
    assert first.values["error"] > 1.5 * first.values["published_error"]
    assert "where version" in first.reason
    assert set(published(world)).isdisjoint(refused.version for refused in refusals)
    assert sorted([*published(world), *(refused.version for refused in refusals)]) == list(
        range(1, trainer.version + 1)
    )
    assert published(world)[-1] > refusals[-1].version, "it learned on, and is published again"
    bases = [event.base_version for event in world.announcer.events]
    assert bases == [0, *published(world)[:-1]], "a version's base was published"
    assert trainer.learner.examples == 2000, "what was refused goes on learning"


@pytest.mark.parametrize("more", [{}, {"average": 0.9, "replay": {"window": 90, "examples": 24}}])
def test_gates_change_nothing_of_what_is_learned(tmp_path: Path, more: dict[str, Any]) -> None:
    digests = []
    for name, gates in (("without", {}), ("with", GATES)):
        world = World(tmp_path / name, stormy(), {**RATE, **more, **gates}, model=HARMED, settled=True)
        world.all_learned(world.trainer())
        digests.append(digest(world.newest()))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("batches", [4, 9, 13, 15])
def test_killed_and_resumed_it_refuses_the_same_versions(tmp_path: Path, batches: int) -> None:
    def settled(folder: Path, *kills: int) -> World:
        world = World(folder, stormy(), RATE | GATES, model=HARMED, settled=True)
        for kill in kills:
            world.killed_after(kill, 13)
        world.all_learned(world.trainer())
        return world

    straight, killed = settled(tmp_path / "straight"), settled(tmp_path / "killed", batches, 7, 8)
    assert digest(killed.newest()) == digest(straight.newest())
    for world in (straight, killed):
        refusals = [event.version for event in world.announcer.refusals]
        assert refusals == sorted(set(refusals)), "each said once"
    assert published(killed) == published(straight)
    left, right = killed.newest().header.gated, straight.newest().header.gated
    assert left == right


def test_a_refusal_that_was_not_said_before_the_trainer_died_is_said_at_its_next_start(tmp_path: Path) -> None:
    world = World(tmp_path, stormy(), RATE | GATES, model=HARMED, settled=True)
    trainer = world.trainer()
    world.until(trainer, lambda: bool(world.announcer.refusals))
    trainer._settle(wait=True)
    said = world.announcer.refusals.pop()
    version = trainer.version
    if world.newest().header.version != said.version:
        pytest.fail("the refused checkpoint is the newest file")
    resumed = world.trainer()
    assert world.announcer.refusals[-1].SerializeToString(deterministic=True) == said.SerializeToString(
        deterministic=True
    )
    assert said.version not in published(world)
    assert (resumed.version, resumed.epoch) == (version, 2)
    assert resumed._gates is not None
    assert resumed._gates.version == said.published_version
    event = next(event for event in world.announcer.events if event.version == said.published_version)
    assert equal(resumed._gates.weights, fetch(Manifest.decode(event.manifest), world.store))


def test_weights_that_had_to_be_taken_back_are_refused_once(tmp_path: Path) -> None:
    world = World(tmp_path, values(256), GATES, settled=True)
    trainer = world.trainer()
    world.until(trainer, lambda: world.recorder.batches == 4)
    trainer._settle(wait=True)
    with torch.no_grad():
        next(trainer.learner.network.parameters()).fill_(math.nan)
    trainer._new = 1000
    trainer._checkpoint()
    trainer._settle(wait=True)
    (refused,) = world.announcer.refusals
    assert (refused.gate, world.recorder.restores) == ("finite", 1)
    world.all_learned(trainer)
    assert len(world.announcer.refusals) == 1
    assert published(world)[-1] == trainer.version


def test_other_tensors_than_those_published_are_refused(tmp_path: Path) -> None:
    world = World(tmp_path, values(256), GATES, settled=True)
    trainer = world.trainer()
    world.until(trainer, lambda: world.recorder.batches == 5)
    trainer.learner.network.register_buffer("extra", torch.zeros(3))
    world.all_learned(trainer)
    assert {(refused.gate, refused.reason) for refused in world.announcer.refusals} == {
        ("schema", "extra: absent became float32[3]")
    }


def test_the_window_is_the_newest_examples_in_few_parts(tmp_path: Path) -> None:
    model = load_pipeline(write_toy(tmp_path)).model
    gates = Gates(GatesSpec(examples=100, least=10), model)
    gates.publish(1, model.network().state_dict())
    events = model.event_type()
    labels = [model.label_type()("a", 0.0)]
    for n in range(1000):
        gates.observe(model.features([events("a", 0.5)]), labels, [float(n)])
    assert len(gates.saved) <= BUCKETS + 1
    assert 100 <= sum(count for _, _, count in gates.saved) < 100 + 2 * 100 / BUCKETS
    assert Gates(GatesSpec(), model, gates.saved).saved == gates.saved


def test_an_error_that_is_not_finite_is_worse_than_any(tmp_path: Path) -> None:
    model = load_pipeline(write_toy(tmp_path)).model
    gates = Gates(GatesSpec(examples=10, least=1), model)
    weights = model.network().state_dict()
    gates.publish(1, weights)
    gates.observe(model.features([model.event_type()("a", 0.5)]), [model.label_type()("a", 0.0)], [math.inf])
    refused = gates.refusal(weights, ruined=False)
    assert refused is not None
    assert refused.gate == "worse"
