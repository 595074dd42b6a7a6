"""Errors and metrics of what was scored: means over several predictors, of one model, and of each version."""

import math
from collections import deque

from headrace.contracts.snapshot import Metrics, Score, VersionScore
from headrace.evaluation.judge import Judged
from headrace.evaluation.port import Evidence, Task
from headrace.evaluation.scores import Scoreboard, SliceScores, Spans

VERSIONS_KEPT = 50


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


class ModelScores:
    """Errors and metrics of one model's predictions."""

    def __init__(self, task: Task, spans: Spans) -> None:
        self._means = Means(1, spans.window)
        self._board = Scoreboard(task, ("",), spans)

    def add(self, at: float, judged: Judged) -> None:
        """Take a labelled prediction; what has no finite error counts for nothing. `at` is in seconds."""
        if math.isfinite(judged.error):
            self._means.add((judged.error,))
            self._board.add(at, (judged.evidence,))

    def read(self, now: float) -> tuple[int, Score, Metrics]:
        """How many were scored, their errors, and their metrics."""
        return self._means.count, self._means.score(0), self._board.metrics(now)[""]


class VersionScores:
    """Errors and metrics of each model's last versions, with the baselines' errors over the same events."""

    def __init__(self, task: Task, baselines: tuple[str, ...]) -> None:
        self._names = baselines
        self._sums: dict[tuple[str, int], tuple[int, tuple[float, ...]]] = {}
        self._slices = SliceScores(task)

    def add(self, model: str, version: int, errors: tuple[float, ...], evidence: Evidence) -> None:
        """Take an example: the version's error, then the baselines', and the version's evidence."""
        count, sums = self._sums.get((model, version), (0, (0.0,) * len(errors)))
        self._sums[model, version] = count + 1, tuple(a + b for a, b in zip(sums, errors, strict=True))
        self._slices.add((model, version), evidence)
        if not count:
            self._forget(model)

    def scores(self) -> tuple[VersionScore, ...]:
        """Ascending."""
        return tuple(self._score(*which) for which in sorted(self._sums))

    def _score(self, model: str, version: int) -> VersionScore:
        count, (own, *others) = self._sums[model, version]
        metrics = self._slices.metrics((model, version))
        baselines = {name: total / count for name, total in zip(self._names, others, strict=True)}
        return VersionScore(version, count, own / count, model, metrics, baselines)

    def _forget(self, model: str) -> None:
        versions = [version for name, version in self._sums if name == model]
        if len(versions) > VERSIONS_KEPT:
            del self._sums[model, min(versions)]
            self._slices.forget((model, min(versions)))
