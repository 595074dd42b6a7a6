"""The fields of a pipeline's structs as plain data, so that the archive needs neither the author's code nor torch.

A field whose values have no one type that columns know (a dict, a union, `Any`) is kept as its JSON text.
"""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from msgspec import inspect

Kind = Literal["bool", "int64", "double", "string", "json", "list", "struct"]
_DEEPEST = 8  # a type that contains itself would have no end


class Field(msgspec.Struct, frozen=True):
    """A field: its name in JSON, its kind, and of a list the items' field, of a struct its fields."""

    name: str
    kind: Kind
    fields: tuple["Field", ...] = ()

    @property
    def holds_json(self) -> bool:
        """Whether it, or a part of it, has no column type."""
        return self.kind == "json" or any(one.holds_json for one in self.fields)


class PipelineFields(msgspec.Struct, frozen=True):
    """The fields of a pipeline's events and labels, and what its predictions are.

    `digest` is that of the code in the pipeline's folder that they are of.
    """

    digest: str
    event: tuple[Field, ...]
    label: tuple[Field, ...]
    prediction: Field


_SCALARS: dict[type[inspect.Type], Kind] = {
    inspect.BoolType: "bool",
    inspect.IntType: "int64",
    inspect.FloatType: "double",
    inspect.StrType: "string",
    inspect.BytesType: "string",
    inspect.DateTimeType: "string",
    inspect.DateType: "string",
    inspect.TimeType: "string",
    inspect.UUIDType: "string",
}


def struct_fields(kind: Any) -> tuple[Field, ...]:
    """The fields of a msgspec.Struct; () of any other type."""
    found = field_of("", inspect.type_info(kind))
    return found.fields if found.kind == "struct" else ()


def value_field(name: str, kind: Any) -> Field:
    """A field of that name for values of any type."""
    return flat(field_of(name, inspect.type_info(kind)))


def flat(field: Field) -> Field:
    """The field, or its JSON text where a part of it has no column type."""
    return Field(field.name, "json") if field.holds_json else field


def field_of(name: str, kind: inspect.Type, depth: int = 0) -> Field:
    """The field that takes values of a type as msgspec describes it."""
    found = Field(name, "json")
    match kind:
        case inspect.Metadata():
            found = field_of(name, kind.type, depth)
        case inspect.UnionType():
            found = _union(name, kind, depth)
        case inspect.EnumType():
            found = _constants(name, [member.value for member in kind.cls])
        case inspect.LiteralType():
            found = _constants(name, kind.values)
        case inspect.StructType() | inspect.CollectionType() | inspect.TupleType() if depth < _DEEPEST:
            found = _composed(name, kind, depth)
        case _ if type(kind) in _SCALARS:
            found = Field(name, _SCALARS[type(kind)])
    return found


def _composed(name: str, kind: inspect.Type, depth: int) -> Field:
    if isinstance(kind, inspect.StructType) and kind.fields and not kind.array_like:
        return Field(name, "struct", tuple(_part(one.encode_name, one.type, depth) for one in kind.fields))
    if isinstance(kind, inspect.CollectionType):
        return Field(name, "list", (field_of("item", kind.item_type, depth + 1),))
    return _tuple(name, kind, depth) if isinstance(kind, inspect.TupleType) else Field(name, "json")


def _part(name: str, kind: inspect.Type, depth: int) -> Field:
    """A struct's field; at the top, one with a part that has no column type is text as a whole."""
    found = field_of(name, kind, depth + 1)
    return flat(found) if depth == 0 else found


def _union(name: str, kind: inspect.UnionType, depth: int) -> Field:
    kinds = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
    found = {field_of(name, one, depth) for one in kinds}
    if found == {Field(name, "int64"), Field(name, "double")}:
        return Field(name, "double")
    return found.pop() if len(found) == 1 else Field(name, "json")


def _tuple(name: str, kind: inspect.TupleType, depth: int) -> Field:
    items = {field_of("item", one, depth + 1) for one in kind.item_types}
    return Field(name, "list", (items.pop(),)) if len(items) == 1 else Field(name, "json")


def _constants(name: str, values: Iterable[Any]) -> Field:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {str}:
        return Field(name, "string")
    return Field(name, "int64") if kinds == {int} else Field(name, "json")


def arrow_type(field: Field) -> Any:
    """The Arrow type of a field's column."""
    import pyarrow as pa

    if field.kind == "list":
        return pa.list_(arrow_type(field.fields[0]))
    if field.kind == "struct":
        return pa.struct([(one.name, arrow_type(one)) for one in field.fields])
    kinds = {
        "bool": pa.bool_(), "int64": pa.int64(), "double": pa.float64(), "string": pa.string(), "json": pa.string(),
    }  # fmt: skip
    return kinds[field.kind]


def python_type(field: Field) -> Any:
    """The type that msgspec checks a value by; None is always one."""
    if field.kind == "json":
        return msgspec.Raw
    if field.kind == "list":
        return list[python_type(field.fields[0])] | None  # type: ignore[misc]
    if field.kind == "struct":
        return struct_type(field.fields) | None
    return {"bool": bool, "int64": int, "double": float, "string": str}[field.kind] | None


def struct_type(fields: Iterable[Field]) -> Any:
    """A struct with these fields, each of which may be absent."""
    fields = tuple(fields)
    names = [f"f{i}" for i in range(len(fields))]  # a name in JSON need not be one in Python
    empty = [msgspec.Raw(b"null") if field.kind == "json" else None for field in fields]
    return msgspec.defstruct(
        "Row",
        list(zip(names, map(python_type, fields), empty, strict=True)),
        rename={name: field.name for name, field in zip(names, fields, strict=True)},
    )
