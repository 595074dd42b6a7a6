"""Whether it rains within three hours, told at each hourly observation of an airport's weather station."""

import math
from collections.abc import Mapping, Sequence

import msgspec
import torch
from torch import nn

from headrace import Baseline, Model, RunningNorm


class Observation(msgspec.Struct, frozen=True):
    """What a station reports at a full hour; None where a value is missing. Units are those of the data."""

    observation_id: str
    station: str
    """EWR, JFK or LGA."""
    at: float
    """Seconds since the epoch."""
    hour: int
    """UTC, 0 to 23."""
    temp: float | None
    """°F."""
    dewp: float | None
    """Dew point, °F."""
    humid: float | None
    """Relative humidity, %."""
    wind_dir: float | None
    """Degrees."""
    wind_speed: float | None
    """Miles an hour."""
    precip: float
    """Inches in the last hour."""
    pressure: float | None
    """Millibars at sea level."""
    visib: float | None
    """Miles."""
    pressure_change: float | None
    """Millibars since three hours before."""
    rain_6h: float
    """Inches in the last six hours."""
    dry_hours: int
    """Since the last rain here, 48 at most."""


class NextHours(msgspec.Struct, frozen=True):
    """What the three hours after an observation brought."""

    observation_id: str
    precip: float
    """Inches."""


STATIONS = ("EWR", "JFK", "LGA")
FEATURES = 17


class RainSoon(Model[Observation, NextHours]):
    """Predicts the probability of rain within three hours."""

    key = "observation_id"

    def network(self) -> nn.Module:
        """Features are normalized by running statistics, which are part of the weights."""
        return nn.Sequential(RunningNorm(FEATURES), nn.Linear(FEATURES, 32), nn.SiLU(), nn.Linear(32, 1), nn.Flatten(0))

    def features(self, observations: Sequence[Observation]) -> torch.Tensor:
        """Shape [N, 17]; what is missing counts as usual weather."""
        return torch.tensor([_row(one) for one in observations], dtype=torch.float32)

    def target(self, hours: NextHours) -> bool:
        """Whether it rained."""
        return hours.precip > 0

    def loss(self, outputs: torch.Tensor, hours: Sequence[NextHours]) -> torch.Tensor:
        """Of log-odds [N]."""
        rained = torch.tensor([float(self.target(one)) for one in hours])
        return nn.functional.binary_cross_entropy_with_logits(outputs, rained)

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        """Probabilities of rain."""
        return torch.sigmoid(outputs.double()).tolist()

    def baselines(self) -> Mapping[str, Baseline]:
        """The task's, which look at no event, and one that looks out of the window."""
        return {**super().baselines(), "rain now": RainNow()}


def _row(o: Observation) -> tuple[float, ...]:
    humid, pressure = _or(o.humid, 60.0), _or(o.pressure, 1016.0)
    wind, angle, clock = _or(o.wind_speed, 8.0), math.radians(_or(o.wind_dir, 0.0)), 2 * math.pi * o.hour / 24
    return (
        _or(o.temp, 55.0), _or(o.dewp, 40.0), humid, max(0.0, humid - 80), pressure, _or(o.pressure_change, 0.0),
        wind, wind * math.sin(angle), wind * math.cos(angle), _or(o.visib, 10.0), math.log1p(100 * o.precip),
        math.log1p(100 * o.rain_6h), math.log1p(o.dry_hours), math.sin(clock), math.cos(clock),
        float(o.station == STATIONS[0]), float(o.station == STATIONS[1]),
    )  # fmt: skip


def _or(value: float | None, usual: float) -> float:
    return usual if value is None else value


class RainNow:
    """How often it went on raining where it rained in the last hour, and how often it began where it did not."""

    def __init__(self) -> None:
        self._rained, self._seen = {True: 1.0, False: 1.0}, {True: 2.0, False: 2.0}

    def predict(self, observation: Observation) -> float:
        """A probability."""
        now = observation.precip > 0
        return self._rained[now] / self._seen[now]

    def learn(self, observation: Observation, hours: NextHours) -> None:
        """One more observation's next hours are known."""
        now = observation.precip > 0
        self._rained[now] += hours.precip > 0
        self._seen[now] += 1
