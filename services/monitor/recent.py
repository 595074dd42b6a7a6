"""Rates and quantiles over the recent past, in bounded memory."""

from collections import deque
from collections.abc import Callable, Sequence

from headrace.contracts.snapshot import Quantiles


class Rate:
    """The rates at which several counters grew in the last `span_s` seconds."""

    def __init__(self, span_s: float = 5.0) -> None:
        self._span_s = span_s
        self._ticks: deque[tuple[float, tuple[int, ...]]] = deque()

    def tick(self, now: float, counts: tuple[int, ...]) -> None:
        """Take the counters' values at `now`, in seconds of any steady clock."""
        ticks = self._ticks
        ticks.append((now, counts))
        while len(ticks) > 2 and ticks[1][0] <= now - self._span_s:
            ticks.popleft()

    def per_second(self) -> tuple[float, ...]:
        """The growth of each counter a second; zeros before the second tick."""
        if not self._ticks:
            return ()
        (then, before), (now, counts) = self._ticks[0], self._ticks[-1]
        if now <= then:
            return (0.0,) * len(counts)
        return tuple((b - a) / (now - then) for a, b in zip(before, counts, strict=True))


class Recent:
    """Quantiles of the last `size` observations. `observe`, if there is one, is called with every observation."""

    def __init__(self, size: int, observe: Callable[[float], None] | None = None) -> None:
        self._seconds: deque[float] = deque(maxlen=size)
        self._count = 0
        self.observe = observe

    def add(self, seconds: float) -> None:
        """Take an observation."""
        self._seconds.append(seconds)
        self._count += 1
        if self.observe is not None:
            self.observe(seconds)

    def quantiles(self) -> Quantiles:
        """The quantiles of the last observations; `count` counts all observations."""
        if not self._seconds:
            return Quantiles()
        ordered = sorted(self._seconds)
        return Quantiles(self._count, quantile(ordered, 0.5), quantile(ordered, 0.99))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank quantile of ascending values."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
