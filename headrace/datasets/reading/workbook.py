"""Sheets of workbooks (.xlsx, .xls, .xlsb, .ods), by python-calamine: values as the workbook has them, cell by cell.

The names are in one row, or in several where cells are merged over columns. A merged cell among the rows below is
refused, since only its first cell has the value; so are errors such as #N/A, durations, and columns of numbers and text
together. A column of text alone is read as one of a CSV file is. Workbooks know no time zones.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.datasets.errors import BadInput
from headrace.datasets.reading.converting import LOCAL, TIME, placed, zone_of
from headrace.datasets.reading.csv_table import check_names
from headrace.datasets.reading.port import BATCH_ROWS, Facts, Opening, Read
from headrace.datasets.reading.text_columns import TextColumns, kept
from headrace.datasets.reading.workbook_zip import check_errors, check_size

_EXACT = 2**53
_MISSING = {"", "NA", "null", "None"}


class Sheet:
    """One sheet of one workbook. See `headrace.datasets.reading.port.Input`.

    Raises:
        BadInput: it cannot be read right; the error names the cell.
    """

    def __init__(self, shown: str, path: Path, opening: Opening) -> None:
        self._opening, form = opening, opening.form
        self._zone = zone_of(form.zone)
        sheet = open_sheet(shown, path, form.sheet)
        check_errors(shown, path, sheet.name)
        self._where = f"{shown}, sheet {sheet.name}"
        rows = sheet.to_python(skip_empty_area=False)
        first, self._names, self._at = _header(self._where, rows, sheet.merged_cell_ranges or [], opening)
        self._rows = [(i + 1, row) for i, row in enumerate(rows) if i >= first and not _is_empty(row)]
        self._names = [opening.renamed.get(name, name) for name in self._names]
        self._columns = [_values(self._rows, at) for at in self._at]
        self._text = [i for i in range(len(self._names)) if self._is_text(i)]
        self._cells = TextColumns(
            [self._names[i] for i in self._text], opening, "cells",
            place=lambda _, row: f"{self._where}, row {row}", where=self._where,
        )  # fmt: skip
        self._add_text()
        self.schema = self._schema()
        self.facts, self.total = Facts(details={"sheet": sheet.name}), len(self._rows)

    def read(self) -> Iterator[Read]:
        """See `Input.read`."""
        texts = self._cells.converted()
        for start in range(0, len(self._rows), BATCH_ROWS):
            stop = min(start + BATCH_ROWS, len(self._rows))
            found, bad = next(texts)
            arrays = dict(zip(self._text, found, strict=True))
            for i, name in enumerate(self._names):
                if i not in arrays:
                    arrays[i], wrong = self._native(i, start, stop)
                    for row, problem in wrong.items():
                        bad.setdefault(row, (name, problem))
            rows = pa.RecordBatch.from_arrays([arrays[i] for i in range(len(self._names))], schema=self.schema)

            def place(i: int, start: int = start) -> str:
                return f"{self._where}, row {self._rows[start + i][0]}"

            yield from kept(rows, bad, place, self._opening.on_bad)

    def _is_text(self, i: int) -> bool:
        """Whether a column is read as text: all of its cells are, or it is asked for."""
        forced = {**self._opening.forced, **self._opening.form.types}.get(self._names[i])
        kinds = {type(value) for value in self._columns[i] if not _is_missing(value)}
        if forced == "text" or not kinds or kinds == {str}:
            return True
        if str in kinds:
            row, value = self._first(i, str)
            name = self._names[i]
            raise BadInput(
                f"{self._where}, {_cell(row, self._at[i])} (column {name}): {value!r} among values that are not text",
                hint=f"mend the cell, or keep all of them as text: --type {name}=text",
            )
        return False

    def _first(self, i: int, kind: type) -> tuple[int, Any]:
        return next(
            (row, value)
            for (row, _), value in zip(self._rows, self._columns[i], strict=True)
            if type(value) is kind and not _is_missing(value)
        )

    def _add_text(self) -> None:
        for start in range(0, max(len(self._rows), 1), BATCH_ROWS):
            some = slice(start, start + BATCH_ROWS)
            cells = [[_as_text(value) for value in self._columns[i][some]] for i in self._text]
            self._cells.add(0, [row for row, _ in self._rows[some]], cells)

    def _schema(self) -> pa.Schema:
        decided = self._cells.decide()
        text = {i: decided.field(place).type for place, i in enumerate(self._text)}
        return pa.schema([(name, text.get(i) or self._type(i)) for i, name in enumerate(self._names)])

    def _type(self, i: int) -> pa.DataType:
        kinds = {type(value) for value in self._columns[i] if not _is_missing(value)}
        forced = {**self._opening.forced, **self._opening.form.types}.get(self._names[i])
        for kind, what in ((timedelta, "a duration"), (time, "a time of day")):
            if kind in kinds:
                row, _ = self._first(i, kind)
                hint = "write it as a number, e.g. of seconds, or keep it as text: --type COLUMN=text"
                raise BadInput(f"{self._where}, {_cell(row, self._at[i])} (column {self._names[i]}): {what}", hint=hint)
        if kinds == {bool}:
            return pa.bool_()
        if kinds <= {int, float}:
            whole = all(_is_whole(value) for value in self._columns[i] if not _is_missing(value))
            return pa.int64() if forced == "int" or (whole and forced != "float") else pa.float64()
        if kinds == {date} and forced != "time":
            return pa.date32()
        if kinds <= {date, datetime}:
            return TIME if self._zone else LOCAL
        two = [self._first(i, kind) for kind in sorted(kinds, key=str)[:2]]
        cells = " and ".join(f"{value!r} in {_cell(row, self._at[i])}" for row, value in two)
        raise BadInput(f"{self._where}, column {self._names[i]}: {cells}: of two kinds", hint="--type COLUMN=text")

    def _native(self, i: int, start: int, stop: int) -> tuple[pa.Array, dict[int, str]]:
        kind, made, bad = self.schema.field(i).type, list[Any](), dict[int, str]()
        for row, value in enumerate(self._columns[i][start:stop]):
            try:
                made.append(None if _is_missing(value) else self._one(value, kind))
            except ValueError as error:
                made.append(None)
                bad[row] = f"cell {_cell(self._rows[start + row][0], self._at[i])}: {error}"
        return pa.array(made, kind), bad

    def _one(self, value: Any, kind: pa.DataType) -> Any:
        if pa.types.is_timestamp(kind):
            at = value if isinstance(value, datetime) else datetime.combine(value, time())
            return placed(at, self._zone) if self._zone else at
        if pa.types.is_int64(kind):
            if not _is_whole(value):
                raise ValueError(f"{value!r}, expected a whole number")
            return int(value)
        return value


def open_sheet(shown: str, path: Path, wanted: str) -> Any:
    """The sheet of that name, or the only one with rows.

    Raises:
        BadInput: there is none, there are several, or it is no workbook.
    """
    from python_calamine import CalamineError, CalamineWorkbook

    check_size(shown, path)
    try:
        book = CalamineWorkbook.from_path(str(path))
        if wanted:
            if wanted not in book.sheet_names:
                raise BadInput(f"{shown}: no sheet {wanted!r}", hint=f"it has {', '.join(book.sheet_names)}")
            return book.get_sheet_by_name(wanted)
        sheets = [book.get_sheet_by_name(name) for name in book.sheet_names]
    except (CalamineError, OSError) as error:
        raise BadInput(f"{shown}: cannot be read as a workbook: {error}") from error
    full = [sheet for sheet in sheets if sheet.height]
    if len(full) != 1:
        names = ", ".join(sheet.name for sheet in full)
        problem = f"{len(full)} sheets have rows: {names}" if full else "no sheet has a row"
        raise BadInput(f"{shown}: {problem}", hint="--sheet NAME" if full else "")
    return full[0]


def sheet_names(shown: str, path: Path, opening: Opening) -> list[str]:
    """The names of a sheet's columns.

    Raises:
        BadInput: the header cannot be read right.
    """
    sheet = open_sheet(shown, path, opening.form.sheet)
    rows = list(islice(sheet.iter_rows(), 1000))
    rows = [[""] * sheet.start[1] + list(row) for row in rows] if sheet.start else rows
    rows = [[] for _ in range(sheet.start[0] if sheet.start else 0)] + rows
    return _header(f"{shown}, sheet {sheet.name}", rows, sheet.merged_cell_ranges or [], opening)[1]


Range = tuple[tuple[int, int], tuple[int, int]]


def _header(
    where: str, rows: list[list[Any]], merged: Sequence[Range], opening: Opening
) -> tuple[int, list[str], list[int]]:
    """The index of the first row below the header, the columns' names, and their indexes."""
    form = opening.form
    first = form.header_row - 1 if form.header_row else next((i for i, row in enumerate(rows) if not _is_empty(row)), 0)
    below = first + form.header_rows
    if first >= len(rows) or _is_empty(rows[first]):
        raise BadInput(f"{where}, row {first + 1}: empty, expected the columns' names")
    width = max(len(row) for row in rows)
    grid = [[str(value).strip() for value in row] + [""] * (width - len(row)) for row in rows[first:below]]
    for (top, left), (bottom, right) in merged:
        cells = f"{_cell(top + 1, left)}:{_cell(bottom + 1, right)}"
        if top < below and bottom >= first:
            if bottom >= below or (right > left and top == bottom and form.header_rows == 1):
                hint = "give every column a name of its own, or --header-rows 2 where the names go on in the next row"
                raise BadInput(f"{where}, {cells}: merged cells in the header", hint=hint)
            for row in range(max(top, first), bottom + 1):
                for column in range(left, min(right, width - 1) + 1):
                    if row == max(top, first):
                        grid[row - first][column] = str(rows[top][left]).strip()
        elif top >= below:
            hint = "unmerge them, and write the value into each cell that it belongs to"
            raise BadInput(f"{where}, {cells}: merged cells among the rows", hint=hint)
    names = [" ".join(row[column] for row in grid if row[column]) for column in range(width)]
    used = [c for c in range(width) if names[c] or any(c < len(row) and row[c] != "" for row in rows[below:])]
    _check(where, below, names, used)
    return below, [names[column] for column in used], used


def _check(where: str, below: int, names: list[str], used: list[int]) -> None:
    for column in used:
        if not names[column]:
            raise BadInput(f"{where}, {_cell(below, column)}: no name, but the column has values")
    check_names([names[column] for column in used], where)


def _values(rows: Sequence[tuple[int, list[Any]]], at: int) -> list[Any]:
    return [row[at] if at < len(row) else "" for _, row in rows]


def _is_empty(row: Sequence[Any]) -> bool:
    return all(value == "" or value is None for value in row)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.strip() in _MISSING)


def _is_whole(value: Any) -> bool:
    return not isinstance(value, bool) and float(value).is_integer() and abs(value) < _EXACT


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if _is_whole(value) else repr(value)
    return value.isoformat() if isinstance(value, date | datetime | time) else str(value)


def _cell(row: int, column: int) -> str:
    """A cell's name: row from 1, column from 0; C5."""
    letters, left = "", column + 1
    while left:
        left, at = divmod(left - 1, 26)
        letters = chr(ord("A") + at) + letters
    return f"{letters}{row}"
