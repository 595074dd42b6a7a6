"""Bad data: the examples that are bad are set aside, each once, and nothing of them stays in the weights."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from headrace.contracts.events_pb2 import DeadLetter
from headrace.model.pipeline import load_pipeline
from services.trainer.batches import Item
from services.trainer.learner import Learner
from services.trainer.learning.bad import Judge, NotFinite
from services.trainer.learning.lane import Lane
from services.trainer.learning.schedule import Schedule
from tests.line_kit import example, write_toy
from tests.unit.trainer.world_kit import World, digest, equal, values, weights_of

ODD = """
    def features(self, events):
        if any(e.x > 1e6 for e in events):
            raise ValueError("x is too large")
        return torch.tensor([[e.x] for e in events]).log() if any(e.x == -7.5 for e in events) else torch.tensor(
            [[e.x] for e in events])

    def loss(self, outputs, labels):
        error = outputs[:, 0] - torch.tensor([l.y for l in labels])
        root = torch.stack([e * 0 if l.y == 77.0 else e * 0 + 1 for e, l in zip(error, labels)]).sqrt()
        scale = torch.where(torch.tensor([l.y == 1e6 for l in labels]), torch.nan, 1.0)
        return (error ** 2 * scale + root).mean()
"""
"""x of -7.5 gives features of NaN, a label of 1e6 a loss of NaN, one of 77 a finite loss with gradients of NaN."""
NORMED = """
    def network(self):
        from headrace import RunningNorm
        return torch.nn.Sequential(RunningNorm(1), torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
"""
KINDS: dict[str, tuple[float, float | None, str, str]] = {
    "features raise": (2e6, None, "features", "features"),
    "features are NaN": (-7.5, None, "features", "not_finite"),
    "loss is NaN": (0.5, 1e6, "train", "not_finite"),
    "gradients are NaN": (0.5, 77.0, "train", "not_finite"),
}


def world(folder: Path, model: str = ODD, count: int = 256, **training: Any) -> World:
    return World(folder, values(count), training, model=model)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("training", [{}, {"replay": {"window": 90, "examples": 24}, "average": 0.9}])
def test_a_bad_example_is_one_dead_letter_and_the_others_of_its_batch_are_learned(
    tmp_path: Path, kind: tuple[float, float | None, str, str], training: dict[str, Any]
) -> None:
    x, y, phase, reason = kind
    made = world(tmp_path, ODD + NORMED, **training)
    made.examples[1][40] = example(1, 40, 403, x, y)
    trainer = made.trainer()
    made.all_learned(trainer)
    letters = [DeadLetter.FromString(letter.value) for letter in made.announcer.sent]
    assert [(one.partition, one.offset, one.phase) for one in letters] == [(1, 40, phase)]
    assert made.recorder.reasons == {reason: 1}
    assert (trainer.learner.examples, trainer.learner.steps) == (255, 16)
    assert not trainer.learner.skipped
    assert all(t.isfinite().all() for t in weights_of(trainer).values()), "running statistics are weights too"


@pytest.mark.parametrize("kinds", [[kind] for kind in KINDS] + [list(KINDS)], ids=[*KINDS, "all"])
def test_learning_with_bad_examples_in_between_is_learning_without_them(tmp_path: Path, kinds: list[str]) -> None:
    """Bit for bit: of a batch with bad ones nothing stays, buffers included. Batches are cut as they were."""
    pipeline = load_pipeline(toy(tmp_path / "toy", ODD + NORMED))
    bad = [item(pipeline, 1000 + n, x, y) for n, (x, y, _, _) in enumerate(map(KINDS.__getitem__, kinds))]
    one, other = Learner(pipeline, 200), Learner(pipeline, 200)
    for start in range(0, 160, 16):
        good = [item(pipeline, offset, math.sin(offset), None) for offset in range(start, start + 16)]
        torch.manual_seed(start)
        assert one.learn(good) == []
        torch.manual_seed(start)
        found = other.learn(good[:5] + bad + good[5:])
        assert {f.item.offset for f in found} == {b.offset for b in bad}
    assert equal(one.state().weights, other.state().weights)


def toy(folder: Path, model: str = "", **training: Any) -> Path:
    path = write_toy(folder, **training)
    text = (path / "model.py").read_text().replace("torch.nn.Dropout(0.2)", "torch.nn.Identity()")
    (path / "model.py").write_text(text + model)
    return path


def item(pipeline: Any, offset: int, x: float, y: float | None) -> Item:
    decoded = pipeline.example_decoder.decode(example(0, offset, 10 * offset, x, y))
    return Item(decoded.label_ms, 0, offset, decoded)


def test_a_few_bad_ones_of_many_take_few_passes(tmp_path: Path) -> None:
    pipeline = load_pipeline(toy(tmp_path / "toy", ODD))
    items = [item(pipeline, n, 0.1, 1e6 if n in (3, 200) else None) for n in range(256)]
    judge, passes = Judge(pipeline.model), []
    network = pipeline.model.network()
    features = pipeline.model.features
    pipeline.model.features = lambda events: (passes.append(len(events)), features(events))[1]  # type: ignore[method-assign]
    found = judge.bad(items, network, NotFinite("loss"))
    assert [one.item.offset for one in found] == [3, 200]
    assert len(passes) <= 4 * 8 + 1


def test_a_batch_of_nothing_but_bad_examples_is_dead_letters_and_training_goes_on(tmp_path: Path) -> None:
    made = world(tmp_path)
    for offset in range(20, 60):
        for p in (0, 1):
            made.examples[p][offset] = example(p, offset, 10 * offset + 3 * p, 0.5, 1e6)
    trainer = made.trainer()
    made.all_learned(trainer)
    assert made.recorder.reasons == {"not_finite": 80}
    assert trainer.learner.examples == 256 - 80
    assert len({(letter.partition, letter.offset) for letter in made.announcer.sent}) == 80


def test_bad_examples_are_dead_letters_once_over_kills_in_between_and_the_weights_the_same(tmp_path: Path) -> None:
    def prepared(folder: Path) -> World:
        made = world(folder, ODD + NORMED, replay={"window": 90, "examples": 24})
        for n, (x, y, _, _) in enumerate(KINDS.values()):
            for p, offset in ((0, 11 + 20 * n), (1, 13 + 20 * n)):
                made.examples[p][offset] = example(p, offset, 10 * offset + 3 * p, x, y)
        return made

    straight = prepared(tmp_path / "straight")
    straight.all_learned(straight.trainer())
    killed = prepared(tmp_path / "killed")
    for batches in (5, 6, 5):
        killed.killed_after(batches, 13)
    killed.all_learned(killed.trainer(fetch=3))
    assert digest(killed.newest()) == digest(straight.newest())
    for one in (straight, killed):
        places = sorted((letter.partition, letter.offset) for letter in one.announcer.sent)
        assert places == sorted((p, o + 20 * n) for n in range(4) for p, o in ((0, 11), (1, 13)))


def test_weights_that_exploded_are_taken_back_and_no_example_is_blamed(tmp_path: Path) -> None:
    """Finite, but of a size at which no loss is."""
    made = world(tmp_path)
    trainer = made.trainer()
    made.until(trainer, lambda: made.recorder.batches == 5)
    with torch.no_grad():
        for parameter in trainer.learner.network.parameters():
            parameter.fill_(1e30)
    made.all_learned(trainer)
    assert made.recorder.restores == 1
    assert trainer.learner.skipped == {"loss": 3}
    assert made.announcer.sent == []
    assert made.announcer.events[-1].metrics["error"] < 2.0


def test_weights_in_doubt_are_not_published(tmp_path: Path) -> None:
    made = world(tmp_path, checkpoint_examples=80)
    trainer = made.trainer()
    made.until(trainer, lambda: made.recorder.batches == 5)
    trainer._settle(wait=True)
    before = trainer.learner._good.weights
    with torch.no_grad():
        for parameter in trainer.learner.network.parameters():
            parameter.fill_(1e30)
    made.until(trainer, lambda: made.recorder.batches == 6)
    assert trainer.learner.in_doubt
    version, made.now = trainer.version, made.now + 2e9
    assert not trainer._due(), "though it is late"
    trainer.finish()
    assert trainer.version == version + 1
    assert equal(made.newest().weights, before)


SGD = """
    def optimizer(self, network, rate):
        return torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
"""


@pytest.mark.parametrize("optimizer", [SGD, ""], ids=["sgd", "adam"])
@pytest.mark.parametrize("average", [None, 0.9])
def test_a_step_that_overflows_is_undone(tmp_path: Path, optimizer: str, average: float | None) -> None:
    """By SGD weights become infinite; by Adam the mean of squares does, after which a weight would never move again."""
    pipeline = load_pipeline(toy(tmp_path / "toy", ODD + optimizer, average=average, learning_rate=1e15))
    lane = Lane(pipeline.model, pipeline.spec.training)
    lane.optimizer.step()
    before = lane.state()
    for parameter in lane.network.parameters():
        parameter.grad = torch.full_like(parameter, 1e30 if optimizer else 1e25)
    lane._norm = 1e31
    assert not lane.step(Schedule(pipeline.spec.training.schedule), 1)
    after = lane.state()
    assert equal(before["weights"], after["weights"])
    assert equal(before["average"], after["average"])
    for state in lane.optimizer.state.values():
        assert all(torch.isfinite(value).all() for value in state.values() if isinstance(value, torch.Tensor))
