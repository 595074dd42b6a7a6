"""Changes of a mean, value by value: ADWIN (Bifet and Gavaldà, 2007), by the library river.

ADWIN keeps a window of the newest values and cuts off its older part once the means of both differ by more than chance
allows. So it says that a mean has changed, whenever it does and by however little. After a cut its window still holds
values from before the change. What counts as drift is therefore told by the mean of the newest values alone, once ADWIN
has said that there was a change.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN

Floats = NDArray[np.float64]

KEPT = 2000
"""The newest values, which a restarted process tells ADWIN again."""
RECENT = 500
"""Values whose mean is compared with the usual one."""
BEYOND = 1.2
"""A mean has to go so many times as far as it went while the usual one was learned."""
SUSPECT = 4000
"""Values after a change that ADWIN has found, within which their mean has to be drifted."""
CLEAR = 0.5
"""A mean counts as usual again once it has come back by so much of the way that counts as drift."""


@dataclass(frozen=True)
class Moved:
    """A mean started or stopped being drifted: what it is, what is usual, and from where on it would be drift."""

    firing: bool
    mean: float
    usual: float
    limit: float
    at: int
    """Values taken until then."""


class MeanChange:
    """Watches the mean of a stream of numbers. NaN and infinity are not taken.

    Args:
        delta: of ADWIN: bounds the probability of a change found where there is none.
        measure: "ratio": drift is a mean of `effect` times the usual one or more, as of errors; "deviations": a mean
            that is `effect` standard deviations away from the usual one, on either side.
        effect: see `measure`.
        learn: the first values, whose mean is the usual one. Of errors it falls where the mean falls below all that it
            was meanwhile: an error that the model has learned to avoid is not usual any more. `effect` grows where the
            mean of RECENT values went further meanwhile: learned over days, it is above what the time of day does.
        adopt: values of drift after which what is now is usual; None: never.
        thin: so many values are one to ADWIN, their mean. It then costs less and finds changes as late.
    """

    def __init__(
        self, *, delta: float, measure: Literal["ratio", "deviations"], effect: float, learn: int,
        adopt: int | None = None, thin: int = 1,
    ) -> None:  # fmt: skip
        self._delta, self._measure, self._effect = delta, measure, effect
        self._learn, self._adopt, self._thin = learn, adopt, thin
        self._least, self._low, self._high = effect, math.inf, -math.inf
        self._adwin = _adwin(delta)
        self._kept: deque[float] = deque(maxlen=max(1, KEPT // thin))
        self._recent: deque[float] = deque()
        self._recent_sum = 0.0
        self._changed: int | None = None  # when ADWIN found a change last
        self._waiting: list[float] = []
        self._sum = self._squares = 0.0
        self.taken = self._since = 0
        self.usual: float | None = None
        self._deviation = 0.0
        self.firing = False

    @property
    def mean(self) -> float | None:
        """The mean of the newest values; None before the first."""
        return self._recent_sum / len(self._recent) if self._recent else None

    @property
    def limit(self) -> float | None:
        """The mean from which it is drift, above the usual one; None while that is being learned."""
        if self.usual is None:
            return None
        return self.usual * self._effect if self._measure == "ratio" else self.usual + self._effect * self._deviation

    def take(self, values: Sequence[float] | Floats) -> list[Moved]:
        """Take the next values, in order, and return what changed."""
        found, thin = [], self._thin
        for value in self._thinned(values):
            self.taken += thin
            moved = self._one(value)
            if moved is not None:
                found.append(moved)
        return found

    def reset(self) -> list[Moved]:
        """Learn the usual mean anew."""
        was = self._moved(firing=False) if self.firing else None
        self._again()
        return [] if was is None else [was]

    def _thinned(self, values: Sequence[float] | Floats) -> list[float]:
        finite = np.asarray(values, dtype=np.float64)
        finite = finite[np.isfinite(finite)]
        if self._thin == 1:
            values_as_they_are: list[float] = finite.tolist()
            return values_as_they_are
        waiting = np.concatenate([self._waiting, finite])
        whole = len(waiting) // self._thin * self._thin
        self._waiting = waiting[whole:].tolist()
        means: list[float] = waiting[:whole].reshape(-1, self._thin).mean(axis=1).tolist()
        return means

    def _one(self, value: float) -> Moved | None:
        self._adwin.update(value)
        self._remember(value)
        if self.usual is None:
            self._sum += value
            self._squares += value * value
            if len(self._recent) == max(1, RECENT // self._thin):
                mean = self._recent_sum / len(self._recent)
                self._low, self._high = min(self._low, mean), max(self._high, mean)
            if self.taken >= self._learn:
                count = self.taken // self._thin
                self.usual = self._sum / count
                self._deviation = math.sqrt(max(self._squares / count - self.usual**2, 0.0) * self._thin)
                self._effect = max(self._least, self._went(self.usual))
            return None
        if self._adwin.drift_detected:
            self._changed = self.taken
        if self.firing:
            return self._on()
        if self._changed is None or self.taken - self._changed > SUSPECT:
            return None
        return self._suspected()

    def _went(self, usual: float) -> float:
        """How large the effect has to be, by how far the mean went while it was learned."""
        if self._high < self._low:
            return 0.0
        if self._measure == "ratio":
            return 1 + BEYOND * (self._high / usual - 1) if usual > 0 else 0.0
        far = max(usual - self._low, self._high - usual)
        return BEYOND * far / self._deviation if self._deviation > 0 else 0.0

    def _suspected(self) -> Moved | None:
        """There was a change lately: is the mean drifted, or, of errors, lower than the usual one?"""
        mean = self._recent_sum / len(self._recent)
        if self._distance(mean) < 1:
            since = self.taken - (self._changed or 0)
            if self._measure == "ratio" and self.usual and since >= RECENT and mean < self._low / BEYOND:
                self._low *= mean / self.usual
                self.usual, self._changed = mean, None
            return None
        self.firing, self._since = True, self.taken
        return self._moved(firing=True)

    def _on(self) -> Moved | None:
        mean = self._recent_sum / len(self._recent)
        late = self._adopt is not None and self.taken - self._since >= self._adopt
        if not late and self._distance(mean) >= CLEAR:
            return None
        moved = self._moved(firing=False)
        self.firing, self._changed = False, None
        if late:
            self.usual = mean
        return moved

    def _remember(self, value: float) -> None:
        self._kept.append(value)
        self._recent.append(value)
        self._recent_sum += value
        if len(self._recent) > max(1, RECENT // self._thin):
            self._recent_sum -= self._recent.popleft()
            if self.taken % KEPT == 0:  # so that rounding errors do not add up
                self._recent_sum = math.fsum(self._recent)

    def _distance(self, mean: float) -> float:
        """How far a mean has gone of the way from the usual one to where drift begins."""
        assert self.usual is not None
        if self._measure == "ratio":
            way = self.usual * (self._effect - 1)
            return (mean - self.usual) / way if way > 0 else float(mean > self.usual)
        way = self._effect * self._deviation
        return abs(mean - self.usual) / way if way > 0 else float(mean != self.usual)

    def _moved(self, *, firing: bool) -> Moved:
        return Moved(firing, self.mean or 0.0, self.usual or 0.0, self.limit or 0.0, self.taken)

    def _again(self) -> None:
        self._adwin = _adwin(self._delta)
        self._kept.clear()
        self._recent.clear()
        self._waiting.clear()
        self._recent_sum, self._changed = 0.0, None
        self._sum = self._squares = 0.0
        self.taken, self.usual, self.firing = 0, None, False
        self._effect, self._low, self._high = self._least, math.inf, -math.inf

    def state(self) -> dict[str, Any]:
        """What `restore` goes on from. Of ADWIN's window it has the newest values alone."""
        return {
            "kept": list(self._kept), "waiting": list(self._waiting), "sum": self._sum, "squares": self._squares,
            "taken": self.taken, "since": self._since, "usual": self.usual, "deviation": self._deviation,
            "firing": self.firing, "changed": self._changed, "effect": self._effect, "range": [self._low, self._high],
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            KeyError, TypeError: it is none.
        """
        self._again()
        for value in state["kept"]:
            self._adwin.update(value)
            self._remember(value)
        self._waiting = list(state["waiting"])
        self._sum, self._squares, self.taken = state["sum"], state["squares"], state["taken"]
        self._since, self.usual, self._deviation = state["since"], state["usual"], state["deviation"]
        self.firing, self._changed, self._effect = state["firing"], state["changed"], state["effect"]
        self._low, self._high = state["range"]


def _adwin(delta: float) -> Any:
    made: Any = ADWIN  # river's is untyped
    return made(delta=delta)
