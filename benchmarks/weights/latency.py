"""Latencies in the windows of swaps beside those in between, such that chance can be told from effect.

Swaps are divided into rounds. Each round has a ratio of its own: p99 of the requests due in its swaps' windows over p99
of those due between them. And each has a ratio of nothing with nothing: p99 in windows of the same lengths, placed
between the swaps, over p99 of the rest. The spread of these is what chance does.
"""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

AFTERMATH_S = 0.05
"""What a swap leaves to be done, such as unmapping the version before the last, counts as its window."""

Window = tuple[float, float]


@dataclass(frozen=True)
class Latencies:
    """Of some requests, in ms."""

    requests: int
    p50: float
    p99: float
    worst: float


@dataclass(frozen=True)
class Ratio:
    """A ratio of p99s: the median round's, and the least and the greatest."""

    median: float
    least: float
    greatest: float


@dataclass(frozen=True)
class Comparison:
    """Swaps beside steady serving."""

    steady: Latencies
    swaps: Latencies
    ratio: Ratio
    chance: Ratio


def compare(requests: np.ndarray, windows: Sequence[Window], rounds: int) -> Comparison:
    """Divide requests, [N, 2] of due time and latency in s, by windows, which are in order."""
    swaps = within(requests[:, 0], windows)
    shares = [list(share) for share in np.array_split(np.array(windows), rounds)]
    ratios, chances = [], []
    for n, share in enumerate(shares):
        end = shares[n + 1][0][0] if n + 1 < len(shares) else np.inf
        of_round = (requests[:, 0] >= share[0][0]) & (requests[:, 0] < end)
        during, between = requests[of_round & swaps, 1], requests[of_round & ~swaps]
        sham = within(between[:, 0], between_windows([*map(tuple, share), (min(end, requests[-1, 0]), np.inf)]))
        ratios.append(_p99(during) / _p99(between[:, 1]))
        chances.append(_p99(between[sham, 1]) / _p99(between[~sham, 1]))
    return Comparison(latencies(requests[~swaps, 1]), latencies(requests[swaps, 1]), _ratio(ratios), _ratio(chances))


def between_windows(windows: Sequence[Window]) -> list[Window]:
    """Windows between each and the next, as long as the one before if there is room, in the middle of the gap."""
    found = []
    for (start, end), (following, _) in itertools.pairwise(windows):
        length = min(end - start, (following - end) / 2)
        middle = (end + following) / 2
        found.append((middle - length / 2, middle + length / 2))
    return found


def within(at: np.ndarray, windows: Sequence[Window]) -> np.ndarray:
    """Whether each time lies in one of the windows, which are in order and do not overlap."""
    starts, ends = np.array(windows).T
    found = np.searchsorted(starts, at, side="right") - 1
    return np.asarray((found >= 0) & (at <= ends[np.maximum(found, 0)]))


def latencies(seconds: np.ndarray) -> Latencies:
    """Of latencies in s."""
    p50, p99, worst = (float(v) * 1000 for v in np.percentile(seconds, [50, 99, 100]))
    return Latencies(len(seconds), p50, p99, worst)


def _p99(seconds: np.ndarray) -> float:
    if not len(seconds):
        raise ValueError("no request was due in a round's windows, or between them: announce versions less often")
    return float(np.percentile(seconds, 99))


def _ratio(of_rounds: list[float]) -> Ratio:
    return Ratio(statistics.median(of_rounds), min(of_rounds), max(of_rounds))
