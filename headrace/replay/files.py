"""Records to produce, read from CSV or JSON-lines files and checked against the pipeline's structs, row by row.

A row that does not fit becomes a `BadRow` that names file, line and field, in the place where its record would have
been: the caller decides whether to go on. Files are read once, front to back, and never held whole.
"""

import csv
import heapq
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import msgspec

from headrace.model.source import BadRow, Item, Kind, Timed
from headrace.runtime.errors import ConfigError

MISSING = ("", "NA", "null", "None")  # cells that mean "no value" in a field that may have none


def read_files(
    events: Path | None, labels: Path | None, types: tuple[type[Any], type[Any]], time_field: str | None
) -> Iterator[Item]:
    """Events and labels from files, merged by `time_field` where there is one; else all events, then all labels.

    `types` are the structs of events and labels. `time_field` holds epoch seconds or ISO 8601, in both files.

    Raises:
        ConfigError: a file cannot be opened, is of no known kind, or its columns or `time_field` do not fit the struct.
    """
    chosen: list[tuple[Path, Kind, type[Any]]] = []
    if events is not None:
        chosen.append((events, "events", types[0]))
    if labels is not None:
        chosen.append((labels, "labels", types[1]))
    streams = [_timed(path, kind, struct, time_field) for path, kind, struct in chosen]
    if time_field is None:
        return (item for stream in streams for _, item in stream)
    return (item for _, item in heapq.merge(*streams, key=lambda pair: pair[0]))


def _timed(path: Path, kind: Kind, struct: type[Any], time_field: str | None) -> Iterator[tuple[float, Item]]:
    """Items of one file with their times; a bad row stands at the time of the row before it."""
    if time_field is not None and time_field not in struct.__struct_fields__:
        raise ConfigError(f"--time-field {time_field}: {struct.__name__} has no such field", hint=_fields(struct))
    rows = _reader(path)(path, struct)  # opens the file and reads its header now, so that its errors come early
    return _with_times(path, kind, rows, time_field)


def _with_times(
    path: Path, kind: Kind, rows: Iterator[tuple[int, Any]], field: str | None
) -> Iterator[tuple[float, Item]]:
    at = 0.0
    for line, value in rows:
        if isinstance(value, BadRow):
            yield at, value
            continue
        try:
            at = 0.0 if field is None else epoch_seconds(getattr(value, field))
        except (ValueError, TypeError) as error:
            yield at, BadRow(path, line, field or "", f"not a time: {error}")
            continue
        yield at, Timed(at, kind, value)


def epoch_seconds(value: Any) -> float:
    """Epoch seconds of a number, a datetime, or text that is either.

    Raises:
        ValueError: it is no time, or one without a time zone.
        TypeError: it is of another type.
    """
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} names no time zone")
        return value.timestamp()
    return float(value)


Rows = Iterator[tuple[int, Any]]  # (line, struct or BadRow)


def _reader(path: Path) -> Callable[[Path, type[Any]], Rows]:
    readers: dict[str, Callable[[Path, type[Any]], Rows]] = {
        ".csv": _csv_rows, ".jsonl": _json_rows, ".ndjson": _json_rows, ".json": _json_rows,
    }  # fmt: skip
    if path.suffix.lower() not in readers:
        raise ConfigError(f"{path}: unknown kind of file", hint=f"name it {', '.join(readers)}")
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    return readers[path.suffix.lower()]


def _json_rows(path: Path, struct: type[Any]) -> Rows:
    """One JSON object a line; empty lines are passed over."""
    decode = msgspec.json.Decoder(struct).decode
    with path.open("rb") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                yield line, decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                yield line, bad_row(path, line, error)


def _csv_rows(path: Path, struct: type[Any]) -> Rows:
    """A header that names the struct's fields, in any order; other columns are passed over."""
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        header = next(csv.reader(file), [])
    _check_header(path, header, struct)
    return _csv_body(path, header, struct)


def _check_header(path: Path, header: list[str], struct: type[Any]) -> None:
    required = [f.name for f in msgspec.structs.fields(struct) if f.required]
    missing = [name for name in required if name not in header]
    twice = sorted({name for name in header if header.count(name) > 1})
    if missing:
        raise ConfigError(f"{path}:1: no column {', '.join(missing)}", hint=_fields(struct))
    if twice:
        raise ConfigError(f"{path}:1: column {', '.join(twice)} stands there twice")


def _csv_body(path: Path, header: list[str], struct: type[Any]) -> Rows:
    columns = _columns(header, struct)
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.reader(file)
        next(reader)
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                yield reader.line_num, BadRow(path, reader.line_num, "", str(error))
                continue
            if cells is None:
                return
            if len(cells) == len(header):
                yield reader.line_num, _csv_row(path, reader.line_num, cells, columns, struct)
            elif cells:
                problem = f"{len(cells)} cells, the header names {len(header)}"
                yield reader.line_num, BadRow(path, reader.line_num, "", problem)


Columns = list[tuple[int, str, Any]]  # position, field, what an empty cell means: None, _DEFAULT or _AS_IT_IS
_DEFAULT, _AS_IT_IS = object(), object()


def _columns(header: list[str], struct: type[Any]) -> Columns:
    fields = {f.name: f for f in msgspec.structs.fields(struct)}
    return [(i, name, _empty(fields[name])) for i, name in enumerate(header) if name in fields]


def _empty(field: msgspec.structs.FieldInfo) -> Any:
    if NoneType in get_args(field.type):
        return None
    return _AS_IT_IS if field.required or field.type is str else _DEFAULT


def _csv_row(path: Path, line: int, cells: list[str], columns: Columns, struct: type[Any]) -> Any:
    row: dict[str, Any] = {}
    for i, name, empty in columns:
        cell = cells[i]
        if cell not in MISSING or empty is _AS_IT_IS:
            row[name] = cell
        elif empty is None:
            row[name] = None
    try:
        "".join(cells).encode()
        return msgspec.convert(row, struct, strict=False)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        return bad_row(path, line, error)


def bad_row(path: Path, line: int, error: Exception) -> BadRow:
    """What msgspec says about a row, with the field taken out of "... - at `$.field`"."""
    if isinstance(error, UnicodeError):
        return BadRow(path, line, "", "not UTF-8")
    problem, _, place = str(error).partition(" - at `$")
    found = re.match(r"\.?([^`]*)`", place)
    return BadRow(path, line, found.group(1) if found else "", problem)


def _fields(struct: type[Any]) -> str:
    return f"{struct.__name__} has {', '.join(struct.__struct_fields__)}"
