"""The usual JSON request, straight to a table: flat data of the right types, with no parameters.

Anything else is not judged here: the answer is None, and the general way says what is wrong, or takes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.inference.oip.kinds import TensorSpec
from services.inference.oip.layout import Column, Layout, Table

_TYPES: dict[str, frozenset[type]] = {
    "BOOL": frozenset((bool,)),
    "INT64": frozenset((int,)),
    "FP64": frozenset((float,)),
    "BYTES": frozenset((str,)),
}
_KEYS = 4  # name, datatype, shape, data
_LEAST, _MOST = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Field:
    place: int
    datatype: str
    types: frozenset[type]
    column: Column
    with_nulls: Column | None


class PlainJson:
    """Makes tables of the `inputs` of a request's JSON.

    Args:
        specs: the model's inputs.
        nullable: which of them may hold null.
    """

    def __init__(self, specs: Sequence[TensorSpec], nullable: Sequence[bool]) -> None:
        self._fields = {
            spec.name: _Field(
                place,
                spec.kind.datatype,
                _TYPES[spec.kind.datatype],
                Column(place, 1, raw=False, nulls=False),
                Column(place, 1, raw=False, nulls=True) if null else None,
            )
            for place, (spec, null) in enumerate(zip(specs, nullable, strict=True))
            if not spec.kind.wide and spec.kind.datatype in _TYPES
        }
        self._required = {place for place, spec in enumerate(specs) if not spec.optional}
        self._count = len(specs)
        self._complete: set[Layout] = set()

    def table(self, inputs: list[Any]) -> Table | None:
        """The inputs as a table, or None where they are not of the usual form."""
        columns: list[Column | None] = [None] * self._count
        parts: list[Any] = [None] * self._count
        rows = 0
        try:
            for one in inputs:
                field = self._fields[one["name"]]
                data, shape = one["data"], one["shape"]
                size = shape[0]
                if (
                    len(one) != _KEYS
                    or one["datatype"] != field.datatype
                    or type(size) is not int
                    or size < 1
                    or len(data) != size
                    or (shape != [size, 1] and shape != [size])  # noqa: PLR1714 - a set cannot hold lists
                    or type(shape[-1]) is not int
                    or size != (rows or size)
                    or columns[field.place] is not None
                ):
                    return None
                rows = size
                columns[field.place], parts[field.place] = _column(field, data)
        except (KeyError, TypeError, IndexError, _NotPlain):
            return None
        layout = tuple(column for column in columns if column is not None)
        if not rows or not self._has_all(layout):
            return None
        return Table(rows, layout, [parts[column.place] for column in layout])

    def _has_all(self, layout: Layout) -> bool:
        if layout in self._complete:
            return True
        if not self._required <= {column.place for column in layout}:
            return False
        if len(self._complete) < 2 * self._count:  # as many as usual clients send
            self._complete.add(layout)
        return True


class _NotPlain(Exception):  # noqa: N818 - not an error: the general way is taken
    """The elements are not all of the usual types."""


def _column(field: _Field, data: Any) -> tuple[Column, list[Any]]:
    if type(data) is not list:
        raise _NotPlain
    kinds = {type(data[0])} if len(data) == 1 else set(map(type, data))
    if kinds <= field.types:
        if field.datatype == "INT64" and not (min(data) >= _LEAST and max(data) <= _MOST):
            raise _NotPlain
        return field.column, data
    if type(None) in kinds and field.with_nulls is not None and kinds <= field.types | {type(None)}:
        if field.datatype == "INT64":
            raise _NotPlain
        return field.with_nulls, data
    if field.datatype == "FP64" and kinds <= {int, float}:
        return field.column, [float(value) for value in data]
    raise _NotPlain
