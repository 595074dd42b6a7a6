"""Metrics over several spans at once, streaming: a bounded number of sums, and the evidence of one window."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from headrace.contracts.snapshot import Metrics
from headrace.evaluation.port import Evidence, Floats, Task

BUCKETS = 30
"""Parts of the span of time: what is older than it goes in steps of a thirtieth."""
_MOST_BUCKETS = 4 * BUCKETS
"""Kept at most, since timestamps may be wrong."""
_BATCH = 1024


class Spans(NamedTuple):
    """Over what metrics are given, beside the whole: the last examples, the last seconds, and decayed."""

    window: int
    """Examples."""
    window_s: float = 60.0
    """Seconds of the labels' time."""
    half_life: float = 2000.0
    """Examples after which one counts half."""


class Measures:
    """One predictor's metrics."""

    def __init__(self, task: Task, spans: Spans) -> None:
        self._task, self._spans = task, spans
        self._ring = np.empty((0, 0))
        self._next = 0
        self._whole: Floats | None = None
        self._decayed: Floats | None = None
        self._buckets: dict[int, Floats] = {}

    def add(self, evidence: Floats, at: Floats) -> None:
        """Take evidence [N, D], at least a row, in order, and each row's time in seconds [N]."""
        count = len(evidence)
        keep = 0.5 ** (1 / self._spans.half_life)
        sums = self._task.sums(evidence, np.ones(count))
        fading = self._task.sums(evidence, keep ** np.arange(count - 1, -1, -1, dtype=np.float64))
        self._whole = sums if self._whole is None else self._whole + sums
        self._decayed = fading if self._decayed is None else self._decayed * keep**count + fading
        self._remember(evidence[-self._spans.window :])
        buckets = np.floor(at / (self._spans.window_s / BUCKETS)).astype(np.int64)
        for bucket in np.unique(buckets).tolist():
            these = evidence[buckets == bucket]
            sums = self._task.sums(these, np.ones(len(these)))
            self._buckets[bucket] = self._buckets[bucket] + sums if bucket in self._buckets else sums
        for bucket in sorted(self._buckets)[:-_MOST_BUCKETS]:
            del self._buckets[bucket]

    def metrics(self, now: float) -> Metrics:
        """The metrics; `now`, in seconds, is where the span of time ends."""
        if self._whole is None or self._decayed is None:
            return Metrics()
        newest = int(now // (self._spans.window_s / BUCKETS))
        recent = [sums for bucket, sums in self._buckets.items() if newest - BUCKETS < bucket <= newest + 1]
        of = self._task.metrics
        return Metrics(
            window=of(self._task.sums(self._ring, np.ones(len(self._ring)))),
            recent=of(np.sum(recent, axis=0)) if recent else {},
            decayed=of(self._decayed),
            whole=of(self._whole),
        )

    def _remember(self, evidence: Floats) -> None:
        room = self._spans.window - len(self._ring)
        if room > 0:
            new, evidence = evidence[:room], evidence[room:]
            self._ring = np.concatenate([self._ring.reshape(len(self._ring), new.shape[1]), new])
        if len(evidence):
            places = (self._next + np.arange(len(evidence))) % self._spans.window
            self._ring[places] = evidence
            self._next = int(places[-1] + 1) % self._spans.window


class Scoreboard:
    """The metrics of several predictors over the same examples."""

    def __init__(self, task: Task, predictors: Sequence[str], spans: Spans) -> None:
        self._measures = {name: Measures(task, spans) for name in predictors}
        self._pending: list[Sequence[Evidence]] = []
        self._at: list[float] = []

    def add(self, at: float, evidence: Sequence[Evidence]) -> None:
        """Take one example's evidence by each predictor; `at` is when its label came, in seconds."""
        self._pending.append(evidence)
        self._at.append(at)
        if len(self._at) >= _BATCH:
            self._settle()

    def metrics(self, now: float) -> dict[str, Metrics]:
        """Each predictor's metrics by its name; `now` is in seconds."""
        self._settle()
        return {name: measures.metrics(now) for name, measures in self._measures.items()}

    def _settle(self) -> None:
        if not self._at:
            return
        at, columns = np.array(self._at), zip(*self._pending, strict=True)
        for measures, evidence in zip(self._measures.values(), columns, strict=True):
            measures.add(np.array(evidence, dtype=np.float64), at)
        self._pending, self._at = [], []


class SliceScores:
    """The whole run's metrics of one predictor within each of several slices, such as versions."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._sums: dict[object, Floats] = {}
        self._pending: dict[object, list[Evidence]] = {}

    def add(self, which: object, evidence: Evidence) -> None:
        """Take one example of a slice."""
        waiting = self._pending.setdefault(which, [])
        waiting.append(evidence)
        if len(waiting) >= _BATCH:
            self._settle(which)

    def metrics(self, which: object) -> dict[str, float]:
        """A slice's metrics."""
        self._settle(which)
        sums = self._sums.get(which)
        return {} if sums is None else self._task.metrics(sums)

    def forget(self, which: object) -> None:
        """Drop a slice."""
        self._sums.pop(which, None)
        self._pending.pop(which, None)

    def _settle(self, which: object) -> None:
        if waiting := self._pending.pop(which, None):
            sums = self._task.sums(np.array(waiting, dtype=np.float64), np.ones(len(waiting)))
            self._sums[which] = self._sums[which] + sums if which in self._sums else sums
