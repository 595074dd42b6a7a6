"""How the types of fields and predictions are written to Arrow columns, and so to files.

bool, int, float and str are columns of their own kind, and lists of bool, int or float are list columns. Literals and
enums are their values; dates, times, UUID and Decimal their text; anything else is its JSON as text.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import inspect

Convert = Callable[[Any], Any]

_TEXT = (
    inspect.DateTimeType, inspect.DateType, inspect.TimeType, inspect.TimeDeltaType, inspect.UUIDType,
    inspect.DecimalType, inspect.BytesType, inspect.ByteArrayType,
)  # fmt: skip


def without_none(info: inspect.Type) -> tuple[inspect.Type, bool]:
    """A type without None, where one type is left, and whether it may be None."""
    if not isinstance(info, inspect.UnionType):
        return info, False
    inner = [part for part in info.types if not isinstance(part, inspect.NoneType)]
    return (inner[0] if len(inner) == 1 else info), len(inner) < len(info.types)


def column_type(info: inspect.Type) -> tuple[pa.DataType, Convert | None]:  # noqa: PLR0911 - one line a type
    """The Arrow type of a column of such values, and what makes its elements of them; None where they stay."""
    match without_none(info)[0]:
        case inspect.BoolType():
            return pa.bool_(), None
        case inspect.IntType():
            return pa.int64(), None
        case inspect.FloatType():
            return pa.float64(), None
        case inspect.StrType():
            return pa.string(), None
        case inspect.LiteralType(values=values):
            return _choice(values)
        case inspect.EnumType(cls=cls):
            return _choice([member.value for member in cls])
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            inner, convert = column_type(item)
            if convert is None and not pa.types.is_string(inner):
                return pa.list_(inner), None
        case inner if isinstance(inner, _TEXT):
            return pa.string(), _optional(msgspec.to_builtins)
    return pa.string(), _optional(_json)


def _choice(values: Iterable[Any]) -> tuple[pa.DataType, Convert | None]:
    if all(isinstance(value, str) for value in values):
        return pa.string(), _optional(msgspec.to_builtins)
    if all(isinstance(value, int) for value in values):
        return pa.int64(), _optional(msgspec.to_builtins)
    return pa.string(), _optional(_json)


def _optional(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
