"""The task: seven numbers to one, by an MLP 7-64-64-1."""

from collections.abc import Sequence

import msgspec
import numpy as np
import torch
from torch import nn

from headrace import Model


class Event(msgspec.Struct):
    """About 170 bytes of JSON."""

    id: str
    a: float
    b: float
    c: float
    d: float
    e: int
    f: int
    g: int
    note: str


class Label(msgspec.Struct):
    """Never used."""

    id: str
    y: float


class Mlp(Model[Event, Label]):
    """The same network as the peers'."""

    key = "id"

    def network(self) -> nn.Module:
        """7-64-64-1, about 4,800 weights."""
        return nn.Sequential(nn.Linear(7, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        """Shape [N, 7]."""
        rows = [(v.a, v.b, v.c, v.d, v.e, v.f, v.g) for v in events]
        return torch.from_numpy(np.array(rows, dtype=np.float32).reshape(len(rows), 7))

    def loss(self, outputs: torch.Tensor, labels: Sequence[Label]) -> torch.Tensor:
        """Squared error."""
        return nn.functional.mse_loss(outputs[:, 0], torch.tensor([label.y for label in labels]))

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        """The one output."""
        return outputs[:, 0].tolist()

    def error(self, prediction: float, label: Label) -> float:
        """Absolute error."""
        return abs(prediction - label.y)
