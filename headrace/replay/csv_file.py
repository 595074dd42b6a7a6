"""Records from a CSV file whose header names the struct's fields, in any order; other columns are passed over.

A cell is read as follows.

- Empty, `NA`, `null` or `None`: None in a field that may be None, the default in one that has a default and is not
  text, else what it says.
- `NaN` in a field that is a number or None: None. It is how numeric tools write a missing number.
- NaN and infinity otherwise: a bad row, as for every number that a record may not hold (`headrace.model.values`).
- Spaces around a number, a time and the like are dropped; in text they stay, unless a space follows every separator of
  the header too.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from headrace.model.source import BadRow
from headrace.model.values import BadValue, Check, number_check
from headrace.replay.csv_header import Header, read_header
from headrace.replay.text import OTHER_ENCODING, FileFormat, encoding_of, not_of, opened, unreadable

MISSING = ("", "NA", "null", "None")
"""Cells that mean "no value" in a field that may have none."""

_TEXT = (inspect.StrType, inspect.BytesType, inspect.AnyType, inspect.EnumType, inspect.LiteralType)
_NUMBERS = (inspect.FloatType, inspect.IntType, inspect.DecimalType)
_DEFAULT, _AS_IT_IS = object(), object()
_EXACT = 2**53
"""From there on a float does not tell neighbouring integers apart."""
_DECIMAL_COMMA = re.compile(r"-?\d+(\.\d{3})*,\d+")


def csv_rows(path: Path, struct: type[Any], form: FileFormat) -> Iterator[tuple[int, Any]]:
    """(line, struct or BadRow) of each row.

    Raises:
        ConfigError: the file cannot be opened, or its header does not fit the struct; the hint says how to read it.
    """
    encoding = encoding_of(path, form.encoding)
    return _rows(path, struct, encoding, read_header(path, struct, encoding, form.delimiter))


def _rows(path: Path, struct: type[Any], encoding: str, header: Header) -> Iterator[tuple[int, Any]]:
    reader = RowReader(struct, header, encoding)
    with opened(path, encoding, newline="") as file:
        for _ in range(header.lines):
            file.readline()
        for line, cells in cells_of(file, header, header.lines):
            read = reader.read(cells) if isinstance(cells, list) else BadValue("", cells)
            yield line, BadRow.at_line(path, line, *read) if isinstance(read, BadValue) else read


def cells_of(lines: Iterable[str], header: Header, before: int) -> Iterator[tuple[int, list[str] | str]]:
    """The line on which each row begins, and its cells, or why it has none. Empty lines are passed over.

    `lines` are those of a file like `header`'s from line `before` on, counted from 0.
    """
    rows = csv.reader(lines, delimiter=header.delimiter, skipinitialspace=header.spaced, strict=True)
    while True:
        line = before + rows.line_num + 1
        try:
            cells = next(rows, None)
        except csv.Error as error:
            text = str(error)
            yield line, "a quote is opened and never closed" if text == "unexpected end of data" else text
            continue
        if cells is None:
            return
        if cells:
            yield line, cells


@dataclass(frozen=True)
class _Column:
    """A column that is a field of the struct.

    `empty` is what a missing value means: None or one of the above. `text` and `integer` are what its cells are.
    """

    index: int
    name: str
    empty: Any
    text: bool
    nan_is_none: bool
    integer: bool

    @classmethod
    def of(cls, index: int, field: msgspec.structs.FieldInfo) -> "_Column":
        """The column at `index`, which is this field."""
        info = inspect.type_info(field.type)
        types = info.types if isinstance(info, inspect.UnionType) else (info,)
        nullable = any(isinstance(t, inspect.NoneType) for t in types)
        text = any(isinstance(t, _TEXT) for t in types)
        empty = None if nullable else _AS_IT_IS if field.required or field.type is str else _DEFAULT
        numbers = any(isinstance(t, _NUMBERS) for t in types)
        integer = all(isinstance(t, inspect.IntType | inspect.NoneType) for t in types)
        return cls(index, field.encode_name, empty, text, nullable and numbers and not text, integer)


class RowReader:
    """Makes a struct of a row's cells, or says what is wrong with them. `header` is of a file in this `encoding`."""

    def __init__(self, struct: type[Any], header: Header, encoding: str) -> None:
        fields = {f.encode_name: f for f in msgspec.structs.fields(struct)}
        self._struct, self._encoding, self._width = struct, encoding, header.width
        self._columns = [_Column.of(index, fields[name]) for index, name in header.columns]
        self._plain = [(c.index, c.name, c.empty) for c in self._columns]
        self._check: Check = number_check(struct)
        self._integers = [c.index for c in self._columns if c.integer]

    def read(self, cells: Sequence[str]) -> Any:
        """The struct, or a BadValue."""
        if len(cells) != self._width:
            count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
            return BadValue("", f"{count}, the header names {self._width}")
        row: dict[str, Any] = {}
        for index, name, empty in self._plain:
            cell = cells[index]
            if empty is _AS_IT_IS or cell not in MISSING:
                row[name] = cell
            elif empty is None:
                row[name] = None
        text = "".join(cells)
        if not text.isascii() and unreadable(text):
            return self._unreadable(row)
        try:
            value = msgspec.convert(row, self._struct, strict=False)
        except msgspec.ValidationError:
            return self._read_again(cells)
        for index in self._integers:
            if not cells[index].isdigit() and (bad := self._inexact(row)) is not None:
                return bad
        return value if self._check(value) is None else self._read_again(cells)

    def _read_again(self, cells: Sequence[str]) -> Any:
        """The struct of a row that has NaN or spaces where there may be, or a BadValue."""
        row: dict[str, Any] = {}
        for column in self._columns:
            cell = cells[column.index]
            cell = cell if column.text else cell.strip()
            if column.empty is not _AS_IT_IS and cell in MISSING:
                if column.empty is None:
                    row[column.name] = None
            else:
                row[column.name] = None if column.nan_is_none and cell.lower() == "nan" else cell
        try:
            value = msgspec.convert(row, self._struct, strict=False)
        except msgspec.ValidationError as error:
            return _refused(error, row)
        return self._inexact(row) or self._check(value) or value

    def _unreadable(self, row: dict[str, Any]) -> BadValue:
        for name, cell in row.items():
            if cell is not None and unreadable(cell):
                return BadValue(name, f"{not_of(self._encoding, cell)}; {OTHER_ENCODING}")
        return BadValue("", f"not {self._encoding}: a column that the struct does not have; {OTHER_ENCODING}")

    def _inexact(self, row: dict[str, Any]) -> BadValue | None:
        """An integer that is written as a float which may stand for several: `9007199254740993.0`."""
        for column in self._columns:
            if not column.integer or (cell := row.get(column.name)) is None or cell.lstrip("-").isdigit():
                continue
            if abs(float(cell)) >= _EXACT:
                return BadValue(column.name, f"{cell} is beyond what a float tells exactly: write the integer's digits")
        return None


def _refused(error: msgspec.ValidationError, row: dict[str, Any]) -> BadValue:
    """What msgspec says, with the cell that it says it about."""
    problem, _, place = str(error).partition(" - at `$.")
    field = place.removesuffix("`")
    cell = row.get(field)
    if problem == "Number out of range":
        return BadValue(field, f"{cell}, expected a finite number")
    if cell is None or repr(cell) in problem:
        return BadValue(field, problem)
    hint = ": is that a decimal comma? Numbers have a point" if _DECIMAL_COMMA.fullmatch(cell) else ""
    return BadValue(field, f"{problem.removesuffix(', got `str`')}, got {cell!r}{hint}")
