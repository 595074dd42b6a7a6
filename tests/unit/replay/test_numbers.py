"""Numbers that a record may not hold are refused where they come in; whatever is accepted is what readers will see."""

import json
import math
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.source import BadRow, Timed
from headrace.replay.files import read_files
from headrace.replay.sources import checked


class Place(msgspec.Struct):
    lat: float
    lon: float


class Reading(msgspec.Struct):
    id: str
    x: float
    n: int = 0
    rain: float | None = None
    wind: float = 5.0
    price: Decimal | None = None
    series: list[float] = []
    where: Place | None = None


class Flat(msgspec.Struct):
    id: str
    x: float
    n: int
    rain: float | None


FLAT = msgspec.json.Decoder(Flat)


def read(path: Path, text: str, struct: type[Any] = Reading) -> list[Any]:
    """Records, and the text of bad rows without the folder."""
    path.write_text(text)
    items = read_files(path, None, (struct, struct), None)
    return [item.value if isinstance(item, Timed) else str(item).removeprefix(f"{path.parent}/") for item in items]


# --- files ---


def test_nan_and_infinity_in_a_csv_file_are_bad_rows_with_line_and_field(tmp_path: Path) -> None:
    assert read(tmp_path / "nan.csv", "id,x,n\na,1.5,2\nb,nan,2\nc,inf,2\nd,2.5,3\n") == [
        Reading("a", 1.5, 2),
        "nan.csv:3: x: nan, expected a finite number",
        "nan.csv:4: x: inf, expected a finite number",
        Reading("d", 2.5, 3),
    ]


@pytest.mark.parametrize("cell", ["nan", "NaN", "NAN", " nan "])
def test_nan_is_none_in_a_number_that_may_be_none_and_nowhere_else(tmp_path: Path, cell: str) -> None:
    assert read(tmp_path / "e.csv", f"id,x,rain,price\na,1,{cell},{cell}\n") == [Reading("a", 1.0)]
    (bad,) = read(tmp_path / "e.csv", f"id,x,wind\na,1,{cell}\n")
    assert bad.startswith("e.csv:2: wind: ")
    assert read(tmp_path / "e.csv", "id,x\nnan,1\n") == [Reading("nan", 1.0)]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("a,1e999,1,", "x: 1e999, expected a finite number"),
        ("a,-Infinity,1,", "x: -inf, expected a finite number"),
        ("a,1,1,inf", "rain: inf, expected a finite number"),
        ("a,1,9223372036854775808,", "n: 9223372036854775808 is beyond 64 bits"),
        ("a,1,-9223372036854775809,", "n: -9223372036854775809 is beyond 64 bits"),
        (f"a,1,1{'0' * 400},", "n: an integer of 1329 bits is beyond 64 bits"),
        (
            "a,1,9007199254740993.0,",
            "n: 9007199254740993.0 is beyond what a float tells exactly: write the integer's digits",
        ),
        ("a,1,2.5,", "n: Expected `int`, got '2.5'"),
    ],
)  # fmt: skip
def test_numbers_out_of_range_in_a_csv_file(tmp_path: Path, row: str, says: str) -> None:
    assert read(tmp_path / "e.csv", f"id,x,n,rain\n{row}\n") == [f"e.csv:2: {says}"]


class Mixed(msgspec.Struct):
    either: int | float
    code: int | str | None = None
    flag: bool = False


def test_fields_of_several_types_take_the_cells_of_each(tmp_path: Path) -> None:
    rows = "either,code,flag\n1e300,abc,true\n9007199254740993,nan,0\n0.5,NA,1\nnan,5,1\n"
    first, second, third, bad = read(tmp_path / "e.csv", rows, Mixed)
    assert (first, second) == (Mixed(1e300, "abc", flag=True), Mixed(9007199254740993, "nan"))
    assert third == Mixed(0.5, None, flag=True)
    assert bad == "e.csv:5: either: nan, expected a finite number"


def test_numbers_at_the_ends_of_their_range_are_good(tmp_path: Path) -> None:
    rows = "a,-0.0,9223372036854775807\nb,1.7976931348623157e308,-9223372036854775808\nc,1e-999,2.0\n"
    first, *others = read(tmp_path / "e.csv", f"id,x,n\n{rows}")
    assert math.copysign(1.0, first.x) == -1.0
    assert [first.n, *others] == [
        2**63 - 1, Reading("b", 1.7976931348623157e308, -(2**63)), Reading("c", 0.0, 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ('{"id":"a","x":NaN}', "x: NaN, expected a finite number"),
        ('{"id":"a","x":1,"rain":-Infinity}', "rain: -Infinity, expected a finite number"),
        ('{"id":"a","x":1e999}', "x: 1e999, expected a finite number"),
        ('{"id":"a","x":1,"series":[1,NaN]}', "series[1]: NaN, expected a finite number"),
        ('{"id":"a","x":1,"where":{"lat":1,"lon":Infinity}}', "where.lon: Infinity, expected a finite number"),
        ('{"id":"a","x":1,"price":"NaN"}', "price: NaN, expected a finite number"),
        ('{"id":"a","x":1,"price":"-Infinity"}', "price: -Infinity, expected a finite number"),
        ('{"id":"a","x":1,"n":9223372036854775808}', "n: 9223372036854775808 is beyond 64 bits"),
        ('{"id":"a","x":"1e999"}', "x: Expected `float`, got `str`"),
        ('{"id":"a","x":1', "Input data was truncated"),
    ],
)
def test_bad_numbers_in_json_lines(tmp_path: Path, record: str, says: str) -> None:
    assert read(tmp_path / "e.jsonl", f"{record}\n") == [f"e.jsonl:1: {says}"]


NUMBERS = st.one_of(
    st.floats(), st.integers(), st.integers(2**62, 2**65), st.integers(-(2**65), -(2**62)), st.just(10**400)
)
CELLS = st.one_of(
    NUMBERS.map(lambda v: str(v) if abs(v) != 10**400 else "1e400"),
    st.sampled_from(["", "NA", "nan", "NaN", "inf", "1e999", "-1e999", "0x1", "1_0", " 5", "5.", "1,5"]),
    st.just("9007199254740993.0"),
    st.text("0123456789.eE+-_ naif", max_size=12),
)  # fmt: skip


@given(x=CELLS, n=CELLS, rain=CELLS)
def test_what_a_csv_file_gives_is_what_it_says_and_what_readers_see(
    tmp_path_factory: pytest.TempPathFactory, x: str, n: str, rain: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "property.csv"
    path.write_text(f'id,x,n,rain\na,"{x}","{n}","{rain}"\n')
    (item,) = read_files(path, None, (Flat, Flat), None)
    if isinstance(item, Timed):
        value = item.value
        assert isinstance(value, Flat)
        assert FLAT.decode(msgspec.json.encode(value)) == value
        assert value.x == float(x)
        assert Decimal(value.n) == Decimal(n.strip())
        missing = rain.strip() in ("", "NA") or rain.strip().lower() == "nan"
        assert value.rain == (None if missing else float(rain))
    else:
        assert item.field in ("x", "n", "rain")


JSON_VALUES = st.recursive(
    NUMBERS | st.none() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)


@given(st.fixed_dictionaries({"id": st.text(max_size=3), "x": NUMBERS}, optional={
    "n": JSON_VALUES, "rain": JSON_VALUES, "series": JSON_VALUES, "where": JSON_VALUES, "price": JSON_VALUES,
}))  # fmt: skip
def test_what_json_lines_give_is_what_readers_see(
    tmp_path_factory: pytest.TempPathFactory, record: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "property.jsonl"
    path.write_text(json.dumps(record) + "\n")
    (item,) = read_files(path, None, (Reading, Reading), None)
    if isinstance(item, Timed):
        assert msgspec.json.decode(msgspec.json.encode(item.value), type=Reading) == item.value
        assert isinstance(item.value, Reading)
        assert item.value.x == float(record["x"])
        assert item.value.n == record.get("n", 0)
    else:
        assert str(item).startswith(f"{path}:1: ")


# --- a pipeline's own source ---


class Plain:
    """What `checked` needs of a pipeline."""

    event_decoder = msgspec.json.Decoder(Reading)
    label_decoder = msgspec.json.Decoder(Flat)


def check(*values: Any, kind: Any = "events", at: float = 0.0) -> list[Any]:
    records = [Timed(at, kind, value) for value in values]
    items: Iterator[Any] = checked(records, Plain(), "Gauge")  # type: ignore[arg-type]
    return [item.value if isinstance(item, Timed) else str(item) for item in items]


class Sub(float):
    """A float that JSON does not know, as numpy's are."""


GOOD = Reading("a", 1.0)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Reading("a", math.nan), "x: nan, expected a finite number"),
        (Reading("a", 1.0, rain=math.nan), "rain: nan, expected a finite number"),
        (Reading("a", 1.0, series=[1.0, math.inf]), "series[1]: inf, expected a finite number"),
        (Reading("a", 1.0, where=Place(math.nan, 1.0)), "where.lat: nan, expected a finite number"),
        (Reading("a", 1.0, price=Decimal("sNaN")), "price: sNaN, expected a finite number"),
        (Reading("a", 1.0, n=2**63), "n: 9223372036854775808 is beyond 64 bits"),
        (Reading("a", 10**400), "x: an integer of 1329 bits is beyond 64 bits"),
        (Reading("a", "1.0"), "x: Expected `float`, got `str`"),  # type: ignore[arg-type]
        (Reading("a", 1.0, n=1.5), "n: Expected `int`, got `float`"),  # type: ignore[arg-type]
        (Reading("a", Sub(1.0)), "x: no value that JSON has: Encoding objects of type Sub is unsupported"),
        (Flat("a", 1.0, 1, None), "a Flat, expected a Reading"),
    ],
)
def test_a_bad_record_of_a_source_is_named_by_its_number(value: Any, says: str) -> None:
    assert check(GOOD, value, GOOD) == [GOOD, f"record 2 of Gauge: {says}", GOOD]


def test_the_time_and_the_kind_of_a_sources_record_are_looked_at_too() -> None:
    assert check(GOOD, at=math.nan) == ["record 1 of Gauge: at: nan, expected a time"]
    assert check(GOOD, kind="event") == ["record 1 of Gauge: kind: 'event', expected 'events' or 'labels'"]


def test_a_tuple_in_the_place_of_a_list_is_the_same_json() -> None:
    value = Reading("a", 1.0, series=(1.0, 2.0))  # type: ignore[arg-type]
    assert check(value) == [value]


@given(NUMBERS, NUMBERS, st.none() | NUMBERS, st.lists(NUMBERS, max_size=3))
def test_what_a_source_gives_is_what_readers_see(x: Any, n: Any, rain: Any, series: Any) -> None:
    value = Reading("a", x, n, rain, series=series)
    (item,) = checked([Timed(0.0, "events", value)], Plain(), "Gauge")  # type: ignore[arg-type]
    if isinstance(item, BadRow):
        assert item.place == "record 1 of Gauge"
    else:
        assert msgspec.json.decode(msgspec.json.encode(value), type=Reading) == value
