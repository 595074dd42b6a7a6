"""When the trainer puts back what agents cannot get: they report a version of which every store lacks something.

    1. the version's own chunks, out of its checkpoint file, so that agents that wait for it get it: an agent tries
       again and again what the fleet is to serve;
    2. the next version is an anchor, so that nothing is built on what was lost;
    3. and it comes after the usual time even if nothing new was learned: the fleet may have refused the broken version.

An agent that sees other stores than the trainer reports losses for ever. That costs the others a look at the stores
every so often, and an anchor instead of a delta; no version where nothing was put back.
"""

from collections.abc import Callable

from services.trainer.ports import LostChunkReports, Observer
from services.trainer.publishing import Publisher

LISTEN_EVERY_S = 0.5
MEND_EVERY_S = 10.0
"""Seconds between two attempts, at least."""


class ChunkRepair:
    """Hears reports of lost chunks, and puts them back.

    `heard` is for the training thread, `mend` for the publisher's; not both at once.

    Args:
        lost_chunks: what agents report.
        publisher: has the checkpoint files and the stores.
        observer: hears what was put back.
        clock: monotonic seconds.
    """

    def __init__(
        self, lost_chunks: LostChunkReports, publisher: Publisher, observer: Observer, clock: Callable[[], float]
    ) -> None:
        self._reports, self._publisher, self._observer, self._clock = lost_chunks, publisher, observer, clock
        self._next_listen = self._next_mend = clock()
        self._lost: set[int] = set()
        self.mended = False
        """Something was put back, and no version was published since."""

    def heard(self) -> set[int]:
        """Return the versions to mend now, and forget them."""
        now = self._clock()
        if now >= self._next_listen:
            self._next_listen = now + LISTEN_EVERY_S
            self._lost |= self._reports.lost()
        if not self._lost or now < self._next_mend:
            return set()
        self._next_mend = now + MEND_EVERY_S
        lost, self._lost = self._lost, set()
        return lost

    def mend(self, versions: set[int]) -> None:
        """Put versions' own chunks back, the newest first.

        Raises:
            StoreUnavailable: a store cannot be read or written.
        """
        for version in sorted(versions, reverse=True):
            chunks = self._publisher.put_back(version)
            if chunks:
                self.mended = True
                self._observer.put_back(chunks)
