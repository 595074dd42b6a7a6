"""The task as a pipeline of Headrace: twelve numbers to one."""

from collections.abc import Sequence

import msgspec
import numpy as np
import torch
from torch import nn

from headrace import Model

from .network import make_network


class Event(msgspec.Struct):
    """Twelve numbers; requests leave the id out."""

    x01: float
    x02: float
    x03: float
    x04: float
    x05: float
    x06: float
    x07: float
    x08: float
    x09: float
    x10: float
    x11: float
    x12: float
    id: str = ""


class Label(msgspec.Struct):
    """Never used."""

    id: str
    y: float


class Mlp(Model[Event, Label]):
    """The same network as the peers'."""

    key = "id"

    def network(self) -> nn.Module:
        """12-64-64-1."""
        return make_network()

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        """Shape [N, 12]."""
        rows = [(v.x01, v.x02, v.x03, v.x04, v.x05, v.x06, v.x07, v.x08, v.x09, v.x10, v.x11, v.x12) for v in events]
        return torch.from_numpy(np.array(rows, dtype=np.float32).reshape(len(rows), 12))

    def loss(self, outputs: torch.Tensor, labels: Sequence[Label]) -> torch.Tensor:
        """Squared error."""
        return nn.functional.mse_loss(outputs[:, 0], torch.tensor([label.y for label in labels]))

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        """The one output."""
        return outputs[:, 0].tolist()

    def error(self, prediction: float, label: Label) -> float:
        """Absolute error."""
        return abs(prediction - label.y)
