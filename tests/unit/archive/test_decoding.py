"""Records to columns: the same values as the pipeline's own structs give, and nothing that is lost or moved."""

import enum
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.archive.fields.decoding import Decoder
from headrace.archive.fields.types import Field, PipelineFields, struct_fields, value_field
from headrace.archive.tables import META, Records, pipeline_tables
from headrace.contracts.records import Example, Prediction


class Where(msgspec.Struct):
    lat: float
    lon: float | None = None


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Event(msgspec.Struct, rename="camel"):
    ride_id: str
    zone: int
    price: float
    is_night: bool = False
    colour: Colour = Colour.RED
    kind: Literal[1, 2] = 1
    stops: list[int] = []
    place: Where | None = None
    path: tuple[float, float] = (0.0, 0.0)
    rate: int | float = 0


class Loose(msgspec.Struct):
    id: str
    extra: dict[str, Any] = {}
    either: int | str = 0


EVENTS = st.builds(
    Event,
    ride_id=st.text(max_size=12),
    zone=st.integers(-(2**63), 2**63 - 1),
    price=st.floats(allow_nan=False, allow_infinity=False),
    is_night=st.booleans(),
    colour=st.sampled_from(Colour),
    kind=st.sampled_from([1, 2]),
    stops=st.lists(st.integers(-(2**31), 2**31), max_size=3),
    place=st.none() | st.builds(Where, st.floats(-90, 90), st.none() | st.floats(-180, 180)),
    path=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    rate=st.integers(-9, 9) | st.floats(-9, 9),
)


@settings(max_examples=40)
@given(st.lists(EVENTS, max_size=6))
def test_columns_hold_what_the_typed_decoding_gives(events: list[Event]) -> None:
    lines = [msgspec.json.encode(event) for event in events]
    decoded = Decoder(struct_fields(Event)).decode(lines)
    assert decoded.problems == {}
    typed = [msgspec.to_builtins(msgspec.json.decode(line, type=Event)) for line in lines]
    assert decoded.table.to_pylist() == [{**one, "path": list(one["path"])} for one in typed]


def test_kinds_are_those_of_the_struct() -> None:
    kinds = {field.name: field.kind for field in struct_fields(Event)}
    assert kinds == {
        "rideId": "string", "zone": "int64", "price": "double", "isNight": "bool", "colour": "string", "kind": "int64",
        "stops": "list", "place": "struct", "path": "list", "rate": "double",
    }  # fmt: skip
    assert [field.kind for field in struct_fields(Loose)] == ["string", "json", "json"]
    assert value_field("p", list[float]) == Field("p", "list", (Field("item", "double"),))
    assert value_field("p", dict[str, float]).kind == "json"
    assert value_field("p", Any).kind == "json"


def test_values_without_a_column_type_are_kept_as_their_json() -> None:
    lines = [b'{"id":"a","extra":{"b":[1,{}]},"either":"x"}', b'{"id":"b","either":7}', b'{"id":"c","extra":null}']
    assert Decoder(struct_fields(Loose)).decode(lines).table.to_pylist() == [
        {"id": "a", "extra": '{"b":[1,{}]}', "either": '"x"'},
        {"id": "b", "extra": None, "either": "7"},
        {"id": "c", "extra": None, "either": None},
    ]


FIELDS = (Field("a", "int64"), Field("b", "string"))
BAD = [
    b"", b"{", b"null", b"[1]", b"7", b'{"a":"x"}', b'{"a":1.5}', b'{"a":99999999999999999999}', b'{"b":"\xff"}',
    b'{"a":1}{"a":2}', b'{"a":1}\n{"a":2}', b'{"a":1},{"a":2', b'"b":2}', b'{"b":"\\ud800"}', None,
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_a_record_that_cannot_be_read_is_a_row_of_its_own_and_moves_no_other(bad: bytes | None) -> None:
    decoded = Decoder(FIELDS).decode([b'{"a":1,"b":"x"}', bad, b'{"a":3}'])
    assert list(decoded.problems) == [1]
    assert decoded.problems[1]
    assert decoded.table.to_pylist() == [{"a": 1, "b": "x"}, {"a": None, "b": None}, {"a": 3, "b": None}]


@settings(max_examples=40)
@given(st.lists(st.sampled_from([b'{"a":5}', b' {"a":5}', b'{"a":4,"a":5}', *(b for b in BAD if b)]), max_size=5))
def test_rows_and_records_stay_together_whatever_comes(values: list[bytes]) -> None:
    decoded = Decoder(FIELDS).decode(values)
    assert decoded.table.num_rows == len(values)
    for i, row in enumerate(decoded.table.to_pylist()):
        assert row["a"] == (None if i in decoded.problems else 5)
        assert (i in decoded.problems) == (values[i] in BAD)


def test_records_of_every_topic_become_rows() -> None:
    known = PipelineFields("", struct_fields(Where), struct_fields(Loose), value_field("prediction", float))
    tables = {table.name: table for table in pipeline_tables("toy", known)}
    made = Prediction("k", 1.5, "toy", 7, "digest", (2, 40), 1000, 2_000_001)
    (row,) = rows(tables["predictions"], made)
    assert (row["prediction"], row["version"], row["event_partition"], row["event_offset"]) == (1.5, 7, 2, 40)
    assert (row["event_at"].timestamp, row["predicted_at"].microsecond) == (row["event_at"].timestamp, 1)
    example = Example("k", Where(1.0), Loose("k"), (1, 2), None, 5, 6, "default", 0.5)
    (row,) = rows(tables["examples"], example)
    assert (row["event"], row["event_offset"], row["label_offset"]) == ({"lat": 1.0, "lon": None}, 2, None)
    assert msgspec.json.decode(row["label"]) == {"id": "k", "extra": {}, "either": 0}
    assert (row["kind"], row["weight"], row["_partition"], row["_offset"], row["_key"]) == ("default", 0.5, 3, 9, "k")
    for table in tables.values():
        assert set(META) <= set(table.columns().names)


def rows(table: Any, record: Any) -> list[dict[str, Any]]:
    records = Records(3, [9], [1234], [b"k"], [msgspec.json.encode(record)])
    found = table.encoder()(records)
    assert found.unreadable == 0, found.problem
    return found.table.to_pylist()
