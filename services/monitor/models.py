"""Each model of a pipeline by itself: its versions, its predictions, and the error of a shadow."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from headrace.alerts.policy import Policy
from headrace.contracts.records import Prediction
from headrace.contracts.snapshot import Metrics, ModelStatus, Score
from headrace.evaluation.judge import Judge
from headrace.evaluation.scores import Spans
from headrace.model.spec import SHADOW
from services.monitor.alerts import Alarms
from services.monitor.fleet import Fleet
from services.monitor.intervals import OffsetSet
from services.monitor.scoring import ModelScores


class WatchedModel(NamedTuple):
    """A model: its name in the fleet, its role on the stream, and the share of the keys if it is a canary."""

    name: str
    role: str
    share: float | None = None


class ShadowAccuracy:
    """Joins a shadow's predictions with labels by key, in whichever order they come.

    At most `limit` keys wait on each side, `wait_s` seconds each: the shadow may not have predicted the event that a
    label belongs to.
    """

    def __init__(self, judge: Judge, *, spans: Spans, limit: int = 200_000, wait_s: float = 3600.0) -> None:
        self._judge = judge
        self._scores = ModelScores(judge.task, spans)
        self._limit, self._wait_s = limit, wait_s
        self._predictions: dict[bytes, tuple[float, Any]] = {}  # in the order of arrival
        self._labels: dict[bytes, tuple[float, Any]] = {}

    def read(self, now: float) -> tuple[int, Score, Metrics]:
        """How many predictions' labels have arrived, their errors, and their metrics."""
        return self._scores.read(now)

    def prediction(self, key: bytes, at: float, prediction: Any) -> None:
        """Take a prediction of the shadow; `at` is in seconds since the epoch."""
        waiting = self._labels.pop(key, None)
        if waiting is None:
            self._predictions[key] = at, prediction
        else:
            self._scores.add(at, self._judge(prediction, waiting[1]))

    def label(self, key: bytes, at: float, label: Any) -> None:
        """Take a label."""
        waiting = self._predictions.pop(key, None)
        if waiting is None:
            self._labels[key] = at, label
        else:
            self._scores.add(at, self._judge(waiting[1], label))

    def expire(self, now: float) -> None:
        """Drop keys that have waited for longer than `wait_s`, and the oldest beyond `limit`."""
        for waiting in (self._predictions, self._labels):
            while waiting:
                key, (at, _) = next(iter(waiting.items()))
                if at > now - self._wait_s and len(waiting) <= self._limit:
                    break
                del waiting[key]


class WatchedModels:
    """Every model of one pipeline by its name in the fleet, the champion first, with its versions and alerts.

    `observe_freshness` is called with a model's name and the freshness of each of its versions, in seconds.
    """

    def __init__(
        self,
        models: tuple[WatchedModel, ...],
        window: int,
        unit: str,
        error_name: str,
        observe_freshness: Callable[[str, float], None] | None = None,
        *,
        policy: Policy | None = None,
    ) -> None:
        self.several = len(models) > 1
        self._models = models
        self._fleets = {model.name: Fleet(model.name) for model in models}
        if observe_freshness is not None:
            for name, fleet in self._fleets.items():
                fleet.observe_freshness(partial(observe_freshness, name))
        self._alarms = {model.name: Alarms(model.name, window, unit, error_name, policy) for model in models}
        self._predictions = dict.fromkeys(self._fleets, 0)
        self._shadowed: dict[tuple[str, int], OffsetSet] = {}
        self._duplicates = dict.fromkeys(self._fleets, 0)

    @property
    def champion(self) -> Fleet:
        """The champion's fleet."""
        return self._fleets[self._models[0].name]

    @property
    def alarms(self) -> Mapping[str, Alarms]:
        """Every model's alerts, the champion's first."""
        return self._alarms

    def fleet(self, name: str) -> Fleet | None:
        """A model's fleet; None if the pipeline has no such model."""
        return self._fleets.get(name)

    def predicted(self, made: Prediction[Any]) -> None:
        """Take a prediction, from the sink or from the shadows' topic."""
        fleet = self._fleets.get(made.model)
        if fleet is not None:
            fleet.prediction(made.source[0], made.version, made.at_us)
            self._predictions[made.model] += 1

    def shadowed(self, made: Prediction[Any]) -> bool:
        """Take a shadow's prediction; a second one of the same event is counted, and False."""
        if made.model not in self._fleets:
            return False
        seen = self._shadowed.setdefault((made.model, made.source[0]), OffsetSet())
        if not seen.add(made.source[1]):
            self._duplicates[made.model] += 1
            return False
        self.predicted(made)
        return True

    @property
    def checkpoint_offsets(self) -> dict[str, Mapping[tuple[str, int], int]]:
        """By trainer: (topic, partition): the next offset that its newest checkpoint does not contain."""
        champion, *others = self._models
        trainers = {"trainer": champion, **{f"trainer {other.name}": other for other in others}}
        return {trainer: self._fleets[model.name].checkpoint_offsets for trainer, model in trainers.items()}

    @property
    def first_prediction_us(self) -> int:
        """When the first prediction that was served was made; 0 before that."""
        served = [
            self._fleets[model.name].versions().first_prediction_us for model in self._models if model.role != SHADOW
        ]
        return min(filter(None, served), default=0)

    def statuses(self, scores: Callable[[WatchedModel], tuple[int, Score, Metrics]]) -> tuple[ModelStatus, ...]:
        """The status of every model; empty if there is only the champion, whom the snapshot itself describes."""
        return tuple(self._status(model, *scores(model)) for model in (self._models if self.several else ()))

    def _status(self, model: WatchedModel, scored: int, score: Score, metrics: Metrics) -> ModelStatus:
        fleet = self._fleets[model.name]
        return ModelStatus(
            model=model.name,
            role=model.role,
            share=model.share,
            predictions=self._predictions[model.name],
            duplicates=self._duplicates[model.name],
            scored=scored,
            score=score,
            metrics=metrics,
            versions=fleet.versions(),
            workers=fleet.workers,
        )
