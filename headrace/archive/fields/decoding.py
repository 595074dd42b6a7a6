"""Records in JSON to columns.

The quick way joins the records to lines and lets pyarrow parse all of them at once. Each is checked to be one JSON
object first, so that a line is a row. Where pyarrow refuses one, all are read one by one by msgspec, as the pipeline's
roles read them: what those take (a field given twice) is taken here too, and what they refuse is kept as it came, with
the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.archive.fields.types import Field, arrow_type, struct_type

_RAW = msgspec.json.Decoder(msgspec.Raw)
_WRONG = (msgspec.MsgspecError, UnicodeDecodeError)


@dataclass(frozen=True)
class Decoded:
    """An Arrow table with a row for each record, and what is wrong with some of them, by row."""

    table: Any
    problems: dict[int, str]


class Decoder:
    """Decodes records with the given fields. Others that a record has are left out; those it lacks are null."""

    def __init__(self, fields: Sequence[Field]) -> None:
        import pyarrow as pa

        self._fields = tuple(fields)
        self._schema = pa.schema([(field.name, arrow_type(field)) for field in self._fields])
        self._texts = [field.name for field in self._fields if field.kind == "json"]
        self._one_by_one = msgspec.json.Decoder(struct_type(self._fields))

    @property
    def schema(self) -> Any:
        """The Arrow schema of the columns."""
        return self._schema

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """The columns of these records, in their order; a row of nulls where a record cannot be read."""
        if not self._texts and _are_objects(values):
            table = self._parsed(values)  # type: ignore[arg-type]
            if table is not None:
                return Decoded(table, {})
        return self._slowly(values)

    def _parsed(self, lines: Sequence[bytes]) -> Any:
        """The table of JSON objects; None if pyarrow refuses one."""
        import pyarrow as pa
        import pyarrow.json

        if not self._fields or not lines:
            return self._schema.empty_table() if not lines else _without_columns(len(lines))
        text = b"\n".join(lines)
        reading = pyarrow.json.ReadOptions(use_threads=False, block_size=len(text) + 1)
        parsing = pyarrow.json.ParseOptions(explicit_schema=self._schema, unexpected_field_behavior="ignore")
        try:
            table = pyarrow.json.read_json(pa.BufferReader(text), read_options=reading, parse_options=parsing)
            table.validate(full=True)  # texts are UTF-8: the parser does not look
        except (pa.ArrowInvalid, UnicodeDecodeError):
            return None
        return table.select(self._schema.names) if table.num_rows == len(lines) else None

    def _slowly(self, values: Sequence[bytes | None]) -> Decoded:
        rows, problems = list[bytes](), dict[int, str]()
        encode = msgspec.json.Encoder().encode
        for number, value in enumerate(values):
            try:
                rows.append(encode(self._row(value)))
            except _WRONG as error:
                problems[number] = str(error)
                rows.append(b"{}")
        table = self._parsed(rows)
        if table is None:  # pyarrow takes less than msgspec in a row that cannot be told from here: ask for each
            rows = [row if self._parsed([row]) is not None else _refused(i, problems) for i, row in enumerate(rows)]
            table = self._parsed(rows)
        return Decoded(table, problems)

    def _row(self, value: bytes | None) -> Any:
        if value is None:
            raise msgspec.DecodeError("the record has no value")
        row = self._one_by_one.decode(value)
        if not self._texts:
            return row
        names = row.__struct_fields__
        return {
            field.name: _text(getattr(row, name)) if field.kind == "json" else getattr(row, name)
            for field, name in zip(self._fields, names, strict=True)
        }


def _are_objects(values: Sequence[bytes | None]) -> bool:
    """Whether each is one JSON object, and nothing else."""
    decode = _RAW.decode
    try:
        for value in values:
            if value is None or value[:1] != b"{":
                return False
            decode(value)
    except _WRONG:
        return False
    return True


def _text(raw: msgspec.Raw) -> str | None:
    text = bytes(raw).decode()
    return None if text == "null" else text


def _refused(row: int, problems: dict[int, str]) -> bytes:
    problems.setdefault(row, "a value does not fit into a column: a number beyond 64 bits, or the like")
    return b"{}"


def _without_columns(rows: int) -> Any:
    """A table of no columns that has rows."""
    import pyarrow as pa

    return pa.table({"_": pa.nulls(rows)}).select([])
