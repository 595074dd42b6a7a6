"""A tensor's elements to the values of one field, a column at a time.

A column is converted and checked as a whole, by loops in C. Only when something is wrong is it searched, element by
element, to say where.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import inspect

from headrace.contracts.oip import tensors
from headrace.model.json_errors import DECODE_ERRORS, json_problem
from headrace.model.values import find_bad_number, number_check
from services.inference.oip.kinds import Kind

Column = list[Any]
Reader = Callable[[Column], Column]


class ElementError(ValueError):
    """One element of a tensor is not a value of its field; `index` counts in row-major order."""

    def __init__(self, index: int, problem: str) -> None:
        super().__init__(f"element {index}: {problem}")
        self._index, self._problem = index, problem

    def message(self, shape: Sequence[int]) -> str:
        """The message, with row and column where rows have several elements: `element [8, 1]: nan, ...`."""
        wide = len(shape) == 2 and shape[1] != 1
        place = f"[{self._index // shape[1]}, {self._index % shape[1]}]" if wide else str(self._index)
        return f"element {place}: {self._problem}"


def finite_only(values: Column, *, nan_is_none: bool) -> Column:
    """A column that has NaN or infinity in it, or a sum beyond every float: with None for NaN where that may be.

    Raises:
        ElementError: one is not finite, and cannot be None.
    """
    if nan_is_none:
        values = [None if v != v else v for v in values]  # noqa: PLR0124 - NaN is what differs from itself
    for i, value in enumerate(values):
        if (bad := find_bad_number(value)) is not None:
            raise ElementError(i, str(bad))
    return values


def is_finite(raw: bytes | memoryview | None, values: Column, *, nulls: bool) -> bool:
    """Whether a column of FP64 holds neither NaN nor infinity. False too where its sum is beyond every float.

    `raw` are its bytes where it came as bytes; `nulls` says that some values are None.
    """
    if raw is not None:
        return tensors.all_finite(raw)
    # A sum is NaN or infinite if any part is; None and zeros, which `filter` drops, change neither.
    return math.isfinite(sum(filter(None, values) if nulls else values))


def reader(annotation: Any, info: inspect.Type, kind: Kind) -> Reader:
    """What turns a tensor's elements into a field's values, and checks the constraints of its annotation.

    What it returns raises `ElementError` or msgspec.ValidationError, which both name the element.
    """
    if kind.json:
        return _from_json(annotation)
    steps: list[Reader] = []
    if kind.datatype == "BYTES":
        steps.append(_to_bytes if _holds_bytes(info) else _to_text)
    if not _unconstrained(info) and not _holds_bytes(info):
        steps.append(_converter(annotation, info))
    if not steps:
        return _as_is
    return steps[0] if len(steps) == 1 else lambda values: steps[1](steps[0](values))


def _as_is(values: Column) -> Column:
    return values


def _to_bytes(values: Column) -> Column:
    return [v.encode() if isinstance(v, str) else v for v in values]


def _to_text(values: Column) -> Column:
    try:
        return [v.decode() if isinstance(v, bytes) else v for v in values]
    except UnicodeError:
        raise _first_refused(bytes.decode, values) from None


def _from_json(annotation: Any) -> Reader:
    decode, check = msgspec.json.Decoder(annotation).decode, number_check(annotation, from_json=True)

    def column(values: Column) -> Column:
        try:
            made = [None if v is None else decode(v) for v in values]
        except DECODE_ERRORS:
            raise _first_refused(decode, values) from None
        for i, bad in enumerate(map(check, made)):
            if bad is not None:
                raise ElementError(i, str(bad))
        return made

    return column


def _first_refused(read: Callable[[Any], Any], values: Column) -> ElementError:
    """The error of the first element that `read` refuses."""
    for i, value in enumerate(values):
        try:
            _ = read(value) if isinstance(value, bytes | str) else value
        except DECODE_ERRORS as error:
            return ElementError(i, str(json_problem(value.encode() if isinstance(value, str) else value, error)))
    raise ValueError("an element was refused, and none was when each was looked at")


def _converter(annotation: Any, info: inspect.Type) -> Reader:
    """Constraints of the annotation; and a Decimal must be finite, which no constraint can say."""
    column = list[annotation]
    decimals = any(isinstance(t, inspect.DecimalType) for t in _types(info))

    def convert(values: Column) -> Column:
        made: Column = msgspec.convert(values, column)
        for i, bad in enumerate(map(find_bad_number, made) if decimals else ()):
            if bad is not None:
                raise ElementError(i, str(bad))
        return made

    return convert


def _unconstrained(info: inspect.Type) -> bool:
    """Whether any element of the datatype is a value of the type."""
    match info:
        case inspect.UnionType(types=types):
            return all(isinstance(t, inspect.NoneType) or _unconstrained(t) for t in types)
        case inspect.ListType(item_type=item, min_length=None, max_length=None):
            return _unconstrained(item)
        case inspect.IntType() | inspect.FloatType() | inspect.StrType() | inspect.BoolType() | inspect.BytesType():
            return info == type(info)()  # as it is without constraints
    return False


def _holds_bytes(info: inspect.Type) -> bool:
    return any(isinstance(t, inspect.BytesType) for t in _types(info))


def _types(info: inspect.Type) -> tuple[inspect.Type, ...]:
    return info.types if isinstance(info, inspect.UnionType) else (info,)
