"""What the pipeline predicts, and from what. The same class serves the stream, gRPC, REST and training."""

from collections.abc import Sequence

import msgspec
import torch
from torch import nn

from headrace import Model


class Reading(msgspec.Struct):
    """An event, as JSON on the events topic: a machine reports."""

    reading_id: str
    """The key: one event, one value. Its label has the same."""
    load: float
    """0 to 1."""
    ambient: float
    """°C."""
    temperature: float | None = None
    """°C; None when the sensor is silent."""


class Outcome(msgspec.Struct):
    """A label, as JSON on the labels topic: what turned out to be true, a minute later."""

    reading_id: str
    temperature: float
    """°C."""
    stops: int = 0
    """Emergency stops within that minute."""


class MachineHeat(Model[Reading, Outcome]):
    """Predicts how many emergency stops a machine makes within a minute after a reading."""

    key = "reading_id"

    def network(self) -> nn.Module:
        """A fresh network; its weights are learned online and replaced while it serves."""
        return nn.Sequential(nn.Linear(4, 32), nn.SiLU(), nn.Linear(32, 1), nn.Flatten(0))

    def features(self, readings: Sequence[Reading]) -> torch.Tensor:
        """A batch of events as one float tensor [N, 4], near 0, missing values filled in."""
        rows = [
            (
                r.load - 0.5,
                r.ambient / 20 - 1,
                (50.0 if r.temperature is None else r.temperature) / 25 - 2,
                r.temperature is None,
            )
            for r in readings
        ]
        return torch.tensor(rows, dtype=torch.float32)

    def target(self, outcome: Outcome) -> int:
        """What was to be predicted. Error, metrics and baselines follow from it and from `task: count`."""
        return outcome.stops

    def loss(self, outputs: torch.Tensor, outcomes: Sequence[Outcome]) -> torch.Tensor:
        """A scalar to minimise. The network's outputs are logarithms of the expected counts."""
        true = torch.tensor([float(self.target(outcome)) for outcome in outcomes])
        return nn.functional.poisson_nll_loss(outputs, true)

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        """What goes on the sink, one for each event: the expected number of stops."""
        return torch.exp(outputs.double().clamp(max=20)).tolist()
