"""Reading the watched fields of events."""

import enum
from typing import Literal

import msgspec
import numpy as np

from headrace.drift.schema import ColumnSpec, Reader


class Colour(enum.Enum):
    RED = "red"


class Place(msgspec.Struct):
    lat: float
    town: str


class Event(msgspec.Struct):
    id: str
    load: float
    steps: int
    where: Place
    colour: Colour
    size: Literal["s", "m"]
    tags: list[str]
    on: bool = False
    hint: float | None = None
    unit: str = msgspec.field(name="Unit", default="m")


def test_numbers_and_categories_are_watched_and_lists_are_not() -> None:
    assert Reader(Event, ["id"]).specs == (
        ColumnSpec("load", "number"), ColumnSpec("steps", "number", whole=True), ColumnSpec("where.lat", "number"),
        ColumnSpec("where.town", "category"), ColumnSpec("colour", "category"), ColumnSpec("size", "category"),
        ColumnSpec("on", "category"), ColumnSpec("hint", "number"), ColumnSpec("Unit", "category"),
    )  # fmt: skip


def test_ignored_fields_and_structs_are_not_watched_and_codes_are_categories() -> None:
    specs = Reader(Event, ["id", "where", "hint"], ["steps"]).specs
    assert [spec.name for spec in specs] == ["load", "steps", "colour", "size", "on", "Unit"]
    assert specs[1] == ColumnSpec("steps", "category", whole=True)


def test_columns_are_read_and_absent_values_are_missing_or_the_default() -> None:
    reader = Reader(Event, ["id"])
    event = Event("a", 1.5, 3, Place(0.5, "York"), Colour.RED, "s", ["x"])
    other = b'{"load": 2, "steps": 4, "where": {"lat": 1, "town": "Bath"}, "colour": "blue", "size": "m", "hint": 7}'
    columns, bad = reader.read([msgspec.json.encode(event), other])
    assert bad == 0
    found = dict(zip([spec.name for spec in reader.specs], columns, strict=True))
    assert found["load"].tolist() == [1.5, 2.0]
    assert found["where.town"].tolist() == ["York", "Bath"]
    assert found["colour"].tolist() == ["red", "blue"]
    assert found["on"].tolist() == [False, False]
    assert np.isnan(found["hint"][0])
    assert found["hint"][1] == 7
    assert found["Unit"].tolist() == ["m", "m"]


def test_a_value_that_cannot_be_read_is_counted_and_the_others_are_read() -> None:
    reader = Reader(Place)
    columns, bad = reader.read([b'{"lat": 1, "town": "a"}', b"{", None, b'{"lat": "x", "town": "b"}', b"\xff"])
    assert (columns[0].tolist(), bad) == ([1.0], 4)


def test_a_struct_without_watched_fields_has_no_columns() -> None:
    class Bare(msgspec.Struct):
        id: str

    assert Reader(Bare, ["id"]).read([b'{"id": "a"}']) == ([], 0)
