"""Checking rows against a pipeline's types: before they are read, what columns must be; then every row of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import inspect

from headrace.batch.reading.fields import FieldReader
from headrace.batch.values import without_none
from headrace.datasets.errors import BadInput
from headrace.datasets.form import ColumnType
from headrace.datasets.manifest import Holds
from headrace.datasets.reading.port import OnBad, Read
from headrace.datasets.reading.text_columns import kept
from headrace.datasets.reading.topic import LABEL_PREFIX
from headrace.model.pipeline import Pipeline
from headrace.model.values import BadValue, number_check
from headrace.replay.csv_header import matched

_TYPES: dict[type[Any], ColumnType] = {
    inspect.FloatType: "float", inspect.IntType: "int", inspect.StrType: "text", inspect.BoolType: "bool",
}  # fmt: skip


@dataclass(frozen=True)
class _Struct:
    kind: type[Any]
    prefix: str = ""


def structs_of(pipeline: Pipeline, holds: Holds) -> list[_Struct]:
    """The types that rows are to be."""
    event, label = _Struct(pipeline.model.event_type()), _Struct(pipeline.model.label_type(), LABEL_PREFIX)
    return {"events": [event], "labels": [_Struct(label.kind)], "examples": [event, label], "": []}[holds]


class RowCheck:
    """Checks rows as events, labels or both."""

    def __init__(self, pipeline: Pipeline, holds: Holds) -> None:
        self._structs = structs_of(pipeline, holds)
        self._holds = holds
        self._decoders = [(msgspec.json.Decoder(s.kind), number_check(s.kind, from_json=True)) for s in self._structs]

    def renamed(self, where: str, names: Sequence[str]) -> dict[str, str]:
        """What columns are called in the set, by their name in a file: fields' names but for spelling.

        Raises:
            BadInput: two columns may be one field.
        """
        made: dict[str, str] = {}
        for struct in self._structs:
            found = matched(where, list(names), struct.kind)
            made |= {names[at]: field for field, at in found.items() if names[at] not in made}
        return {name: field for name, field in made.items() if name != field}

    @property
    def types(self) -> dict[str, ColumnType]:
        """The types that text must have, by column."""
        made: dict[str, ColumnType] = {}
        for struct in self._structs:
            for field in msgspec.structs.fields(struct.kind):
                inner, _ = without_none(inspect.type_info(field.type))
                if (kind := _TYPES.get(type(inner))) is not None:
                    made.setdefault(field.encode_name, kind)
                    if struct.prefix:
                        made.setdefault(struct.prefix + field.encode_name, kind)
        return made

    def line(self, data: bytes | str) -> BadValue | None:
        """What is wrong with a line of JSON; decoding errors are raised as they are."""
        for decoder, check in self._decoders:
            if (bad := check(decoder.decode(data))) is not None:
                return bad
        return None

    def check_columns(self, names: Sequence[str], where: str) -> None:
        """Raise `BadInput` if a column is missing that a record must have."""
        missing = [
            field.encode_name
            for struct in self._structs
            for field in msgspec.structs.fields(struct.kind)
            if field.required and column_of(names, struct.prefix, field.encode_name) is None
        ]
        if missing:
            there = ", ".join(names[:30])
            raise BadInput(f"{where}: no column {', '.join(dict.fromkeys(missing))}", hint=f"there is {there}")

    def checked(self, read: Read, on_bad: OnBad) -> Iterator[Read]:
        """The rows that are such records; others are told of."""
        names, bad = read.rows.schema.names, dict[int, tuple[str, str]]()
        for struct in self._structs:
            for row, (field, problem) in bad_fields(read, struct.kind, struct.prefix, names).items():
                bad.setdefault(row, (field, problem))
        yield from kept(read.rows, bad, read.place, on_bad)


def bad_fields(read: Read, struct: type[Any], prefix: str, names: Sequence[str]) -> Mapping[int, tuple[str, str]]:
    """Column and problem of the rows that are no such record, the first where there are several."""
    found: dict[int, tuple[str, str]] = {}
    for info in msgspec.structs.fields(struct):
        reader = FieldReader(info)
        name = column_of(names, prefix, reader.name)
        if name is None:
            continue
        for row, problem in reader.read(read.rows.column(name), read.rows.num_rows).bad.items():
            found.setdefault(row, (name, problem))
    return found


def column_of(names: Sequence[str], prefix: str, field: str) -> str | None:
    """The column that is a field: of a label, its own where the event has one of that name too."""
    if prefix and prefix + field in names:
        return prefix + field
    return field if field in names else None
