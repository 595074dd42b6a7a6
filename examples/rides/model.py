"""Minutes from a rider's request to the destination, promised the moment that the ride is requested."""

from collections.abc import Mapping, Sequence
from operator import attrgetter

import msgspec
import numpy as np
import torch
from torch import nn

from headrace import Baseline, Model


class Ride(msgspec.Struct, frozen=True):
    """What the platform knows when a rider asks for a ride."""

    ride_id: str
    requested: float
    """Seconds since the epoch."""
    zone: int
    """Where the rider waits: a cell of the city's 8 x 8 grid, row by row from the south-west, 0 to 63."""
    destination: int
    distance_km: float
    """By road."""
    hour: float
    """Local time, 0 to 24."""
    weekday: int
    """0 is Monday."""
    rain_mm: float
    """In the last hour."""
    drivers: int
    """Free drivers in the rider's zone, by their last positions."""
    surge: float
    """Price factor of the zone, 1 to 3."""
    pace: float
    """Minutes a kilometre, from request to destination, of the trips in the whole city that ended lately."""
    pace_there: float = 0.0
    """Minutes a kilometre at which vehicles that set out lately drive now, by their positions, from the rider's quarter
    of the city to the destination's; 0: not known."""


class Arrival(msgspec.Struct, frozen=True):
    """The end of a trip."""

    ride_id: str
    minutes: float
    """From the request to the destination: waiting for the driver, and the ride."""
    arrived: float
    """Seconds since the epoch."""


ZONES = 64
PARTS = (6.0, 10.0, 15.0, 20.0)  # of the day: night, morning, midday, evening, late; night goes on after midnight

# Two traps of labels that come late, and why the features and the network are as they are. All examples of one batch
# end at nearly the same moment. Given what tells exactly when a ride was requested, a network learns "minutes = now -
# request": right for every example that it is trained on, and worthless for predicting. So the hour comes in parts of
# the day, and rain not at all: what it does is in the pace. After any change the short rides end first. A network that
# may judge long rides by what short ones are like goes wrong just then, so distance enters as a factor, not as one more
# input.


USED = ("zone", "destination", "distance_km", "hour", "weekday", "drivers", "surge", "pace", "pace_there")


_USED = attrgetter(*USED)


def _features(used: np.ndarray) -> torch.Tensor:
    zone, destination, distance, hour, weekday, drivers, surge, pace, pace_there = used
    columns: list[np.ndarray] = [
        zone % ZONES,
        destination % ZONES,
        np.digitize(hour, PARTS),
        np.clip(distance, 0, 200),
        np.clip(np.where(pace_there > 0, pace_there, pace), 0, 60),
        np.where(weekday < 5, 0.5, -0.5),
        np.log1p(np.maximum(drivers, 0)) / 2 - 2,
        np.clip(surge, 0, 5) - 1,
    ]
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))


class RideTime(Model[Ride, Arrival]):
    """Predicts minutes."""

    key = "ride_id"
    error_unit = "min"

    def network(self) -> nn.Module:
        """Learns how each ride differs from the city's pace."""
        return PaceAndWait()

    def features(self, rides: Sequence[Ride]) -> torch.Tensor:
        """Shape [N, 8]: zone, destination, part of the day, the distance in km, the pace there, 3 numbers near 0."""
        rows = [_USED(ride) for ride in rides]
        return _features(np.array(rows, dtype=np.float32).reshape(len(rides), len(USED)).T)

    def features_of_columns(self, columns: Mapping[str, np.ndarray]) -> torch.Tensor:
        """The same of the fields' columns, as files have them."""
        unknown = np.zeros(len(columns["zone"]), np.float32)  # files from before there was a pace there
        return _features(np.stack([columns.get(name, unknown).astype(np.float32) for name in USED]))

    def loss(self, outputs: torch.Tensor, arrivals: Sequence[Arrival]) -> torch.Tensor:
        """Huber, absolute beyond 2 minutes."""
        took = torch.tensor([arrival.minutes for arrival in arrivals], dtype=outputs.dtype)
        return nn.functional.huber_loss(outputs, took, delta=2.0) / 2.0

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        """Minutes."""
        return outputs.double().tolist()

    def error(self, minutes: float, arrival: Arrival) -> float:
        """Absolute error, minutes."""
        return abs(minutes - arrival.minutes)

    def baselines(self) -> Mapping[str, Baseline]:
        """Two that need no model."""
        return {"median ride": MedianRide(), "mean speed": MeanSpeed()}


class PaceAndWait(nn.Module):
    """Features [N, 8] to minutes [N].

    At first distance times the pace there, then with what was learned about each ride's.
    """

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(
            [nn.Embedding(ZONES, 6), nn.Embedding(ZONES, 6), nn.Embedding(len(PARTS) + 1, 2)]
        )
        for embedding in self.embeddings:
            nn.init.normal_(embedding.weight, std=0.2)  # type: ignore[arg-type]
        self.mlp = nn.Sequential(
            nn.Linear(3 + 14, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 2)
        )
        nn.init.zeros_(self.mlp[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.mlp[-1].bias)  # type: ignore[arg-type]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Distance x pace x what this ride's streets make of it, plus what its waiting adds."""
        codes, distance, pace, numbers = features[:, :3].long(), features[:, 3], features[:, 4], features[:, 5:]
        embedded = [embedding(codes[:, i]) for i, embedding in enumerate(self.embeddings)]
        slower, wait = self.mlp(torch.cat([numbers, *embedded], dim=1)).unbind(dim=1)
        minutes: torch.Tensor = distance * pace * torch.exp(slower.clamp(-2, 2)) + 4 * wait
        return minutes


class MedianRide:
    """Every ride takes the median of those before.

    A step of a fortieth of a minute towards each keeps it, whatever drifts.
    """

    def __init__(self) -> None:
        self._median = 0.0
        self._step = 4.0

    def predict(self, _: Ride) -> float:
        """Minutes."""
        return self._median

    def learn(self, _: Ride, arrival: Arrival) -> None:
        """One more trip has ended."""
        self._step = max(0.025, self._step * 0.99)
        self._median += self._step if arrival.minutes > self._median else -self._step


class MeanSpeed:
    """Every ride goes at the mean speed of those before; the last two thousand or so weigh most."""

    def __init__(self) -> None:
        self._km, self._minutes = 0.0, 0.0

    def predict(self, ride: Ride) -> float:
        """Minutes."""
        return ride.distance_km * self._minutes / self._km if self._km else 0.0

    def learn(self, ride: Ride, arrival: Arrival) -> None:
        """One more trip has ended."""
        self._km = self._km * 0.9995 + ride.distance_km
        self._minutes = self._minutes * 0.9995 + arrival.minutes
