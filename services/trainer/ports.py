"""What the training loop needs of the world outside: examples to read, and somebody who counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.trainer.checkpoint import Header
from services.trainer.learner import Learner
from services.trainer.publishing import Published


@dataclass
class Polled:
    """What one poll returned, by partition.

    Records in their order (confluent_kafka's Message or a twin), and ends reached.
    """

    records: dict[int, list[Any]] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)


class ExampleLog(Protocol):
    """All partitions of the examples topic, read from chosen offsets."""

    topic: str

    def begin(self) -> dict[int, int]:
        """Partition → its first offset."""
        ...

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Read on from these offsets."""
        ...

    def before(self, offsets: Mapping[int, int], count: int) -> list[bytes]:
        """About `count` values that end at `offsets`."""
        ...

    def between(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> list[Any]:
        """The records of each partition from its start up to, not including, its end; offsets rise in a partition."""
        ...

    def poll(self, timeout_s: float) -> Polled:
        """The next records; waits up to `timeout_s` for them."""
        ...

    def pause(self, partition: int, *, paused: bool) -> None:
        """Stop or go on returning a partition's records."""
        ...


class LostChunkReports(Protocol):
    """What agents report of versions that they cannot take."""

    def lost(self) -> set[int]:
        """The model's versions of which agents reported since the last call that every store lacks something.

        Does not wait.
        """
        ...


class Observer(Protocol):
    """Hears what happens, for metrics."""

    def batch(self, learner: Learner, examples: int, seconds: float) -> None:
        """A batch was learned from."""
        ...

    def dead(self, reason: str, count: int) -> None:
        """Examples cannot be used: decode, features or train where that raises, or not_finite."""
        ...

    def snapshot(self, seconds: float) -> None:
        """Training stood still for a copy."""
        ...

    def restored(self) -> None:
        """Weights were no longer finite and were taken back."""
        ...

    def damaged(self, files: int) -> None:
        """Checkpoints newer than the one that training resumes from were damaged, and set aside."""
        ...

    def refused(self, gate: str) -> None:
        """A gate kept a checkpoint from being published. Called from the publisher's thread."""
        ...

    def published(self, result: Published, header: Header, seconds: float) -> None:
        """A checkpoint is known. Called from the publisher's thread."""
        ...

    def put_back(self, chunks: int) -> None:
        """Chunks of a published version were lost or corrupt, and were put back. Called from the publisher's thread."""
        ...
