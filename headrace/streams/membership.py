"""This process as a member of its consumer group: which assignment it is in, and the proof that goes into transactions.

A chunk carries the generation in which it was fetched. It may be committed only while that generation lasts, with the
group
metadata taken in it: then the broker refuses the commit of a member that has lost its partitions (KIP-447), and a
member that knows that it lost them does not even try.
"""

import struct
import threading
from dataclasses import dataclass

_MAGIC = b"CGMDv2:"


@dataclass(frozen=True, slots=True)
class Member:
    """One generation's identity. `metadata` is librdkafka's opaque group metadata; None before the first assignment."""

    generation: int
    metadata: bytes | None


class Membership:
    """The current generation. The poll thread advances it; whoever commits reads it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current = Member(0, None)

    @property
    def current(self) -> Member:
        """Generation and metadata that belong together."""
        return self._current

    @property
    def generation(self) -> int:
        """The number of the current assignment, from 1; 0 before the first."""
        return self._current.generation

    def advance(self, metadata: bytes | None) -> int:
        """Begin the next generation; everything that belongs to an earlier one is void from here on."""
        with self._lock:
            self._current = Member(self._current.generation + 1, usable(metadata))
            return self._current.generation

    def refresh(self, metadata: bytes) -> None:
        """Take newer metadata of the same generation.

        The broker raises a member's epoch without a new assignment too.
        """
        with self._lock:
            if (found := usable(metadata)) is not None and found != self._current.metadata:
                self._current = Member(self._current.generation, found)


def usable(metadata: bytes | None) -> bytes | None:
    """The metadata, if it names a member of a generation; else None.

    Between losing its membership and joining again a client has neither, and a broker takes such a commit without
    fencing: it must never be sent. Layout (librdkafka's rd_kafka_consumer_group_metadata_write): magic, generation as
    int32, then the group's and the member's ids, each ended by a zero byte.
    """
    if metadata is None or not metadata.startswith(_MAGIC):
        return None
    (generation,) = struct.unpack_from("=i", metadata, len(_MAGIC))
    _group, _, rest = metadata[len(_MAGIC) + 4 :].partition(b"\0")
    member = rest.partition(b"\0")[0]
    return metadata if generation > 0 and member else None
