"""Files to an input: which there are, of what kind, and JSON lines and Parquet, which need little more."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.batch.job import Kind, kind_of
from headrace.batch.reading.inputs import expanded, stat, unpacked
from headrace.datasets.errors import BadInput
from headrace.datasets.reading.csv_table import CsvTable, column_names
from headrace.datasets.reading.json_objects import JsonObjects, Row
from headrace.datasets.reading.port import BATCH_ROWS, Facts, Input, Opening, Read
from headrace.datasets.reading.workbook import Sheet, sheet_names
from headrace.datasets.reading.workbook_zip import BOOKS
from headrace.datasets.storing.digest import sha256_of
from headrace.model.json_errors import DECODE_ERRORS
from headrace.model.source import BadRow
from headrace.replay.json_file import check_start, lines_of, refused
from headrace.replay.text import encoding_of

Shown = tuple[str, Path]
"""A file as people know it, and where its uncompressed bytes are."""
FileKind = Kind | str


def found_files(given: Sequence[str]) -> tuple[str, list[Path]]:
    """The kind of all files, and the files that names, folders and patterns mean, in order.

    Raises:
        ConfigError: there is none, one is of no known kind, or they are of several kinds.
    """
    found = {path.resolve(): _kind(path) for one in given for path in expanded(one)}
    kinds = sorted(set(found.values()))
    if not found:
        raise BadInput("no file to import")
    if len(kinds) > 1:
        raise BadInput(f"files of several kinds: {', '.join(kinds)}", hint="one import for each kind")
    if kinds[0] == "workbook" and len(found) > 1:
        raise BadInput(f"{len(found)} workbooks", hint="one import for each workbook")
    return kinds[0], list(found)


def _kind(path: Path) -> str:
    return "workbook" if path.suffix.lower() in BOOKS else kind_of(path)[0]


def open_files(given: Sequence[str], opening: Opening, names: Mapping[str, str] | None = None) -> Input:
    """The files as one input. `names` are what files are called in errors, by path; else by what was given.

    Raises:
        ConfigError: they cannot be read right.
    """
    kind, paths = found_files(given)
    called = names or {}
    shown = [(called.get(str(path), str(path)), path) for path in paths]
    details = [
        {"file": name if called else path.name, "sha256": sha256_of(path), "size": path.stat().st_size}
        for name, path in shown
    ]
    if kind == "workbook":
        made: Input = Sheet(*shown[0], opening)
    else:
        made = _READERS[kind](_unpacked(shown, opening.work), opening)
    made.facts.details = {"files": details, **made.facts.details}
    return made


def columns_of(given: Sequence[str], opening: Opening) -> list[str]:
    """The names of the first file's columns, where they stand in a header; of JSON lines those of the first object.

    Raises:
        ConfigError: they cannot be read right.
    """
    kind, paths = found_files(given)
    shown = str(paths[0])
    if kind == "workbook":
        return sheet_names(shown, paths[0], opening)
    path = _unpacked([(shown, paths[0])], opening.work)[0][1]
    if kind == "csv":
        return column_names(shown, path, opening.form)
    if kind == "parquet":
        return list(_parquet(shown, path).schema_arrow.names)
    encoding = encoding_of(path, opening.form.encoding)
    for line in lines_of(path, encoding):
        try:
            return list(msgspec.json.decode(line, type=dict[str, Any]))
        except DECODE_ERRORS:
            continue
    return []


def _unpacked(files: Sequence[Shown], work: Path) -> list[Shown]:
    return [
        (shown, Path(unpacked(stat(path), work / "unpacked" / str(i)).stored)) for i, (shown, path) in enumerate(files)
    ]


class JsonLines:
    """Files of one object a line. See `headrace.datasets.reading.port.Input`."""

    def __init__(self, files: Sequence[Shown], opening: Opening) -> None:
        encodings = [encoding_of(path, opening.form.encoding) for _, path in files]
        for (_, path), encoding in zip(files, encodings, strict=True):
            check_start(path, encoding)
        self._objects = JsonObjects(
            opening, "objects", place=lambda file, line: f"{files[file][0]}:{line}", where=files[0][0]
        )
        for number, ((shown, path), encoding) in enumerate(zip(files, encodings, strict=True)):
            self._objects.take(_objects(number, shown, path, encoding, opening))
        self.schema = self._objects.decide()
        self.facts, self.total = Facts(encoding=", ".join(sorted(set(encodings)))), self._objects.rows

    def read(self) -> Iterator[Read]:
        """See `Input.read`."""
        return self._objects.read()


def _objects(number: int, shown: str, path: Path, encoding: str, opening: Opening) -> Iterator[Row]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for line, data in enumerate(lines_of(path, encoding), 1):
        try:
            row = decode(data)
            bad = opening.check(data) if opening.check is not None else None
            if bad is None:
                yield number, line, row
            else:
                opening.on_bad(BadRow(f"{shown}:{line}", *bad))
        except DECODE_ERRORS as error:
            if data.strip():
                opening.on_bad(BadRow(f"{shown}:{line}", *refused(data, error, encoding)))


class ParquetTable:
    """Parquet files with the same columns and types. See `headrace.datasets.reading.port.Input`."""

    def __init__(self, files: Sequence[Shown], opening: Opening) -> None:
        self._files = files
        if opening.form.types:
            raise BadInput(
                "--type is for text, and the input is Parquet", hint="a query can cast: --query 'select ...'"
            )
        self._schemas = [_schema(shown, _parquet(shown, path)) for shown, path in files]
        self.schema = pa.schema([f.with_name(opening.renamed.get(f.name, f.name)) for f in self._schemas[0]])
        for (shown, _), schema in zip(files[1:], self._schemas[1:], strict=True):
            if problem := _differs(self._schemas[0], schema):
                raise BadInput(f"{shown}: {problem}, unlike {files[0][0]}", hint="one import for each kind of file")
        self.facts = Facts()
        self.total = sum(_parquet(shown, path).metadata.num_rows for shown, path in files)

    def read(self) -> Iterator[Read]:
        """See `Input.read`."""
        for shown, path in self._files:
            before = 0
            with pq.ParquetFile(path, memory_map=True) as source:
                for batch in source.iter_batches(BATCH_ROWS, columns=list(self._schemas[0].names)):

                    def place(i: int, before: int = before, shown: str = shown) -> str:
                        return f"{shown}, row {before + i + 1}"

                    arrays = [column.cast(f.type) for column, f in zip(batch.columns, self.schema, strict=True)]
                    yield Read(pa.RecordBatch.from_arrays(arrays, schema=self.schema), place)
                    before += batch.num_rows


def _parquet(shown: str, path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{shown}: cannot be read as Parquet: {error}") from error


def _schema(shown: str, file: pq.ParquetFile) -> pa.Schema:
    found = file.schema_arrow.remove_metadata()
    if len(set(found.names)) < len(found.names):
        raise BadInput(f"{shown}: two columns have one name")
    return pa.schema([pa.field(f.name, _plain(f.type)) for f in found])


def _plain(kind: pa.DataType) -> pa.DataType:
    """Without what is only a way to keep it."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return pa.string() if pa.types.is_null(kind) else kind


def _differs(first: pa.Schema, other: pa.Schema) -> str:
    if names := sorted(set(first.names) ^ set(other.names)):
        return f"column {', '.join(names)} is in one of them alone"
    for one in first:
        if (found := other.field(one.name).type) != one.type:
            return f"column {one.name} is {found}, not {one.type}"
    return ""


_READERS: dict[str, Callable[[Sequence[Shown], Opening], Input]] = {
    "csv": CsvTable, "jsonl": JsonLines, "parquet": ParquetTable,
}  # fmt: skip
