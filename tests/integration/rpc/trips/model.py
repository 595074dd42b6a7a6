"""A small model whose event has a field of every kind that matters on the serving protocol."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import torch

import headrace


class Trip(msgspec.Struct, frozen=True):
    trip_id: str
    zone: Annotated[int, msgspec.Meta(ge=0, lt=100)]
    distance_km: float
    raining: bool
    kind: Literal["city", "country"]
    tip: float | None = None
    note: str = ""


class Arrival(msgspec.Struct, frozen=True):
    trip_id: str
    minutes: float


class TripMinutes(headrace.Model[Trip, Arrival]):
    key = "trip_id"
    error_unit = "min"

    def network(self) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))

    def features(self, trips: Sequence[Trip]) -> torch.Tensor:
        if any(t.note == "explode" for t in trips):
            raise RuntimeError("this note explodes")
        rows = [
            (t.zone / 100, t.distance_km, t.raining, t.kind == "city", -1.0 if t.tip is None else t.tip, len(t.note))
            for t in trips
        ]
        return torch.tensor(rows, dtype=torch.float32)

    def loss(self, outputs: torch.Tensor, arrivals: Sequence[Arrival]) -> torch.Tensor:
        return torch.nn.functional.mse_loss(outputs[:, 0], torch.tensor([a.minutes for a in arrivals]))

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        return outputs[:, 0].double().tolist()

    def error(self, prediction: float, arrival: Arrival) -> float:
        return abs(prediction - arrival.minutes)
