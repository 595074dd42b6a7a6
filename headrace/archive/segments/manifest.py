"""What a segment says about itself, in the metadata of its Parquet footer."""

from pathlib import Path
from typing import Any

import msgspec

from headrace.runtime.errors import DependencyError

KEY = b"headrace.segment"


class Manifest(msgspec.Struct, frozen=True):
    """The records in a segment: of which topic and partition, offsets `[first, next)`, how many, from when to when.

    Times are those of the records on Kafka, in ms since the epoch, both included; of metrics those of the samples.
    """

    topic: str
    topic_id: str
    partition: int
    first: int
    next: int
    rows: int
    from_ms: int
    to_ms: int
    merged: int = 1
    """Segments as they were first written that are in this one."""

    def metadata(self) -> dict[bytes, bytes]:
        """As metadata of an Arrow schema."""
        return {KEY: msgspec.json.encode(self)}


def read_footer(path: Path) -> Any:
    """The Parquet footer of a file.

    Raises:
        FileNotFoundError: it is gone.
        DependencyError: it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(path, memory_map=False)
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DependencyError(f"{path} cannot be read: {error}", hint="the file is damaged; move it away") from error


def read_manifest(path: Path) -> Manifest:
    """A segment's manifest.

    Raises:
        FileNotFoundError: it is gone.
        DependencyError: it is damaged, or no segment.
    """
    return manifest_in(read_footer(path).metadata, path)


def manifest_in(metadata: Any, path: Path) -> Manifest:
    """The manifest among the metadata of a file or schema.

    Raises:
        DependencyError: it is not there.
    """
    try:
        return msgspec.json.decode((metadata or {})[KEY], type=Manifest)
    except (KeyError, msgspec.MsgspecError) as error:
        raise DependencyError(f"{path} has no manifest of a segment", hint="move it out of the archive") from error
