"""Predictions to v2 tensors, by the type that the model's `predictions` is annotated with."""

import enum
import math
from typing import Any

import msgspec
import pytest

from services.inference.oip.messages import InvalidRequest, ModelFailed
from services.inference.oip.predictions import PredictionSchema


class Verdict(enum.Enum):
    GOOD = "good"


class Scored(msgspec.Struct):
    label: int
    scores: list[float]
    verdict: Verdict
    note: str | None
    spread: float | None


@pytest.mark.parametrize(
    ("kind", "datatype", "predictions", "values"),
    [
        (float, "FP64", [1.5, 2.0], [1.5, 2.0]),
        (int, "INT64", [1, 2], [1, 2]),
        (bool, "BOOL", [True, False], [True, False]),
        (str, "BYTES", ["a", "b"], ["a", "b"]),
        (Any, "BYTES", [{"a": 1}, 2], [b'{"a":1}', b"2"]),
        (float | None, "FP64", [1.0], [1.0]),
    ],
)
def test_one_value_is_one_output(kind, datatype, predictions, values) -> None:
    schema = PredictionSchema("m", kind)

    (tensor,) = schema.tensors(predictions, [])

    assert (tensor.name, tensor.datatype, tensor.shape, tensor.values) == (
        "prediction",
        datatype,
        [len(values), 1],
        values,
    )
    assert [s.name for s in schema.outputs] == ["prediction"]


def test_a_structs_fields_are_an_output_each() -> None:
    schema = PredictionSchema("m", Scored)
    rows = [Scored(1, [0.25, 0.75], Verdict.GOOD, None, None), Scored(0, [0.5, 0.5], Verdict.GOOD, "n", 2.0)]

    label, scores, verdict, note, spread = schema.tensors(rows, [])

    assert (label.shape, label.values) == ([2, 1], [1, 0])
    assert (scores.shape, scores.values) == ([2, 2], [0.25, 0.75, 0.5, 0.5])
    assert verdict.values == ["good", "good"]
    assert note.values == [b"null", b'"n"']
    assert math.isnan(spread.values[0])
    assert spread.values[1] == 2.0


def test_outputs_come_as_they_were_asked_for() -> None:
    schema = PredictionSchema("m", Scored)

    chosen = schema.tensors([Scored(1, [], Verdict.GOOD, None, None)], ["verdict", "label"])

    assert [t.name for t in chosen] == ["verdict", "label"]


@pytest.mark.parametrize("wanted", [["nope"], ["label", "label"]])
def test_outputs_that_cannot_be_given_are_refused(wanted: list[str]) -> None:
    with pytest.raises(InvalidRequest):
        PredictionSchema("m", Scored).check_names(wanted)


def test_lists_of_different_lengths_are_the_models_fault() -> None:
    rows = [Scored(1, scores, Verdict.GOOD, None, None) for scores in ([1.0], [1.0, 2.0])]

    with pytest.raises(ModelFailed, match="different lengths"):
        PredictionSchema("m", Scored).tensors(rows, [])
