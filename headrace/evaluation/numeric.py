"""Regression and counts: how far a number is from the number that turned out to be true."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from headrace.evaluation.guesses import LastNumber, RunningMean, RunningMedian
from headrace.evaluation.port import Evidence, Floats, Guess
from headrace.evaluation.reading import field_of, number


class Regression:
    """Predictions are numbers, or structs with `value`. Evidence: the absolute error."""

    name = "regression"
    loss_name = "mean error"

    def evidence(self, prediction: Any, truth: Any) -> Evidence:
        """See `Task`."""
        return (abs(number(field_of(prediction, "value"), "the prediction") - number(truth, "the truth")),)

    def sums(self, evidence: Floats, weights: Floats) -> Floats:
        """Count, errors, squared errors."""
        errors = evidence[:, 0]
        return np.array([weights.sum(), weights @ errors, weights @ errors**2])

    def metrics(self, sums: Floats) -> dict[str, float]:
        """Mean absolute error (mae) and root mean square error (rmse)."""
        count, errors, squares = sums.tolist()
        return {"mae": errors / count, "rmse": math.sqrt(max(0.0, squares / count))} if count else {}

    def baselines(self) -> Mapping[str, Guess]:
        """The median and the mean of the truths so far, and the last one."""
        return {"running median": RunningMedian(), "running mean": RunningMean(), "last label": LastNumber()}


class Count:
    """Predictions are means above 0, or structs with `value`; truths whole numbers from 0 on.

    Evidence: the Poisson deviance, 2 (y log(y / m) - y + m), and the absolute error.
    """

    name = "count"
    loss_name = "Poisson deviance"
    LEAST = 1e-3
    """Means count as at least this much: one of 0 would have an infinite deviance at the first count."""
    HALF = 0.5
    """A baseline whose median or last count is 0 predicts this instead, for the same reason."""

    def evidence(self, prediction: Any, truth: Any) -> Evidence:
        """See `Task`."""
        mean, count = number(field_of(prediction, "value"), "the prediction"), number(truth, "the truth")
        if mean < 0 or count < 0:
            raise ValueError(f"a count of {count:g} and a prediction of {mean:g}: neither can be below 0")
        far = abs(mean - count)
        mean = max(mean, self.LEAST)
        return 2 * ((count * math.log(count / mean) if count else 0.0) - count + mean), far

    def sums(self, evidence: Floats, weights: Floats) -> Floats:
        """Count, deviances, errors, squared errors."""
        deviances, errors = evidence.T
        return np.array([weights.sum(), weights @ deviances, weights @ errors, weights @ errors**2])

    def metrics(self, sums: Floats) -> dict[str, float]:
        """The mean Poisson deviance, mae and rmse."""
        count, deviance, errors, squares = sums.tolist()
        if not count:
            return {}
        return {
            "poisson_deviance": deviance / count,
            "mae": errors / count,
            "rmse": math.sqrt(max(0.0, squares / count)),
        }

    def baselines(self) -> Mapping[str, Guess]:
        """The mean and the median of the counts so far, and the last one."""
        return {
            "running mean": RunningMean(self.LEAST),
            "running median": RunningMedian(self.HALF),
            "last label": LastNumber(self.HALF),
        }
