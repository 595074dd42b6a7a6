"""What a version of a data set is: its columns, its files with their digests, where it comes from.

The manifest's canonical encoding is JSON without spaces, fields as declared, maps sorted; the SHA-256 of that encoding
is the version's identity. Whoever trains on a version records it (`Manifest.reference`).
"""

import hashlib
from typing import Any, Literal

import msgspec

from headrace.datasets.errors import DamagedSet

FORMAT = 1
SourceKind = Literal["file", "topic", "query", "split"]
Holds = Literal["", "events", "labels", "examples"]


class DataFile(msgspec.Struct, frozen=True):
    """A Parquet file: its path within the store, rows, bytes, and the hex SHA-256 of its bytes."""

    path: str
    rows: int
    size: int
    sha256: str


class ColumnFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A column, as counted while it was written.

    `type` is Arrow's name of it. `min` and `max` are those of numbers, times (ISO 8601) and text, None where there are
    none or they cannot be compared.
    """

    name: str
    type: str
    missing: int = 0
    min: float | int | str | None = None
    max: float | int | str | None = None


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a version comes from; `details` are what such a source has: file and digest, topic and offsets, query."""

    kind: SourceKind
    details: dict[str, Any] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a data set.

    Attributes:
        name, version: which.
        created_us: when it was made, µs since the epoch.
        import_id: of the import that made it.
        source: from what.
        holds: events, labels or examples of a pipeline, "" for any table.
        key: the column that names an event, "" where none was named.
        time: the column of each row's time, and `label_time` that of its label; "" where none was named.
        encoding: of the text that it was read from, "" for binary formats.
        metadata: what its maker says: licence, description, ...
        parents: `name@version` of the sets that it was made from.
        columns: all of them, in order.
        rows, size: rows, and bytes of all files.
        bad_rows: rows that were left out, since they did not fit.
        time_range: first and last time (ISO 8601) of the column `time`; empty where there is none.
        files: in the order of rows.
        format: of this schema.
    """

    name: str
    version: int
    created_us: int
    import_id: str
    source: Source
    holds: Holds = ""
    key: str = ""
    time: str = ""
    label_time: str = ""
    encoding: str = ""
    metadata: dict[str, str] = {}
    parents: list[str] = []
    columns: list[ColumnFacts]
    rows: int
    size: int
    bad_rows: int = 0
    time_range: list[str] = []
    files: list[DataFile]
    format: int = FORMAT

    @property
    def set(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    def encode(self) -> bytes:
        """The canonical encoding."""
        return _ENCODER.encode(self)

    @property
    def digest(self) -> str:
        """The hex SHA-256 of the canonical encoding."""
        return hashlib.sha256(self.encode()).hexdigest()

    @property
    def reference(self) -> dict[str, str]:
        """What whoever uses the version records."""
        return {"set": self.set, "digest": self.digest}

    def shown(self) -> dict[str, Any]:
        """For callers and programs: with the digest."""
        return {**msgspec.to_builtins(self), "digest": self.digest}


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(Manifest)


def decoded(data: bytes, where: str) -> Manifest:
    """A manifest's canonical encoding, read from `where`.

    Raises:
        DamagedSet: it is none.
    """
    try:
        manifest = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedSet(f"{where}: not a manifest of a data set: {error}") from error
    if manifest.format != FORMAT:
        raise DamagedSet(f"{where}: a manifest of format {manifest.format}, this release reads {FORMAT}")
    if manifest.encode() != data:
        raise DamagedSet(f"{where}: the manifest is not in its canonical form: it was changed")
    return manifest
