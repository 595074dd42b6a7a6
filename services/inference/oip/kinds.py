"""How Python types are carried by v2 tensors. A tensor a field, named as in the struct's JSON, in the struct's order.

| field | datatype | shape |
| --- | --- | --- |
| bool | BOOL | [-1, 1] |
| int, and literals or enums of ints | INT64 | [-1, 1] |
| float | FP64 | [-1, 1] |
| str, bytes; literals or enums of strings; dates and times, UUID, Decimal as their text | BYTES | [-1, 1] |
| list of float, int or bool | FP64, INT64 or BOOL | [-1, -1], or [-1, N] where N is its only length |
| anything else | BYTES, each element the field's JSON | [-1, 1] |

A field with a default, or that may be None, need not be sent; NaN in a float that may be None is None. NaN
otherwise, and infinity, are refused.
"""

from dataclasses import dataclass
from typing import Any

from msgspec import inspect

_TEXT = (
    inspect.DateTimeType, inspect.DateType, inspect.TimeType, inspect.TimeDeltaType, inspect.UUIDType,
    inspect.DecimalType,
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """How one type is carried: `wide` where each event has a row of elements, `json` where each element is JSON.

    `length` is how many elements every row has, where the type says so.
    """

    datatype: str
    wide: bool = False
    json: bool = False
    length: int | None = None


@dataclass(frozen=True)
class TensorSpec:
    """An input or output as the metadata tells it; `dims` leaves the batch out."""

    name: str
    kind: Kind
    optional: bool = False

    @property
    def dims(self) -> list[int]:
        """The shape of one event's part."""
        return [self.kind.length or -1] if self.kind.wide else [1]


def kind_of(info: inspect.Type) -> tuple[Kind, bool]:
    """How a type is carried, and whether it may be None."""
    if isinstance(info, inspect.UnionType):
        inner = tuple(t for t in info.types if not isinstance(t, inspect.NoneType))
        nullable = len(inner) < len(info.types)
        if len(inner) == 1:
            return kind_of(inner[0])[0], nullable
        numbers = all(isinstance(t, inspect.IntType | inspect.FloatType) for t in inner)
        return Kind("FP64") if numbers else Kind("BYTES", json=True), nullable
    return _plain_kind(info), False


def _plain_kind(info: inspect.Type) -> Kind:  # noqa: PLR0911 - one line a type reads as the table above
    match info:
        case inspect.BoolType():
            return Kind("BOOL")
        case inspect.IntType():
            return Kind("INT64")
        case inspect.FloatType():
            return Kind("FP64")
        case inspect.StrType() | inspect.BytesType():
            return Kind("BYTES")
        case inspect.LiteralType(values=values):
            return _choice_kind(values)
        case inspect.EnumType(cls=cls):
            return _choice_kind(tuple(member.value for member in cls))
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            inner = _plain_kind(item)
            if inner.datatype == "BYTES":
                return Kind("BYTES", json=True)
            return Kind(
                inner.datatype, wide=True, length=info.max_length if info.min_length == info.max_length else None
            )
    return Kind("BYTES") if isinstance(info, _TEXT) else Kind("BYTES", json=True)


def _choice_kind(values: tuple[Any, ...]) -> Kind:
    if all(isinstance(v, str) for v in values):
        return Kind("BYTES")
    return Kind("INT64") if all(isinstance(v, int) for v in values) else Kind("BYTES", json=True)
