"""Learning again from recent examples, averages and races: better where they should be, and never exploding."""

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from headrace.model.pipeline import load_pipeline
from headrace.runtime.errors import PipelineError
from services.trainer.batches import Item
from services.trainer.learner import Learner
from tests.line_kit import example, needs_compiler, write_toy


def learner(folder: Path, **training: Any) -> Learner:
    return Learner(load_pipeline(write_toy(folder, **training)), 200)


def batches(pipeline: Any, count: int, size: int = 16, start: int = 0) -> list[list[Item]]:
    """Examples of a straight line, all of one partition."""
    made = []
    for b in range(count):
        offsets = range(start + b * size, start + (b + 1) * size)
        decoded = [pipeline.example_decoder.decode(example(0, o, 10 * o, math.sin(o * 7))) for o in offsets]
        made.append([Item(e.label_ms, 0, o, e) for o, e in zip(offsets, decoded, strict=True)])
    return made


def train(one: Learner, folder: Path, count: int = 60) -> float:
    for batch in batches(load_pipeline(folder), count):
        assert one.learn(batch) == []
    recent = one.progress.errors["model"].recent
    assert recent is not None
    return recent


def test_learning_again_from_recent_examples_takes_fewer_new_ones(tmp_path: Path) -> None:
    plain = train(learner(tmp_path / "a"), tmp_path / "a")
    again = train(learner(tmp_path / "b", replay={"window": 500, "examples": 48, "steps": 4}), tmp_path / "b")
    assert again < 0.7 * plain


def test_the_average_is_what_is_served_and_what_predicts_before_learning(tmp_path: Path) -> None:
    one = learner(tmp_path / "a", average=0.9)
    train(one, tmp_path / "a", 20)
    served, trained = one.state().weights, one.network.state_dict()
    assert served.keys() == trained.keys()
    assert any(not torch.equal(served[name], trained[name]) for name in served)


def test_the_average_of_a_network_that_no_longer_changes_is_that_network(tmp_path: Path) -> None:
    one = learner(tmp_path / "a", average=0.5)
    train(one, tmp_path / "a", 5)
    for group in one.optimizer.param_groups:
        group["lr"] = 0.0
    train(one, tmp_path / "a", 60)
    served, trained = one.state().weights, one.network.state_dict()
    assert all(torch.allclose(served[name], trained[name], atol=1e-6) for name in served)


@pytest.mark.parametrize("rates", [[1.0, 1e6], [1e-6, 1.0], [1e-6, 1.0, 1e6, 1e30]])
def test_of_rates_that_race_the_best_is_served_whatever_the_others_do(tmp_path: Path, rates: list[float]) -> None:
    alone = train(learner(tmp_path / "a"), tmp_path / "a")
    one = learner(tmp_path / "b", race=rates)
    raced = train(one, tmp_path / "b")
    assert one.lanes[one.followed].multiple <= 1.0, "a slower one may go on from where the best one is"
    assert raced < 1.3 * alone
    state = one.state()
    assert state.finite
    assert all(lane.error < 10 * raced for lane in one.lanes), "lanes that exploded began again"


def test_gradients_are_scaled_down_to_the_norm(tmp_path: Path) -> None:
    one = learner(tmp_path / "a", clip_norm=1e-3)
    before = {name: tensor.clone() for name, tensor in one.network.state_dict().items()}
    one.lanes[0].optimizer = torch.optim.SGD(one.network.parameters(), lr=1.0)
    train(one, tmp_path / "a", 10)
    moved = max(float((one.network.state_dict()[name] - before[name]).abs().max()) for name in before)
    assert 0 < moved <= 10 * 1.001e-3


def test_a_drift_begins_the_schedule_again_and_keeps_only_the_newest_examples(tmp_path: Path) -> None:
    one = learner(
        tmp_path / "a",
        replay={"window": 5000, "examples": 16},
        schedule={"kind": "inverse_time", "start": 3.0, "steps": 10},
        drift={"ratio": 2.0, "examples": 64},
    )
    train(one, tmp_path / "a", 80)
    assert one.window is not None
    assert (one.restarts, one.schedule.began, len(one.window)) == (0, 0, 80 * 16)
    for batch in batches(load_pipeline(tmp_path / "a"), 20, start=80 * 16):
        one.learn([item._replace(example=shifted(item.example, 25.0)) for item in batch])
        if one.restarts:
            break
    assert one.restarts == 1
    assert one.schedule.began == one.steps
    assert len(one.window) == 64


def shifted(one: Any, by: float) -> Any:
    return msgspec.structs.replace(one, label=msgspec.structs.replace(one.label, y=one.label.y + by))


def test_an_optimizer_that_needs_a_closure_is_refused_at_the_start(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "a")
    closure = (
        "\n    def optimizer(self, network, rate):\n        return torch.optim.LBFGS(network.parameters(), lr=rate)\n"
    )
    (folder / "model.py").write_text((folder / "model.py").read_text() + closure)
    with pytest.raises(PipelineError, match="the step of LBFGS needs a closure"):
        Learner(load_pipeline(folder), 200)


def test_bf16_learns_in_bfloat16_and_keeps_and_serves_full_precision(tmp_path: Path) -> None:
    seen = []
    one = learner(tmp_path / "a", precision="bf16")
    one.network[0].register_forward_hook(lambda module, _inputs, output: seen.append((module.training, output.dtype)))
    error = train(one, tmp_path / "a")
    assert set(seen) == {(True, torch.bfloat16), (False, torch.float32)}
    assert {tensor.dtype for tensor in one.state().weights.values()} == {torch.float32}
    assert error == pytest.approx(train(learner(tmp_path / "b"), tmp_path / "b"), rel=0.1)


@needs_compiler
def test_compiled_it_learns_the_same_within_rounding_and_its_weights_keep_their_names(tmp_path: Path) -> None:
    from torch._dynamo.utils import counters

    before = counters["stats"]["unique_graphs"]
    plain, compiled = learner(tmp_path / "a"), learner(tmp_path / "b", compile=True)
    for one in (plain, compiled):
        one.network[1].p = 0.0  # the compiler draws other random numbers
    errors = train(plain, tmp_path / "a"), train(compiled, tmp_path / "b")
    assert counters["stats"]["unique_graphs"] > before
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)
    assert compiled.state().weights.keys() == plain.state().weights.keys()
