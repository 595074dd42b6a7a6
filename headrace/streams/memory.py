"""In-memory twins of what lies outside the process, for tests and dry runs: records without a broker."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.streams.chunks import Chunk, Headers


@dataclass(frozen=True)
class MemoryRecord:
    """A record that was never on a broker, with the methods of confluent_kafka's Message."""

    value_: bytes | None
    key_: bytes | None = None
    topic_: str = "events"
    partition_: int = 0
    offset_: int = 0
    timestamp_ms: int = 0
    headers_: Headers | None = None

    def topic(self) -> str:
        """Its topic."""
        return self.topic_

    def partition(self) -> int:
        """Its partition."""
        return self.partition_

    def offset(self) -> int:
        """Its offset."""
        return self.offset_

    def key(self) -> bytes | None:
        """Its key."""
        return self.key_

    def value(self) -> bytes | None:
        """Its value."""
        return self.value_

    def headers(self) -> Headers | None:
        """Its headers; None where it has none."""
        return self.headers_

    def timestamp(self) -> tuple[int, int]:
        """(1, ms) where it has a timestamp, else (0, 0)."""
        return (1, self.timestamp_ms) if self.timestamp_ms else (0, 0)

    def __len__(self) -> int:
        return len(self.value_ or b"")


def memory_chunk(
    values: Sequence[bytes | None],
    *,
    topic: str = "events",
    partition: int = 0,
    first_offset: int = 0,
    generation: int = 0,
    round_size: int = 1,
    headers: Headers | None = None,
) -> Chunk:
    """A chunk of consecutive offsets; record i has the key b"<i>" and the timestamp 1000 + i ms."""
    records = [
        MemoryRecord(value, str(i).encode(), topic, partition, first_offset + i, 1000 + i, headers)
        for i, value in enumerate(values)
    ]
    return Chunk(topic, partition, records, generation, round_size)
