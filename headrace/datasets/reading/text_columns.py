"""Columns of text, file by file, to columns of what they hold. CSV files and columns of text in workbooks come here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.datasets.reading.converting import arrow_type, convert, zone_of
from headrace.datasets.reading.kinds import Column, Deciding
from headrace.datasets.reading.port import OnBad, Opening, Read
from headrace.datasets.reading.spool import Spool
from headrace.model.source import BadRow

Place = Callable[[int, int], str]
"""The number of a file and of a row in it, as people know them."""


class TextColumns:
    """Takes rows of text, decides what each column is, and gives them back converted.

    Args:
        names: of the columns.
        opening: how cells are read.
        spool: name of the file for the time between.
        place: where a row stands.
        where: what all of it is called in errors.
    """

    def __init__(self, names: Sequence[str], opening: Opening, spool: str, *, place: Place, where: str) -> None:
        form = opening.form
        self._names, self._form, self._forced = names, form, {**opening.forced, **form.types}
        self._place, self._where, self._on_bad, self._tick = place, where, opening.on_bad, opening.tick
        self._zone = zone_of(form.zone)
        self._columns = [Column(name, name) for name in names]
        fields: list[Any] = [("", pa.int32()), (" ", pa.int64()), *((f"c{i}", pa.string()) for i in range(len(names)))]
        self._spool = Spool(opening.work / f"{spool}.arrow", pa.schema(fields))
        self.rows = 0

    def add(self, file: int, numbers: Sequence[int], columns: Sequence[Sequence[str]]) -> None:
        """Rows of a file: their numbers, and the cells of each column."""
        arrays = [pa.array(cells, pa.string()) for cells in columns]
        for column, cells in zip(self._columns, arrays, strict=True):
            column.add(cells, numbers)
        files = pa.array(np.full(len(numbers), file, np.int32))
        self._spool.add(pa.record_batch([files, pa.array(numbers, pa.int64()), *arrays], schema=self._spool.schema))
        self.rows += len(numbers)
        self._tick(len(numbers))

    def decide(self) -> pa.Schema:
        """The columns' types, once all rows were added.

        Raises:
            BadInput: a column has two readings.
        """
        self._kinds = Deciding(self._columns, self._form, self._where).kinds(self._forced)
        types = [arrow_type(kind, self._zone) for kind in self._kinds]
        self.schema = pa.schema(list(zip(self._names, types, strict=True)))
        return self.schema

    def read(self) -> Iterator[Read]:
        """All rows, converted; bad ones are told of and left out."""
        for batch in self._spool.batches():
            files, numbers = batch.column(0).to_pylist(), batch.column(1).to_pylist()
            arrays, bad = self._convert(batch)
            rows = pa.RecordBatch.from_arrays(arrays, schema=self.schema)

            def place(i: int, files: list[int] = files, numbers: list[int] = numbers) -> str:
                return self._place(files[i], numbers[i])

            yield from kept(rows, bad, place, self._on_bad)

    def converted(self) -> Iterator[tuple[list[pa.Array], dict[int, tuple[str, str]]]]:
        """The columns of each batch that was added, and field and problem of its bad rows."""
        for batch in self._spool.batches():
            yield self._convert(batch)

    def _convert(self, batch: pa.RecordBatch) -> tuple[list[pa.Array], dict[int, tuple[str, str]]]:
        bad: dict[int, tuple[str, str]] = {}
        made = []
        for name, kind, cells in zip(self._names, self._kinds, batch.columns[2:], strict=True):
            values, wrong = convert(cells, kind, self._zone)
            made.append(values)
            for row, problem in wrong.items():
                bad.setdefault(row, (name, problem))
        return made, bad


def kept(
    rows: pa.RecordBatch, bad: Mapping[int, tuple[str, str]], place: Callable[[int], str], on_bad: OnBad
) -> Iterator[Read]:
    """The rows that are not bad; `bad` has field and problem by row."""
    if not bad:
        yield Read(rows, place)
        return
    for row in sorted(bad):
        on_bad(BadRow(place(row), *bad[row]))
    good = np.ones(rows.num_rows, bool)
    good[list(bad)] = False
    left = np.flatnonzero(good)
    yield Read(rows.filter(pa.array(good)), lambda i: place(int(left[i])))
