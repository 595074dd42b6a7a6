"""Cutting files into parts that processes can do independently of each other.

A Parquet file is cut between row groups. A text file is cut between lines; in a CSV file, where a quoted cell may hold
a line break, only behind an even number of quotes. A CSV file with quotes inside unquoted cells, and a file in an
encoding whose lines cannot be found by their bytes (UTF-16, UTF-32, ISO-2022, ...), is one part.
"""

import codecs
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.batch.job import InputFile, Job, Part
from headrace.replay.text import encoding_of
from headrace.runtime.errors import ConfigError

_BY_BYTES = (
    "utf-8",
    "ascii",
    "latin",
    "iso8859",
    "cp1",
    "cp4",
    "cp7",
    "cp8",
    "koi8",
    "mac",
    "shift",
    "euc",
    "gb",
    "big5",
)
_LINE, _QUOTE = 10, 34
_MARK = 3  # a quote may follow the byte-order mark of UTF-8


def parquet_parts(files: list[InputFile], job: Job) -> list[Part]:
    """Parts of whole row groups, of `part_rows` rows if the row groups are smaller.

    Raises:
        ConfigError: a file is not a Parquet file.
    """
    parts: list[Part] = []
    for number, file in enumerate(files):
        meta = parquet_metadata(file)
        start = first = rows = 0
        for group in range(meta.num_row_groups):
            rows += meta.row_group(group).num_rows
            if rows >= job.part_rows or group == meta.num_row_groups - 1:
                parts.append(Part(len(parts), number, start, group + 1, first, rows))
                start, first, rows = group + 1, first + rows, 0
    return parts


def parquet_metadata(file: InputFile) -> pq.FileMetaData:
    """The footer of a Parquet file.

    Raises:
        ConfigError: it is not a Parquet file.
    """
    try:
        return pq.read_metadata(file.stored)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{file.path}: cannot be read as Parquet: {error}") from error


def text_parts(files: list[InputFile], job: Job, delimiters: list[str] | None) -> list[Part]:
    """Parts of about `part_bytes` bytes. `delimiters` are those of CSV files, None for JSON lines."""
    parts: list[Part] = []
    for number, file in enumerate(files):
        delimiter = None if delimiters is None else delimiters[number]
        encoding = encoding_of(Path(file.stored), job.form.encoding)
        for start, stop, first, lines in _ranges(Path(file.stored), encoding, delimiter, job.part_bytes):
            parts.append(Part(len(parts), number, start, stop, first, lines))
    return parts


def cut_by_bytes(encoding: str) -> bool:
    """Whether a line's end is the byte 10, and no other character has that byte, or a quote's, in it."""
    return codecs.lookup(encoding).name.startswith(_BY_BYTES)


def _ranges(path: Path, encoding: str, delimiter: str | None, size: int) -> Iterator[tuple[int, int, int, int]]:
    total = path.stat().st_size
    if not total:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        data = np.frombuffer(mapped, np.uint8)
        try:
            whole = not cut_by_bytes(encoding) or (delimiter is not None and not _plain_quotes(data, delimiter))
            yield from [(0, total, 0, _lines(data))] if whole else _cuts(data, size, quoted=delimiter is not None)
        finally:
            del data


def _lines(data: np.ndarray) -> int:
    return sum(int(np.count_nonzero(data[i : i + (1 << 24)] == _LINE)) for i in range(0, len(data), 1 << 24))


def _cuts(data: np.ndarray, size: int, *, quoted: bool) -> list[tuple[int, int, int, int]]:
    found, start, first, lines, quotes = [], 0, 0, 0, 0
    for begin in range(0, len(data), size):
        piece = data[begin : begin + size]
        ends = np.flatnonzero(piece == _LINE)
        if quoted:
            marks = np.flatnonzero(piece == _QUOTE)
            between = (np.searchsorted(marks, ends) + quotes) % 2 == 0
            usable = np.flatnonzero(between)
            quotes += len(marks)
        else:
            usable = np.arange(len(ends))
        if begin + size >= len(data):
            lines += len(ends)
        elif len(usable):
            last = int(usable[-1])
            stop = begin + int(ends[last]) + 1
            found.append((start, stop, first, lines + last + 1 - first))
            start, first = stop, lines + last + 1
            lines += len(ends)
        else:
            lines += len(ends)
    if start < len(data):
        found.append((start, len(data), first, max(lines - first, 1)))
    return found


def _plain_quotes(data: np.ndarray, delimiter: str) -> bool:
    """Whether every quote opens or closes a cell, or is doubled: then an even number of them means "outside"."""
    if not delimiter.isascii():
        return not bool((data == _QUOTE).any())
    edges = np.zeros(256, bool)
    edges[[ord(delimiter), 10, 13, _QUOTE]] = True
    seen = 0
    for begin in range(0, len(data), 1 << 24):
        marks = begin + np.flatnonzero(data[begin : begin + (1 << 24)] == _QUOTE)
        opens, closes = (marks[seen % 2 :: 2], marks[1 - seen % 2 :: 2])
        starts_cell = edges[data[np.maximum(opens - 1, 0)]] | (opens == 0) | (opens == _MARK)
        ends_cell = edges[data[np.minimum(closes + 1, len(data) - 1)]] | (closes == len(data) - 1)
        if not (starts_cell.all() and ends_cell.all()):
            return False
        seen += len(marks)
    return True
