"""Workbooks: values as they are, and what cannot be read right is refused with sheet and cell."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from headrace.datasets.errors import BadInput
from headrace.datasets.form import Form
from headrace.datasets.reading.files import columns_of, open_files
from headrace.datasets.reading.port import Opening
from headrace.model.source import BadRow
from tests.workbook_kit import Error, write_workbook

Rows = Sequence[Sequence[Any]]


def read(
    folder: Path, sheets: dict[str, Rows], merged: Sequence[str] = (), **form: Any
) -> tuple[list[Any], list[BadRow]]:
    path = write_workbook(folder / "a.xlsx", sheets, {next(iter(sheets)): merged})
    bad: list[BadRow] = []
    opened = open_files([str(path)], Opening(Form(**form), folder, bad.append), {str(path): "a.xlsx"})
    return [row for read in opened.read() for row in read.rows.to_pylist()], bad


def test_numbers_dates_times_booleans_and_text_keep_their_types(tmp_path: Path) -> None:
    noon = datetime(2026, 1, 2, 12, 0)  # noqa: DTZ001 - workbooks know no zones
    rows, _ = read(tmp_path, {"S": [["id", "x", "ok", "day", "at"], [1, 1.5, True, date(2026, 1, 1), noon], [2, 2]]})
    assert rows == [
        {"id": 1, "x": 1.5, "ok": True, "day": date(2026, 1, 1), "at": noon},
        {"id": 2, "x": 2.0, "ok": None, "day": None, "at": None},
    ]


def test_times_get_the_zone_that_is_named(tmp_path: Path) -> None:
    at = datetime(2026, 1, 1, 10, 0)  # noqa: DTZ001
    rows, _ = read(tmp_path, {"S": [["at"], [at]]}, zone="Europe/Berlin")
    assert rows == [{"at": datetime(2026, 1, 1, 9, 0, tzinfo=UTC)}]


def test_a_time_that_the_zone_does_not_have_is_a_bad_row_with_its_cell(tmp_path: Path) -> None:
    never, fine = datetime(2026, 3, 29, 2, 30), datetime(2026, 1, 1)  # noqa: DTZ001
    rows, bad = read(tmp_path, {"S": [["id", "at"], [1, never], [2, fine]]}, zone="Europe/Berlin")
    assert len(rows) == 1
    assert str(bad[0]).startswith("a.xlsx, sheet S, row 2: at: cell B2: Europe/Berlin has no such time")


def test_text_in_a_column_of_text_is_read_as_in_csv_files(tmp_path: Path) -> None:
    assert read(tmp_path, {"S": [["v"], ["1,25"], ["2,5"]]})[0] == [{"v": 1.25}, {"v": 2.5}]


def test_merged_names_over_columns_join_with_those_below(tmp_path: Path) -> None:
    sheet = [["id", "address", None], [None, "street", "city"], [1, "a", "b"]]
    rows, _ = read(tmp_path, {"S": sheet}, ["A1:A2", "B1:C1"], header_rows=2)
    assert rows == [{"id": 1, "address street": "a", "address city": "b"}]


@pytest.mark.parametrize(
    ("rows", "merged", "said"),
    [
        ([["id", "address", None], [1, "a", "b"]], ["B1:C1"], "sheet S, B1:C1: merged cells in the header"),
        ([["id", "v"], [1, "a"], [2, None]], ["B2:B3"], "sheet S, B2:B3: merged cells among the rows"),
        ([["id", "v"], [1, 2.5], [2, "2,5"]], [], "sheet S, B3 (column v): '2,5' among values that are not text"),
        ([["id", "v"], [1, Error("#DIV/0!")]], [], "sheet S, B2: #DIV/0!"),
        ([["id", None], [1, 2]], [], "sheet S, B1: no name"),
        ([["id", "id"], [1, 2]], [], "'id' is the name of column 1 too"),
        ([["id", "v"], [1, 2.0], [2, date(2026, 1, 1)]], [], "of two kinds"),
    ],
)
def test_what_cannot_be_read_right_is_refused_with_its_cell(
    tmp_path: Path, rows: Rows, merged: list[str], said: str
) -> None:
    with pytest.raises(BadInput) as error:
        read(tmp_path, {"S": rows}, merged)
    assert said in str(error.value)
    assert "a.xlsx" in str(error.value)


def test_a_column_is_kept_as_text_where_that_is_asked_for(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, {"S": [["id"], [15], ["A12"]]}, types={"id": "text"})
    assert rows == [{"id": "15"}, {"id": "A12"}]


def test_the_only_sheet_with_rows_is_taken_and_of_several_one_must_be_named(tmp_path: Path) -> None:
    two: dict[str, Rows] = {"S": [["x"], [1]], "T": [["x"], [2]]}
    assert read(tmp_path, {"S": [], "T": [["x"], [2]]})[0] == [{"x": 2}]
    with pytest.raises(BadInput, match="2 sheets have rows: S, T"):
        read(tmp_path, two)
    assert read(tmp_path, two, sheet="T")[0] == [{"x": 2}]


def test_a_title_above_the_names_is_passed_over_where_the_row_is_named(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, {"S": [["Report"], [], ["id", "v"], [1, 2]]}, header_row=3)
    assert rows == [{"id": 1, "v": 2}]
    path = str(tmp_path / "a.xlsx")
    assert columns_of([path], Opening(Form(header_row=3), tmp_path, lambda _: None)) == ["id", "v"]
