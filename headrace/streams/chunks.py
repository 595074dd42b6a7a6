"""Chunks: consecutive records of one partition, in columns.

What flows through Headrace's Faust apps instead of single records.

Nothing here imports a Kafka client: a record is whatever has the methods of `Record`, which confluent_kafka's Message
has and `headrace.streams.memory.MemoryRecord` has too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol, TypeVar

Headers = Sequence[tuple[str, bytes | None]]
NO_TIMESTAMP = 0
"""`Record.timestamp()[0]` of a record that carries none."""


class Partition(NamedTuple):
    """A partition of a topic; equal to, and hashes as, the (topic, partition) tuples of Faust."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class Record(Protocol):
    """One record as the consumer returned it. `len(record)` is the size of its value in bytes."""

    def topic(self) -> str:
        """Where it came from."""
        ...

    def partition(self) -> int:
        """The partition of that topic."""
        ...

    def offset(self) -> int:
        """Its place in the partition."""
        ...

    def key(self) -> bytes | None:
        """Its key, as bytes."""
        ...

    def value(self) -> bytes | None:
        """Its value, as bytes; None is a tombstone."""
        ...

    def headers(self) -> Headers | None:
        """Names and values; None where there are none."""
        ...

    def timestamp(self) -> tuple[int, int]:
        """Its kind (0 is none) and ms since the epoch."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records of one partition in offset order, at least one. Offsets may have gaps (transaction markers, compaction).

    `generation` counts the assignments of this process: a chunk of an older generation must not be committed, since its
    partition may have moved. `round_size` is the number of chunks in the round that the consumer handed out, this one
    counted.
    """

    topic: str
    partition: int
    records: Sequence[Record]
    generation: int = 0
    round_size: int = 1

    def __post_init__(self) -> None:
        if not self.records:
            raise ValueError(f"a chunk of {self.source} needs at least one record")

    def __len__(self) -> int:
        return len(self.records)

    @property
    def source(self) -> Partition:
        """Where the records came from."""
        return Partition(self.topic, self.partition)

    @property
    def first_offset(self) -> int:
        """Offset of the first record."""
        return self.records[0].offset()

    @property
    def last_offset(self) -> int:
        """Offset of the last record."""
        return self.records[-1].offset()

    @property
    def next_offset(self) -> int:
        """The offset to commit once every record is done."""
        return self.last_offset + 1

    @property
    def size_bytes(self) -> int:
        """Bytes of all values."""
        return sum(map(len, self.records))

    def values(self) -> list[bytes | None]:
        """Every record's value; None is a tombstone."""
        return [record.value() for record in self.records]

    def keys(self) -> list[bytes | None]:
        """Every record's key."""
        return [record.key() for record in self.records]

    def offsets(self) -> list[int]:
        """Every record's offset."""
        return [record.offset() for record in self.records]

    def timestamps_ms(self) -> list[int]:
        """Every record's Kafka timestamp in ms since the epoch; 0 where it has none."""
        return timestamps_ms(self.records)


def timestamps_ms(records: Iterable[Record]) -> list[int]:
    """Every record's Kafka timestamp in ms since the epoch; 0 where it has none."""
    return [value if kind != NO_TIMESTAMP else 0 for kind, value in [record.timestamp() for record in records]]


def timestamp_ms(record: Record) -> int:
    """The record's Kafka timestamp in ms since the epoch; 0 where it has none."""
    kind, value = record.timestamp()
    return 0 if kind == NO_TIMESTAMP else value


def header(record: Record, name: str) -> bytes | None:
    """The last header of that name, as Kafka's clients resolve repeated ones; None where there is none."""
    found = None
    for key, value in record.headers() or ():
        if key == name:
            found = value
    return found


def headers_named(records: Iterable[Record], name: str) -> list[Headers | None] | None:
    """Of every record the last header of that name, alone in a list, or None; None where no record has one."""
    found = [_only(record.headers(), name) for record in records]
    return found if any(found) else None


def _only(headers: Headers | None, name: str) -> Headers | None:
    if not headers:
        return None
    if len(headers) == 1:
        return headers if headers[0][0] == name else None
    return next(([pair] for pair in reversed(headers) if pair[0] == name), None)


R = TypeVar("R", bound=Record)


def by_partition(records: Iterable[R]) -> dict[Partition, list[R]]:
    """Records of one fetch by partition, each in the order in which it came."""
    grouped: dict[Partition, list[R]] = {}
    for (topic, partition), run in groupby(records, key=_source):
        grouped.setdefault(Partition(topic, partition), []).extend(run)
    return grouped


def _source(record: Record) -> tuple[str, int]:
    return record.topic(), record.partition()
