"""One model's workers as their reports on headrace.applied tell it: what each serves, and what it last failed at."""

from collections.abc import Iterator
from dataclasses import dataclass

from headrace.contracts.events_pb2 import WeightsApplied

ACTIVE, FAILED, HEARTBEAT = WeightsApplied.ACTIVE, WeightsApplied.FAILED, WeightsApplied.HEARTBEAT
JOINED, LEFT, STAGED = WeightsApplied.JOINED, WeightsApplied.LEFT, WeightsApplied.STAGED
SERVING = frozenset({ACTIVE, HEARTBEAT, JOINED})
"""The states whose reports name the version that the worker serves."""
_SUCCEEDED = frozenset({ACTIVE, STAGED, JOINED})

LIMIT = 10_000


@dataclass(frozen=True)
class ReportedWorker:
    """A worker, as of its newest report.

    Attributes:
        newest: that report.
        event: the newest report that is more than a heartbeat; the heartbeat itself if there was nothing else.
        version: the version that it serves; 0 for none, or if no report has said so yet.
        digest: that version's manifest digest.
        failure: its last failure to stage or to serve a version, until it succeeds at one or joins anew.
    """

    newest: WeightsApplied
    event: WeightsApplied
    version: int = 0
    digest: str = ""
    failure: WeightsApplied | None = None

    @property
    def present(self) -> bool:
        """Whether it is connected, as far as it was reported."""
        return self.newest.state != LEFT

    @property
    def error(self) -> str:
        """What its last failure says; "" if it has succeeded since."""
        return self.failure.error if self.failure is not None else ""


def after(report: WeightsApplied, before: ReportedWorker | None) -> ReportedWorker:
    """A worker as of one more report; ``before`` is None for its first."""
    version, digest = (before.version, before.digest) if before is not None else (0, "")
    if report.state in SERVING:
        version, digest = report.version, report.manifest_digest
    failure = before.failure if before is not None else None
    if report.state == FAILED:
        failure = report
    elif report.state in _SUCCEEDED:
        failure = None
    event = before.event if before is not None and report.state == HEARTBEAT else report
    return ReportedWorker(report, event, version, digest, failure)


class WorkerReports:
    """The workers of one model by name, told by their reports in the order of the topic; a report may come twice.

    Args:
        limit: how many workers are remembered; beyond it, those that left are forgotten first, then the longest silent.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._workers: dict[str, ReportedWorker] = {}

    def apply(self, report: WeightsApplied) -> ReportedWorker:
        """Take a report; return its worker as of now."""
        name = report.worker
        worker = self._workers[name] = after(report, self._workers.get(name))
        if len(self._workers) > self._limit:
            del self._workers[min(self._workers, key=self._age)]
        return worker

    def _age(self, name: str) -> tuple[bool, int]:
        worker = self._workers[name]
        return worker.present, worker.newest.at_us

    def __iter__(self) -> Iterator[ReportedWorker]:
        """Every worker that was heard of, by name, those that left among them."""
        return (self._workers[name] for name in sorted(self._workers))

    @property
    def present(self) -> dict[str, ReportedWorker]:
        """The connected workers, in the order of their names."""
        return {worker.newest.worker: worker for worker in self if worker.present}
