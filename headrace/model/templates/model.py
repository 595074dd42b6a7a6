"""What the pipeline predicts, and from what. The same class serves the stream, gRPC, REST and training."""

from collections.abc import Mapping, Sequence

import msgspec
import torch
from torch import nn

from headrace import Baseline, Model


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
    """Predicts the temperature a minute after a reading."""

    key = "reading_id"
    error_unit = "°C"

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

    def loss(self, outputs: torch.Tensor, outcomes: Sequence[Outcome]) -> torch.Tensor:
        """A scalar to minimise. The network's outputs count 25 °C around 50 °C."""
        measured = torch.tensor([outcome.temperature for outcome in outcomes]) / 25 - 2
        return nn.functional.smooth_l1_loss(outputs, measured, beta=0.1)

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        """What goes on the sink, one for each event: °C. The annotation types the serving protocol's output."""
        return ((outputs + 2) * 25).tolist()

    def error(self, temperature: float, outcome: Outcome) -> float:
        """How wrong one prediction was. Its mean is on the board, beside the baselines'."""
        return abs(temperature - outcome.temperature)

    def baselines(self) -> Mapping[str, Baseline]:
        """Simple predictors that the model has to beat."""
        return {"as it is": AsItIs()}


class AsItIs:
    """Nothing changes within a minute."""

    def predict(self, reading: Reading) -> float:
        """°C."""
        return 50.0 if reading.temperature is None else reading.temperature

    def learn(self, reading: Reading, outcome: Outcome) -> None:
        """There is nothing to learn."""
