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
    """Predicts which of two things a machine will be within a minute after a reading: any, both, or none."""

    key = "reading_id"
    classes = ("hot", "stopped")

    def network(self) -> nn.Module:
        """A fresh network; its weights are learned online and replaced while it serves."""
        return nn.Sequential(nn.Linear(4, 32), nn.SiLU(), nn.Linear(32, 2))

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

    def target(self, outcome: Outcome) -> list[str]:
        """What was to be predicted. Error, metrics and baselines follow from it and from `task: multilabel`."""
        return ["hot"] * (outcome.temperature > 60) + ["stopped"] * (outcome.stops > 0)

    def loss(self, outputs: torch.Tensor, outcomes: Sequence[Outcome]) -> torch.Tensor:
        """A scalar to minimise. The network's outputs are log-odds of each label."""
        true = torch.tensor([[float(name in self.target(outcome)) for name in self.classes] for outcome in outcomes])
        return nn.functional.binary_cross_entropy_with_logits(outputs, true)

    def predictions(self, outputs: torch.Tensor) -> Sequence[list[float]]:
        """What goes on the sink, one for each event: a probability for each label, in the order of `classes`."""
        return torch.sigmoid(outputs.double()).tolist()
