"""The task as a pipeline of Headrace: seven numbers to one, by an MLP 7-64-64-1."""

from collections.abc import Sequence

import msgspec
import torch
from torch import nn

from headrace import Model

from .event import Event
from .mlp import features, make_network


class Label(msgspec.Struct):
    """Never used."""

    id: str
    y: float


class Mlp(Model[Event, Label]):
    """The same network as the peers'."""

    key = "id"

    def network(self) -> nn.Module:
        """7-64-64-1."""
        return make_network()

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        """Shape [N, 7]."""
        return features(events)

    def loss(self, outputs: torch.Tensor, labels: Sequence[Label]) -> torch.Tensor:
        """Squared error."""
        return nn.functional.mse_loss(outputs[:, 0], torch.tensor([label.y for label in labels]))

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        """The one output."""
        return outputs[:, 0].tolist()

    def error(self, prediction: float, label: Label) -> float:
        """Absolute error."""
        return abs(prediction - label.y)
