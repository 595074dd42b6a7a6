"""Classification with several classes of which one is true, or with several labels of which any may be."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from headrace.evaluation.guesses import EachLabel, LastClass, Prior
from headrace.evaluation.histogram import GROUPS, calibration_error, f1, grouped
from headrace.evaluation.port import Evidence, Floats, Guess
from headrace.evaluation.reading import EPSILON, distribution, field_of, index_of, log_loss, probabilities


class Multiclass:
    """Predictions are a probability a class, in the order of `classes` or by name, or structs with `probabilities`.

    Truths are a class's name or place. Evidence: the log loss, the highest probability, its class, the true class.
    """

    name = "multiclass"
    loss_name = "log loss"

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = list(classes)

    def evidence(self, prediction: Any, truth: Any) -> Evidence:
        """See `Task`."""
        chances = distribution(field_of(prediction, "probabilities"), self._classes)
        true, highest = index_of(truth, self._classes), max(chances)
        return log_loss(chances[true]), highest, float(chances.index(highest)), float(true)

    def sums(self, evidence: Floats, weights: Floats) -> Floats:
        """Count, losses, calibration by group; then hits, predictions and truths by class."""
        losses, chance, predicted, true = evidence.T
        hits, size = (predicted == true).astype(np.float64), len(self._classes)
        chosen, correct = predicted.astype(np.int64), true.astype(np.int64)
        return np.concatenate(
            [
                [weights.sum(), weights @ losses],
                grouped(np.minimum(chance, 1.0), hits, weights),
                np.bincount(correct, weights * hits, size),
                np.bincount(chosen, weights, size),
                np.bincount(correct, weights, size),
            ]
        )

    def metrics(self, sums: Floats) -> dict[str, float]:
        """log_loss, accuracy, f1 (the mean over classes that came or were predicted), calibration_error."""
        count, groups = sums[0], sums[2 : 2 + GROUPS]
        if not count:
            return {}
        hits, predicted, true = sums[2 + GROUPS :].reshape(3, -1)
        each = [f1(h, p, t) for h, p, t in zip(hits, predicted, true, strict=True) if p + t]
        return {
            "log_loss": float(sums[1] / count),
            "accuracy": float(hits.sum() / count),
            "f1": float(np.mean(each)),
            "calibration_error": calibration_error(groups, count),
        }

    def baselines(self) -> Mapping[str, Guess]:
        """How often each class came so far, and the class that came last."""
        return {"prior": Prior(self._classes), "last label": LastClass(self._classes)}


class Multilabel:
    """Predictions are a probability a label, in the order of `classes` or by name, or structs with `probabilities`.

    Truths are the labels that apply: a list or set of names. Evidence: the mean log loss over labels, then all
    probabilities, then for each label whether it is true.
    """

    name = "multilabel"
    loss_name = "log loss"

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = list(classes)

    def evidence(self, prediction: Any, truth: Any) -> Evidence:
        """See `Task`."""
        chances = probabilities(field_of(prediction, "probabilities"), self._classes)
        true = self._true(truth)
        losses = [log_loss(c if t else 1 - c) for c, t in zip(chances, true, strict=True)]
        return sum(losses) / len(losses), *chances, *true

    def _true(self, truth: Any) -> list[float]:
        if isinstance(truth, str) or not isinstance(truth, Collection):
            raise TypeError(f"the truth is {truth!r}, expected a list or set of labels")
        if unknown := [name for name in truth if name not in self._classes]:
            raise ValueError(f"the truth names {unknown[0]!r}, the model's labels are {', '.join(self._classes)}")
        return [float(name in truth) for name in self._classes]

    def sums(self, evidence: Floats, weights: Floats) -> Floats:
        """Count, examples with every label right; then losses, hits, predictions and truths by label."""
        size = len(self._classes)
        chances, true = evidence[:, 1 : 1 + size], evidence[:, 1 + size :]
        chosen = (chances >= 0.5).astype(np.float64)
        losses = -np.log(np.maximum(EPSILON, np.where(true > 0, chances, 1 - chances)))
        right = (chosen == true).all(axis=1)
        return np.concatenate(
            [
                [weights.sum(), weights @ right],
                weights @ losses,
                weights @ (chosen * true),
                weights @ chosen,
                weights @ true,
            ]
        )

    def metrics(self, sums: Floats) -> dict[str, float]:
        """log_loss and f1, means over the labels, and each label's; accuracy: the share with every label right."""
        if not (count := sums[0]):
            return {}
        losses, hits, predicted, true = sums[2:].reshape(4, -1)
        each = [f1(h, p, t) for h, p, t in zip(hits, predicted, true, strict=True)]
        found = {"log_loss": losses.mean() / count, "accuracy": sums[1] / count, "f1": np.mean(each)}
        found |= {f"log_loss[{name}]": loss / count for name, loss in zip(self._classes, losses, strict=True)}
        found |= {f"f1[{name}]": one for name, one in zip(self._classes, each, strict=True)}
        return {name: float(value) for name, value in found.items()}

    def baselines(self) -> Mapping[str, Guess]:
        """How often each label was true so far, and what was true of the last event."""
        return {"prior": EachLabel(self._classes, Prior), "last label": EachLabel(self._classes, LastClass)}
