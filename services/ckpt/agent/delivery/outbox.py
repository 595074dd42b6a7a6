"""Batching of reports: those of a host's workers that say the same are written together.

Workers of a host stage and activate a version within milliseconds of each other. A report written for each would wake
the broker and the coordinator each time, on a small machine beside the workers that serve, and the coordinator acts on
the last one only. So a report waits for a moment while another worker is about to report the same. Any other report is
written at once, after those that wait, so that the order stays.
"""

from collections.abc import Sequence

from headrace.contracts.events_pb2 import WeightsApplied

HOLD_S = 0.02
"""A report waits for others no longer than this: a quorum may need fewer than all workers."""

_TOGETHER = {WeightsApplied.STAGED, WeightsApplied.ACTIVE}


class Outbox:
    """Holds reports back.

    Args:
        hold_s: for so long at most.
    """

    def __init__(self, hold_s: float = HOLD_S) -> None:
        self._hold_s = hold_s
        self._held: list[WeightsApplied] = []
        self.due = float("inf")
        """When what is held back is to be written, in the clock of `put`; inf where nothing is."""

    def put(self, reports: Sequence[WeightsApplied], now: float, *, more: bool) -> list[WeightsApplied]:
        """Take reports; return those to write now, in order.

        Args:
            reports: what happened, in order.
            now: seconds.
            more: another worker is about to report the same.
        """
        if not reports:
            return []
        self._held += reports
        if not more or any(report.state not in _TOGETHER for report in reports):
            return self.take()
        self.due = min(self.due, now + self._hold_s)
        return []

    def on_tick(self, now: float) -> list[WeightsApplied]:
        """Return what has waited long enough."""
        return self.take() if now >= self.due else []

    def take(self) -> list[WeightsApplied]:
        """Return all that is held back."""
        taken, self._held = self._held, []
        self.due = float("inf")
        return taken
