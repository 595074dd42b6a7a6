"""The Arrow types of decoded JSON, found by all values of a column.

Values of two kinds that do not go together are refused. Whole and other numbers are numbers; objects and lists are
compared part by part.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from headrace.datasets.errors import BadInput
from headrace.model.values import HIGHEST, LOWEST


class JsonColumn:
    """The type of one column."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._type: pa.DataType = pa.null()

    def add(self, values: Sequence[Any], place: Callable[[int], str]) -> None:
        """Look at values, the i-th of which stands at `place(i)`.

        Raises:
            BadInput: a value is of another kind than one before.
        """
        try:
            self._type = _merged(self._type, _type_of(values))
        except _Mixed:
            self._one_by_one(values, place)

    def _one_by_one(self, values: Sequence[Any], place: Callable[[int], str]) -> None:
        for i, value in enumerate(values):
            try:
                self._type = _merged(self._type, _type_of([value]))
            except _Mixed as error:
                why = str(error) or f"does not go with the {_said(self._type)} before it"
                raise BadInput(
                    f"{place(i)}, column {self.name}: {repr(value)[:60]} {why}",
                    hint=f"write it alike in every row, or --type {self.name}=text",
                ) from error

    @property
    def type(self) -> pa.DataType:
        """The type; text where there was no value."""
        return _without_null(self._type)


class _Mixed(Exception):  # noqa: N818 - never leaves this module
    """Values that have no type together."""


_SCALARS = {bool: pa.bool_(), float: pa.float64(), str: pa.string()}


def _type_of(values: Sequence[Any]) -> pa.DataType:
    """The type of decoded JSON.

    Raises:
        _Mixed: the values are of several kinds.
    """
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return pa.null()
    if kinds == {int, float}:
        kinds = {float}
    if len(kinds) > 1:
        raise _Mixed
    kind = kinds.pop()
    known = [value for value in values if value is not None]
    if kind is int:
        if min(known) < LOWEST or max(known) > HIGHEST:
            raise _Mixed("is beyond 64 bits")
        return pa.int64()
    if kind is dict:
        names = dict.fromkeys(name for value in known for name in value)
        return pa.struct([(name, _type_of([value.get(name) for value in known])) for name in names])
    return pa.list_(_type_of([item for value in known for item in value])) if kind is list else _SCALARS[kind]


def _merged(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if one.equals(other) or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if {one, other} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        names = dict.fromkeys([*(field.name for field in one), *(field.name for field in other)])
        return pa.struct([(name, _merged(_field(one, name), _field(other, name))) for name in names])
    if pa.types.is_list(one) and pa.types.is_list(other):
        return pa.list_(_merged(one.value_type, other.value_type))
    raise _Mixed


def _field(kind: pa.DataType, name: str) -> pa.DataType:
    at = kind.get_field_index(name)
    return pa.null() if at < 0 else kind.field(at).type


def _without_null(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        if not kind.num_fields:  # Parquet has no empty objects
            return pa.string()
        return pa.struct([(field.name, _without_null(field.type)) for field in kind])
    return pa.list_(_without_null(kind.value_type)) if pa.types.is_list(kind) else kind


def _said(kind: pa.DataType) -> str:
    of = pa.types
    if of.is_struct(kind) or of.is_list(kind):
        return "object" if of.is_struct(kind) else "list"
    return "numbers" if of.is_integer(kind) or of.is_floating(kind) else "booleans" if of.is_boolean(kind) else "text"
