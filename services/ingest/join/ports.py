"""What the join's loop needs of the two logs, and what it tells them."""

from dataclasses import dataclass, field
from typing import Protocol

from headrace.contracts.topics import EVENTS as EVENTS_TOPIC
from headrace.contracts.topics import EXAMPLES
from headrace.contracts.topics import LABELS as LABELS_TOPIC
from headrace.streams.membership import Member
from services.ingest.join.service import Records, Resume

SideOf = tuple[int, int]
"""(side, partition)."""


@dataclass
class Polled:
    """What one poll returned: records by side and partition, and the ends of logs that were reached."""

    records: dict[SideOf, Records] = field(default_factory=dict)
    ends: dict[SideOf, int] = field(default_factory=dict)


class Owner(Protocol):
    """Who is told about assignments, from inside `Logs.poll`."""

    def assigned(self, partition: int, events: Resume, labels: Resume) -> tuple[int, int]:
        """A partition is ours, committed so far; returns at which offsets of events and labels reading must begin."""
        ...

    def started(self, partition: int, side: int, offset: int) -> None:
        """Reading this side begins at `offset`."""
        ...

    def revoked(self) -> None:
        """Nothing is ours any more."""
        ...


class Logs(Protocol):
    """The events and labels of the pipeline, as one member of a consumer group sees them."""

    def poll(self) -> Polled:
        """Records of both logs, in the order of each; waits a little for them."""
        ...

    def pause(self, side: int, partition: int, *, paused: bool) -> None:
        """Stop or go on returning this log's records."""
        ...

    def behind(self, side: int, partition: int, position: int) -> int:
        """How many offsets after `position` this log has, as far as the last fetch knows."""
        ...

    def end(self, side: int, partition: int) -> int | None:
        """The offset at which this log ends now, asked of the broker; None if it does not answer."""
        ...

    def rejoin(self) -> None:
        """Give everything up and be assigned anew, to begin again at the committed offsets."""
        ...

    def member(self) -> Member:
        """This member's identity in the generation in which the last poll's records were read."""
        ...


@dataclass
class Names:
    """The pipeline's topics and what its records are called by."""

    pipeline: str
    topics: tuple[str, str]
    examples: str

    @classmethod
    def of(cls, pipeline: str) -> "Names":
        """Those of one pipeline."""
        return cls(pipeline, (EVENTS_TOPIC.name(pipeline), LABELS_TOPIC.name(pipeline)), EXAMPLES.name(pipeline))
