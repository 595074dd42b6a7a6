"""CSV files, by the readers that `headrace produce` has: separator, encoding and quotes as there, and types by `kinds`.

The separator is what a first line `sep=;` says, else the one by which the first rows have as many cells as the header.
"""

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa

from headrace.datasets.errors import BadInput
from headrace.datasets.form import Form
from headrace.datasets.reading.port import BATCH_ROWS, Facts, Opening, Read
from headrace.datasets.reading.text_columns import TextColumns
from headrace.model.source import BadRow
from headrace.replay.csv_file import cells_of
from headrace.replay.csv_header import Header, Names, read_names
from headrace.replay.text import DELIMITERS, OTHER_ENCODING, encoding_of, not_of, opened, spelled, unreadable
from headrace.runtime.errors import ConfigError

_SNIFFED_ROWS = 100


class CsvTable:
    """CSV files with the same columns, in any order. See `headrace.datasets.reading.port.Input`.

    Raises:
        BadInput, ConfigError: a header is wrong, or a column has two readings.
    """

    def __init__(self, files: Sequence[tuple[str, Path]], opening: Opening) -> None:
        form = opening.form
        self._shown = [shown for shown, _ in files]
        self._on_bad = opening.on_bad
        encodings = [encoding_of(path, form.encoding) for _, path in files]
        headers = [_header(shown, path, enc, form) for (shown, path), enc in zip(files, encodings, strict=True)]
        names = _same(self._shown, headers)
        self._columns = TextColumns(
            [opening.renamed.get(name, name) for name in names], opening, "cells",
            place=lambda file, line: f"{self._shown[file]}:{line}", where=", ".join(self._shown[:3]),
        )  # fmt: skip
        for number, ((_, path), header, encoding) in enumerate(zip(files, headers, encodings, strict=True)):
            self._take(number, path, header, encoding, names)
        self.schema: pa.Schema = self._columns.decide()
        self.facts = Facts(encoding=", ".join(sorted(set(encodings))))
        self.total = self._columns.rows

    def read(self) -> Iterator[Read]:
        """See `Input.read`."""
        return self._columns.read()

    def _take(self, number: int, path: Path, header: Header, encoding: str, names: Sequence[str]) -> None:
        order = [header.names.index(name) for name in names]
        with opened(path, encoding, newline="") as file:
            for _ in range(header.lines):
                file.readline()
            rows = self._good(cells_of(file, header, header.lines), number, header, encoding)
            while some := list(islice(rows, BATCH_ROWS)):
                columns = list(zip(*(cells for _, cells in some), strict=True))
                self._columns.add(number, [line for line, _ in some], [columns[at] for at in order])

    def _good(
        self, rows: Iterator[tuple[int, list[str] | str]], number: int, header: Header, encoding: str
    ) -> Iterator[tuple[int, list[str]]]:
        for line, cells in rows:
            field, problem = "", ""
            if isinstance(cells, str):
                problem = cells
            elif len(cells) != header.width:
                count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
                problem = f"{count}, the header names {header.width}"
            elif not (text := "".join(cells)).isascii() and unreadable(text):
                at = next(i for i, cell in enumerate(cells) if unreadable(cell))
                field, problem = header.names[at], f"{not_of(encoding, cells[at])}; {OTHER_ENCODING}"
            else:
                yield line, cells
                continue
            self._on_bad(BadRow(f"{self._shown[number]}:{line}", field, problem))


def column_names(shown: str, path: Path, form: Form) -> list[str]:
    """The names of a file's columns.

    Raises:
        BadInput, ConfigError: the header is wrong.
    """
    return list(_header(shown, path, encoding_of(path, form.encoding), form).names)


def _header(shown: str, path: Path, encoding: str, form: Form) -> Header:
    try:
        found = read_names(path, encoding, form.delimiter)
        if form.delimiter is None and found.line == 1 and path.suffix.lower() != ".tsv":
            found = _sniffed(shown, path, encoding, found)
    except ConfigError as error:
        raise BadInput(error.message.replace(str(path), shown), hint=error.hint) from error
    check_names(found.names, f"{shown}:{found.line}")
    return Header(found.delimiter, (), len(found.names), found.lines, found.spaced, tuple(found.names))


def check_names(names: Sequence[str], where: str) -> None:
    """Raise `BadInput` if a column has no name, or another's."""
    for i, name in enumerate(names):
        if not name:
            raise BadInput(f"{where}, column {i + 1}: no name", hint="name every column in the header")
        if name in names[:i]:
            first = names.index(name) + 1
            raise BadInput(f"{where}, column {i + 1}: {name!r} is the name of column {first} too", hint="rename one")


def _sniffed(shown: str, path: Path, encoding: str, found: Names) -> Names:
    """The header by the separator that fits the first rows."""
    fitting = []
    for delimiter in DELIMITERS:
        names = read_names(path, encoding, delimiter)
        widths = _widths(path, encoding, delimiter, names.lines)
        if len(names.names) > 1 and (not widths or len(names.names) in widths) and len(set(widths)) <= 1:
            fitting.append(names)
    if len(fitting) > 1:
        which = " or ".join(spelled(names.delimiter) for names in fitting)
        raise BadInput(f"{shown}:1: columns may be separated by {which}", hint="--delimiter says which")
    if fitting:
        return fitting[0]
    if len(found.names) == 1:
        others = {d: len(read_names(path, encoding, d).names) for d in DELIMITERS}
        most = max(others, key=lambda d: others[d])
        return read_names(path, encoding, most) if others[most] > 1 else found
    return found


def _widths(path: Path, encoding: str, delimiter: str, lines: int) -> list[int]:
    with opened(path, encoding, newline="") as file:
        for _ in range(lines):
            file.readline()
        try:
            rows = csv.reader(file, delimiter=delimiter)
            return [len(cells) for cells in islice(rows, _SNIFFED_ROWS) if cells]
        except csv.Error:
            return [0, 1]


def _same(shown: Sequence[str], headers: Sequence[Header]) -> list[str]:
    first = list(headers[0].names)
    for name, header in zip(shown[1:], headers[1:], strict=True):
        if missing := sorted(set(first) ^ set(header.names)):
            raise BadInput(
                f"{name}:1: not the columns of {shown[0]}: {', '.join(missing)} is in one of them alone",
                hint="one import for each kind of file",
            )
    return first
