"""Publishing by several ranks: each puts its share of the chunks, then rank 0 writes, announces and prunes."""

from functools import partial

from headrace.weights import ChunkStore
from headrace.weights.format.chunks import CHUNK_SIZE, digest_of, spans
from headrace.weights.format.parallel import in_parallel
from headrace.weights.format.payload import dump
from services.trainer.checkpoint import Checkpoint
from services.trainer.publishing import Published, Publisher, Resumed
from services.trainer.ranks.group import Group


class RankPublisher(Publisher):
    """See `services.trainer.publishing.Publisher`.

    Args:
        group: the ranks.
        store: where chunks go.
        first: rank 0's publisher, which alone announces; None in the others.
        chunk_size: bytes a chunk.
    """

    def __init__(self, group: Group, store: ChunkStore, first: Publisher | None, chunk_size: int = CHUNK_SIZE) -> None:
        self._group, self._store, self._first, self._chunk_size = group, store, first, chunk_size

    def publish_checkpoint(self, checkpoint: Checkpoint) -> Published:
        """Put this rank's share; rank 0 publishes once all have, and puts what is missing even so.

        Raises: as `Publisher.publish_checkpoint`.
        """
        self._put_share(checkpoint)
        self._group.published()
        if self._first is not None:
            return self._first.publish_checkpoint(checkpoint)
        return Published(checkpoint.header.version, 0, 0, delta=False)

    def refuse_checkpoint(self, checkpoint: Checkpoint) -> None:
        """See `Publisher.refuse_checkpoint`: rank 0 does, and says so; all ranks' gates came to the same."""
        if self._first is not None:
            self._first.refuse_checkpoint(checkpoint)

    def _put_share(self, checkpoint: Checkpoint) -> None:
        payload, model = memoryview(dump(checkpoint.weights)), checkpoint.header.model
        own = list(spans(len(payload), self._chunk_size))[self._group.rank :: self._group.size]
        parts = {digest_of(payload[start:end]): payload[start:end] for start, end in own}
        absent = self._store.claim(model, parts.keys())
        in_parallel([partial(self._store.put, model, digest, parts[digest]) for digest in absent])

    def resume(self) -> Resumed:
        """Where rank 0 goes on, told to all."""
        if self._first is None:
            plain, data = self._group.from_first(None)
            return Resumed(Checkpoint.decode(data) if data else None, *plain)
        resumed = self._first.resume()
        data = resumed.checkpoint.encode() if resumed.checkpoint is not None else b""
        self._group.from_first((tuple(resumed)[1:], data))
        return resumed

    def put_back(self, version: int) -> int:
        """See `Publisher.put_back`; only rank 0 hears what is lost."""
        return self._first.put_back(version) if self._first is not None else 0
