"""Records to produce, read from CSV or JSON-lines files and checked against the pipeline's structs, row by row.

A row that does not fit becomes a `BadRow` that names file, line and field, in the place where its record would have
been: the caller decides whether to go on. Files are read once, front to back, and never held whole.
"""

import heapq
import math
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from headrace.model.source import BadRow, Item, Kind, Timed
from headrace.replay.csv_file import csv_rows
from headrace.replay.json_file import json_rows
from headrace.replay.text import FileFormat
from headrace.runtime.errors import ConfigError


def read_files(
    events: Path | None,
    labels: Path | None,
    types: tuple[type[Any], type[Any]],
    time_field: str | None,
    form: FileFormat = FileFormat(),  # noqa: B008 - it is frozen
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
    if form.delimiter is not None and not any(path.suffix.lower() in _CSV for path, _, _ in chosen):
        raise ConfigError("--delimiter is for CSV files, and no file is one")
    streams = [_timed(path, kind, struct, time_field, form) for path, kind, struct in chosen]
    if time_field is None:
        return (item for stream in streams for _, item in stream)
    return (item for _, item in heapq.merge(*streams, key=lambda pair: pair[0]))


def _timed(
    path: Path, kind: Kind, struct: type[Any], time_field: str | None, form: FileFormat
) -> Iterator[tuple[float, Item]]:
    """Items of one file with their times; a bad row has the time of the row before it."""
    names = dict(zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True))
    if time_field is not None and time_field not in names:
        raise ConfigError(
            f"--time-field {time_field}: {struct.__name__} has no such field",
            hint=f"{struct.__name__} has {', '.join(names)}",
        )
    rows = _reader(path)(path, struct, form)  # opens the file and reads its header now, so that its errors come early
    return _with_times(path, kind, rows, None if time_field is None else names[time_field])


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
            yield at, BadRow.at_line(path, line, field or "", f"not a time: {error}")
            continue
        yield at, Timed(at, kind, value)


def epoch_seconds(value: Any) -> float:
    """Epoch seconds of a number, a datetime, or text that is either.

    Raises:
        ValueError: it is not a time, or has no time zone.
        TypeError: it is of another type.
    """
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} names no time zone")
        return value.timestamp()
    seconds = float(value)
    if not math.isfinite(seconds):
        raise ValueError(f"{value}, expected a finite number")
    return seconds


def _reader(path: Path) -> Callable[[Path, type[Any], FileFormat], Iterator[tuple[int, Any]]]:
    """What reads (line, struct or BadRow) from such a file."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path}: unknown kind of file", hint=f"name it {', '.join(_READERS)}")
    return reader


_READERS = {
    ".csv": csv_rows, ".tsv": csv_rows, ".jsonl": json_rows, ".ndjson": json_rows, ".json": json_rows,
}  # fmt: skip
_CSV = (".csv", ".tsv")
