"""Files of folded rows: one for some whole days (UTC) of one width, minutes or hours.

A file's name says its days. One of many days covers those of single days that it was made of, as merged segments do.
What is in a file, and up to which offset of the samples, is in its footer: both change in one step, when a file takes
the place of the one of the same name.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from headrace.archive.segments.manifest import read_footer
from headrace.archive.segments.writing import COMPRESSION, Step, ignore, place
from headrace.archive.series.samples import ROW_GROUP, folded_columns
from headrace.runtime.errors import DependencyError

DAY_MS = 86_400_000
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
KEY = b"headrace.days"
_NAME = re.compile(r"(\d{8})-(\d{8})\.parquet")

Offsets = dict[str, int]
"""By `<topic id>/<partition>`, the offset after the last record of samples that is folded in."""


class DaysManifest(msgspec.Struct, frozen=True):
    """What is in a file: by day, in ms since the epoch, how far the samples are folded in."""

    width_ms: int
    days: dict[int, Offsets]


@dataclass(frozen=True, order=True)
class DaysFile:
    """Folded rows of `[start, end)`, in ms since the epoch."""

    start: int
    end: int
    path: Path = field(compare=False)


def day_of(at_ms: int) -> int:
    """Where the day begins, in ms since the epoch."""
    return at_ms - at_ms % DAY_MS


def list_days(folder: Path) -> tuple[list[DaysFile], list[DaysFile]]:
    """The files that count, oldest first, and those that another one has replaced.

    Raises:
        DependencyError: two files hold some of the same days.
    """
    try:
        names = [(found, path) for path in folder.iterdir() if (found := _NAME.fullmatch(path.name))]
    except FileNotFoundError:
        names = []
    files = [DaysFile(_parsed(found[1]), _parsed(found[2]), path) for found, path in names]
    current, replaced = list[DaysFile](), list[DaysFile]()
    for one in sorted(files, key=lambda f: (f.start, -f.end)):
        if not current or one.start >= current[-1].end:
            current.append(one)
        elif one.end <= current[-1].end:
            replaced.append(one)
        else:
            raise DependencyError(f"{current[-1].path} and {one.path.name} hold the same days")
    return current, replaced


def span_of(folder: Path, start: int, end: int) -> DaysFile:
    """The file of these days, whether it is there or not."""
    return DaysFile(start, end, folder / f"{_named(start)}-{_named(end)}.parquet")


def read_days_manifest(path: Path) -> DaysManifest:
    """A file's manifest.

    Raises:
        FileNotFoundError: the file is gone.
        DependencyError: it is damaged.
    """
    try:
        return msgspec.json.decode((read_footer(path).metadata or {})[KEY], type=DaysManifest)
    except (KeyError, msgspec.MsgspecError) as error:
        raise DependencyError(f"{path} has no manifest of days", hint="move it out of the archive") from error


def write_days(span: DaysFile, tables: Iterable[Any], manifest: DaysManifest, step: Step = ignore) -> None:
    """Put folded rows, in the order of series, in place of those that the file of these days has, if there is one.

    Raises:
        OSError: the storage refuses.
    """
    import pyarrow.parquet as pq

    schema = folded_columns().with_metadata({KEY: msgspec.json.encode(manifest)})

    def fill(file: Any) -> None:
        with pq.ParquetWriter(file, schema, **COMPRESSION) as writer:
            for table in tables:
                writer.write_table(table.replace_schema_metadata(schema.metadata), row_group_size=ROW_GROUP)

    place(span.path, fill, step)


def month_of(at_ms: int) -> tuple[int, int]:
    """Where the month of a time begins and ends, in ms since the epoch."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    start = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return int(start.timestamp() * 1000), int(end.timestamp() * 1000)


def _named(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y%m%d")


def _parsed(name: str) -> int:
    return int(datetime.strptime(name, "%Y%m%d").replace(tzinfo=UTC).timestamp() * 1000)
