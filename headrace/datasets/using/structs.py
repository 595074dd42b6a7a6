"""Rows of a set as the pipeline's events and labels."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from headrace.batch.reading.fields import FieldReader, event_values
from headrace.datasets.importing.checking import column_of
from headrace.datasets.reading.topic import LABEL_PREFIX
from headrace.model.source import BadRow


class StructReader:
    """Makes structs of a batch's columns: of events, or of labels, whose own columns may begin with `label.`."""

    def __init__(self, struct: type[Any], schema: pa.Schema, *, label: bool) -> None:
        prefix = LABEL_PREFIX if label else ""
        self._struct = struct
        self._fields = [
            (FieldReader(info), column_of(schema.names, prefix, info.encode_name))
            for info in msgspec.structs.fields(struct)
        ]

    @property
    def missing(self) -> list[str]:
        """Fields that a record must have and the set has not."""
        return [reader.name for reader, column in self._fields if column is None and reader.required]

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return [column for _, column in self._fields if column is not None]

    def read(self, batch: pa.RecordBatch) -> tuple[Sequence[Any], dict[int, tuple[str, str]]]:
        """A struct for each row, and column and problem of the rows that are none, where the struct is None."""
        read = [(r, c, r.read(batch.column(c) if c else None, batch.num_rows)) for r, c in self._fields]
        bad: dict[int, tuple[str, str]] = {}
        for reader, name, column in read:
            for row, problem in column.bad.items():
                bad.setdefault(row, (name or reader.name, problem))
        values = [event_values(column) for _, _, column in read]
        names = [reader.attribute for reader, _ in self._fields]
        made: list[Any] = []
        for i, cells in enumerate(zip(*values, strict=True)):
            if i in bad:
                made.append(None)
                continue
            try:
                made.append(self._struct(**dict(zip(names, cells, strict=True))))
            except (TypeError, ValueError) as error:  # the struct's own __post_init__
                bad[i] = ("", str(error))
                made.append(None)
        return made, bad


def bad_rows(name: str, before: int, bad: dict[int, tuple[str, str]]) -> Iterator[tuple[int, BadRow]]:
    """The rows that are no such record, by their index; `before` rows of the set came before them."""
    for row in sorted(bad):
        yield row, BadRow(f"{name}, row {before + row + 1}", *bad[row])
