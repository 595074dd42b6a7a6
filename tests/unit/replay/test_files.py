"""Files of records: every row is a record or a bad row that names file, line and field."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model.source import BadRow, Timed
from headrace.replay.files import epoch_seconds, read_files
from headrace.replay.text import OTHER_ENCODING
from headrace.runtime.errors import ConfigError


class Trip(msgspec.Struct):
    trip_id: str
    at: float
    seats: int
    note: str = "none"
    rain: float | None = None


class End(msgspec.Struct):
    trip_id: str
    at: str
    minutes: float


def read(path: Path, text: str | bytes, struct: type[Any] = Trip, time_field: str | None = None) -> list[Any]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_files(path, None, (struct, End), time_field))


def test_csv_columns_may_come_in_any_order_and_may_be_more(tmp_path: Path) -> None:
    items = read(tmp_path / "e.csv", "seats,colour,trip_id,at\n2,red,a,5.5\n3,blue,b,6\n")
    assert [item.value for item in items] == [Trip("a", 5.5, 2), Trip("b", 6.0, 3)]


def test_an_empty_cell_is_none_or_the_default_and_else_stays(tmp_path: Path) -> None:
    items = read(tmp_path / "e.csv", "trip_id,at,seats,note,rain\n,1,2,,NA\nNA,1,2,x,0.5\n")
    assert [item.value for item in items] == [Trip("", 1.0, 2, "", None), Trip("NA", 1.0, 2, "x", 0.5)]


def test_bad_csv_rows_name_file_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    items = read(path, b"trip_id,at,seats\na,5,two\nb,6\nc,,1\n\nd\xff,7,1\ne,8,1\n")
    bad = [item for item in items if isinstance(item, BadRow)]
    assert [str(row) for row in bad] == [
        f"{path}:2: seats: Expected `int`, got 'two'",
        f"{path}:3: 2 cells, the header names 3",
        f"{path}:4: at: Expected `float`, got ''",
        f"{path}:6: trip_id: not UTF-8: 'd\\xff'; {OTHER_ENCODING}",
    ]
    assert [item.value.trip_id for item in items if isinstance(item, Timed)] == ["e"]


def test_quoted_newlines_do_not_shift_the_line_numbers(tmp_path: Path) -> None:
    items = read(tmp_path / "e.csv", 'trip_id,at,seats\n"a\nb",1,1\nc,1,x\n')
    assert items[0].value.trip_id == "a\nb"
    assert items[1].place.endswith("e.csv:4")


def test_bad_json_lines_name_file_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    items = read(
        path, b'{"trip_id":"a","at":1,"seats":"x"}\n\n{"trip_id":\n{"trip_id":"b","at":1,"seats":1}\n{"at":1}\n'
    )
    bad = [(row.place, row.field) for row in items if isinstance(row, BadRow)]
    assert bad == [(f"{path}:1", "seats"), (f"{path}:3", ""), (f"{path}:5", "")]
    assert [item.value.trip_id for item in items if isinstance(item, Timed)] == ["b"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("e.csv", "trip_id,at\n", r"e\.csv:1: no column seats"),
        ("e.csv", "trip_id,at,seats,at\n", r"e\.csv:1: two columns 'at'"),
        ("e.csv", "", r"e\.csv:1: empty, expected a header"),
        ("e.txt", "", "unknown kind of file"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused_at_once(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read(tmp_path / name, text)


def test_a_missing_file_and_a_missing_time_field_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_files(tmp_path / "none.csv", None, (Trip, End), None)
    with pytest.raises(ConfigError, match="--time-field when: Trip has no such field"):
        read(tmp_path / "e.csv", "trip_id,at,seats\n", time_field="when")


def test_two_files_are_merged_by_time(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("trip_id,at,seats\na,1,1\nb,3,1\nc,9,1\n")
    (tmp_path / "l.jsonl").write_text(
        '{"trip_id":"a","at":"1970-01-01T00:00:02Z","minutes":1}\n{"trip_id":"b","at":"4","minutes":1}\n'
        '{"trip_id":"b","at":"1970-01-01T00:00:05","minutes":1}\n'
    )
    items = list(read_files(tmp_path / "e.csv", tmp_path / "l.jsonl", (Trip, End), "at"))
    assert [(i.at, i.kind) for i in items if isinstance(i, Timed)] == [
        (1.0, "events"), (2.0, "labels"), (3.0, "events"), (4.0, "labels"), (9.0, "events"),
    ]  # fmt: skip
    assert [str(i).partition(":")[2] for i in items if isinstance(i, BadRow)] == [
        "3: at: not a time: 1970-01-01T00:00:05 names no time zone"
    ]


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "1e999", "soon"])
def test_what_is_no_time_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.jsonl").write_text(f'{{"trip_id":"a","at":"{text}","minutes":1}}\n')
    (item,) = read_files(None, tmp_path / "l.jsonl", (Trip, End), "at")
    assert str(item).startswith(f"{tmp_path / 'l.jsonl'}:1: at: not a time: ")


class Renamed(msgspec.Struct, rename="camel"):
    trip_id: str
    left_at: float


def test_columns_and_the_time_field_have_the_names_that_the_json_has(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("tripId,leftAt\na,5\n")
    (item,) = read_files(tmp_path / "e.csv", None, (Renamed, End), "leftAt")
    assert item == Timed(5.0, "events", Renamed("a", 5.0))


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_numbers_and_their_text_are_the_same_time(value: float) -> None:
    assert epoch_seconds(value) == epoch_seconds(repr(value)) == value
