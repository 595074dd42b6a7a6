"""Reading Parquet: record batches to columns of fields, or to events where the model takes those alone."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.batch.job import InputFile, Part, Plan, Rejected
from headrace.batch.reading.fields import Arrays, Column, FieldReader, event_values
from headrace.batch.reading.plan import parquet_metadata
from headrace.batch.reading.rows import Rows
from headrace.runtime.errors import ConfigError


def carried_schema(files: list[InputFile], struct: type[Any], wanted: Sequence[str] | None, key: str) -> pa.Schema:
    """The columns to carry, as the first file has them: those that are wanted and the key; all, if None.

    Raises:
        ConfigError: a file lacks a column that is needed, or has it with a type that does not fit the first file's.
    """
    schemas = [_schema(file) for file in files]
    first = schemas[0]
    names = first.names if wanted is None else [n for n in first.names if n in {*wanted, key}]
    if unknown := sorted(set(wanted or ()) - set(first.names)):
        raise ConfigError(f"{files[0].path}: no column {', '.join(unknown)}", hint=f"it has {', '.join(first.names)}")
    required = [f.encode_name for f in msgspec.structs.fields(struct) if f.required]
    for file, schema in zip(files, schemas, strict=True):
        if missing := [name for name in dict.fromkeys([*required, *names]) if name not in schema.names]:
            raise ConfigError(f"{file.path}: no column {', '.join(missing)}", hint=f"it has {', '.join(schema.names)}")
        for name in names:
            if schema.field(name).type != first.field(name).type:
                raise ConfigError(
                    f"{file.path}: column {name} is {schema.field(name).type}, "
                    f"in {files[0].path} it is {first.field(name).type}",
                    hint="leave it out by --columns, or one job for each kind of file",
                )
    return pa.schema([first.field(name).with_nullable(nullable=True) for name in names])


def _schema(file: InputFile) -> pa.Schema:
    schema = parquet_metadata(file).schema.to_arrow_schema()
    if len(set(schema.names)) < len(schema.names):
        raise ConfigError(f"{file.path}: two columns have one name")
    return schema


class ParquetReader:
    """Reads the parts of a plan's Parquet files. `columnar`: whether the model takes columns."""

    def __init__(self, plan: Plan, struct: type[Any], schema: pa.Schema, *, columnar: bool) -> None:
        self._plan, self._schema, self._columnar = plan, schema, columnar
        self._fields = [FieldReader(info) for info in msgspec.structs.fields(struct)]
        self._make = _maker(struct, [reader.attribute for reader in self._fields])

    def read(self, part: Part) -> Iterator[Rows]:
        """See `Reader.read`."""
        file = self._plan.files[part.file]
        before = part.first
        with pq.ParquetFile(file.stored, memory_map=True) as source:
            there = set(source.schema_arrow.names)
            wanted = [name for name in source.schema_arrow.names if name in self._names()]
            for batch in source.iter_batches(
                self._plan.job.batch_rows, row_groups=list(range(part.start, part.stop)), columns=wanted
            ):
                yield self._rows(batch, file.path, before, there)
                before += batch.num_rows

    def _names(self) -> set[str]:
        return {*self._schema.names, *(reader.name for reader in self._fields)}

    def _rows(self, batch: pa.RecordBatch, file: str, before: int, there: set[str]) -> Rows:
        count = batch.num_rows
        columns = {f.name: f.read(batch.column(f.name) if f.name in there else None, count) for f in self._fields}
        bad = _bad_rows(columns)
        carried = pa.RecordBatch.from_arrays([batch.column(name) for name in self._schema.names], schema=self._schema)
        numbers: Sequence[int] = range(before + 1, before + count + 1)
        if bad:
            keep = np.ones(count, bool)
            keep[list(bad)] = False
            columns = {name: _kept(column, keep) for name, column in columns.items()}
            carried = carried.filter(pa.array(keep))
            numbers = [before + 1 + int(i) for i in np.flatnonzero(keep)]
        rejected = [Rejected(file, before + i + 1, *bad[i]) for i in sorted(bad)]
        if self._columnar:
            return Rows(file, None, Arrays(columns), carried, numbers, rejected, count)
        events = self._make([event_values(column) for column in columns.values()])
        return Rows(file, events, None, carried, numbers, rejected, count)


def _bad_rows(columns: dict[str, Column]) -> dict[int, tuple[str, str]]:
    """Row to field and reason, the first field's where several are wrong."""
    found: dict[int, tuple[str, str]] = {}
    for name, column in columns.items():
        for row, reason in column.bad.items():
            found.setdefault(row, (name, reason))
    return found


def _kept(column: Column, keep: np.ndarray) -> Column:
    if isinstance(column.values, np.ndarray):
        return Column(column.values[keep])
    if isinstance(column.values, pa.Array):
        return Column(column.values.filter(pa.array(keep)))
    return Column([value for value, good in zip(column.values, keep, strict=True) if good])


def _maker(struct: type[Any], names: list[str]) -> Callable[[Sequence[Sequence[Any]]], list[Any]]:
    """What makes events of their fields' columns; by position unless the struct takes keywords alone."""

    def make(columns: Sequence[Sequence[Any]]) -> list[Any]:
        try:
            return list(map(struct, *columns))
        except TypeError:
            return [struct(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]

    return make
