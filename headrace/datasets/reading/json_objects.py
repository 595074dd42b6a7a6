"""Objects of JSON, one a row, to columns: their members, in the order in which they were first seen.

The objects' bytes are kept on disk between the pass that finds the columns' types and the one that makes them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from headrace.datasets.form import ColumnType
from headrace.datasets.reading.converting import arrow_type, convert, zone_of
from headrace.datasets.reading.json_kinds import JsonColumn
from headrace.datasets.reading.kinds import Column, Deciding, Kind
from headrace.datasets.reading.port import BATCH_ROWS, Opening, Read
from headrace.datasets.reading.spool import Spool
from headrace.datasets.reading.text_columns import Place, kept

_KEPT = pa.schema([("file", pa.int32()), ("number", pa.int64()), ("value", pa.binary())])
_ENCODE = msgspec.json.Encoder().encode
Row = tuple[int, int, dict[str, Any]]
"""The number of its file (or partition), its own number there, and the object."""


class JsonObjects:
    """Takes objects, decides about columns, gives them back as record batches.

    Members whose type is asked for are converted as the cells of a CSV file are.
    """

    def __init__(self, opening: Opening, spool: str, *, place: Place, where: str) -> None:
        self._opening, self._place, self._where = opening, place, where
        self._forced: dict[str, ColumnType] = {**opening.forced, **opening.form.types}
        self._columns: dict[str, JsonColumn] = {}
        self._cells: dict[str, Column] = {}
        self._spool = Spool(opening.work / f"{spool}.arrow", _KEPT)
        self._zone = zone_of(opening.form.zone)
        self.rows = 0

    def add(self, rows: Sequence[Row]) -> None:
        """Take some.

        Raises:
            BadInput: a member is of another kind than one of that name before.
        """
        renamed = self._opening.renamed
        objects = [{renamed.get(n, n): v for n, v in row.items()} if renamed else row for _, _, row in rows]
        for name in dict.fromkeys(name for one in objects for name in one):
            if name in self._forced and self._forced[name] != "text":
                cells = [_cell(one.get(name)) for one in objects]
                column = self._cells.setdefault(name, Column(name, name))
                column.add(pa.array(cells, pa.string()), [number for _, number, _ in rows])
                self._columns.setdefault(name, JsonColumn(name))
            elif name in self._forced:
                self._columns.setdefault(name, JsonColumn(name))
            else:
                values = [one.get(name) for one in objects]
                self._columns.setdefault(name, JsonColumn(name)).add(values, lambda i: self._place(*rows[i][:2]))
        kept_rows = [(file, number, _ENCODE(one)) for (file, number, _), one in zip(rows, objects, strict=True)]
        self._spool.add(pa.record_batch([list(part) for part in zip(*kept_rows, strict=True)], schema=_KEPT))
        self.rows += len(rows)
        self._opening.tick(len(rows))

    def take(self, rows: Iterator[Row]) -> None:
        """Take all of them."""
        some: list[Row] = []
        for row in rows:
            some.append(row)
            if len(some) == BATCH_ROWS:
                self.add(some)
                some = []
        if some:
            self.add(some)

    def decide(self) -> pa.Schema:
        """The columns, once all objects were taken."""
        kinds = Deciding(list(self._cells.values()), self._opening.form, self._where).kinds(self._forced)
        self._kinds: dict[str, Kind] = dict(zip(self._cells, kinds, strict=True))
        self._kinds |= {name: Kind("text") for name in self._columns if self._forced.get(name) == "text"}
        types = [
            arrow_type(self._kinds[name], self._zone) if name in self._kinds else column.type
            for name, column in self._columns.items()
        ]
        self.schema = pa.schema(list(zip(self._columns, types, strict=True)))
        return self.schema

    def read(self) -> Iterator[Read]:
        """All rows."""
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        for batch in self._spool.batches():
            files, numbers = batch.column(0).to_pylist(), batch.column(1).to_pylist()
            objects = [decode(value) for value in batch.column(2).to_pylist()]
            arrays, bad = [], dict[int, tuple[str, str]]()
            for field in self.schema:
                values = [one.get(field.name) for one in objects]
                array, wrong = self._array(field, values)
                arrays.append(array)
                for row, problem in wrong.items():
                    bad.setdefault(row, (field.name, problem))
            rows = pa.RecordBatch.from_arrays(arrays, schema=self.schema)

            def place(i: int, files: list[int] = files, numbers: list[int] = numbers) -> str:
                return self._place(files[i], numbers[i])

            yield from kept(rows, bad, place, self._opening.on_bad)

    def _array(self, field: pa.Field, values: list[Any]) -> tuple[pa.Array, dict[int, str]]:
        if (kind := self._kinds.get(field.name)) is not None:
            cells = [None if value is None else _cell(value) for value in values]
            return convert(pa.array(cells, pa.string()), kind, self._zone)
        if pa.types.is_string(field.type):  # text, or objects without members
            values = [value if value is None or isinstance(value, str) else _ENCODE(value).decode() for value in values]
        return pa.array(values, field.type), {}


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else _ENCODE(value).decode()
