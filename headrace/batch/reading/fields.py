"""Columns of a Parquet file to the fields of an event, a column at a time, and checked by the rules of all entries.

Numbers, bools and text without constraints are checked by loops in C. Any other field is converted as msgspec converts
a decoded record; only where that fails is the column searched, value by value, for the rows that it refuses.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import NODEFAULT, inspect

from headrace.batch.values import without_none
from headrace.model.values import find_bad_number

_NUMBERS = (inspect.FloatType, inspect.IntType, inspect.DecimalType)
_EXACT = 2**53  # from there on a float does not tell neighbouring integers apart
_PLAIN = (inspect.FloatType(), inspect.IntType(), inspect.BoolType(), inspect.StrType())


@dataclass
class Column:
    """A field's values, by row; `bad` says what is wrong with those that the field may not hold."""

    values: np.ndarray | pa.Array | list[Any]
    bad: dict[int, str] = field(default_factory=dict)

    def array(self) -> np.ndarray:
        """As `Model.features_of_columns` takes it."""
        if isinstance(self.values, np.ndarray):
            return self.values
        if isinstance(self.values, pa.Array):
            return np.asarray(self.values.to_numpy(zero_copy_only=False))
        made = np.empty(len(self.values), object)
        made[:] = self.values
        return made


class FieldReader:
    """Reads one field of an event from a column."""

    def __init__(self, info: msgspec.structs.FieldInfo) -> None:
        self.name, self.attribute, self.required = info.encode_name, info.name, info.required
        self._annotation, self._info = info.type, info
        kind = inspect.type_info(info.type)
        inner, self._nullable = without_none(kind)
        self._plain = inner if inner in _PLAIN else None
        parts = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
        self._integer = isinstance(inner, inspect.IntType)
        self._number = any(isinstance(part, _NUMBERS) for part in parts)

    def read(self, column: pa.Array | None, rows: int) -> Column:
        """The field's values in `rows` rows; `column` is None where the file does not have it."""
        if column is None:
            return _plain_list([self.default() for _ in range(rows)], self._plain, nullable=self._nullable)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        kind = column.type
        if isinstance(self._plain, inspect.FloatType) and (pa.types.is_floating(kind) or _is_int64(kind)):
            return self._floats(column)
        if column.null_count == 0:
            if isinstance(self._plain, inspect.IntType) and _is_int64(kind):
                return Column(column.to_numpy(zero_copy_only=False).astype(np.int64, copy=False))
            if isinstance(self._plain, inspect.BoolType) and pa.types.is_boolean(kind):
                return Column(column.to_numpy(zero_copy_only=False))
            if isinstance(self._plain, inspect.StrType) and (
                pa.types.is_string(kind) or pa.types.is_large_string(kind)
            ):
                return Column(column)
        return self._values(column.to_pylist())

    def default(self) -> Any:
        """The value of a field that is not there."""
        if self._info.default_factory is not NODEFAULT:
            return self._info.default_factory()
        return None if self._info.default is NODEFAULT else self._info.default

    def _floats(self, column: pa.Array) -> Column:
        values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        good = np.isfinite(values)
        if bool(good.all()):
            return Column(values)
        if self._nullable:
            good |= np.isnan(values)
        if column.null_count and not self._nullable:
            return self._values(column.to_pylist())
        bad = {int(i): f"{values[i]}, expected a finite number" for i in np.flatnonzero(~good)}
        return Column(values, bad)

    def _values(self, values: list[Any]) -> Column:
        if self._nullable and self._number:
            values = [None if isinstance(v, float) and math.isnan(v) else v for v in values]
        elif not self._nullable and not self.required and None in values:
            values = [self.default() if v is None else v for v in values]
        if self._integer:  # tools write integers as floats where some are missing
            values = [int(v) if isinstance(v, float) and v.is_integer() and abs(v) < _EXACT else v for v in values]
        try:
            made = msgspec.convert(values, list[self._annotation])  # type: ignore[name-defined]
            if find_bad_number(made) is None:
                return _plain_list(made, self._plain, nullable=self._nullable)
        except msgspec.ValidationError:
            pass
        return self._one_by_one(values)

    def _one_by_one(self, values: list[Any]) -> Column:
        made: list[Any] = []
        bad: dict[int, str] = {}
        for i, value in enumerate(values):
            try:
                one = msgspec.convert(value, self._annotation)
                problem = find_bad_number(one)
            except msgspec.ValidationError as error:
                one, problem = None, str(error)  # type: ignore[assignment]
            if problem is not None:
                bad[i] = str(problem)
            made.append(one)
        return Column(made, bad)


def _is_int64(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) and not pa.types.is_uint64(kind)


def _plain_list(values: list[Any], plain: inspect.Type | None, *, nullable: bool) -> Column:
    """The values as an array where all are numbers of one kind; None of a float is NaN."""
    if isinstance(plain, inspect.FloatType):
        return Column(np.array(values, np.float64))
    if isinstance(plain, inspect.IntType) and not (nullable and None in values):
        return Column(np.array(values, np.int64))
    if isinstance(plain, inspect.BoolType) and not (nullable and None in values):
        return Column(np.array(values, np.bool_))
    return Column(values)


def event_values(column: Column) -> Sequence[Any]:
    """The values as fields of events: Python's own, None where a column has NaN."""
    if isinstance(column.values, pa.Array):
        texts: list[Any] = column.values.to_pylist()
        return texts
    if not isinstance(column.values, np.ndarray):
        return column.values
    values: list[Any] = column.values.tolist()
    if column.values.dtype.kind == "f" and bool(np.isnan(column.values).any()):
        return [None if v != v else v for v in values]  # noqa: PLR0124 - NaN is what differs from itself
    return values


class Arrays(Mapping[str, np.ndarray]):
    """Columns as `Model.features_of_columns` takes them; each is made when it is asked for."""

    def __init__(self, columns: Mapping[str, Column], rows: slice | None = None) -> None:
        self._columns, self._rows = columns, rows

    def __getitem__(self, name: str) -> np.ndarray:
        values = self._columns[name].array()
        return values if self._rows is None else values[self._rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def cut(self, start: int, stop: int) -> "Arrays":
        """Rows [start, stop) of them."""
        return Arrays(self._columns, slice(start, stop))
