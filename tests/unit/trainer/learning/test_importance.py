"""Examples that do not all count the same: their weights in the loss."""

import math
from pathlib import Path
from typing import Any

import msgspec
import torch
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.pipeline import load_pipeline
from services.trainer.batches import Item
from services.trainer.learner import Learner
from services.trainer.learning.importance import weighted_loss
from tests.line_kit import example, write_toy


class Squares:
    """A mean of squares."""

    def loss(self, outputs: torch.Tensor, labels: list[float]) -> torch.Tensor:
        return ((outputs - torch.tensor(labels)) ** 2).mean()


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9), st.sampled_from([0.5, 1.0, 4.0, 10.0])), min_size=1))
def test_the_loss_is_the_weighted_mean(rows: list[tuple[float, float, float]]) -> None:
    outputs, model = torch.tensor([r[0] for r in rows]), Squares()
    found = weighted_loss(model, outputs, [r[1] for r in rows], [r[2] for r in rows])  # type: ignore[arg-type]
    wanted = sum(w * (o - label) ** 2 for o, label, w in rows) / sum(w for *_, w in rows)
    assert math.isclose(float(found), wanted, rel_tol=1e-4, abs_tol=1e-4)


def test_a_sample_of_negatives_teaches_the_rate_that_all_of_them_would(tmp_path: Path) -> None:
    """Of 1,000 examples 100 are 1; of the others a tenth is kept, with its probability."""
    learner = Learner(load_pipeline(write_toy(tmp_path, learning_rate=0.05, batch_size=190)), 200)
    decode = load_pipeline(tmp_path).example_decoder.decode
    made: list[Any] = [decode(example(0, o, o, 0.0, 1.0 if o < 100 else 0.0)) for o in range(190)]
    for one in made[100:]:
        one.probability = 0.1
    for _ in range(300):
        assert learner.learn([Item(e.label_ms, 0, o, e) for o, e in enumerate(made)]) == []
    with torch.inference_mode():
        (predicted,) = learner.model.predictions(learner.network.eval()(learner.model.features([made[0].event])))
    assert abs(predicted - 0.1) < 0.02


def test_an_example_without_weights_counts_once_and_one_with_them_by_both(tmp_path: Path) -> None:
    pipeline = load_pipeline(write_toy(tmp_path))
    plain = pipeline.example_decoder.decode(example(0, 0, 1, 2.0))
    assert (plain.kind, plain.importance) == ("label", 1.0)
    raw = msgspec.json.decode(example(0, 0, 1, 2.0)) | {"kind": "corrected", "weight": 2.0, "probability": 0.25}
    assert pipeline.example_decoder.decode(msgspec.json.encode(raw)).importance == 8.0
