"""The monitor's logic: records in, snapshots and alerts out. It imports no client library and reads no clock."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec

from headrace.alerts.definitions import VERSION_FAILS, VERSION_WORSE
from headrace.alerts.policy import Policy
from headrace.contracts.events_pb2 import Alert, CheckpointPublished, DeadLetter, RolloutDirective, WeightsApplied
from headrace.contracts.records import Prediction
from headrace.contracts.snapshot import Counts, Metrics, Rates, Score, Snapshot
from headrace.evaluation.judge import Judge
from headrace.evaluation.scores import Spans
from headrace.model.spec import CHAMPION, SHADOW
from services.monitor.accuracy import Accuracy, BaselinePredictor
from services.monitor.alerts import Alarms, Errors
from services.monitor.intervals import SinkAudit
from services.monitor.merge import Lane, TimeMerge
from services.monitor.models import ShadowAccuracy, WatchedModel, WatchedModels
from services.monitor.recent import Rate, Recent
from services.monitor.regression import Scored, VersionErrors, VersionFailures

HISTORY_S = 1.0
LATENCIES_KEPT = 4000
PREDICT_EVERY = 4
"""The latency of one in so many predictions is measured, which is enough for quantiles."""


class Record(NamedTuple):
    """A record as it was read; `at` is its timestamp in seconds since the epoch."""

    partition: int
    offset: int
    at: float
    key: bytes
    value: Any


@dataclass(frozen=True)
class Watched:
    """What is watched: a pipeline, how its predictions are judged and over what spans, and its baselines."""

    pipeline: str
    judge: Judge
    baselines: Mapping[str, BaselinePredictor]
    spans: Spans
    error_unit: str = ""
    sample: float = 1.0
    wait_s: float = 3600.0
    limit: int = 200_000
    worse_beside: float = 2.0
    worse_before: float = 4.0
    policy: Policy = field(default_factory=Policy)
    """Severities, and alerts that are off."""
    others: tuple[WatchedModel, ...] = ()
    """The models beside the champion, whose name is the pipeline's."""

    @property
    def error_name(self) -> str:
        """What alerts call the error: the task's loss, or just that of a model with an error of its own."""
        name = self.judge.error_name
        return "error" if name == "mean error" else name

    @property
    def models(self) -> tuple[WatchedModel, ...]:
        """All of them, the champion first."""
        return (WatchedModel(self.pipeline, CHAMPION), *self.others)


class Observer(Protocol):
    """Is told of every duration that the monitor works out, in seconds."""

    def latency(self, seconds: float) -> None:
        """From an event's Kafka timestamp to its prediction."""
        ...

    def freshness(self, model: str, seconds: float) -> None:
        """From the newest label that a model's version knows to the version's first prediction."""
        ...


class Monitor:
    """Everything known about one pipeline. Not thread-safe: one thread feeds it and takes the snapshots."""

    def __init__(
        self, watched: Watched, *, started: float, lanes: Iterable[Lane] = (), observer: Observer | None = None
    ) -> None:
        self._watched, self._started = watched, started
        self._versions = {
            model.name: VersionErrors(watched.spans.window, beside=watched.worse_beside, before=watched.worse_before)
            for model in watched.models
            if model.role != SHADOW
        }
        self._failures = VersionFailures()
        self._accuracy = Accuracy(
            watched.judge, watched.baselines,
            spans=watched.spans, sample=watched.sample, limit=watched.limit, wait_s=watched.wait_s,
            scored=self._compare,
            models=[model.name for model in watched.models if model.role != SHADOW] if watched.others else (),
        )  # fmt: skip
        self._shadows = {
            model.name: ShadowAccuracy(watched.judge, spans=watched.spans, limit=watched.limit, wait_s=watched.wait_s)
            for model in watched.others
            if model.role == SHADOW
        }
        self._audit = SinkAudit()
        observe_freshness, observe_latency = (observer.freshness, observer.latency) if observer else (None, None)
        self._models = WatchedModels(
            watched.models,
            watched.spans.window,
            watched.error_unit,
            watched.error_name,
            observe_freshness,
            policy=watched.policy,
        )
        self._merge: TimeMerge[tuple[Callable[[bytes, float, Any], None], Record]] = TimeMerge(lanes)
        self._rate, self._latency = Rate(), Recent(LATENCIES_KEPT, observe_latency)
        self._events = self._labels = self._predictions = self._dead_letters = self._unreadable = 0
        self._remembered = float("-inf")
        self.lag: dict[str, int] = {}

    def follows(self, key: bytes) -> bool:
        """Whether records of this key are scored; those of other keys are only counted."""
        return self._accuracy.follows(key)

    def unreadable(self) -> None:
        """Count a record that cannot be decoded."""
        self._unreadable += 1

    def event(self, lane: Lane, record: Record) -> None:
        """Take an event; `value` is None if the key is not followed."""
        self._events += 1
        if self._audit.event(record.partition, record.offset) and record.value is not None:
            self._merge.put(lane, record.at, (self._accuracy.event, record))

    def label(self, lane: Lane, record: Record) -> None:
        """Take a label; `value` is None if the key is not followed."""
        self._labels += 1
        if record.value is not None:
            self._merge.put(lane, record.at, (self._accuracy.label, record))
            for shadow in self._shadows.values():
                self._score(shadow.label, record.key, record.at, record.value)

    def prediction(self, record: Record) -> None:
        """Take a prediction from the sink; its `value` is a `records.Prediction`."""
        self._predictions += 1
        made: Prediction[Any] = record.value
        partition, offset = made.source
        if not self._audit.prediction(partition, offset):
            return
        self._models.predicted(made)
        if made.model in {"", self._watched.pipeline}:
            self._failures.predicted(made.version)
        if offset % PREDICT_EVERY == 0:
            self._latency.add(max(0.0, (made.at_us - made.event_ms * 1000) / 1e6))
        if self._accuracy.follows(record.key):
            self._score(self._accuracy.prediction, record.key, record.at, made.prediction, made.version, made.model)

    def shadow(self, record: Record) -> None:
        """Take a prediction from the shadows' topic; its `value` is a `records.Prediction`."""
        made: Prediction[Any] = record.value
        shadow = self._shadows.get(made.model)
        if shadow is not None and self._models.shadowed(made) and self._accuracy.follows(record.key):
            self._score(shadow.prediction, record.key, record.at, made.prediction)

    def dead_letter(self, letter: DeadLetter) -> None:
        """Take a dead letter: an event that could not be predicted."""
        self._dead_letters += 1
        self._audit.dead_letter(letter.partition, letter.offset)
        if letter.model in {"", self._watched.pipeline}:
            self._failures.dead_letter(letter)

    def checkpoint(self, published: CheckpointPublished) -> None:
        """Take a checkpoint that a trainer published."""
        if (fleet := self._models.fleet(published.model)) is not None:
            fleet.checkpoint(published)

    def directive(self, directive: RolloutDirective) -> None:
        """Take a directive of the coordinator."""
        if (fleet := self._models.fleet(directive.model)) is not None:
            fleet.directive(directive)

    def applied(self, applied: WeightsApplied) -> None:
        """Take a worker's report."""
        if (fleet := self._models.fleet(applied.model)) is not None:
            fleet.applied(applied)

    def at_end(self, lane: Lane) -> None:
        """The lane is read to its end."""
        self._merge.at_end(lane)

    def settle(self) -> None:
        """Score the records that are due, in the order of time; to be called after each batch of records."""
        for take, record in self._merge.ready():
            self._score(take, record.key, record.at, record.value)

    @property
    def checkpoint_offsets(self) -> Mapping[str, Mapping[tuple[str, int], int]]:
        """By trainer: (topic, partition): the next offset that its newest checkpoint does not contain."""
        return self._models.checkpoint_offsets

    def tick(self, now: float) -> list[Alert]:
        """Bring rates, history and expiry up to `now`, in seconds since the epoch; return the alerts that changed.

        To be called once or twice a second.
        """
        self._rate.tick(now, (self._events, self._labels, self._predictions))
        if now - self._remembered >= HISTORY_S:
            self._remembered = now
            self._accuracy.remember(now)
        self._accuracy.expire(now)
        for shadow in self._shadows.values():
            shadow.expire(now)
        return [
            alert
            for name, alarms in self._models.alarms.items()
            for alert in self._alerts(name, alarms, int(now * 1e6))
        ]

    def _alerts(self, name: str, alarms: Alarms, now_us: int) -> list[Alert]:
        """A model's alerts that changed. The error compared with the baselines' is that of all predictions served."""
        fleet, champion = self._models.fleet(name) or self._models.champion, name == self._watched.pipeline
        found = {
            VERSION_WORSE: self._versions[name].fault(self._watched.error_unit) if name in self._versions else None,
            VERSION_FAILS: self._failures.fault() if champion else None,
        }
        faults = {alert: fault for alert, fault in found.items() if fault is not None}
        return alarms.check(now_us, self._errors() if champion else None, fleet.failed, fleet.versions().active, faults)

    def _compare(self, model: str, scored: Scored) -> None:
        """Take a labelled prediction that was served; each model's versions are compared with its own versions."""
        versions = self._versions.get(model or self._watched.pipeline)
        if versions is not None:
            versions.add(scored)

    def snapshot(self, now: float) -> Snapshot:
        """The snapshot as of `now`, in seconds since the epoch."""
        accuracy, watched, champion = self._accuracy, self._watched, self._models.champion
        versions = msgspec.structs.replace(champion.versions(), first_prediction_us=self._models.first_prediction_us)
        return Snapshot(
            pipeline=watched.pipeline,
            at_us=int(now * 1e6),
            started_us=int(self._started * 1e6),
            task=watched.judge.task.name,
            error_name=watched.judge.error_name,
            error_unit=watched.error_unit,
            window=watched.spans.window,
            window_s=watched.spans.window_s,
            half_life=watched.spans.half_life,
            sample=watched.sample,
            counts=self._counts(),
            rates=Rates(*self._rate.per_second()),
            model=accuracy.model,
            baselines=accuracy.baselines,
            metrics=accuracy.metrics(now),
            by_version=accuracy.by_version,
            history=accuracy.history,
            versions=versions,
            freshness=champion.freshness,
            latency=self._latency.quantiles(),
            lag={"stream": self._audit.unpredicted, **self.lag},
            workers=champion.workers,
            alerts=tuple(firing for alarms in self._models.alarms.values() for firing in alarms.firing),
            models=self._models.statuses(lambda model: self._scored(model, now)),
        )

    def _scored(self, model: WatchedModel, now: float) -> tuple[int, Score, Metrics]:
        shadow = self._shadows.get(model.name)
        return self._accuracy.of_model(model.name, now) if shadow is None else shadow.read(now)

    def _score(self, take: Callable[..., None], *arguments: Any) -> None:
        """Score a record with the author's code; count it as unreadable if that raises."""
        try:
            take(*arguments)
        except Exception:  # noqa: BLE001 - the pipeline author's `error` and baselines may raise anything
            self._unreadable += 1

    def _counts(self) -> Counts:
        return Counts(
            events=self._events,
            labels=self._labels,
            predictions=self._predictions,
            joined=self._accuracy.joined,
            dead_letters=self._dead_letters,
            duplicates=self._audit.duplicates,
            missing=self._audit.missing,
            unpredicted=self._audit.unpredicted,
            expired=self._accuracy.expired,
            unreadable=self._unreadable + self._accuracy.unscored,
        )

    def _errors(self) -> Errors | None:
        model = self._accuracy.model.window
        known = {name: score.window for name, score in self._accuracy.baselines.items() if score.window is not None}
        if model is None or not known:
            return None
        name = min(known, key=lambda n: known[n])
        return Errors(self._accuracy.joined, model, known[name], name)
