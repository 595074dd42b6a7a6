"""Where the weights are: checkpoints, what the fleet was told to serve, what each worker does, and how fresh it is."""

from collections.abc import Callable

from headrace.contracts.events_pb2 import CheckpointPublished, RolloutDirective, WeightsApplied
from headrace.contracts.snapshot import Canary, Quantiles, Versions, Worker
from services.monitor.recent import Recent

VERSIONS_KEPT = 1000
WORKERS_KEPT = 1000
SERVING_S = 10.0
SWAPPING = (RolloutDirective.ACTIVATE, RolloutDirective.ROLL_BACK)


class Fleet:
    """Follows one model's versions through headrace.checkpoints, .rollouts and .applied and the predictions themselves."""

    def __init__(self) -> None:
        self._newest = 0
        self._checkpoints = 0
        self._examples = 0
        self._active = 0
        self._sequence = 0
        self._pinned = False
        self._canary: Canary | None = None
        self._swaps = 0
        self._served = 0
        self._first_us = 0
        self._newest_label_us: dict[int, int] = {}
        self._first_served_us: dict[int, int] = {}
        self._serving: dict[int, tuple[int, int]] = {}  # partition of events: (version, at_us) of the last prediction
        self._workers: dict[str, Worker] = {}
        self._failed: dict[str, Worker] = {}
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
        """The coordinator told the agents something."""
        swaps = directive.action in SWAPPING
        if not (swaps or directive.canaries) or directive.sequence <= self._sequence:
            return
        self._sequence = directive.sequence
        begins = directive.action == RolloutDirective.CANARY
        self._canary = (
            Canary(directive.version, tuple(directive.canaries), directive.canary_until_us) if begins else None
        )
        if not swaps:
            return
        if self._active not in {0, directive.version}:
            self._swaps += 1
        self._active = directive.version
        self._pinned = directive.pinned

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

    def applied(self, applied: WeightsApplied) -> None:
        """A worker said what it did."""
        name, state = applied.worker, WeightsApplied.State.Name(applied.state)
        if applied.state == WeightsApplied.LEFT:
            self._workers.pop(name, None)
            self._failed.pop(name, None)
            return
        before = self._workers.get(name)
        serving = applied.version
        if before is not None and applied.state in (WeightsApplied.STAGED, WeightsApplied.FAILED):
            serving = before.version  # it goes on serving what it served
        if applied.state == WeightsApplied.HEARTBEAT and before is not None:
            state = before.state
        worker = Worker(name, applied.role, applied.host, state, serving, applied.at_us, applied.error)
        self._workers[name] = worker
        if applied.state == WeightsApplied.FAILED:
            self._failed[name] = worker
        elif applied.state in (WeightsApplied.ACTIVE, WeightsApplied.STAGED, WeightsApplied.JOINED):
            self._failed.pop(name, None)
        if len(self._workers) > WORKERS_KEPT:
            oldest = min(self._workers.values(), key=lambda w: w.at_us).worker
            del self._workers[oldest]
            self._failed.pop(oldest, None)

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Every connected worker, by name."""
        return tuple(self._workers[name] for name in sorted(self._workers))

    @property
    def failed(self) -> tuple[Worker, ...]:
        """Workers whose last attempt to stage or activate failed."""
        return tuple(self._failed[name] for name in sorted(self._failed))

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
        return Versions(
            newest=self._newest,
            active=self._active,
            pinned=self._pinned,
            serving=tuple(sorted(serving)),
            checkpoints=self._checkpoints,
            examples=self._examples,
            served=self._served,
            swaps=self._swaps,
            first_prediction_us=self._first_us,
            canary=self._canary,
        )

    def _observe(self, version: int) -> None:
        """Once both the checkpoint and the first prediction of a version are known."""
        label_us, served_us = self._newest_label_us.get(version, 0), self._first_served_us.get(version, 0)
        if label_us and served_us:
            self._freshness.add(max(0.0, (served_us - label_us) / 1e6))


def _bound(by_version: dict[int, int]) -> None:
    if len(by_version) > VERSIONS_KEPT:
        del by_version[min(by_version)]
