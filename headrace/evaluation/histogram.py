"""AUC and calibration error of binned scores: sums of fixed size, whatever the number of examples."""

import numpy as np
from numpy.typing import NDArray

from headrace.evaluation.port import Floats

BINS = 480
_REACH = 12.0
GROUPS = 10
"""Of equally wide probabilities, in the calibration error."""


def bins_of(position: Floats) -> NDArray[np.int64]:
    """The bin of each position on an axis; beyond ±12 the outermost. 0 is the lower edge of a bin."""
    return ((position.clip(-_REACH, _REACH) + _REACH) * (BINS / (2 * _REACH))).astype(np.int64).clip(0, BINS - 1)


def classed(position: Floats, positives: Floats, weights: Floats) -> Floats:
    """Weights of the negatives and then of the positives, by bin: [2 BINS]."""
    return np.bincount(bins_of(position) + BINS * positives.astype(np.int64), weights, 2 * BINS).astype(np.float64)


def auc(binned: Floats) -> tuple[float, float] | None:
    """The area under the ROC curve, and how far it can be off at most; None unless both classes are there.

    It is the share of pairs, one negative and one positive, whose positive has the higher score. Of a pair in one bin
    it is not known; it counts one half. So the error is at most half the share of such pairs.
    """
    negatives, positives = binned[:BINS], binned[BINS:]
    pairs = negatives.sum() * positives.sum()
    if pairs <= 0:
        return None
    tied = float(negatives @ positives) / 2
    below = np.concatenate([[0.0], np.cumsum(negatives)[:-1]])
    return float((below @ positives + tied) / pairs), float(tied / pairs)


def grouped(chance: Floats, hits: Floats, weights: Floats) -> Floats:
    """By groups of probability, the sum of probabilities less the hits: [GROUPS]."""
    group = np.clip((chance * GROUPS).astype(np.int64), 0, GROUPS - 1)
    return np.bincount(group, weights * (chance - hits), GROUPS).astype(np.float64)


def calibration_error(groups: Floats, count: float) -> float:
    """The expected calibration error: the mean difference of probability and frequency, over groups by their sizes."""
    return float(np.abs(groups).sum() / count)


def f1(true_positives: float, predicted: float, true: float) -> float:
    """The harmonic mean of precision and recall; 0 where nothing was predicted and nothing true."""
    return 2 * true_positives / (predicted + true) if predicted + true else 0.0
