"""Arrival delay of a flight, predicted the moment that it departs.

The network starts as the best simple guess, "it arrives as late as it left", and learns what to add to that, as flights
land. Those that land together departed at about the same time, so a batch of new examples alone teaches a network when
it is, not how late flights are: eight of nine examples in a step are drawn from all those before (`replay` in
pipeline.yaml), and the year comes back in December: what last winter taught is not forgotten by then.
"""

import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import attrgetter

import msgspec
import numpy as np
import torch
from torch import nn

from headrace import Baseline, Model


class Flight(msgspec.Struct, frozen=True):
    """What is known at the moment that a flight departs."""

    flight_id: str
    """Unique: carrier, number, origin and scheduled day, e.g. "UA1545-EWR-20130101"."""
    carrier: str
    """IATA code, e.g. "UA"."""
    origin: str
    destination: str
    departed: float
    """Seconds since the epoch."""
    hour: float
    """Scheduled departure, local time, in hours: 5.25 is a quarter past five."""
    weekday: int
    """Of the scheduled departure; 0 is Monday."""
    distance: float
    """Miles."""
    scheduled_minutes: float
    """Gate to gate, by the timetable."""
    dep_delay: float
    """Minutes that it left after its scheduled time; negative if early."""
    departures_last_hour: int
    """Flights that left the same airport in the hour before, this one included."""
    origin_gain: float = 0.0
    """Minutes made up (dep_delay - arr_delay) by flights from this origin that have landed; the latest weigh most."""
    destination_gain: float = 0.0
    carrier_gain: float = 0.0
    recent_gain: float = 0.0
    """Minutes made up lately by all flights that have landed, weighted by e^(-age / 1.5 hours), and ..."""
    today_gain: float = 0.0
    """... by e^(-age / 6 hours)."""
    origin_recent_gain: float = 0.0
    """The same of flights from this origin, 1.5 hours."""
    distance_recent_gain: float = 0.0
    """Of flights about as far, in steps of 500 miles, 1.5 hours and 6 hours."""
    distance_today_gain: float = 0.0
    destination_today_gain: float = 0.0
    """Of flights to this destination, and by this carrier, 6 hours."""
    carrier_today_gain: float = 0.0
    route_gain: float = 0.0
    """Of flights from this origin to this destination, 30 hours."""
    temperature: float | None = None
    """Weather at the origin, the last hourly observation before departure: °F."""
    humidity: float | None = None
    """Percent."""
    wind_direction: float | None = None
    """Degrees that the wind comes from."""
    wind_speed: float | None = None
    """Miles an hour, as are gusts."""
    wind_gust: float | None = None
    precipitation: float | None = None
    """Inches in the hour."""
    pressure: float | None = None
    """Millibars at sea level."""
    visibility: float | None = None
    """Miles."""


class Landing(msgspec.Struct, frozen=True):
    """How late a flight arrived; known when it lands."""

    flight_id: str
    arr_delay: float
    """Minutes after the scheduled arrival; negative if early."""
    landed: float
    """Seconds since the epoch."""


# Codes are hashed into buckets of a fixed number, so that nothing is fitted on data that has not happened yet and a
# carrier or airport that first appears in December has its place. (buckets, width of the embedding)
CARRIER, ORIGIN, DESTINATION, ROUTE, WEEKDAY = (128, 4), (32, 3), (1024, 8), (2048, 8), (7, 3)
EMBEDDINGS = (CARRIER, ORIGIN, DESTINATION, ROUTE, WEEKDAY)
NUMBERS = 33
DELAY = len(EMBEDDINGS)  # the column that holds dep_delay, in minutes, as it is


@lru_cache(maxsize=65536)
def bucket(code: str, buckets: int) -> int:
    """The bucket of a code, the same in every process."""
    return zlib.crc32(code.encode()) % buckets


class FlightDelay(Model[Flight, Landing]):
    """Predicts minutes of arrival delay."""

    key = "flight_id"
    error_unit = "min"

    def network(self) -> nn.Module:
        """Embeddings of the codes and an MLP, added to the departure delay."""
        return DelayNetwork()

    def features(self, flights: Sequence[Flight]) -> torch.Tensor:
        """Shape [N, 39]: five bucket numbers, dep_delay, 33 numbers near 0.

        A missing observation is its usual value.
        """
        codes = np.array(
            [
                (
                    bucket(f.carrier, CARRIER[0]),
                    bucket(f.origin, ORIGIN[0]),
                    bucket(f.destination, DESTINATION[0]),
                    bucket(f.carrier + f.origin + f.destination, ROUTE[0]),
                    f.weekday % 7,
                )
                for f in flights
            ],
            dtype=np.float32,
        ).reshape(len(flights), DELAY)
        raw = np.array([_raw(f) for f in flights], dtype=np.float32).reshape(len(flights), len(RAW)).T
        return torch.from_numpy(np.concatenate([codes, _scaled(raw)], axis=1))

    def loss(self, outputs: torch.Tensor, landings: Sequence[Landing]) -> torch.Tensor:
        """Absolute error, which is what is measured; a few flights that are a day late do not steer everything."""
        late = torch.tensor([landing.arr_delay for landing in landings], dtype=outputs.dtype)
        return nn.functional.l1_loss(outputs, late) / 10.0

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        """Minutes of arrival delay."""
        return outputs.double().tolist()

    def error(self, minutes: float, landing: Landing) -> float:
        """Absolute error, minutes."""
        return abs(minutes - landing.arr_delay)

    def baselines(self) -> Mapping[str, Baseline]:
        """The two honest ones: they too use only flights that have landed."""
        return {"median delay": MedianDelay(), "departure delay": DepartureDelay()}


RAW = (
    "dep_delay", "distance", "scheduled_minutes", "departures_last_hour", "hour",
    "origin_gain", "destination_gain", "carrier_gain", "recent_gain", "today_gain", "origin_recent_gain",
    "distance_recent_gain", "distance_today_gain", "destination_today_gain", "carrier_today_gain", "route_gain",
    "temperature", "humidity", "wind_direction", "wind_speed", "wind_gust", "precipitation", "pressure", "visibility",
)  # fmt: skip
_raw = attrgetter(*RAW)


def _scaled(raw: np.ndarray) -> np.ndarray:
    """Columns dep_delay and 33 numbers near 0, from those of `RAW`: shape [N, 34]."""
    delay, distance, scheduled, busy, hour, *gains = raw[:16]
    temperature, humidity, direction, speed, gust, rain, pressure, visibility = raw[16:]
    angle, wind = np.radians(np.nan_to_num(direction)), np.nan_to_num(speed, nan=10.0)
    clock = hour * (2 * np.pi / 24)
    columns = [
        delay,
        np.clip(delay, -20, 60) / 20,
        np.clip(delay, -30, 300) / 60,
        np.minimum(delay, 0) / 5,
        np.sign(delay) * np.log1p(np.abs(delay)) / 2,
        distance / 1000 - 1,
        scheduled / 100 - 1.8,
        (scheduled - (distance / 7.5 + 40)) / 20,  # slack in the timetable
        busy / 30 - 0.7,
        np.sin(clock),
        np.cos(clock),
        np.sin(2 * clock),
        np.cos(2 * clock),
        hour / 12 - 1,
        *(np.clip(gain, -60, 60) / 10 for gain in gains),
        np.nan_to_num(temperature, nan=55.0) / 20 - 2.7,
        np.nan_to_num(humidity, nan=60.0) / 20 - 3,
        wind / 10 - 1,
        np.sin(angle) * wind / 10,
        np.cos(angle) * wind / 10,
        np.nan_to_num(gust) / 20,
        np.minimum(np.nan_to_num(rain), 0.5) * 5,
        (np.nan_to_num(pressure, nan=1017.0) - 1017) / 8,
        np.nan_to_num(visibility, nan=10.0) / 3 - 2.8,
    ]
    return np.stack(columns, axis=1).astype(np.float32)


class DelayNetwork(nn.Module):
    """Features [N, 39] to minutes of arrival delay [N]."""

    def __init__(self, hidden: int = 160) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(buckets, width) for buckets, width in EMBEDDINGS)
        for embedding in self.embeddings:
            nn.init.normal_(embedding.weight, std=0.1)  # type: ignore[arg-type]
        inputs = NUMBERS + sum(width for _, width in EMBEDDINGS)
        self.mlp = nn.Sequential(
            nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1)
        )
        nn.init.zeros_(self.mlp[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.mlp[-1].bias)  # type: ignore[arg-type]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The departure delay, plus what was learned."""
        codes, delay, numbers = features[:, :DELAY].long(), features[:, DELAY], features[:, DELAY + 1 :]
        embedded = [embedding(codes[:, i]) for i, embedding in enumerate(self.embeddings)]
        added: torch.Tensor = self.mlp(torch.cat([numbers, *embedded], dim=1))[:, 0]
        return delay + 10 * added


class MedianDelay:
    """Every flight arrives with the median delay of those that have landed."""

    def __init__(self) -> None:
        self._median = RunningMedian()

    def predict(self, _: Flight) -> float:
        """Minutes."""
        return self._median.value

    def learn(self, _: Flight, landing: Landing) -> None:
        """One more has landed."""
        self._median.add(landing.arr_delay)


class DepartureDelay:
    """Every flight arrives as late as it left, less the median of what those that have landed made up on the way."""

    def __init__(self) -> None:
        self._gain = RunningMedian()

    def predict(self, flight: Flight) -> float:
        """Minutes."""
        return flight.dep_delay - self._gain.value

    def learn(self, flight: Flight, landing: Landing) -> None:
        """One more has landed."""
        self._gain.add(flight.dep_delay - landing.arr_delay)


class RunningMedian:
    """The exact median of all whole minutes added: they are few, so their counts are kept, and the median walks."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._at, self._below, self._total = 0, 0, 0  # `_below` counts values less than `_at`

    @property
    def value(self) -> float:
        """0 while nothing was added."""
        return float(self._at)

    def add(self, value: float) -> None:
        """Count one more; costs a few steps of the median at most."""
        whole = round(value)
        self._counts[whole] = self._counts.get(whole, 0) + 1
        self._total += 1
        self._below += whole < self._at
        half = (self._total - 1) // 2
        while self._below > half:
            self._at -= 1
            self._below -= self._counts.get(self._at, 0)
        while self._below + self._counts.get(self._at, 0) <= half:
            self._below += self._counts.get(self._at, 0)
            self._at += 1
