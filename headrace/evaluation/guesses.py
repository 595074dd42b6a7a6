"""Baselines that look at no event. What each knows is what labels told so far; all have bounded memory."""

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from headrace.evaluation.port import Guess
from headrace.evaluation.reading import EPSILON, index_of, positive

MEDIAN_OF = 1001
"""The truths that a running median remembers, the newest ones."""


class RunningMean:
    """The mean of all numbers so far, at least `least`."""

    def __init__(self, least: float = -math.inf) -> None:
        self._least, self._sum, self._count = least, 0.0, 0

    def guess(self) -> float:
        """See `Guess`."""
        return max(self._least, self._sum / self._count if self._count else 0.0)

    def learn(self, truth: Any) -> None:
        """See `Guess`."""
        self._sum, self._count = self._sum + truth, self._count + 1


class RunningMedian:
    """The exact median of the last `MEDIAN_OF` numbers, at least `least`."""

    def __init__(self, least: float = -math.inf) -> None:
        self._least = least
        self._in_order: deque[float] = deque()
        self._sorted: list[float] = []

    def guess(self) -> float:
        """See `Guess`."""
        known = self._sorted
        if not known:
            return max(self._least, 0.0)
        return max(self._least, (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2)

    def learn(self, truth: Any) -> None:
        """See `Guess`."""
        self._in_order.append(truth)
        insort(self._sorted, truth)
        if len(self._in_order) > MEDIAN_OF:
            del self._sorted[bisect_left(self._sorted, self._in_order.popleft())]


class LastNumber:
    """The number that was learned last, at least `least`."""

    def __init__(self, least: float = -math.inf) -> None:
        self._least, self._last = least, 0.0

    def guess(self) -> float:
        """See `Guess`."""
        return max(self._least, self._last)

    def learn(self, truth: Any) -> None:
        """See `Guess`."""
        self._last = float(truth)


class Prior:
    """How often each class came so far, each counted once beforehand."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes, self._counts = list(classes), [1.0] * len(classes)

    def guess(self) -> list[float]:
        """A probability for each class."""
        total = math.fsum(self._counts)
        return [count / total for count in self._counts]

    def learn(self, truth: Any) -> None:
        """See `Guess`."""
        self._counts[index_of(truth, self._classes)] += 1


class LastClass:
    """The class that came last, with the probability with which a class was followed by itself so far.

    The others share the rest by how often they came.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes, self._prior = list(classes), Prior(classes)
        self._last: int | None = None
        self._repeated, self._followed = 1.0, 2.0

    def guess(self) -> list[float]:
        """A probability for each class."""
        prior, last = self._prior.guess(), self._last
        if last is None:
            return prior
        again = self._repeated / self._followed
        left = (1 - again) / max(EPSILON, 1 - prior[last])
        return [again if i == last else left * chance for i, chance in enumerate(prior)]

    def learn(self, truth: Any) -> None:
        """See `Guess`."""
        now = index_of(truth, self._classes)
        if self._last is not None:
            self._repeated, self._followed = self._repeated + (now == self._last), self._followed + 1
        self._last = now
        self._prior.learn(now)


class Positive:
    """The probability of the positive one of two classes, as a baseline of classes gives it; or its log-odds."""

    def __init__(self, of: Guess, *, log_odds: bool = False) -> None:
        self._of, self._log_odds = of, log_odds

    def guess(self) -> float:
        """See `Guess`."""
        chance: float = self._of.guess()[1]
        return math.log(chance / (1 - chance)) if self._log_odds else chance

    def learn(self, truth: Any) -> None:
        """See `Guess`."""
        self._of.learn(int(positive(truth)))


class EachLabel:
    """A baseline of two classes for each of several labels."""

    def __init__(self, labels: Sequence[str], make: Callable[[Sequence[str]], Guess]) -> None:
        self._guesses = {label: Positive(make(("no", "yes"))) for label in labels}

    def guess(self) -> list[float]:
        """A probability for each label."""
        return [one.guess() for one in self._guesses.values()]

    def learn(self, truth: Any) -> None:
        """See `Guess`."""
        for label, one in self._guesses.items():
            one.learn(label in truth)
