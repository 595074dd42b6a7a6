"""Example data to replay: made up here.

Yours may come from files (`headrace produce --events FILE`) or straight from Kafka.
"""

import heapq
from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Any, ClassVar

import msgspec
import numpy as np

from headrace import Source, Timed

from .model import Outcome, Reading

START = 1_750_000_000.0  # seconds since the epoch
DELAY = 60.0  # seconds until an outcome is known


class Machines(Source):
    """Readings of some machines, ten a second, and what each led to."""

    options: ClassVar = {"seed": 1}  # `headrace produce {name} --option seed=2`

    def replay(self, **options: Any) -> Iterator[Timed]:
        """Events and labels in the order in which they became known."""
        rng = np.random.default_rng(options.get("seed", 1))
        outcomes: list[tuple[float, int, Outcome]] = []  # those that are not known yet, the next one first
        for i in count():
            now = START + i / 10
            while outcomes and outcomes[0][0] <= now:
                at, _, outcome = heapq.heappop(outcomes)
                yield Timed(at, "labels", outcome)
            reading, outcome = self._draw(i, rng)
            heapq.heappush(outcomes, (now + DELAY, i, outcome))
            yield Timed(now, "events", reading)

    def sample(self, count: int) -> Sequence[msgspec.Struct]:
        """A few typical events, for `headrace check` and for warming up a network."""
        return list(islice((record.value for record in self.replay() if record.kind == "events"), count))

    def _draw(self, i: int, rng: np.random.Generator) -> tuple[Reading, Outcome]:
        load, ambient, before = rng.random(), rng.normal(20, 5), rng.uniform(30, 90)
        heading_for = ambient + 70 * load**2
        after = before + 0.5 * (heading_for - before) + rng.normal(0, 1)
        silent = rng.random() < 0.05
        reading = Reading(f"r{i}", round(load, 3), round(ambient, 1), None if silent else round(before, 1))
        stops = int(rng.poisson(0.02 * np.exp(after / 20)))
        return reading, Outcome(f"r{i}", round(after, 1), stops)
