"""Binary classification, and ranking: one score, and whether it turned out to be true."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.evaluation.guesses import LastClass, Positive, Prior
from headrace.evaluation.histogram import BINS, GROUPS, auc, calibration_error, classed, f1, grouped
from headrace.evaluation.port import Evidence, Floats, Guess
from headrace.evaluation.reading import EPSILON, field_of, log_loss, number, positive, probability

_TWO = ("no", "yes")


class Binary:
    """Predictions are the positive class's probability, or structs with `probability`; truths bools, or 0 and 1.

    Evidence: the log loss, the probability, and the truth.
    """

    name = "binary"
    loss_name = "log loss"

    def evidence(self, prediction: Any, truth: Any) -> Evidence:
        """See `Task`."""
        chance, true = probability(field_of(prediction, "probability"), "the prediction"), positive(truth)
        return log_loss(chance if true else 1 - chance), chance, float(true)

    def sums(self, evidence: Floats, weights: Floats) -> Floats:
        """Count, losses, log-odds by bin and class, calibration by group."""
        losses, chance, true = evidence.T
        clipped = np.clip(chance, EPSILON, 1 - EPSILON)
        log_odds = np.log(clipped / (1 - clipped))
        return np.concatenate(
            [[weights.sum(), weights @ losses], classed(log_odds, true, weights), grouped(chance, true, weights)]
        )

    def metrics(self, sums: Floats) -> dict[str, float]:
        """log_loss, accuracy and f1 at one half, calibration_error; auc and auc_error once both classes came."""
        count, losses, binned, groups = sums[0], sums[1], sums[2 : 2 + 2 * BINS], sums[-GROUPS:]
        if not count:
            return {}
        negatives, positives = binned[:BINS], binned[BINS:]
        half = BINS // 2  # log-odds of 0 are a probability of one half
        hit, predicted = positives[half:].sum(), binned[half:BINS].sum() + positives[half:].sum()
        found = {
            "log_loss": losses / count,
            "accuracy": (hit + negatives[:half].sum()) / count,
            "f1": f1(hit, predicted, positives.sum()),
            "calibration_error": calibration_error(groups, count),
        }
        if area := auc(binned):
            found["auc"], found["auc_error"] = area
        return {name: float(value) for name, value in found.items()}

    def baselines(self) -> Mapping[str, Guess]:
        """How often it was true so far, and what was true last."""
        return {"prior": Positive(Prior(_TWO)), "last label": Positive(LastClass(_TWO))}


class Ranking:
    """Predictions are scores, or structs with `score`; truths are relevant or not: bools, or 0 and 1.

    Their quality is AUC: how often a relevant event is above one that is not. The loss is the logistic loss, which
    takes a score as log-odds. Evidence: the loss, the score, and the truth.
    """

    name = "ranking"
    loss_name = "logistic loss"

    def evidence(self, prediction: Any, truth: Any) -> Evidence:
        """See `Task`."""
        score, relevant = number(field_of(prediction, "score"), "the prediction"), positive(truth)
        wrong = -score if relevant else score
        return max(wrong, 0.0) + math.log1p(math.exp(-abs(wrong))), score, float(relevant)

    def sums(self, evidence: Floats, weights: Floats) -> Floats:
        """Count, losses, scores by bin and class; a bin is 8 % wide for scores from 0.001 to 200,000."""
        losses, scores, relevant = evidence.T
        position = 0.6 * np.arcsinh(1000 * scores)
        return np.concatenate([[weights.sum(), weights @ losses], classed(position, relevant, weights)])

    def metrics(self, sums: Floats) -> dict[str, float]:
        """logistic_loss; auc and auc_error once a relevant event and another came."""
        if not sums[0]:
            return {}
        found = {"logistic_loss": float(sums[1] / sums[0])}
        if area := auc(sums[2:]):
            found["auc"], found["auc_error"] = area
        return found

    def baselines(self) -> Mapping[str, Guess]:
        """The log-odds of how often events were relevant so far, and of what the last one tells."""
        return {
            "prior": Positive(Prior(_TWO), log_odds=True),
            "last label": Positive(LastClass(_TWO), log_odds=True),
        }
