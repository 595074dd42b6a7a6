"""A label's fields as a form asks for them: what kind each is, its bounds and its choices."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import inspect

Kind = Literal["number", "integer", "boolean", "choice", "choices", "text", "datetime", "json"]

_KINDS: dict[type, Kind] = {
    inspect.FloatType: "number", inspect.DecimalType: "number", inspect.IntType: "integer", inspect.BoolType: "boolean",
    inspect.StrType: "text", inspect.UUIDType: "text", inspect.BytesType: "text", inspect.DateTimeType: "datetime",
}  # fmt: skip
_LISTS = (inspect.ListType, inspect.SetType, inspect.FrozenSetType)
_BOUNDS = {"ge": "minimum", "le": "maximum", "gt": "exclusive_minimum", "lt": "exclusive_maximum",
           "multiple_of": "multiple_of", "min_length": "min_length", "max_length": "max_length",
           "pattern": "pattern"}  # fmt: skip


class FormField(msgspec.Struct, omit_defaults=True):
    """One field; `name` as in JSON. Bounds of None are none."""

    name: str
    kind: Kind
    required: bool = False
    nullable: bool = False
    default: Any = None
    choices: list[Any] | None = None
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    exclusive_maximum: float | None = None
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    title: str = ""
    description: str = ""

    @property
    def is_category(self) -> bool:
        """Whether two people's answers are equal or not, rather than near."""
        return self.kind not in ("number", "integer")


def fields_of(label_type: type[msgspec.Struct], key: str) -> list[FormField]:
    """The fields of a label in their order, without its key."""
    info = inspect.type_info(label_type)
    assert isinstance(info, inspect.StructType)
    return [_field(field) for field in info.fields if field.name != key]


def _field(field: inspect.Field) -> FormField:
    kind, extra = _unwrapped(field.type)
    parts = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    plain = [part for part in parts if not isinstance(part, inspect.NoneType)]
    made = _described(field.encode_name, plain[0]) if len(plain) == 1 else FormField(field.encode_name, "json")
    made.required, made.nullable = field.required, len(plain) < len(parts)
    if field.default is not msgspec.NODEFAULT:
        made.default = msgspec.to_builtins(field.default)
    made.title, made.description = extra.get("title", made.title), extra.get("description", made.description)
    return made


def _unwrapped(kind: inspect.Type) -> tuple[inspect.Type, dict[str, Any]]:
    """A type without what was said of it, and the title and description."""
    if isinstance(kind, inspect.Metadata):
        inner, extra = _unwrapped(kind.type)
        return inner, {**extra, **(kind.extra_json_schema or {})}
    return kind, {}


def _described(name: str, kind: inspect.Type) -> FormField:
    kind, extra = _unwrapped(kind)
    made = FormField(name, _kind(kind), title=extra.get("title", ""), description=extra.get("description", ""))
    made.choices = _choices(kind)
    if isinstance(kind, _LISTS):
        item = _unwrapped(kind.item_type)[0]
        made.choices = _choices(item)
    for bound, as_named in _BOUNDS.items():
        if (value := getattr(kind, bound, None)) is not None:
            setattr(made, as_named, value)
    return made


def _kind(kind: inspect.Type) -> Kind:
    if _choices(kind) is not None:
        return "choice"
    if isinstance(kind, _LISTS) and _choices(_unwrapped(kind.item_type)[0]) is not None:
        return "choices"
    return _KINDS.get(type(kind), "json")


def _choices(kind: inspect.Type) -> list[Any] | None:
    if isinstance(kind, inspect.LiteralType):
        return list(kind.values)
    if isinstance(kind, inspect.EnumType):
        return [member.value for member in kind.cls]
    return None


def choices_of_task(fields: Sequence[FormField], classes: Sequence[str], *, several: bool) -> FormField | None:
    """The field that a task's classes may be the choices of: the only one that must be given; None if there is none."""
    required = [field for field in fields if field.required]
    if not classes or len(required) != 1:
        return None
    (field,) = required
    wanted: tuple[Kind, ...] = ("json",) if several else ("text", "integer")
    return field if field.kind in wanted and field.choices is None else None
