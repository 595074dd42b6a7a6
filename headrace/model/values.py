"""Which numbers a record may hold, the same at every entry: files, sources, REST, gRPC and v2 tensors.

A record travels as JSON, which has neither NaN nor infinity, and as v2 tensors, whose integers have 64 bits. So a
`float` or `Decimal` must be finite, and an `int` must be in [-2**63, 2**63). What a number means is the pipeline's
business: bounds of a field are written as `msgspec.Meta` in its struct.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

LOWEST, HIGHEST = -(2**63), 2**63 - 1
"""The integers that a record may hold."""

_SHOWN_BITS = 128
_IN_ARRAY = re.compile(r"\[(\d+)\]\.?(.*)")

Check = Callable[[Any], "BadValue | None"]

_PLAIN = (
    inspect.BoolType, inspect.StrType, inspect.BytesType, inspect.ByteArrayType, inspect.MemoryViewType,
    inspect.NoneType, inspect.DateTimeType, inspect.DateType, inspect.TimeType, inspect.TimeDeltaType,
    inspect.UUIDType, inspect.EnumType, inspect.LiteralType,
)  # fmt: skip
"""Types that hold no number, or only those that the pipeline's author wrote down."""


class BadValue(NamedTuple):
    """What is wrong with a record. `field` is where, as in its JSON: `load`, `where.lat`, `series[3]`; "" if all is."""

    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}" if self.field else self.problem

    def named_in(self, records: str) -> str:
        """The message for a body that may be an array, whose elements are called `records`: `event 3: load: ...`."""
        place = _IN_ARRAY.fullmatch(self.field)
        return f"{records} {place[1]}: {self._replace(field=place[2])}" if place else str(self)


def number_problem(value: Any) -> str:
    """What is wrong with a single number; "" for a good one, and for a value of another type."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"{value}, expected a finite number"
    if isinstance(value, int):
        return "" if LOWEST <= value <= HIGHEST else f"{_shortened(value)} is beyond 64 bits"
    if isinstance(value, Decimal):
        return "" if value.is_finite() else f"{value}, expected a finite number"
    return ""


def _shortened(value: int) -> str:
    bits = value.bit_length()
    return str(value) if bits <= _SHOWN_BITS else f"an integer of {bits} bits"


def find_bad_number(value: Any, field: str = "") -> BadValue | None:
    """The first number anywhere in `value` that a record may not hold."""
    if isinstance(value, list | tuple) and _all_good(value):
        return None
    for name, part in _parts(value, field):
        if (found := find_bad_number(part, name)) is not None:
            return found
    problem = number_problem(value)
    return BadValue(field, problem) if problem else None


def _all_good(values: list[Any] | tuple[Any, ...]) -> bool:
    """Whether a list of floats alone, or of ints alone, is good as a whole: in C, since a series may be long."""
    kinds = set(map(type, values))
    if kinds == {float}:
        return math.isfinite(sum(values))
    return kinds == {int} and min(values) >= LOWEST and max(values) <= HIGHEST


def _parts(value: Any, field: str) -> Iterator[tuple[str, Any]]:
    """What a value is made of, each part with its place."""
    if isinstance(value, msgspec.Struct):
        yield from _named(dict(zip(value.__struct_encode_fields__, msgspec.structs.astuple(value), strict=True)), field)
    elif isinstance(value, Mapping):
        yield from _named(value, field)
        yield from ((field, key) for key in value)
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"{field}[{i}]", part) for i, part in enumerate(value))
    elif hasattr(value, "__dataclass_fields__"):
        yield from _named({name: getattr(value, name) for name in value.__dataclass_fields__}, field)


def _named(parts: Mapping[Any, Any], field: str) -> Iterator[tuple[str, Any]]:
    return ((f"{field}.{name}" if field else str(name), part) for name, part in parts.items())


def number_check(kind: Any, *, from_json: bool = False) -> Check:
    """What finds the first bad number in a value of the type `kind`, compiled for that type.

    With `from_json` the value was decoded from JSON, whose floats are finite already: they are not looked at again.
    """
    info = inspect.type_info(kind)
    if not isinstance(info, inspect.StructType):
        return find_bad_number if _holds_numbers(info, from_json=from_json) else _nothing
    floats, ints, others = [], [], []
    for field in info.fields:
        kinds = {type(part) for part in _types(field.type)} - {inspect.NoneType}
        if kinds == {inspect.FloatType}:
            floats.append(field)
        elif kinds == {inspect.IntType}:
            ints.append(field)
        elif _holds_numbers(field.type, from_json=from_json):
            others.append(field)
    return _StructCheck([] if from_json else floats, ints, others)


class _StructCheck:
    """Looks at all floats of a struct at once, then at all ints, then at what may hold numbers further inside."""

    def __init__(self, floats: list[inspect.Field], ints: list[inspect.Field], others: list[inspect.Field]) -> None:
        self._floats = _getter([field.name for field in floats]) if floats else None
        self._ints = _getter([field.name for field in ints])
        self._others = [(field.encode_name, attrgetter(field.name)) for field in others]
        self._plain = [(field, as_float) for part, as_float in ((floats, True), (ints, False)) for field in part]

    def __call__(self, value: Any) -> BadValue | None:
        if not self._plain_numbers_are_good(value) and (bad := self._bad_plain_number(value)) is not None:
            return bad
        for name, get in self._others:
            if (bad := find_bad_number(get(value), name)) is not None:
                return bad
        return None

    def _plain_numbers_are_good(self, value: Any) -> bool:
        """False too where floats have a sum beyond every float, or values are not of the annotated types."""
        try:
            for number in self._ints(value):
                if number is not None and not LOWEST <= number <= HIGHEST:
                    return False
            # A sum is NaN or infinite if any part is; absent values and zeros, which `filter` drops, change neither.
            return self._floats is None or math.isfinite(sum(filter(None, self._floats(value))))
        except (TypeError, OverflowError):
            return False

    def _bad_plain_number(self, value: Any) -> BadValue | None:
        for field, as_float in self._plain:
            number = getattr(value, field.name)
            try:
                problem = number_problem(float(number) if as_float and isinstance(number, int) else number)
            except OverflowError:
                problem = number_problem(number)
            if problem:
                return BadValue(field.encode_name, problem)
        return None


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return lambda _: ()
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda value: (get(value),)


def _nothing(_: Any) -> None:
    return None


def _types(info: inspect.Type) -> tuple[inspect.Type, ...]:
    return info.types if isinstance(info, inspect.UnionType) else (info,)


def _holds_numbers(info: inspect.Type, *, from_json: bool) -> bool:
    """Whether a value of the type may hold a number that has to be looked at, itself or further inside."""
    for part in _types(info):
        match part:
            case inspect.FloatType():
                if not from_json:
                    return True
            case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
                if _holds_numbers(item, from_json=from_json):
                    return True
            case inspect.SetType(item_type=item) | inspect.FrozenSetType(item_type=item):
                if _holds_numbers(item, from_json=from_json):
                    return True
            case _ if not isinstance(part, _PLAIN):  # an int or Decimal, or a type of several parts
                return True
    return False
