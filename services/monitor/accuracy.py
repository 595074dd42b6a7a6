"""Accuracy as labels arrive: errors of the predictions served, and of the baselines on exactly the same keys."""

import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from headrace.contracts.snapshot import Metrics, Point, Score, VersionScore
from headrace.evaluation.judge import Judge, Judged
from headrace.evaluation.scores import Scoreboard, Spans
from services.monitor.regression import Scored
from services.monitor.scoring import Means, ModelScores, VersionScores

HISTORY_KEPT = 240
MODEL = "model"
"""What metrics call the predictions that were served, beside the baselines' names."""


class BaselinePredictor(Protocol):
    """See `headrace.Baseline`."""

    def predict(self, event: Any) -> Any:
        """A prediction from the labels learned so far."""
        ...

    def learn(self, event: Any, label: Any) -> None:
        """Learn from one labelled event."""
        ...


class Followed:
    """One key, with the event, prediction and label that have arrived so far."""

    __slots__ = ("at", "event", "guesses", "judged", "label", "model", "prediction", "version")

    def __init__(self, at: float) -> None:
        self.at = at
        self.event: Any = None
        self.guesses: tuple[Any, ...] = ()
        self.prediction: Any = None
        self.version = 0
        self.model = ""
        self.label: Any = None
        self.judged: tuple[Judged, ...] | None = None


class Accuracy:
    """Joins events, predictions and labels by key and scores them.

    A baseline predicts when an event comes and learns when its label comes, so that it knows no more than the model
    could have known.

    Args:
        judge: says how wrong a prediction was.
        baselines: by name.
        spans: over what errors and metrics are taken, beside the whole.
        sample: the share of keys that are followed, chosen by the key's hash.
        limit: most keys that wait for their event, prediction or label; of more, the oldest are dropped.
        wait_s: seconds after which a key that waits is dropped. Dropped keys are counted in `expired`.
        models: the models that answer, if there are several: each is also scored by itself.
        scored: called with a model's name and each of its scores.
    """

    def __init__(
        self,
        judge: Judge,
        baselines: Mapping[str, BaselinePredictor],
        *,
        spans: Spans,
        sample: float = 1.0,
        limit: int = 200_000,
        wait_s: float = 3600.0,
        models: Iterable[str] = (),
        scored: Callable[[str, Scored], None] = lambda _model, _scored: None,
    ) -> None:
        self._judge = judge
        self._scored = scored
        self._baselines = dict(baselines)
        self._below = int(sample * 2**32)
        self._limit, self._wait_s = limit, wait_s
        self._waiting: dict[bytes, Followed] = {}  # in the order of arrival
        self._means = Means(1 + len(self._baselines), spans.window)
        self._board = Scoreboard(judge.task, (MODEL, *self._baselines), spans)
        self._by_model = {name: ModelScores(judge.task, spans) for name in models}
        self._by_version = VersionScores(judge.task, tuple(self._baselines))
        self._history: list[Point] = []
        self._history_every = 1
        self._history_asked = 0
        self.expired = 0
        self.unscored = 0

    def follows(self, key: bytes) -> bool:
        """Whether this key is followed."""
        return zlib.crc32(key) < self._below

    def event(self, key: bytes, at: float, event: Any) -> None:
        """Take an event; `at` is in seconds since the epoch, here and below."""
        one = self._one(key, at)
        if one.event is None:
            one.event = event
            one.guesses = tuple(baseline.predict(event) for baseline in self._baselines.values())
            self._learn(one)
            self._finish(key, one, at)

    def prediction(self, key: bytes, at: float, prediction: Any, version: int, model: str = "") -> None:
        """Take the prediction that was served, and which version of which model made it."""
        one = self._one(key, at)
        if not one.version:
            one.prediction, one.version, one.model = prediction, version, model
            self._finish(key, one, at)

    def label(self, key: bytes, at: float, label: Any) -> None:
        """Take a label."""
        one = self._one(key, at)
        if one.label is None:
            one.label = label
            self._learn(one)
            self._finish(key, one, at)

    def expire(self, now: float) -> None:
        """Drop keys that have waited for longer than `wait_s`."""
        while self._waiting:
            key, one = next(iter(self._waiting.items()))
            if one.at > now - self._wait_s and len(self._waiting) <= self._limit:
                return
            del self._waiting[key]
            self.expired += 1

    @property
    def waiting(self) -> int:
        """Keys that wait for their event, prediction or label."""
        return len(self._waiting)

    @property
    def joined(self) -> int:
        """Predictions scored."""
        return self._means.count

    @property
    def model(self) -> Score:
        """The score of the predictions served, whichever version made them."""
        return self._means.score(0)

    @property
    def baselines(self) -> dict[str, Score]:
        """The score of each baseline, over the same keys."""
        return {name: self._means.score(i) for i, name in enumerate(self._baselines, start=1)}

    def metrics(self, now: float) -> dict[str, Metrics]:
        """The task's metrics of the predictions served and of each baseline."""
        return self._board.metrics(now)

    @property
    def by_version(self) -> tuple[VersionScore, ...]:
        """The score of each model's last versions, ascending."""
        return self._by_version.scores()

    def of_model(self, name: str, now: float) -> tuple[int, Score, Metrics]:
        """How many predictions of one model were scored, its errors, and its metrics."""
        scores = self._by_model.get(name)
        return scores.read(now) if scores else (0, Score(), Metrics())

    @property
    def history(self) -> tuple[Point, ...]:
        """The moving errors over time, oldest first."""
        return tuple(self._history)

    def remember(self, now: float) -> None:
        """Append the moving errors to the history, unless nothing was scored since the last call."""
        model = self.model.window
        if model is None or (self._history and self._history[-1].joined == self.joined):
            return
        self._history_asked += 1
        if self._history_asked % self._history_every:
            return
        if len(self._history) >= HISTORY_KEPT:  # keep the whole run, at half the resolution
            del self._history[::2]
            self._history_every *= 2
        self._history.append(Point(int(now * 1e6), self.joined, model, best(self.baselines.values())))

    def _one(self, key: bytes, at: float) -> Followed:
        found = self._waiting.get(key)
        if found is None:
            if len(self._waiting) >= self._limit:
                del self._waiting[next(iter(self._waiting))]
                self.expired += 1
            found = self._waiting[key] = Followed(at)
        return found

    def _learn(self, one: Followed) -> None:
        if one.event is None or one.label is None:
            return
        one.judged = tuple(self._judge(guess, one.label) for guess in one.guesses)
        for baseline in self._baselines.values():
            baseline.learn(one.event, one.label)

    def _finish(self, key: bytes, one: Followed, at: float) -> None:
        if one.judged is None or not one.version:
            return
        del self._waiting[key]
        judged = (self._judge(one.prediction, one.label), *one.judged)
        errors = tuple(by.error for by in judged)
        if not all(map(math.isfinite, errors)):
            self.unscored += 1
            return
        self._means.add(errors)
        self._board.add(at, [by.evidence for by in judged])
        self._scored(one.model, Scored(one.version, one.at, errors[0], errors[1:]))
        if one.model in self._by_model:
            self._by_model[one.model].add(at, judged[0])
        self._by_version.add(one.model, one.version, errors, judged[0].evidence)


def best(scores: Iterable[Score]) -> float | None:
    """The lowest moving error among baselines; None if no baseline has one."""
    return min((s.window for s in scores if s.window is not None), default=None)
