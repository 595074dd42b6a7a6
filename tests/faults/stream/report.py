"""What a run with faults came to: said at the end of the test run, whether it passed or not."""

from collections import Counter
from dataclasses import dataclass

from tests.faults.stream.chaos import Chaos
from tests.faults.stream.flood import Flood
from tests.stream_kit import WELL, Outcome

NAME = "faults"
"""The property of a test's report that `tests/faults/conftest.py` prints."""


@dataclass
class Report:
    """The sink as a reader of committed records sees it, against what was produced."""

    seed: int
    seconds: float
    chaos: Chaos
    flood: Flood
    verdict: dict[str, int]
    surplus: Counter[tuple[bytes, str]]
    missing: Counter[tuple[bytes, str]]

    @classmethod
    def of(cls, outcome: Outcome, chaos: Chaos, flood: Flood, *, seed: int, seconds: float) -> "Report":
        """Compare: predictions with events, dead letters with bad records, by value and phase."""
        letters, bad = Counter((x.value, x.phase) for x in outcome.letters), Counter(flood.bad)
        return cls(seed, seconds, chaos, flood, outcome.verdict(flood.river.produced), letters - bad, bad - letters)

    @property
    def well(self) -> bool:
        """Whether nothing is lost, doubled or out of order, and the dead letters are exactly the bad records."""
        return self.verdict == WELL and not self.surplus and not self.missing

    def __str__(self) -> str:
        phases = Counter(phase for _, phase in self.flood.bad)
        return (
            f"seed {self.seed}: {self.chaos.done.total()} faults over {self.flood.events} events "
            f"in {self.seconds:.0f} s: {_counts(self.verdict)}\n"
            f"  dead letters: {len(self.flood.bad)} bad records ({_counts(phases)}), "
            f"{self.missing.total()} of them missing, {self.surplus.total()} letters of good ones or twice\n"
            f"  faults: {_counts(self.chaos.done)}\n"
            f"  workers that ended, by exit code: {_counts(self.chaos.ends) or 'none'}"
        )


def _counts(found) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
