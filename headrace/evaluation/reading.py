"""Reading predictions: a number or probabilities, plain or in a field of a struct."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

EPSILON = 1e-7
"""Probabilities count as at least this far from 0 and 1, so that one wrong certainty costs 16 and not infinity."""
_SUM_OFF = 0.01


def field_of(prediction: Any, name: str) -> Any:
    """The field `name` where the prediction is a struct or a mapping that has it, else the prediction itself."""
    if isinstance(prediction, float):
        return prediction
    if isinstance(prediction, Mapping):
        return prediction.get(name, prediction)
    return getattr(prediction, name, prediction)


def number(value: Any, what: str) -> float:
    """A finite number.

    Raises:
        ValueError: it is not one.
    """
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{what} is {value!r}, expected a finite number")
    return float(value)


def probability(value: Any, what: str) -> float:
    """A number from 0 to 1.

    Raises:
        ValueError: it is not one.
    """
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{what} is {value!r}, expected a probability from 0 to 1")
    return float(value)


def probabilities(value: Any, classes: Sequence[str]) -> list[float]:
    """One probability a class, in their order; of a mapping by name, those that it lacks are 0.

    Raises:
        ValueError, TypeError: other names, another number of them, or a value that is no probability.
    """
    if isinstance(value, Mapping):
        if unknown := [name for name in value if name not in classes]:
            raise ValueError(f"the prediction names {unknown[0]!r}, the model's classes are {', '.join(classes)}")
        value = [value.get(name, 0.0) for name in classes]
    elif isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"the prediction is {value!r}, expected {len(classes)} probabilities, a list or by name")
    if len(value) != len(classes):
        raise ValueError(f"the prediction has {len(value)} probabilities, the model has {len(classes)} classes")
    return [probability(one, "a probability of the prediction") for one in value]


def distribution(value: Any, classes: Sequence[str]) -> list[float]:
    """Probabilities that sum to 1, within a hundredth.

    Raises:
        ValueError, TypeError: as `probabilities`, or they sum to something else.
    """
    found = probabilities(value, classes)
    if abs(math.fsum(found) - 1) > _SUM_OFF:
        raise ValueError(f"the prediction's probabilities sum to {math.fsum(found):.4g}, expected 1")
    return found


def index_of(truth: Any, classes: Sequence[str]) -> int:
    """A class's place, of its name or the place itself.

    Raises:
        ValueError: there is no such class.
    """
    if isinstance(truth, str) and truth in classes:
        return classes.index(truth)
    if isinstance(truth, int) and not isinstance(truth, bool) and 0 <= truth < len(classes):
        return truth
    raise ValueError(f"the truth is {truth!r}, the model's classes are {', '.join(classes)}")


def positive(truth: Any) -> bool:
    """Whether a truth of two kinds is the positive one.

    Raises:
        ValueError: it is neither a bool nor 0 or 1.
    """
    if truth not in (0, 1):
        raise ValueError(f"the truth is {truth!r}, expected true or false, or 1 or 0")
    return bool(truth)


def log_loss(chance: float) -> float:
    """The loss where what turned out to be true had this probability."""
    return -math.log(max(EPSILON, chance))
