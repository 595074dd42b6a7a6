"""What a batch of chunks becomes, and where it goes: durable together with its offsets, or not at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from headrace.streams.chunks import Chunk, Headers, Partition, timestamp_ms
from headrace.streams.membership import Member

Guarantee = Literal["exactly_once", "at_least_once"]


class Outgoing(NamedTuple):
    """A single record, with or without headers."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None = None


class Batch(NamedTuple):
    """Records for one topic, as confluent_kafka's `produce_batch` takes them: dicts of "value" and "key".

    `partition` of None lets the key choose. `headers` has one entry a record, or is None where no record has any. The
    records carry the time at which they were produced.
    """

    topic: str
    partition: int | None
    records: list[dict[str, Any]]
    headers: Sequence[Headers | None] | None = None


@dataclass
class Output:
    """What a batch of chunks of one generation becomes.

    All batches are produced before the singles: records whose order matters go all in the one or all in the other.
    `offsets` is the next offset of every partition that the chunks came from. `records` and `chunks` count what came
    in, `dead` the dead letters among it; `oldest_ms` is the first Kafka timestamp, 0 where there is none.
    """

    generation: int
    offsets: Mapping[Partition, int]
    records: int = 0
    chunks: int = 0
    dead: int = 0
    oldest_ms: int = 0
    batches: list[Batch] = field(default_factory=list)
    singles: list[Outgoing] = field(default_factory=list)
    metadata: Mapping[Partition, str] = field(default_factory=dict)

    @classmethod
    def of(cls, chunks: Sequence[Chunk]) -> "Output":
        """An output with the chunks' generation and offsets and no records yet."""
        offsets: dict[Partition, int] = {}
        for chunk in chunks:
            offsets[chunk.source] = max(chunk.next_offset, offsets.get(chunk.source, 0))
        oldest = min(timestamp_ms(chunk.records[0]) for chunk in chunks)
        return cls(chunks[0].generation, offsets, sum(map(len, chunks)), len(chunks), oldest_ms=oldest)

    def __len__(self) -> int:
        return sum(len(batch.records) for batch in self.batches) + len(self.singles)


class AbortedError(Exception):
    """The transaction was aborted.

    Nothing of the output is visible, no offset is committed, and it may be tried again.
    """


class Sink(Protocol):
    """Where outputs go. Called from one thread at a time."""

    commits_offsets: bool
    """Whether `deliver` commits the offsets too; else its caller does so afterwards."""

    def open(self) -> None:
        """Connect, and fence an earlier instance of the same identity."""
        ...

    def deliver(self, output: Output, member: Member) -> None:
        """Make the output durable; on return it is.

        Raises:
            AbortedError: nothing is visible; try again from the committed offsets.
            FencedError: a newer instance has taken over; this one must end.
            DependencyError: the broker failed in a way that a retry does not heal.
        """
        ...

    def close(self) -> None:
        """Flush and disconnect."""
        ...
