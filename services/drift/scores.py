"""From predictions to columns: what of a task's predictions is watched."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.drift.schema import Column, ColumnSpec
from headrace.evaluation.names import TaskName
from headrace.evaluation.reading import distribution, field_of, number, probabilities, probability

_FIELD = {"regression": "value", "count": "value", "binary": "probability", "ranking": "score"}


class Scores:
    """The watched columns of predictions.

    The number itself; of several classes the most probable one and how sure it is; of labels the expected number of
    them. A prediction that has not the task's form is a missing value.
    """

    def __init__(self, task: TaskName, classes: Sequence[str], prediction_type: Any) -> None:
        self._task, self._classes, self._plain = task, tuple(classes), prediction_type in {float, int}
        if task == "multiclass":
            self.specs: tuple[ColumnSpec, ...] = (ColumnSpec("confidence", "number"), ColumnSpec("class", "category"))
        elif task == "multilabel":
            self.specs = (ColumnSpec("labels", "number"),)
        else:
            self.specs = (ColumnSpec("prediction", "number"),)

    def columns(self, predictions: Sequence[Any]) -> list[Column]:
        """Columns in the order of `specs`; the first one's mean is the score that ADWIN watches."""
        if self._task == "multiclass":
            return self._classes_of(predictions)
        if self._plain and self._task != "multilabel":
            return [np.array(predictions, dtype=np.float64)]
        return [np.fromiter(map(self._number, predictions), np.float64, len(predictions))]

    def _number(self, prediction: Any) -> float:
        try:
            if self._task == "multilabel":
                return float(sum(probabilities(field_of(prediction, "probabilities"), self._classes)))
            value = field_of(prediction, _FIELD[self._task])
            return probability(value, "") if self._task == "binary" else number(value, "")
        except (ValueError, TypeError):
            return float("nan")

    def _classes_of(self, predictions: Sequence[Any]) -> list[Column]:
        sure = np.full(len(predictions), np.nan)
        which = np.empty(len(predictions), dtype=object)
        for i, prediction in enumerate(predictions):
            try:
                found = distribution(field_of(prediction, "probabilities"), self._classes)
            except (ValueError, TypeError):
                continue
            place = max(range(len(found)), key=found.__getitem__)
            sure[i], which[i] = found[place], self._classes[place]
        return [sure, which]
