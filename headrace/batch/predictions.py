"""Predictions to columns: `prediction` where one is a value, `prediction_<field>` for each field of a struct."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import inspect

from headrace.batch.values import Convert, column_type, without_none
from headrace.model.values import BadValue, find_bad_number
from headrace.runtime.errors import ConfigError

PREDICTION = "prediction"

Get = Callable[[Any], Any]


class PredictionColumns:
    """Makes columns of predictions of one type (`Model.prediction_type()`); structs in structs are flattened too."""

    def __init__(self, prediction_type: Any) -> None:
        self._columns = list(_columns(PREDICTION, inspect.type_info(prediction_type), None))
        self.fields = [pa.field(name, kind) for name, kind, _, _ in self._columns]

    def check_names(self, carried: Sequence[str]) -> None:
        """Raise `ConfigError` if a carried column has the name of a prediction's."""
        if both := [field.name for field in self.fields if field.name in carried]:
            raise ConfigError(
                f"the input has a column {', '.join(both)}, as the predictions have",
                hint="name the columns to carry without it: --columns a,b,c",
            )

    def arrays(self, predictions: Sequence[Any]) -> list[pa.Array]:
        """The predictions' columns."""
        made = []
        for _, kind, get, convert in self._columns:
            values = predictions if get is None else list(map(get, predictions))
            made.append(pa.array(values if convert is None else list(map(convert, values)), kind))
        return made

    def bad(self, predictions: Sequence[Any], arrays: Sequence[pa.Array]) -> dict[int, BadValue]:
        """The predictions that hold NaN or infinity, by position."""
        if all(_all_finite(array) for array in arrays):
            return {}
        found = ((i, find_bad_number(value, PREDICTION)) for i, value in enumerate(predictions))
        return {i: bad for i, bad in found if bad is not None}


def _all_finite(array: pa.Array) -> bool:
    """Whether a column surely holds neither NaN nor infinity; a text may be JSON, in which they would be null."""
    if pa.types.is_list(array.type):
        array = array.flatten()
    if not pa.types.is_floating(array.type):
        return not pa.types.is_string(array.type)
    values = (
        array.drop_null().to_numpy(zero_copy_only=False) if array.null_count else array.to_numpy(zero_copy_only=False)
    )
    return bool(np.isfinite(values).all())


def _columns(
    name: str, info: inspect.Type, get: Get | None
) -> Iterator[tuple[str, pa.DataType, Get | None, Convert | None]]:
    inner, nullable = without_none(info)
    if isinstance(inner, inspect.StructType) and not nullable and not inner.array_like:
        for field in inner.fields:
            yield from _columns(f"{name}_{field.encode_name}", field.type, _attribute(field.name, get))
        return
    kind, convert = column_type(info)
    yield name, kind, get, convert


def _attribute(name: str, get: Get | None) -> Get:
    return (lambda value: getattr(value, name)) if get is None else (lambda value: getattr(get(value), name))
