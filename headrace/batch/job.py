"""What a batch job is, how it is cut into parts, and what must not change before it is resumed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from headrace.replay.text import FileFormat
from headrace.runtime.errors import ConfigError, ExitCode, HeadraceError

Kind = Literal["parquet", "csv", "jsonl"]
Engine = Literal["local", "ray"]
BATCH_ROWS = 4096
PART_ROWS = 131_072
PART_BYTES = 8 << 20


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. Paths are absolute.

    Attributes:
        pipeline: the pipeline's folder.
        inputs: files, folders and patterns.
        output: the file of predictions; its name says the format.
        model: one of the pipeline's further models; "" is the champion.
        version: the version of the weights; None is the newest one that was published.
        weights: a safetensors file of weights to use instead of a published version; "" is none.
        columns: the input's columns to carry to the output; None is all.
        form: how CSV and JSON-lines files are read.
        batch_rows: rows in one forward pass.
        part_rows: rows of a part, for Parquet; text files are cut every `part_bytes`.
        part_bytes: bytes of a part of a text file.
        max_bad_rows: more rejected rows than these end the job without an output; None: it is never ended for them.
        workers: processes.
        engine: who runs them.
        dataset: the data set whose files the inputs are, with its digest; empty where they are none's.
    """

    pipeline: str
    inputs: list[str]
    output: str
    model: str = ""
    version: int | None = None
    weights: str = ""
    columns: list[str] | None = None
    form: FileFormat = msgspec.field(default_factory=FileFormat)
    batch_rows: int = BATCH_ROWS
    part_rows: int = PART_ROWS
    part_bytes: int = PART_BYTES
    max_bad_rows: int | None = None
    workers: int = 1
    engine: Engine = "local"
    dataset: dict[str, str] = {}

    @property
    def output_path(self) -> Path:
        """The file of predictions."""
        return Path(self.output)


class InputFile(msgspec.Struct, frozen=True):
    """A file to read: `path` as it is named to people, `stored` where its uncompressed bytes are."""

    path: str
    stored: str
    size: int
    mtime_ns: int


class Part(msgspec.Struct, frozen=True):
    """A range of one file, done by one process at a time.

    [start, stop) are row groups of a Parquet file, or bytes of a text file; `first` is the number of rows, or lines,
    before it in its file, and `rows` how many it has (lines, of a text file).
    """

    index: int
    file: int
    start: int
    stop: int
    first: int
    rows: int


class Version(msgspec.Struct, frozen=True):
    """The one version of the weights that the whole job uses; `file` holds its tensors."""

    model: str
    version: int
    checkpoint: str
    file: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A job with everything settled: files, parts, weights. Every process reads it from the work folder.

    `identity` is what must be the same when the job is resumed, by name. `schema` is the Arrow schema of the columns
    that are carried, serialized.
    """

    job: Job
    identity: dict[str, str]
    kind: Kind
    files: list[InputFile]
    parts: list[Part]
    version: Version
    schema: bytes

    @property
    def rows(self) -> int:
        """Rows of all parts; of text files the lines, which may be a few more."""
        return sum(part.rows for part in self.parts)


class PartResult(msgspec.Struct, frozen=True):
    """A part that is on disk: predicted rows, rejected ones, and the bytes of its files."""

    part: int
    rows: int
    bad: int
    size: int
    bad_size: int


class Rejected(msgspec.Struct, frozen=True):
    """A row without a prediction. `row` counts from 1: lines of a text file, rows of a Parquet file."""

    file: str
    row: int
    field: str
    reason: str


class TooManyBadRows(HeadraceError):  # noqa: N818 - it is named for what it says
    """More rows were rejected than `max_bad_rows`."""

    exit_code = ExitCode.DATA


_SUFFIXES: Mapping[str, Kind] = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".json": "jsonl",
}  # fmt: skip
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4")


def kind_of(path: Path) -> tuple[Kind, str]:
    """The kind of a file by its name, and the suffix of its compression, "" if none.

    Raises:
        ConfigError: the name says no kind that is known.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSED else ""
    kind = _SUFFIXES.get(suffixes[-1]) if suffixes else None
    if kind is None or (kind == "parquet" and packed):
        raise ConfigError(
            f"{path}: unknown kind of file",
            hint=f"name it {', '.join(_SUFFIXES)}; text files may be compressed: {', '.join(COMPRESSED)}",
        )
    return kind, packed


def output_kind(path: Path) -> tuple[Kind, bool]:
    """The format of the output, and whether it is compressed by gzip.

    Raises:
        ConfigError: its name says no format that can be written.
    """
    kind, packed = kind_of(path)
    if packed not in ("", ".gz"):
        raise ConfigError(
            f"{path}: cannot write {packed}", hint="--output y.parquet, y.csv, y.jsonl, y.csv.gz, y.jsonl.gz"
        )
    return kind, bool(packed)
