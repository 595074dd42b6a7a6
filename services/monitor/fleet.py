"""One model's weights as the monitor shows them: checkpoints, what the fleet serves, its workers, freshness."""

from collections.abc import Callable

from headrace.contracts.events_pb2 import CheckpointPublished, RolloutDirective, WeightsApplied
from headrace.contracts.snapshot import Canary, Quantiles, Versions, Worker
from headrace.rollouts.reports import ReportedWorker, WorkerReports
from headrace.rollouts.view import RolloutView
from services.monitor.recent import Recent

VERSIONS_KEPT = 1000
WORKERS_KEPT = 1000
SERVING_S = 10.0


class Fleet:
    """Follows one model through headrace.checkpoints, .rollouts and .applied, and through its predictions."""

    def __init__(self, model: str) -> None:
        self._rollout = RolloutView(model)
        self._reports = WorkerReports(WORKERS_KEPT)
        self._newest = 0
        self._checkpoints = 0
        self._examples = 0
        self._swaps = 0
        self._served = 0
        self._first_us = 0
        self._newest_label_us: dict[int, int] = {}
        self._first_served_us: dict[int, int] = {}
        self._serving: dict[int, tuple[int, int]] = {}  # partition of events: (version, at_us) of the last prediction
        self._freshness = Recent(100)
        self.checkpoint_offsets: dict[tuple[str, int], int] = {}

    def checkpoint(self, published: CheckpointPublished) -> None:
        """A checkpoint was published; one may come twice."""
        version = published.version
        if version in self._newest_label_us:
            return
        self._checkpoints += 1
        if version > self._newest:
            self._newest = version
            self._examples = int(published.metrics.get("examples", 0))
            self.checkpoint_offsets = {(o.topic, o.partition): o.offset for o in published.offsets}
        self._newest_label_us[version] = published.newest_label_us
        _bound(self._newest_label_us)
        self._observe(version)

    def directive(self, directive: RolloutDirective) -> None:
        """The coordinator issued a directive."""
        before = self._rollout.active_version
        self._rollout.apply(directive)
        self._swaps += before not in {0, self._rollout.active_version}

    def prediction(self, partition: int, version: int, at_us: int) -> None:
        """An event of `partition` was predicted by `version` at `at_us`."""
        self._serving[partition] = (version, at_us)
        if not self._first_us or at_us < self._first_us:
            self._first_us = at_us
        if version in self._first_served_us:
            return
        self._served += 1
        self._first_served_us[version] = at_us
        _bound(self._first_served_us)
        self._observe(version)

    def applied(self, report: WeightsApplied) -> None:
        """An agent reported what a worker did."""
        self._reports.apply(report)

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Every connected worker, by name."""
        return tuple(_shown(worker, worker.event) for worker in self._reports.present.values())

    @property
    def failed(self) -> tuple[Worker, ...]:
        """The connected workers whose last attempt to stage or to serve a version failed, as of that failure."""
        present = self._reports.present.values()
        return tuple(_shown(worker, worker.failure) for worker in present if worker.failure is not None)

    @property
    def freshness(self) -> Quantiles:
        """From a checkpoint's newest label to its first prediction, over the last versions."""
        return self._freshness.quantiles()

    def observe_freshness(self, observe: Callable[[float], None]) -> None:
        """Have `observe` called with the freshness of every further version, in seconds."""
        self._freshness.observe = observe

    def versions(self) -> Versions:
        """Everything about versions."""
        latest = max((at for _, at in self._serving.values()), default=0)
        serving = {version for version, at in self._serving.values() if at > latest - SERVING_S * 1e6}
        canary = self._rollout.canary
        return Versions(
            newest=self._newest,
            active=self._rollout.active_version,
            pinned=self._rollout.pinned,
            serving=tuple(sorted(serving)),
            checkpoints=self._checkpoints,
            examples=self._examples,
            served=self._served,
            swaps=self._swaps,
            first_prediction_us=self._first_us,
            canary=Canary(canary.version, tuple(canary.canaries), canary.canary_until_us)
            if canary is not None
            else None,
        )

    def _observe(self, version: int) -> None:
        """Once both the checkpoint and the first prediction of a version are known."""
        label_us, served_us = self._newest_label_us.get(version, 0), self._first_served_us.get(version, 0)
        if label_us and served_us:
            self._freshness.add(max(0.0, (served_us - label_us) / 1e6))


def _shown(worker: ReportedWorker, event: WeightsApplied) -> Worker:
    """A worker as the snapshot has it: the state of what it did last, and the version that it serves meanwhile."""
    newest = worker.newest
    return Worker(
        worker=newest.worker,
        role=newest.role,
        host=newest.host,
        state=WeightsApplied.State.Name(event.state),
        version=worker.version,
        at_us=newest.at_us,
        error=event.error,
    )


def _bound(by_version: dict[int, int]) -> None:
    if len(by_version) > VERSIONS_KEPT:
        del by_version[min(by_version)]
