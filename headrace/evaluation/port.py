"""What a task is: the numbers that are kept of one labelled prediction, and the metrics that follow from their sums."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Evidence = tuple[float, ...]
"""What is kept of one labelled prediction, D numbers. The first is its loss by the task: lower is better."""


class Guess(Protocol):
    """A baseline that looks at no event: it guesses from the truths learned so far."""

    def guess(self) -> Any:
        """A prediction, in a form that the task reads."""
        ...

    def learn(self, truth: Any) -> None:
        """One more truth is known."""
        ...


class Task(Protocol):
    """One kind of task.

    All metrics follow from sums over examples. So they can be had over any window, decayed, or by slice, of examples
    that are not kept, and sums of two slices are the sums of both.
    """

    name: str
    loss_name: str
    """What the loss is, for people."""

    def evidence(self, prediction: Any, truth: Any) -> Evidence:
        """What is kept of one labelled prediction.

        Raises:
            ValueError, TypeError: the prediction or the truth does not have the task's form.
        """
        ...

    def sums(self, evidence: Floats, weights: Floats) -> Floats:
        """Of evidence [N, D] and a weight for each row [N], the K sums that `metrics` needs."""
        ...

    def metrics(self, sums: Floats) -> dict[str, float]:
        """Metrics by name; those that are not defined yet, as AUC before both classes came, are left out."""
        ...

    def baselines(self) -> Mapping[str, Guess]:
        """Fresh baselines by name."""
        ...
