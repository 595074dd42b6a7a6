"""Columns of Parquet become the values that the same rows have at every other entry, or are refused as there."""

import datetime as dt
import math
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from headrace.batch.predictions import PredictionColumns
from headrace.batch.reading.fields import Column, FieldReader, event_values
from headrace.runtime.errors import ConfigError


def read(kind: Any, values: pa.Array, default: Any = msgspec.NODEFAULT) -> Column:
    struct = msgspec.defstruct("Struct", [("x", kind) if default is msgspec.NODEFAULT else ("x", kind, default)])
    return FieldReader(msgspec.structs.fields(struct)[0]).read(values, len(values))


@pytest.mark.parametrize(
    ("kind", "column", "wanted"),
    [
        (float, pa.array([1.5, 2.0]), [1.5, 2.0]),
        (float, pa.array([1, 2]), [1.0, 2.0]),
        (float, pa.array([1.5], pa.float32()), [1.5]),
        (float | None, pa.array([1.5, None, math.nan]), [1.5, None, None]),
        (int, pa.array([1, -(2**63)]), [1, -(2**63)]),
        (int | None, pa.array([7.0, math.nan]), [7, None]),
        (bool, pa.array([True, False]), [True, False]),
        (str, pa.array(["a", "é"]), ["a", "é"]),
        (str, pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (Literal["a", "b"], pa.array(["a", "b"]), ["a", "b"]),
        (Annotated[int, msgspec.Meta(ge=0)], pa.array([0, 5]), [0, 5]),
        (list[float], pa.array([[1.0], []]), [[1.0], []]),
        (dt.datetime, pa.array([dt.datetime(2026, 1, 2)]), [dt.datetime(2026, 1, 2)]),  # noqa: DTZ001
    ],
)
def test_good_columns(kind: Any, column: pa.Array, wanted: list[Any]) -> None:
    made = read(kind, column)
    assert made.bad == {}
    assert list(event_values(made)) == wanted


@pytest.mark.parametrize(
    ("kind", "column", "bad"),
    [
        (float, pa.array([1.0, math.nan, math.inf]), {1: "nan, expected a finite", 2: "inf, expected a finite"}),
        (float, pa.array([1.0, None]), {1: "Expected `float`, got `null`"}),
        (float | None, pa.array([math.nan, -math.inf]), {1: "-inf, expected a finite number"}),
        (int, pa.array([2**63 - 1, 2**63], pa.uint64()), {1: "is beyond 64 bits"}),
        (int, pa.array(["1"]), {0: "Expected `int`, got `str`"}),
        (int, pa.array([1.5]), {0: "Expected `int`, got `float`"}),
        (Annotated[int, msgspec.Meta(lt=100)], pa.array([99, 100]), {1: "Expected `int` <= 99"}),
        (Literal["a"], pa.array(["a", "b"]), {1: "Invalid enum value"}),
        (list[float], pa.array([[1.0], [math.inf]]), {1: "inf, expected a finite number"}),
    ],
)
def test_bad_values_are_told_by_row(kind: Any, column: pa.Array, bad: dict[int, str]) -> None:
    found = read(kind, column).bad
    assert set(found) == set(bad)
    assert all(bad[row] in found[row] for row in bad)


def test_an_absent_column_and_a_null_are_the_default() -> None:
    assert list(event_values(read(int, pa.array([None, 3]), default=7))) == [7, 3]
    struct = msgspec.defstruct("Struct", [("x", int, 7)])
    assert list(event_values(FieldReader(msgspec.structs.fields(struct)[0]).read(None, 2))) == [7, 7]


def test_columns_for_a_model_are_arrays() -> None:
    column = read(float | None, pa.array([1.5, None]))
    assert column.array().dtype == np.float64
    assert math.isnan(column.array()[1])
    assert read(str, pa.array(["a"])).array().dtype == object


class Inner(msgspec.Struct):
    low: float
    high: float | None


class Made(msgspec.Struct):
    mean: float
    bounds: Inner
    label: str


def test_structs_are_flattened_and_bad_predictions_found() -> None:
    columns = PredictionColumns(Made)
    assert [f"{field.name}: {field.type}" for field in columns.fields] == [
        "prediction_mean: double", "prediction_bounds_low: double", "prediction_bounds_high: double",
        "prediction_label: string",
    ]  # fmt: skip
    made = [Made(1.0, Inner(0.5, None), "a"), Made(2.0, Inner(math.inf, 3.0), "b")]
    arrays = columns.arrays(made)
    assert [array.to_pylist() for array in arrays] == [[1.0, 2.0], [0.5, math.inf], [None, 3.0], ["a", "b"]]
    bad = columns.bad(made, arrays)
    assert {i: str(one) for i, one in bad.items()} == {1: "prediction.bounds.low: inf, expected a finite number"}


def test_a_carried_column_must_not_have_the_predictions_name() -> None:
    with pytest.raises(ConfigError, match="a column prediction, as the predictions have"):
        PredictionColumns(float).check_names(["key", "prediction"])
