"""Which fields of a struct are watched, and reading just those from JSON: columns of decoded records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import inspect
from numpy.typing import NDArray

Kind = Literal["number", "category"]
Column = NDArray[Any]
"""Float64 [N] of numbers, NaN where missing; objects [N] of categories, None where missing."""


@dataclass(frozen=True)
class ColumnSpec:
    """A watched field. `name` is its path in the JSON: `load`, `where.lat`.

    `whole`: its numbers are whole. Those of few values are compared as categories.
    """

    name: str
    kind: Kind
    whole: bool = False


class Reader:
    """Reads the watched fields of events from JSON; the others are skipped by the decoder.

    Numbers, bools, strings, enumerations and literals are watched, optional ones too, also those of structs within the
    struct. Lists, mappings, times and unions of several kinds are not.

    Args:
        kind: the struct.
        ignore: paths that are not watched; the key always belongs here.
        categories: numbers that are codes.
    """

    def __init__(self, kind: type[msgspec.Struct], ignore: Sequence[str] = (), categories: Sequence[str] = ()) -> None:
        found = list(_fields(inspect.type_info(kind), "", "", frozenset(ignore)))
        self.specs = tuple(_as_category(spec) if spec.name in categories else spec for _, spec in found)
        paths = [path for path, _ in found]
        self._decode = msgspec.json.Decoder(_slim(inspect.type_info(kind), "", {spec.name for _, spec in found})).decode
        self._get = attrgetter(*paths) if paths else None

    def read(self, values: Sequence[bytes | None]) -> tuple[list[Column], int]:
        """Columns in the order of `specs`, and how many values could not be decoded and are in none of them."""
        decode, bad = self._decode, 0
        try:
            records = [decode(value) for value in values]  # type: ignore[arg-type]
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
            records, bad = self._each(values)
        if self._get is None or not records:
            return [_as_column([], spec.kind) for spec in self.specs], bad
        rows = map(self._get, records)
        columns = list(zip(*rows, strict=True)) if len(self.specs) > 1 else [tuple(rows)]
        return [_as_column(column, spec.kind) for column, spec in zip(columns, self.specs, strict=True)], bad

    def _each(self, values: Sequence[bytes | None]) -> tuple[list[Any], int]:
        records, bad = [], 0
        for value in values:
            try:
                records.append(self._decode(value or b""))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                bad += 1
        return records, bad


def _as_column(values: Sequence[Any], kind: Kind) -> Column:
    if kind == "number":
        return np.array(values, dtype=np.float64)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _as_category(spec: ColumnSpec) -> ColumnSpec:
    return ColumnSpec(spec.name, "category", spec.whole)


def _fields(info: Any, path: str, name: str, ignore: frozenset[str]) -> Iterator[tuple[str, ColumnSpec]]:
    """The watched fields of a struct: the attribute's path, and the column."""
    if not isinstance(info, inspect.StructType):
        return
    for field in info.fields:
        inner_path, inner = _joined(path, field.name), _joined(name, field.encode_name)
        if inner in ignore:
            continue
        kind, optional = _only(field.type)
        if isinstance(kind, inspect.StructType) and not optional:
            yield from _fields(kind, inner_path, inner, ignore)
        elif isinstance(kind, inspect.FloatType | inspect.IntType):
            yield inner_path, ColumnSpec(inner, "number", isinstance(kind, inspect.IntType))
        elif isinstance(kind, inspect.BoolType | inspect.StrType | inspect.EnumType | inspect.LiteralType):
            yield inner_path, ColumnSpec(inner, "category")


def _slim(info: Any, name: str, wanted: set[str]) -> type[msgspec.Struct]:
    """A struct of the wanted fields alone. It is not tracked by the collector, which would cost as much as decoding."""
    fields: list[tuple[str, Any, Any]] = []
    rename: dict[str, str] = {}
    for field in info.fields:
        inner, (kind, optional) = _joined(name, field.encode_name), _only(field.type)
        if isinstance(kind, inspect.StructType) and not optional:
            if any(one.startswith(f"{inner}.") for one in wanted):
                fields.append((field.name, _slim(kind, inner, wanted), _default(field)))
        elif inner in wanted:
            fields.append((field.name, _plain(kind) | None if optional else _plain(kind), _default(field)))
        if field.name != field.encode_name:
            rename[field.name] = field.encode_name
    made = [(f, t) if default is msgspec.NODEFAULT else (f, t, default) for f, t, default in fields]
    return msgspec.defstruct(f"Watched{info.cls.__name__}", made, rename=rename or None, gc=False, kw_only=True)


def _default(field: inspect.Field) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.field(default_factory=field.default_factory)
    return field.default


def _plain(kind: Any) -> Any:
    """The Python type that is decoded. What a literal or an enumeration may hold is the stream's business to check."""
    if isinstance(kind, inspect.FloatType):
        return float
    if isinstance(kind, inspect.IntType):
        return int
    if isinstance(kind, inspect.BoolType):
        return bool
    return str | int if isinstance(kind, inspect.EnumType | inspect.LiteralType) else str


def _only(info: Any) -> tuple[Any, bool]:
    """The type, and whether it may be None; of a union of several other types, None."""
    if not isinstance(info, inspect.UnionType):
        return info, False
    kinds = [kind for kind in info.types if not isinstance(kind, inspect.NoneType)]
    return (kinds[0] if len(kinds) == 1 else None), len(kinds) < len(info.types)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
