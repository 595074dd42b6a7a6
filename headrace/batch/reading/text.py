"""Reading CSV and JSON lines, a range of bytes at a time, by the readers that `headrace produce` has."""

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from headrace.batch.job import InputFile, Job, Part, Plan, Rejected
from headrace.batch.reading.plan import cut_by_bytes
from headrace.batch.reading.rows import Rows
from headrace.batch.values import Convert, column_type
from headrace.model.json_errors import DECODE_ERRORS
from headrace.model.values import BadValue, number_check
from headrace.replay.csv_file import RowReader, cells_of
from headrace.replay.csv_header import Header, read_header
from headrace.replay.json_file import check_start, refused
from headrace.replay.text import MARK_BYTES, encoding_of, opened, unreadable
from headrace.runtime.errors import ConfigError

Row = tuple[int, Any, Sequence[Any]]
"""Line, event or BadValue, and what is carried beside the event's fields."""


class _Carrying:
    """Makes the carried columns of events and of what stands beside them in their rows."""

    def __init__(self, struct: type[Any], schema: pa.Schema) -> None:
        self._schema = schema
        fields = {f.encode_name: f for f in msgspec.structs.fields(struct)}
        self.beside = [name for name in schema.names if name not in fields]
        self._fields: dict[str, tuple[str, Convert | None]] = {
            name: (fields[name].name, column_type(msgspec.inspect.type_info(fields[name].type))[1])
            for name in schema.names if name in fields
        }  # fmt: skip

    def batch(self, events: Sequence[Any], beside: Sequence[Sequence[Any]]) -> pa.RecordBatch:
        """One record batch."""
        others = dict(zip(self.beside, zip(*beside, strict=True), strict=True)) if beside else {}
        arrays = []
        for field in self._schema:
            if field.name in self._fields:
                attribute, convert = self._fields[field.name]
                values = [getattr(event, attribute) for event in events]
                values = values if convert is None else list(map(convert, values))
            else:
                values = list(others.get(field.name, ()))
            arrays.append(pa.array(values, field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def carried_schema(
    headers: Sequence[tuple[InputFile, Sequence[str]]], struct: type[Any], wanted: Sequence[str] | None, key: str
) -> pa.Schema:
    """The columns to carry: fields by their types, others as text. `headers` are each file's names, none of JSON lines.

    Raises:
        ConfigError: a file lacks a column.
    """
    fields = {f.encode_name: f for f in msgspec.structs.fields(struct)}
    names = list(dict.fromkeys([*fields, *(name for _, header in headers[:1] for name in header)]))
    if wanted is not None:
        names = [n for n in dict.fromkeys([*fields, *wanted]) if n in {*wanted, key}]
    for file, header in headers:
        if missing := [name for name in names if name not in fields and name not in header]:
            raise ConfigError(f"{file.path}: no column {', '.join(missing)}", hint=f"it has {', '.join(header)}")
    return pa.schema(
        [(n, column_type(msgspec.inspect.type_info(fields[n].type))[0] if n in fields else pa.string()) for n in names]
    )


def other_columns(header: Header) -> list[str]:
    """The names of a CSV file's columns that are no field.

    Raises:
        ConfigError: two have one name.
    """
    fields = {index for index, _ in header.columns}
    return [name for i, name in enumerate(header.names) if i not in fields]


class _TextReader(ABC):
    """What both kinds of text files have: rows to batches."""

    def __init__(self, plan: Plan, struct: type[Any], schema: pa.Schema) -> None:
        self._plan, self._struct = plan, struct
        self._carrying = _Carrying(struct, schema)

    def read(self, part: Part) -> Iterator[Rows]:
        """See `Reader.read`."""
        file = self._plan.files[part.file]
        waiting: list[Row] = []
        for row in self._rows(part, file):
            waiting.append(row)
            if len(waiting) == self._plan.job.batch_rows:
                yield self._batch(file.path, waiting)
                waiting = []
        if waiting:
            yield self._batch(file.path, waiting)

    @abstractmethod
    def _rows(self, part: Part, file: InputFile) -> Iterator[Row]: ...

    def _batch(self, file: str, rows: list[Row]) -> Rows:
        good = [row for row in rows if not isinstance(row[1], BadValue)]
        events = [event for _, event, _ in good]
        bad = [
            Rejected(file, line, found.field, found.problem) for line, found, _ in rows if isinstance(found, BadValue)
        ]
        carried = self._carrying.batch(events, [beside for _, _, beside in good])
        return Rows(file, events, None, carried, [line for line, _, _ in good], bad, len(rows))


class CsvReader(_TextReader):
    """Reads the parts of a plan's CSV files."""

    def _rows(self, part: Part, file: InputFile) -> Iterator[Row]:
        path = Path(file.stored)
        encoding = encoding_of(path, self._plan.job.form.encoding)
        header = read_header(path, self._struct, encoding, self._plan.job.form.delimiter)
        read = RowReader(self._struct, header, encoding).read
        at = {name: i for i, name in enumerate(header.names)}
        beside = _picker([at[name] for name in self._carrying.beside])
        skipped = header.lines if part.start == 0 else 0
        with _text(path, encoding, part, newline="") as lines:
            for _ in range(skipped):
                lines.readline()
            for line, cells in cells_of(lines, header, part.first + skipped):
                if isinstance(cells, str):
                    yield line, BadValue("", cells), ()
                    continue
                event = read(cells)
                yield line, event, () if isinstance(event, BadValue) else beside(cells)


def _picker(indexes: list[int]) -> Callable[[list[str]], Sequence[Any]]:
    if not indexes:
        return lambda _: ()
    return lambda cells: [None if unreadable(cells[i]) else cells[i] for i in indexes]


class JsonReader(_TextReader):
    """Reads the parts of a plan's files of JSON lines."""

    def _rows(self, part: Part, file: InputFile) -> Iterator[Row]:
        path = Path(file.stored)
        encoding = encoding_of(path, self._plan.job.form.encoding)
        decode, check = msgspec.json.Decoder(self._struct).decode, number_check(self._struct, from_json=True)
        names = self._carrying.beside
        for line, data in enumerate(_json_lines(path, encoding, part), part.first + 1):
            try:
                event = decode(data)
                yield line, check(event) or event, _others(data, names) if names else ()
            except DECODE_ERRORS as error:
                if data.strip():
                    yield line, refused(data, error, encoding), ()


_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _others(data: bytes | str, names: Sequence[str]) -> list[str | None]:
    """Members that are no field: the text of strings, the JSON of other values."""
    raw = _OBJECT.decode(data)
    return [_member(raw.get(name)) for name in names]


def _member(raw: msgspec.Raw | None) -> str | None:
    if raw is None:
        return None
    value = bytes(raw)
    return str(msgspec.json.decode(value)) if value.startswith(b'"') else None if value == b"null" else value.decode()


def _json_lines(path: Path, encoding: str, part: Part) -> Iterator[bytes | str]:
    if encoding in ("utf-8", "utf-8-sig"):
        with path.open("rb") as file:
            file.seek(part.start)
            data = io.BytesIO(file.read(part.stop - part.start))
        for number, line in enumerate(data):
            yield line.removeprefix(b"\xef\xbb\xbf") if number == 0 and part.start == 0 else line
        return
    with _text(path, encoding, part, newline="\n") as lines:
        for text in lines:
            yield text if unreadable(text) else text.encode()


@contextmanager
def _text(path: Path, encoding: str, part: Part, newline: str) -> Iterator[io.TextIOWrapper]:
    """A part as text; bytes that the encoding does not have are marked, as in `headrace.replay.text`."""
    if not cut_by_bytes(encoding):
        with opened(path, encoding, newline) as file:
            yield file
        return
    with path.open("rb") as raw:
        raw.seek(part.start)
        data = raw.read(part.stop - part.start)
    if part.start == 0:
        data = data.removeprefix(b"\xef\xbb\xbf") if encoding.startswith("utf-8") else data
    yield io.TextIOWrapper(io.BytesIO(data), "utf-8" if encoding == "utf-8-sig" else encoding, MARK_BYTES, newline)


def check_json(files: list[InputFile], struct: type[Any], job: Job) -> None:
    """Raise `ConfigError` if a file is not one object a line."""
    for file in files:
        path = Path(file.stored)
        check_start(path, encoding_of(path, job.form.encoding), struct)
