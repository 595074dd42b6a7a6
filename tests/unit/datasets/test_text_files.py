"""CSV and JSON lines: each cell is read right, or refused with file, row and column."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from headrace.datasets.errors import BadInput
from headrace.datasets.form import Form
from headrace.datasets.reading.files import open_files
from headrace.datasets.reading.port import Opening
from headrace.model.source import BadRow
from headrace.runtime.errors import ConfigError

NINE = datetime(2026, 1, 1, 9, 0, tzinfo=UTC)


def read(folder: Path, name: str, data: str | bytes, **form: Any) -> tuple[list[dict[str, Any]], list[BadRow]]:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    bad: list[BadRow] = []
    opened = open_files([str(path)], Opening(Form(**form), folder, bad.append), {str(path): name})
    return [row for read in opened.read() for row in read.rows.to_pylist()], bad


@pytest.mark.parametrize(
    ("text", "form", "values"),
    [
        ("v\n1\n-2\n+3\n", {}, [1, -2, 3]),
        ("v\n1.5\n2\n", {}, [1.5, 2.0]),
        ("v\n1e3\n.5\n", {}, [1000.0, 0.5]),
        ("v\n1.234\n5.678\n", {}, [1.234, 5.678]),
        ("v;w\n1,5;a\n2;b\n", {}, [1.5, 2.0]),
        ("v;w\n1.234,5;a\n2.000;b\n", {}, [1234.5, 2000.0]),
        ("v;w\n1,234;0,5\n5,678;1\n", {}, [1.234, 5.678]),
        ('v\n"1,234.5"\n"2,000"\n', {}, [1234.5, 2000.0]),
        ("v;w\n1,234;a\n", {"decimal": ","}, [1.234]),
        ("v;w\n1,234;a\n", {"decimal": "."}, [1234.0]),
        ("v,w\n1,a\nNA,b\n,c\n", {}, [1, None, None]),
        ("v,w\n1.5,a\nNaN,b\n", {}, [1.5, None]),
        ("v\ntrue\nFALSE\n", {}, [True, False]),
        ("v\n007\n12\n", {}, ["007", "12"]),
        ("v\n12345678901234567890\n", {}, ["12345678901234567890"]),
        ("v\n1\nx\n", {}, ["1", "x"]),
        ("v\n5\n", {"types": {"v": "text"}}, ["5"]),
        ("v\n5\n", {"types": {"v": "float"}}, [5.0]),
        ("v\n2026-01-31\n", {}, [date(2026, 1, 31)]),
        ("v\n31.01.2026\n", {}, [date(2026, 1, 31)]),
        ("v\n13/02/2026\n03/04/2026\n", {}, [date(2026, 2, 13), date(2026, 4, 3)]),
        ("v\n02/13/2026\n03/04/2026\n", {}, [date(2026, 2, 13), date(2026, 3, 4)]),
        ("v\n01/02/2026\n", {"dates": "month-first"}, [date(2026, 1, 2)]),
        ("v\n2026-01-01T10:00:00+01:00\n2026-01-01 09:00Z\n", {}, [NINE, NINE]),
        ("v\n2026-01-01T10:00:00+0100\n2026-01-01T09:00:00 UTC\n", {}, [NINE, NINE]),
        ("v\n2026-01-01T10:00:00+01:00[Europe/Berlin]\n", {}, [NINE]),
        ("v\n2026-01-01T09:00:00.25Z\n", {}, [NINE.replace(microsecond=250_000)]),
        ("v\n2026-01-01 10:00\n", {"zone": "Europe/Berlin"}, [NINE]),
        ("v\n1/1/2026 10:00 AM\n", {"zone": "Europe/Berlin", "dates": "day-first"}, [NINE]),
        ("v\n2026-01-01 10:00\n", {}, [datetime(2026, 1, 1, 10, 0)]),  # noqa: DTZ001 - it has none
        ("\ufeffv;w\n1;2\n", {}, [1]),
        ("sep=|\nv|w\n1|2\n", {}, [1]),
        ("v\tw\n1,5\t2\n", {}, [1.5]),
    ],
)
def test_a_cell_is_read_as_what_it_means(tmp_path: Path, text: str, form: dict[str, Any], values: list[Any]) -> None:
    rows, bad = read(tmp_path, "a.csv", text, **form)
    assert [row["v"] for row in rows] == values
    assert bad == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("v;w\n1,234;a\n", "a.csv, row 2, column v: '1,234' in row 2: thousands, or a fraction"),
        ("v;w\n1.5;a\n2,5;b\n", "column v: '1.5' in row 2, '2,5' in row 3"),
        ("v;w\n1.234;0,5\n", "column v: '1.234' in row 2: thousands"),
        ("v\n01/02/2026\n", "column v: '01/02/2026' in row 2: which is the day"),
        ("v\n13/02/2026\n02/13/2026\n", "day and month in either order"),
        ("v\n2026-01-01\n31.01.2026\n", "dates are written in several ways"),
        ("v\n2026-01-01 10:00\n2026-01-01 10:00Z\n", "'2026-01-01 10:00' in row 2, '2026-01-01 10:00Z' in row 3"),
        ("v\n2026-01-01 10:00 CET\n", "a zone by a name"),
        ("v\n2026-01-01T10:00:00.1234567Z\n", "finer than microseconds"),
        ("v,v\n1,2\n", "a.csv:1, column 2: 'v' is the name of column 1 too"),
        ("v,\n1,2\n", "a.csv:1, column 2: no name"),
        ("", "empty"),
        ("a,b;c\n1,2;3\n", "columns may be separated by"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, "a.csv", text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "form", "place", "field", "problem"),
    [
        ("a,v\n1,2\n3\n", {}, "a.csv:3", "", "1 cell, the header names 2"),
        ('a,v\n1,2\n3,"x\n', {}, "a.csv:3", "", "a quote is opened and never closed"),
        ("a,v\n1,2026-13-45\n2,2026-01-01\n", {}, "a.csv:2", "v", "expected a date"),
        ("a,v\n1,5\n2,x\n", {"types": {"v": "int"}}, "a.csv:3", "v", "expected a whole number"),
        ("a,v\n1,1e999\n2,1\n", {"types": {"v": "float"}}, "a.csv:2", "v", "expected a finite number"),
        ("a,v\n1,2026-03-29 02:30\n", {"zone": "Europe/Berlin"}, "a.csv:2", "v", "has no such time"),
        ("a,v\n1,2026-10-25 02:30\n", {"zone": "Europe/Berlin"}, "a.csv:2", "v", "has this time twice"),
        (b"a,v\n1,caf\xe9\n2,ok\n", {}, "a.csv:2", "v", "not UTF-8"),
    ],
)
def test_a_row_that_does_not_fit_is_told_with_row_and_column(  # noqa: PLR0917 - parameters
    tmp_path: Path, text: str | bytes, form: dict[str, Any], place: str, field: str, problem: str
) -> None:
    _, bad = read(tmp_path, "a.csv", text, **form)
    assert [(row.place, row.field) for row in bad] == [(place, field)]
    assert problem in bad[0].problem


def test_another_encoding_is_read_when_it_is_named(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", "v\ncafé\n".encode("latin-1"), encoding="latin-1")[0] == [{"v": "café"}]
    assert read(tmp_path, "a.csv", "v\ncafé\n".encode("utf-16"))[0] == [{"v": "café"}]


def test_json_lines_keep_their_types_and_unite_the_members_of_all_objects(tmp_path: Path) -> None:
    rows, bad = read(
        tmp_path, "a.jsonl", '{"a": 1, "b": {"x": 1}}\n\n{"a": 1.5, "b": {"y": "z"}, "c": [1, 2]}\n{"a": }\n'
    )
    assert rows == [
        {"a": 1.0, "b": {"x": 1, "y": None}, "c": None}, {"a": 1.5, "b": {"x": None, "y": "z"}, "c": [1, 2]},
    ]  # fmt: skip
    assert [row.place for row in bad] == ["a.jsonl:4"]


def test_json_of_two_kinds_is_refused_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"a.jsonl:2, column a: 'x' does not go with the numbers before it"):
        read(tmp_path, "a.jsonl", '{"a": 1}\n{"a": "x"}\n')


def test_what_was_written_to_parquet_is_read_as_it_was(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    table = pa.table({"v": pa.array(["a", "b"]).dictionary_encode(), "n": [[1], []]})
    pq.write_table(table, path)
    assert read(tmp_path, "a.parquet", path.read_bytes())[0] == [{"v": "a", "n": [1]}, {"v": "b", "n": []}]
