"""How uncertain a prediction is, and how far two models differ, by task. Larger is more; 1 is the most a task can have.

Probabilities: `margin` is 1 less the difference of the two largest; `entropy` the entropy over that of a uniform guess.
A score of ranking counts as log-odds. Of several labels the least certain one counts. Numbers (regression, count) say
nothing of their own certainty: their `spread` is the standard deviation of the predictions of the champion and its
shadows of one event, or a field of the prediction that the model computes.

The differences between two models: of probabilities the total variation distance, half the sum of their differences; of
numbers the absolute difference, in the label's unit.
"""

import math
from collections.abc import Sequence
from statistics import pstdev
from typing import Any

from headrace.evaluation.names import TaskName
from headrace.evaluation.reading import distribution, field_of, number, probabilities, probability
from headrace.model.labelling_spec import PROBABILISTIC, QueueSpec

_EXTREME = 700.0
"""Log-odds beyond this have a probability of 0 or 1, and would overflow."""


class Scorer:
    """Scores predictions of one task, of these classes where it has some."""

    def __init__(self, task: TaskName, classes: Sequence[str] = ()) -> None:
        self._task, self._classes = task, tuple(classes)

    def uncertainty(self, queue: QueueSpec, prediction: Any, others: Sequence[Any] = ()) -> float | None:
        """Of a prediction, as the queue measures it; `others` are the shadows'. None where it cannot be told.

        Raises:
            ValueError, TypeError: a prediction has not the task's form.
        """
        if queue.field:
            return number(field_of(prediction, queue.field), f"the prediction's {queue.field}")
        if self._task not in PROBABILISTIC:
            values = [self._number(one) for one in (prediction, *others)]
            return pstdev(values) if len(values) > 1 else None
        if queue.measure == "spread":
            distances = [self.distance(prediction, other) for other in others]
            return max(distances, default=None)
        measure = _entropy if queue.measure == "entropy" else _margin
        return max(measure(chances) for chances in self._distributions(prediction))

    def distance(self, prediction: Any, other: Any) -> float:
        """Between two models' predictions of one event; errors as `uncertainty`."""
        if self._task not in PROBABILISTIC:
            return abs(self._number(prediction) - self._number(other))
        pairs = zip(self._distributions(prediction), self._distributions(other), strict=True)
        return max(math.fsum(abs(p - q) for p, q in zip(one, two, strict=True)) / 2 for one, two in pairs)

    def _number(self, prediction: Any) -> float:
        return number(field_of(prediction, "value"), "the prediction")

    def _distributions(self, prediction: Any) -> list[list[float]]:
        """What a prediction says: one distribution over the classes, or for each label one of yes and no."""
        if self._task == "multiclass":
            return [distribution(field_of(prediction, "probabilities"), self._classes)]
        if self._task == "multilabel":
            chances = probabilities(field_of(prediction, "probabilities"), self._classes)
            return [[p, 1 - p] for p in chances]
        if self._task == "ranking":
            score = number(field_of(prediction, "score"), "the prediction")
            p = 1 / (1 + math.exp(-max(-_EXTREME, min(_EXTREME, score))))
        else:
            p = probability(field_of(prediction, "probability"), "the prediction")
        return [[p, 1 - p]]


def _margin(chances: Sequence[float]) -> float:
    first, second = sorted(chances, reverse=True)[:2]
    return 1 - (first - second)


def _entropy(chances: Sequence[float]) -> float:
    return -math.fsum(p * math.log(p) for p in chances if p > 0) / math.log(len(chances))
