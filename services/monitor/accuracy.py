"""Accuracy as labels arrive: errors of the predictions served, and of the baselines on exactly the same keys."""

import math
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from headrace.contracts.snapshot import Point, Score, VersionScore
from services.monitor.regression import Scored

VERSIONS_KEPT = 50
HISTORY_KEPT = 240


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

    __slots__ = ("at", "errors", "event", "guesses", "label", "model", "prediction", "version")

    def __init__(self, at: float) -> None:
        self.at = at
        self.event: Any = None
        self.guesses: tuple[Any, ...] = ()
        self.prediction: Any = None
        self.version = 0
        self.model = ""
        self.label: Any = None
        self.errors: tuple[float, ...] | None = None


class Means:
    """Mean errors of several predictors over the same examples: over all of them, and over the last `window`."""

    def __init__(self, predictors: int, window: int) -> None:
        self._sums = [0.0] * predictors
        self._recent_sums = [0.0] * predictors
        self._recent: deque[tuple[float, ...]] = deque()
        self._window = window
        self.count = 0

    def add(self, errors: tuple[float, ...]) -> None:
        """Add one example's error by each predictor."""
        self.count += 1
        recent = self._recent
        recent.append(errors)
        oldest = recent.popleft() if len(recent) > self._window else None
        for i, error in enumerate(errors):
            self._sums[i] += error
            self._recent_sums[i] += error if oldest is None else error - oldest[i]
        if self.count % self._window == 0:  # so that rounding errors add up over one window at most
            self._recent_sums = [math.fsum(column) for column in zip(*recent, strict=True)]

    def score(self, predictor: int) -> Score:
        """The mean errors of one predictor."""
        if not self.count:
            return Score()
        return Score(self._sums[predictor] / self.count, self._recent_sums[predictor] / len(self._recent))


class Accuracy:
    """Joins events, predictions and labels by key and scores them.

    A baseline predicts when an event comes and learns when its label comes, so that it knows no more than the model
    could have known.

    Args:
        error: the model's own measure: `error(prediction, label)`.
        baselines: by name.
        window: labelled predictions of the moving error.
        sample: the share of keys that are followed, chosen by the key's hash.
        limit: most keys that wait for their event, prediction or label; of more, the oldest are dropped.
        wait_s: seconds after which a key that waits is dropped. Dropped keys are counted in `expired`.
        models: the models that answer, if there are several: each is also scored by itself.
        scored: called with a model's name and each of its scores.
    """

    def __init__(
        self,
        error: Callable[[Any, Any], float],
        baselines: Mapping[str, BaselinePredictor],
        *,
        window: int,
        sample: float = 1.0,
        limit: int = 200_000,
        wait_s: float = 3600.0,
        models: Iterable[str] = (),
        scored: Callable[[str, Scored], None] = lambda _model, _scored: None,
    ) -> None:
        self._error = error
        self._scored = scored
        self._baselines = dict(baselines)
        self._below = int(sample * 2**32)
        self._limit, self._wait_s = limit, wait_s
        self._waiting: dict[bytes, Followed] = {}  # in the order of arrival
        self._means = Means(1 + len(self._baselines), window)
        self._by_model = {name: Means(1, window) for name in models}
        self._by_version: dict[tuple[str, int], tuple[int, float]] = {}
        self._history: list[Point] = []
        self._history_every = 1
        self._history_asked = 0
        self.window = window
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
            self._finish(key, one)

    def prediction(self, key: bytes, at: float, prediction: Any, version: int, model: str = "") -> None:
        """Take the prediction that was served, and which version of which model made it."""
        one = self._one(key, at)
        if not one.version:
            one.prediction, one.version, one.model = prediction, version, model
            self._finish(key, one)

    def label(self, key: bytes, at: float, label: Any) -> None:
        """Take a label."""
        one = self._one(key, at)
        if one.label is None:
            one.label = label
            self._learn(one)
            self._finish(key, one)

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

    @property
    def by_version(self) -> tuple[VersionScore, ...]:
        """The score of each model's last versions, ascending."""
        return tuple(VersionScore(v, n, total / n, m) for (m, v), (n, total) in sorted(self._by_version.items()))

    def of_model(self, name: str) -> tuple[int, Score]:
        """How many predictions of one model were scored, and its score."""
        means = self._by_model.get(name)
        return (means.count, means.score(0)) if means else (0, Score())

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
        one.errors = tuple(self._error(guess, one.label) for guess in one.guesses)
        for baseline in self._baselines.values():
            baseline.learn(one.event, one.label)

    def _finish(self, key: bytes, one: Followed) -> None:
        if one.errors is None or not one.version:
            return
        del self._waiting[key]
        errors = (self._error(one.prediction, one.label), *one.errors)
        if not all(map(math.isfinite, errors)):
            self.unscored += 1
            return
        self._means.add(errors)
        self._scored(one.model, Scored(one.version, one.at, errors[0], errors[1:]))
        if one.model in self._by_model:
            self._by_model[one.model].add(errors[:1])
        made_by = one.model, one.version
        count, total = self._by_version.get(made_by, (0, 0.0))
        self._by_version[made_by] = (count + 1, total + errors[0])
        if not count:
            self._forget(one.model)

    def _forget(self, model: str) -> None:
        versions = [version for name, version in self._by_version if name == model]
        if len(versions) > VERSIONS_KEPT:
            del self._by_version[model, min(versions)]


def best(scores: Iterable[Score]) -> float | None:
    """The lowest moving error among baselines; None if no baseline has one."""
    return min((s.window for s in scores if s.window is not None), default=None)
