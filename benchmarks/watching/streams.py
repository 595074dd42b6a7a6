"""Seeded streams for the detectors: 20 columns that do not drift, and changes of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from headrace.drift.schema import Column, ColumnSpec

SPECS = (
    *(ColumnSpec(f"normal_{i}", "number") for i in range(6)),
    *(ColumnSpec(f"skewed_{i}", "number") for i in range(4)),
    *(ColumnSpec(f"heavy_{i}", "number") for i in range(2)),
    *(ColumnSpec(f"runs_{i}", "number") for i in range(2)),
    ColumnSpec("gaps", "number"),
    ColumnSpec("count", "number", whole=True),
    *(ColumnSpec(f"few_{i}", "category") for i in range(2)),
    ColumnSpec("many", "category"),
    ColumnSpec("flag", "category"),
)
_FEW = np.array(list("abcdefgh"), dtype=object)
_MANY = np.array([f"c{i}" for i in range(200)], dtype=object)
_ZIPF = np.cumsum(1 / np.arange(1, 201)) / np.sum(1 / np.arange(1, 201))
_MEMORY = 0.98


class Stream:
    """Values of every column of SPECS, the same for a seed.

    `runs_*` are autocorrelated (AR(1), 0.98 from one event to the next), `heavy_*` have Student's t with 3 degrees of
    freedom, `gaps` is missing in a tenth.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._last = [0.0, 0.0]

    def take(self, count: int) -> list[Column]:
        """The next values."""
        rng = self._rng
        columns: list[Column] = [rng.normal(size=count) for _ in range(6)]
        columns += [rng.exponential(size=count) for _ in range(2)] + [rng.lognormal(size=count) for _ in range(2)]
        columns += [rng.standard_t(3, size=count) for _ in range(2)]
        columns += [self._runs(i, count) for i in range(2)]
        columns.append(np.where(rng.random(count) < 0.1, np.nan, rng.normal(size=count)))
        columns.append(rng.poisson(30, count).astype(np.float64))
        columns += [_FEW[rng.integers(0, 8, count)] for _ in range(2)]
        columns.append(_MANY[np.searchsorted(_ZIPF, rng.random(count))])
        columns.append(_FEW[(rng.random(count) < 0.02).astype(np.int64)])
        return columns

    def errors(self, count: int) -> Column:
        """Errors of predictions: exponential, mean 1."""
        found: Column = self._rng.exponential(size=count)
        return found

    def _runs(self, which: int, count: int) -> Column:
        noise = self._rng.normal(size=count) * np.sqrt(1 - _MEMORY**2)
        values, _ = lfilter([1.0], [1.0, -_MEMORY], noise, zi=[_MEMORY * self._last[which]])
        self._last[which] = float(values[-1])
        return np.asarray(values)


@dataclass(frozen=True)
class Change:
    """A change of one column, from an event on."""

    name: str
    column: str
    apply: Callable[[Column, np.random.Generator], Column]


def _missing(values: Column, rng: np.random.Generator) -> Column:
    return np.where(rng.random(len(values)) < 0.06, np.nan, values)


def _unseen(values: Column, rng: np.random.Generator) -> Column:
    return np.where(rng.random(len(values)) < 0.06, "new", values).astype(object)


def _moved_share(values: Column, rng: np.random.Generator) -> Column:
    return np.where(rng.random(len(values)) < 0.25, "a", values).astype(object)


CHANGES = (
    Change("mean + 0.5 sd", "normal_0", lambda values, _: values + 0.5),
    Change("mean + 1 sd", "normal_1", lambda values, _: values + 1.0),
    Change("spread x 1.6", "normal_2", lambda values, _: values * 1.6),
    Change("unit x 1.6", "skewed_0", lambda values, _: values * 1.6),
    Change("6 % missing", "normal_3", _missing),
    Change("6 % out of range", "normal_4", lambda values, rng: np.where(rng.random(len(values)) < 0.06, 99.0, values)),
    Change("6 % unseen", "few_0", _unseen),
    Change("a quarter moves to one category", "few_1", _moved_share),
    Change("flag 2 % to 30 %", "flag", lambda values, rng: _FEW[(rng.random(len(values)) < 0.3).astype(np.int64)]),
)
