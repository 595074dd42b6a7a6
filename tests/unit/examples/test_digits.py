"""examples/digits: images as features, and a class with its probabilities as prediction."""

from itertools import islice, pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from benchmarks.learning.progressive import progressive
from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.model.source import Timed
from services.inference.oip.predictions import PredictionSchema

FOLDER = Path(__file__).parents[3] / "examples" / "digits"


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load_pipeline(FOLDER)


def test_one_pass_is_every_image_and_its_answer_half_a_minute_later(pipeline: Pipeline) -> None:
    records = [record for record in pipeline.source().replay(passes=1) if isinstance(record, Timed)]
    assert all(a.at <= b.at for a, b in pairwise(records))
    images = {r.value.image_id: r for r in records if r.kind == "events"}
    answers = {r.value.image_id: r for r in records if r.kind == "labels"}
    assert images.keys() == answers.keys()
    assert len(images) == 1797
    assert {answers[key].at - image.at for key, image in images.items()} == {30.0}
    assert [int(one.value.digit) for one in answers.values()] == load_digits().target.tolist()


def test_further_passes_bring_the_same_images_in_another_order_under_other_names(pipeline: Pipeline) -> None:
    events = [r.value for r in pipeline.source().replay(passes=2) if isinstance(r, Timed) and r.kind == "events"]
    first, second = events[:1797], events[1797:]
    assert len({e.image_id for e in events}) == 2 * 1797
    assert first != second
    assert sorted(e.pixels for e in first) == sorted(e.pixels for e in second)


def test_features_are_the_images(pipeline: Pipeline) -> None:
    features = pipeline.model.features(pipeline.source().sample(5))
    assert features.shape == (5, 1, 8, 8)
    assert np.allclose(features[:, 0].numpy() * 16, load_digits().images[:5])


def test_pixels_out_of_range_are_refused(pipeline: Pipeline) -> None:
    with pytest.raises(msgspec.ValidationError, match="<= 16"):
        pipeline.event_decoder.decode(msgspec.json.encode({"image_id": "a", "pixels": [17] * 64}))
    with pytest.raises(msgspec.ValidationError, match="length >= 64"):
        pipeline.event_decoder.decode(msgspec.json.encode({"image_id": "a", "pixels": [1] * 63}))


def test_on_the_serving_protocol_a_guess_is_two_tensors_and_lists_have_a_second_dimension(pipeline: Pipeline) -> None:
    schema = PredictionSchema("digits", pipeline.model.prediction_type())
    assert [(spec.name, spec.kind.datatype, spec.dims) for spec in schema.outputs] == [
        ("digit", "BYTES", [1]), ("probabilities", "FP64", [10]),
    ]  # fmt: skip
    guesses = pipeline.model.predictions(torch.zeros(3, 10))
    digit, probabilities = schema.tensors(guesses, [])
    assert (digit.shape, probabilities.shape) == ([3, 1], [3, 10])
    assert probabilities.values == pytest.approx([0.1] * 30)


def test_it_learns_the_digits_within_two_passes(pipeline: Pipeline) -> None:
    errors = progressive(pipeline, islice(pipeline.source().replay(), 2 * 3594))
    task = pipeline.model.judge.task
    late = {name: errors.metrics(task, name, start=2700) for name in errors.by_name}
    assert late["model"]["accuracy"] > 0.9, late
    assert max(late["prior"]["accuracy"], late["last label"]["accuracy"]) < 0.2
