"""The workers of one model that are alive, as their reports and their silence tell."""

from dataclasses import dataclass

from headrace.contracts.events_pb2 import WeightsApplied
from headrace.rollouts.reports import LEFT, ReportedWorker, after


@dataclass
class FleetWorker:
    """A worker that is alive: what it reported, and when it was last heard of, by the coordinator's clock."""

    reported: ReportedWorker
    seen: float

    @property
    def role(self) -> str:
        """The role that it runs."""
        return self.reported.newest.role

    @property
    def serving(self) -> str:
        """The digest of the version that it serves; "" for none."""
        return self.reported.digest


class FleetWorkers:
    """The workers that are alive, and whether others fell silent a while ago and may only be slow.

    Args:
        ttl_s: seconds without a report after which a worker counts as gone.
        missed_s: seconds after its last report until which it may be heard of again.
    """

    def __init__(self, *, ttl_s: float, missed_s: float) -> None:
        self._ttl_s = ttl_s
        self._missed_s = missed_s
        self._silent: dict[str, float] = {}
        self.alive: dict[str, FleetWorker] = {}

    def on_applied(self, applied: WeightsApplied, now: float) -> None:
        """Take a worker's report; one that left is gone at once."""
        name = applied.worker
        self._silent.pop(name, None)
        if applied.state == LEFT:
            self.alive.pop(name, None)
            return
        known = self.alive.get(name)
        reported = after(applied, known.reported if known is not None else None)
        self.alive[name] = FleetWorker(reported, max(now, known.seen) if known is not None else now)

    def expire(self, now: float) -> None:
        """Count those as gone that were not heard of for too long."""
        for name, worker in list(self.alive.items()):
            if now - worker.seen > self._ttl_s:
                self._silent[name] = self.alive.pop(name).seen
        self._silent = {name: seen for name, seen in self._silent.items() if now - seen <= self._missed_s}

    def was_away(self, seconds: float, now: float) -> None:
        """The coordinator itself did not run for so long and read no reports: the workers were not silent."""
        for worker in self.alive.values():
            worker.seen = min(now, worker.seen + seconds)

    @property
    def missing(self) -> bool:
        """Whether a worker fell silent that may be heard of again."""
        return bool(self._silent)
