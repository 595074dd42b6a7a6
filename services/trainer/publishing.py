"""From a checkpoint in memory to one that the fleet knows, in the order that keeps it safe.

- The file first: a restarted trainer resumes from it, so whatever was published can be published again.
- Then the chunks, then the event: an event never names chunks that are not in the stores.
- A trainer that dies in between is restarted, finds the file, and does the rest again: the same weights and dead
  letters. What would have been a delta is an anchor then, since only the trainer that died knew the version before.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from headrace.contracts.events_pb2 import CheckpointPublished, CheckpointRefused
from headrace.runtime.logging import get_logger
from headrace.weights import ChunkStore, Manifest, WeightsError, checkpoint_event, publish_version
from headrace.weights.publish.lineage import Lineage
from headrace.weights.publish.publishing import put_back
from services.trainer.checkpoint import Checkpoint, CheckpointFolder, Entry, Header, Letter

log = get_logger("headrace.trainer")

_Announced = CheckpointPublished | CheckpointRefused

CLOCK_SLACK_US = 300_000_000
"""How far the clock of a trainer that wrote a file may be ahead of the one that stamped its event."""


class Announcer(Protocol):
    """The topic of checkpoints, written by one trainer at a time."""

    def announce(self, event: CheckpointPublished, letters: Sequence[Letter]) -> None:
        """Send the event and the dead letters in one transaction.

        Raises:
            FencedError: a newer trainer has taken over.
        """
        ...

    def refuse(self, event: CheckpointRefused, letters: Sequence[Letter]) -> None:
        """The same for a checkpoint that is not published."""
        ...

    def refused(self, since_us: int | None) -> list[CheckpointRefused]:
        """The model's refusals appended since then (None: all there are), oldest first."""
        ...

    def announced(self, since_us: int | None) -> list[CheckpointPublished]:
        """The model's events appended since then (None: all there are), oldest first."""
        ...

    def letters(self, since_us: int | None) -> set[tuple[int, int]]:
        """Partition and offset of the examples that became this model's dead letters since then (None: ever)."""
        ...


class Published(NamedTuple):
    """What a publication came to."""

    version: int
    file_bytes: int
    weights_bytes: int
    """What a host pulls that has the version before: a delta's bytes, or an anchor's."""
    delta: bool


class Publisher:
    """Publishes one model's checkpoints.

    Args:
        folder: where the files go.
        store: where the chunks go.
        announcer: where the events go.
        keep: files kept.
        signing_key: of the manifests.
        lineage: with it, sparse updates are published as deltas.
    """

    def __init__(
        self, folder: CheckpointFolder, store: ChunkStore, announcer: Announcer, *,
        keep: int, signing_key: bytes | None = None, lineage: Lineage | None = None,
    ) -> None:  # fmt: skip
        self.folder, self._store, self._announcer = folder, store, announcer
        self._keep, self._signing_key, self._lineage = keep, signing_key, lineage

    def publish_checkpoint(self, checkpoint: Checkpoint) -> Published:
        """Make a checkpoint durable and known.

        Raises:
            FencedError: a newer trainer has taken over. The file may be there; without its event nobody prefers it.
            WeightsError: storage refuses.
            DependencyError: Kafka does not answer.
        """
        # 1. `checkpoint` is the copy of weights, optimizer, random state, offsets and counters, made between two
        # batches.
        # 2. The file, durably.
        size = self.folder.write(checkpoint)
        # 3. and 4. The chunks, then the event that points to them.
        manifest = self.announce(checkpoint)
        # 5. Old files may go, now that a newer one is known.
        self.folder.prune(self._keep)
        moved = manifest.delta.links[-1].size if manifest.delta else manifest.size
        return Published(checkpoint.header.version, size, moved, bool(manifest.delta))

    def refuse_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Make a checkpoint durable that is not published, and say so: training resumes from it all the same.

        Raises: as `publish_checkpoint`.
        """
        self.folder.write(checkpoint)
        self._announcer.refuse(checkpoint.header.refusal, checkpoint.letters)
        self.folder.prune(self._keep)

    def announce(self, checkpoint: Checkpoint) -> Manifest:
        """Steps 3 and 4; doing them again for the same checkpoint names the same weights."""
        facts = checkpoint.header.facts
        manifest = publish_version(checkpoint.weights, facts, store=self._store, lineage=self._lineage)
        event = checkpoint_event(
            manifest,
            signing_key=self._signing_key,
            newest_label_us=facts.newest_label_us,
            origin=checkpoint.header.origin,
            held=checkpoint.header.held,
        )
        self._announcer.announce(event, checkpoint.letters)
        return manifest

    def put_back(self, version: int) -> int:
        """Put what the stores lost or damaged of a version back, and begin a new chain.

        Return how many chunks that were.

        Raises:
            StoreUnavailable: a store cannot be read or written.
        """
        if self._lineage is not None:
            self._lineage.begin_anew()
        count = 0
        for entry in (entry for entry in self.folder.entries() if entry.version == version):
            try:
                checkpoint = self.folder.read(entry)
            except WeightsError as error:
                log.warning("nothing put back out of a checkpoint", version=version, error=error.message)
            else:
                count += put_back(checkpoint.weights, model=checkpoint.header.model, store=self._store)
        log.warning("agents cannot get a version", version=version, chunks_put_back=count)
        return count

    def resume(self) -> "Resumed":
        """Find where to go on, and announce it if its trainer died before it could.

        Call once this trainer has fenced all others: what they have announced is then final.
        """
        readable, damaged = self.folder.newest()
        for entry in damaged:
            self.folder.set_aside(entry)
        since = min((header.created_at for _, header in readable), default=None)
        since = None if since is None else since - CLOCK_SLACK_US
        events: list[_Announced] = [*self._announcer.announced(since), *self._announcer.refused(since)]
        version = max((event.version for event in events), default=0)
        epoch = max((event.epoch for event in events), default=0)
        if not readable:
            if version:
                log.error(
                    "no readable checkpoint: beginning anew above the versions that were announced", announced=version
                )
            letters = self._announcer.letters(None) if version else ()
            return Resumed(None, version + 1, epoch + 1, len(damaged), frozenset(letters))
        checkpoint = self.folder.read(_announced_first(readable, events))
        header = checkpoint.header
        epoch = max(epoch, *(header.epoch for _, header in readable))
        if header.version > version:
            log.info("announcing the checkpoint that was left unannounced", version=header.version)
            if header.refused:
                self._announcer.refuse(header.refusal, checkpoint.letters)
            else:
                self.announce(checkpoint)
        letters = set[tuple[int, int]]()
        if header.version < version:
            log.error(
                "going back to an earlier checkpoint: the files of newer versions are damaged or gone",
                announced=version, version=header.version, offsets=header.offsets,
            )  # fmt: skip
            letters = self._announcer.letters(header.created_at - CLOCK_SLACK_US)
        return Resumed(checkpoint, max(version, header.version) + 1, epoch + 1, len(damaged), frozenset(letters))


class Resumed(NamedTuple):
    """Where a trainer goes on.

    Attributes:
        checkpoint: None at a model's first start, and where no file is left that can be read.
        next_version: above all that were announced.
        epoch: the trainer's own.
        damaged: files that were newer, and damaged.
        letters: partition and offset of examples beyond the checkpoint that are dead letters already, because a version
            beyond it was announced.
    """

    checkpoint: Checkpoint | None
    next_version: int
    epoch: int
    damaged: int = 0
    letters: frozenset[tuple[int, int]] = frozenset()


def _announced_first(readable: Sequence[tuple[Entry, Header]], events: Sequence[_Announced]) -> Entry:
    """Of files of one version, the one that was announced.

    A fenced trainer may have left a file, but never an event.
    """
    known = {(event.version, event.created_at_us) for event in events}
    return next((entry for entry, header in readable if (header.version, header.created_at) in known), readable[0][0])
