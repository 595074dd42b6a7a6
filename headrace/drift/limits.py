"""What counts as drift: sizes of windows, least effects, and how rare a false alarm is to be.

The values are those of `drift:` in pipeline.yaml; docs/design/drift.md says how the defaults were found.
"""

from dataclasses import dataclass
from statistics import NormalDist

BINS = 20
"""Bins of a number at most."""
CATEGORIES = 32
"""Categories of a column that are told apart; the rarer ones are one."""
WIDTH = CATEGORIES + 3
"""Counts of a column: below the range, its bins, and, at the end, above the range or unseen, and missing."""
BELOW, ABOVE, MISSING = 0, WIDTH - 2, WIDTH - 1
BLOCK = 500
"""Values after which windows are compared again; every window is a number of whole blocks."""


@dataclass(frozen=True)
class Limits:
    """When a column counts as drifted. Each limit is an effect that matters; chance raises it where it must.

    A window is compared after each block, in `tests` ways. Of values like those of the reference, one window in
    `tail` is above its limits by chance.
    """

    reference: int = 20_000
    """Values of a reference window."""
    windows: tuple[int, int] = (1000, 10_000)
    """Values of the short and of the long window."""
    psi: tuple[float, float] = (0.2, 0.1)
    ks: tuple[float, float] = (0.12, 0.08)
    rate: float = 0.02
    """By how much the share of missing, out-of-range or unseen values has to rise."""
    unsteady: float = 0.5
    """A column whose reference differs from its own windows by so much PSI beyond chance is not compared."""
    clear: float = 0.7
    """A column has drifted until it is below so much of each limit ..."""
    clear_after: int = 4
    """... after so many blocks in a row."""
    raise_after: int = 2
    """A column has drifted once it is above a limit after so many blocks in a row."""
    adopt: int | None = 200_000
    """After so many values of drift the reference is taken anew; None: never."""
    events_per_false_alarm: float = 1e8

    @property
    def blocks(self) -> tuple[int, int]:
        """Blocks of the short and of the long window."""
        return max(1, self.windows[0] // BLOCK), max(1, self.windows[1] // BLOCK)

    def tail(self, columns: int) -> float:
        """The probability of a false alarm that one test of one column may have, of so many columns.

        The correction is Bonferroni's: over the columns, the windows, PSI, KS and the rates, and the blocks of
        `events_per_false_alarm` values. It holds however the tests depend on each other.
        """
        tests = max(1, columns) * len(self.windows) * 5
        return min(0.01, BLOCK / self.events_per_false_alarm / tests)

    def sigmas(self, columns: int) -> float:
        """The same as standard deviations of a normal distribution, one-sided."""
        return -NormalDist().inv_cdf(self.tail(columns))
