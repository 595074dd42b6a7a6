"""Distances between two distributions, from counts of the same bins or from samples: PSI, KS, Wasserstein, chi-square.

Functions of counts take arrays [..., K] of K bins, whole numbers or not, and return arrays [...], so that many columns
are compared by one call. Leading axes broadcast. Both sides of a comparison have the same bins; where one of them
holds nothing, the distance is 0.

Sources: PSI is the symmetric Kullback-Leibler divergence (Jeffreys, "An invariant form for the prior probability in
estimation problems", 1946) of the two shares. That n m / (n + m) PSI of two samples of n and m values of the same
distribution goes to a chi-square with K - 1 degrees of freedom: Yurdakul and Naranjo, "Statistical properties of the
population stability index", 2020. The Wasserstein distance of numbers is the area between the two distribution
functions (Vallender, 1974). Quantiles of gamma distributions: Wilson and Hilferty, 1931.
"""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[Any]

SMOOTHING = 0.5
"""Added to each count by `psi`: without it a bin that one side has none in makes the distance infinite."""


def psi(reference: Counts, observed: Counts, smoothing: float = SMOOTHING) -> Floats:
    """The population stability index: sum of (p - q) ln(p / q) over the bins; 0 of equal shares, without a bound.

    Readers are used to: below 0.1 nothing has changed, from 0.25 on much has.
    """
    p, q = _shares(observed, smoothing), _shares(reference, smoothing)
    found: Floats = ((p - q) * np.log(p / q)).sum(axis=-1)
    return np.where(_both(reference, observed), found, 0.0)


def psi_noise(bins: int, observed: float, reference: float) -> tuple[float, float]:
    """Mean and standard deviation of the PSI of two samples of one distribution, of so many independent values."""
    if bins < 2 or observed <= 0 or reference <= 0:
        return 0.0, 0.0
    scale = 1 / observed + 1 / reference
    return (bins - 1) * scale, float(np.sqrt(2 * (bins - 1))) * scale


def chi_square(reference: Counts, observed: Counts) -> tuple[Floats, NDArray[np.int64]]:
    """The statistic of the two-sample chi-square test, and its degrees of freedom. Bins empty on both sides are none.

    For categories as well as for ordered bins; `gamma_quantile` and `chi_square_tail` say how large is too large.
    """
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(observed, dtype=np.float64)
    both, m, n = a + b, a.sum(axis=-1, keepdims=True), b.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(both > 0, (np.sqrt(m / n) * b - np.sqrt(n / m) * a) ** 2 / both, 0.0)
    found = np.where(_both(reference, observed), np.nan_to_num(terms, posinf=0.0, neginf=0.0).sum(axis=-1), 0.0)
    return found, np.maximum((both > 0).sum(axis=-1) - 1, 0)


def ks(reference: Counts, observed: Counts) -> Floats:
    """The Kolmogorov-Smirnov distance of ordered bins: the largest gap between the distribution functions, 0 to 1.

    It is a lower bound of the samples' own, which may be larger within a bin.
    """
    found: Floats = np.abs(np.cumsum(_shares(observed), axis=-1) - np.cumsum(_shares(reference), axis=-1)).max(axis=-1)
    return np.where(_both(reference, observed), found, 0.0)


def wasserstein(reference: Counts, observed: Counts, edges: Floats) -> Floats:
    """The Wasserstein (earth mover's) distance, in the values' unit, of ordered bins with edges [..., K + 1].

    Values count as spread evenly over their bin, so it is exact but for where they lie within a bin.
    """
    gap = np.cumsum(_shares(observed) - _shares(reference), axis=-1)
    left = np.concatenate([np.zeros_like(gap[..., :1]), gap[..., :-1]], axis=-1)
    width = np.diff(np.asarray(edges, dtype=np.float64), axis=-1)
    same = np.sign(left) * np.sign(gap) >= 0
    size = np.abs(left) + np.abs(gap)
    with np.errstate(divide="ignore", invalid="ignore"):  # where the line between two gaps crosses 0: two triangles
        crossing = np.where(size > 0, (left**2 + gap**2) / (2 * size), 0.0)
    found: Floats = (np.where(same, size / 2, crossing) * width).sum(axis=-1)
    return np.where(_both(reference, observed), found, 0.0)


def ks_of_samples(reference: Floats, observed: Floats) -> float:
    """The Kolmogorov-Smirnov distance of two samples; 0 where one is empty. NaN is left out."""
    a, b = _sorted(reference), _sorted(observed)
    if not len(a) or not len(b):
        return 0.0
    at = np.concatenate([a, b])
    gaps = np.searchsorted(a, at, side="right") / len(a) - np.searchsorted(b, at, side="right") / len(b)
    return float(np.abs(gaps).max())


def wasserstein_of_samples(reference: Floats, observed: Floats) -> float:
    """The Wasserstein distance of two samples, in their unit; 0 where one is empty. NaN is left out."""
    a, b = _sorted(reference), _sorted(observed)
    if not len(a) or not len(b):
        return 0.0
    at = np.sort(np.concatenate([a, b]))
    left = at[:-1]
    gaps = np.searchsorted(a, left, side="right") / len(a) - np.searchsorted(b, left, side="right") / len(b)
    return float(np.abs(gaps) @ np.diff(at))


def psi_of_samples(reference: Floats, observed: Floats, bins: int = 10) -> float:
    """The PSI of two samples over bins that hold about equal shares of the reference. NaN is left out."""
    edges = quantile_edges(reference, bins)
    return float(psi(bin_counts(reference, edges), bin_counts(observed, edges))) if len(edges) > 1 else 0.0


def quantile_edges(values: Floats, bins: int) -> Floats:
    """Edges [K + 1], rising, of at most `bins` bins that hold about equal shares of the values; NaN is left out.

    The outer ones are the least and the largest value. Fewer bins come of values that repeat: a value that has more
    than a bin's share has a bin of its own. Of no values there are no edges; of a single one, both edges are it.
    """
    known = _sorted(values)
    if not len(known):
        return np.empty(0)
    cuts = np.quantile(known, np.arange(1, bins) / bins, method="inverted_cdf")
    inner = np.unique(cuts)
    # A value that repeats beyond a share is the end of one bin and, by the next float, the start of another.
    frequent = inner[np.isin(inner, cuts[1:][np.diff(cuts) == 0])]
    above = np.nextafter(frequent, np.inf)
    inner = np.unique(np.concatenate([inner, above]))
    inner = inner[(inner > known[0]) & (inner <= known[-1])]
    return np.concatenate([known[:1], inner, known[-1:]])


def bin_counts(values: Floats, edges: Floats) -> NDArray[np.int64]:
    """How many values are in each bin [K]: from its lower edge up to, and without, its upper one.

    What is beyond the outer edges counts in the outer bins; NaN nowhere.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    places = np.searchsorted(edges[1:-1], known, side="right")
    return np.bincount(places, minlength=max(len(edges) - 1, 1)).astype(np.int64)


def category_counts(values: Sequence[Any], categories: Sequence[Any]) -> NDArray[np.int64]:
    """How often each category occurs [K + 1]; the last count is of everything else."""
    place = {category: i for i, category in enumerate(categories)}
    other = len(categories)
    return np.bincount([place.get(value, other) for value in values], minlength=other + 1).astype(np.int64)


def gamma_quantile(mean: float, deviation: float, tail: float) -> float:
    """What a gamma distribution of this mean and standard deviation is above of with the probability `tail`."""
    if mean <= 0 or deviation <= 0:
        return max(mean, 0.0)
    shape = (mean / deviation) ** 2
    upper = NormalDist().inv_cdf(1 - tail) if tail > 1e-15 else 8.0
    return mean * float(max(0.0, 1 - 1 / (9 * shape) + upper / (3 * np.sqrt(shape)))) ** 3


def chi_square_tail(statistic: float, degrees: int) -> float:
    """The probability of a statistic at least as large by chance, by the cube-root approximation."""
    if degrees <= 0 or statistic <= 0:
        return 1.0
    spread = 2 / (9 * degrees)
    return NormalDist().cdf(-(((statistic / degrees) ** (1 / 3)) - (1 - spread)) / spread**0.5)


def ks_critical(tail: float, observed: float, reference: float) -> float:
    """The distance that two samples of one distribution, of so many independent values, exceed with this probability.

    By the inequality of Dvoretzky, Kiefer, Wolfowitz and Massart, so it holds for any distribution.
    """
    if observed <= 0 or reference <= 0:
        return 1.0
    return float(min(1.0, np.sqrt(np.log(2 / tail) / 2 * (1 / observed + 1 / reference))))


def _shares(counts: Counts, smoothing: float = 0.0) -> Floats:
    smooth = np.asarray(counts, dtype=np.float64) + smoothing
    total = smooth.sum(axis=-1, keepdims=True)
    return smooth / np.where(total > 0, total, 1.0)


def _both(reference: Counts, observed: Counts) -> NDArray[np.bool_]:
    """Whether both sides hold anything."""
    both: NDArray[np.bool_] = (np.sum(reference, axis=-1) > 0) & (np.sum(observed, axis=-1) > 0)
    return both


def _sorted(values: Floats) -> Floats:
    known = np.asarray(values, dtype=np.float64)
    return np.sort(known[~np.isnan(known)])
