"""Removing chunks from the stores to which no kept version refers any more."""

from collections.abc import Callable, Iterable

from headrace.runtime.lifecycle import Stop
from headrace.runtime.logging import get_logger
from headrace.weights import ChunkStore, Manifest, WeightsError
from services.ckpt.coordinator import metrics
from services.ckpt.coordinator.service import Rollout

log = get_logger("headrace.ckpt")


class Sweeper:
    """Sweeps the stores every so often, in a thread of its own.

    Args:
        store: where the chunks are.
        rollouts: returns the rollouts whose models are swept.
        every_s: seconds between two sweeps.
        grace_s: seconds for which a chunk is spared after it was published.
    """

    def __init__(
        self, store: ChunkStore, rollouts: Callable[[], Iterable[Rollout]], *, every_s: float, grace_s: float
    ) -> None:
        self._store = store
        self._rollouts = rollouts
        self._every_s = every_s
        self._grace_s = grace_s

    def run(self, stop: Stop) -> None:
        """Sweep until stopped; blocks."""
        while not stop.wait(self._every_s):
            for rollout in self._rollouts():
                self._sweep(rollout)

    def _sweep(self, rollout: Rollout) -> None:
        """Sweep one model's chunks, once a version of it is active: before that, not every version may be known."""
        ledger = rollout.ledger
        try:
            kept = ledger.kept()
            if ledger.active is None:
                return
            chunks = {chunk for version in kept for chunk in Manifest.decode(version.manifest).references}
            swept = self._store.sweep(ledger.model, chunks, self._grace_s)
        except WeightsError as error:
            log.warning("sweep failed", model=ledger.model, error=str(error))
            return
        metrics.SWEPT.labels(ledger.model).inc(swept)
        if swept:
            log.info("swept", model=ledger.model, chunks=swept, versions=len(kept))
