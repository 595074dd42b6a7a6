"""Event structs ↔ v2 tensors: every kind of field, and what is refused."""

import datetime as dt
import enum
import math
import uuid
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.oip import tensors
from services.inference.oip.events import EventSchema
from services.inference.oip.messages import InputTensor, InvalidRequest

INT64 = st.integers(-(2**63), 2**63 - 1)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Place(msgspec.Struct):
    x: int
    y: int


class Everything(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    ratio: float
    flag: bool
    text: str
    data: bytes
    choice: Literal["a", "b"]
    size: Literal[1, 2]
    colour: Colour
    level: Level
    when: dt.datetime
    day: dt.date
    identity: uuid.UUID
    price: Decimal
    series: list[float]
    counts: tuple[int, ...]
    either: int | float
    place: Place
    tags: list[str]
    maybe: float | None
    perhaps: str | None
    bounded: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    extra: dict[str, int] = {}


VALUE = Everything(
    number=-5,
    ratio=0.25,
    flag=True,
    text="grüß",
    data=b"\xff\x00",
    choice="b",
    size=2,
    colour=Colour.BLUE,
    level=Level.HIGH,
    when=dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
    day=dt.date(2026, 1, 2),
    identity=uuid.UUID(int=7),
    price=Decimal("12.50"),
    series=[1.0, 2.5],
    counts=(3, 4),
    either=2.5,
    place=Place(1, 2),
    tags=["x", "y"],
    maybe=None,
    perhaps="p",
)
DATATYPES = {
    "number": "INT64",
    "ratio": "FP64",
    "flag": "BOOL",
    "text": "BYTES",
    "data": "BYTES",
    "choice": "BYTES",
    "size": "INT64",
    "colour": "BYTES",
    "level": "INT64",
    "when": "BYTES",
    "day": "BYTES",
    "identity": "BYTES",
    "price": "BYTES",
    "series": "FP64",
    "counts": "INT64",
    "either": "FP64",
    "place": "BYTES",
    "tags": "BYTES",
    "maybe": "FP64",
    "perhaps": "BYTES",
    "bounded": "FP64",
    "extra": "BYTES",
}
JSON = {"place", "tags", "extra"}
WIDE = {"series", "counts"}


def tensor(name: str, values: list, **changes) -> InputTensor:
    """Field `name` of N events as bytes, as a client sends them."""
    datatype = DATATYPES[name]
    if name in JSON:
        values = [msgspec.json.encode(v) for v in values]
    elif name in WIDE:
        shape = (len(values), len(values[0]))
        return InputTensor(name, datatype, shape, raw=tensors.encode(datatype, [e for v in values for e in v]))
    elif name != "data":
        values = [math.nan if v is None else v for v in msgspec.to_builtins(values)]
    return InputTensor(name, datatype, changes.get("shape", (len(values), 1)), raw=tensors.encode(datatype, values))


def request(*events: Everything) -> list[InputTensor]:
    return [tensor(name, [getattr(e, name) for e in events]) for name in DATATYPES]


SCHEMA = EventSchema("m", Everything)


def test_each_field_has_its_datatype_in_the_structs_order() -> None:
    assert {s.name: s.kind.datatype for s in SCHEMA.inputs} == DATATYPES
    assert [s.name for s in SCHEMA.inputs] == list(DATATYPES)
    assert {s.name for s in SCHEMA.inputs if s.optional} == {"maybe", "perhaps", "bounded", "extra"}
    assert {s.name for s in SCHEMA.inputs if s.dims == [-1]} == WIDE


def test_tensors_make_the_events_that_they_were_made_of() -> None:
    other = msgspec.structs.replace(VALUE, number=9, maybe=3.5, text="", tags=[], place=Place(5, 6), extra={"a": 1})

    assert SCHEMA.events(request(VALUE, other)) == [VALUE, other]


def test_fields_that_were_not_sent_have_their_defaults() -> None:
    sent = [t for t in request(VALUE, VALUE) if t.name not in ("maybe", "perhaps", "bounded", "extra")]

    first, second = SCHEMA.events(sent)

    assert (first.maybe, first.perhaps, first.bounded, first.extra) == (None, None, 1.0, {})
    assert first.extra is not second.extra


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("choice", "c"),
        ("size", 3),
        ("colour", "green"),
        ("level", 9),
        ("when", "yesterday"),
        ("identity", "7"),
        ("price", "cheap"),
        ("bounded", 0.0),
        ("place", {"x": 1}),
        ("tags", [1]),
    ],
)
def test_a_value_outside_the_fields_type_is_refused_by_name(name: str, value) -> None:
    sent = [tensor(name, [value]) if t.name == name else t for t in request(VALUE)]

    with pytest.raises(InvalidRequest, match=f"input '{name}'"):
        SCHEMA.events(sent)


def test_null_is_only_for_fields_that_may_be_none() -> None:
    null = InputTensor("perhaps", "BYTES", (1, 1), values=[None], nulls=True)
    assert SCHEMA.events([null if t.name == "perhaps" else t for t in request(VALUE)])[0].perhaps is None

    null = InputTensor("text", "BYTES", (1, 1), values=[None], nulls=True)
    with pytest.raises(InvalidRequest, match="input 'text' holds null"):
        SCHEMA.events([null if t.name == "text" else t for t in request(VALUE)])


class Row(msgspec.Struct):
    a: int
    b: float
    c: str
    d: bool


@given(
    st.lists(
        st.builds(Row, INT64, st.floats(allow_nan=False, allow_infinity=False), st.text(), st.booleans()),
        min_size=1,
        max_size=20,
    )
)
def test_plain_structs_survive_the_wire(rows: list[Row]) -> None:
    columns = zip(*(msgspec.structs.astuple(r) for r in rows), strict=True)
    sent = [
        InputTensor(name, datatype, (len(rows),), raw=tensors.encode(datatype, list(column)))
        for name, datatype, column in zip("abcd", ("INT64", "FP64", "BYTES", "BOOL"), columns, strict=True)
    ]

    assert EventSchema("m", Row).events(sent) == rows


class Picky(msgspec.Struct):
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


def test_what_an_event_refuses_by_itself_is_the_callers_error() -> None:
    sent = [InputTensor(name, "INT64", (1,), values=[value]) for name, value in (("low", 2), ("high", 1))]

    with pytest.raises(InvalidRequest, match="low is above high"):
        EventSchema("m", Picky).events(sent)


class Renamed(msgspec.Struct, rename="camel"):
    trip_id: str


def test_a_tensor_is_named_as_in_the_events_json() -> None:
    (event,) = EventSchema("m", Renamed).events([InputTensor("tripId", "BYTES", (1,), values=["t"])])

    assert event.trip_id == "t"


class Optional(msgspec.Struct):
    a: int = 0


def test_nothing_at_all_is_no_request() -> None:
    with pytest.raises(InvalidRequest, match="no input"):
        EventSchema("m", Optional).events([])
