"""Models for tests of runners and rounds: x times a factor, with inputs at which each step fails."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from headrace.model.pipeline import Pipeline
from headrace.model.port import Model
from headrace.model.spec import PipelineSpec
from headrace.weights import StaticWeights
from services.inference.runner import ModelRunner

FAILS_AT = {"features": 1013.0, "forward": 1666.0, "predictions": 1777.0}
"""The x at which a model that `fails` there raises."""
NAN, HUGE = 1999.0, 1e38
"""The x whose output is NaN, and one whose prediction is infinite with a factor over 3."""


class Event(msgspec.Struct):
    id: str
    x: float


class Label(msgspec.Struct):
    id: str
    y: float


class Times(Model[Event, Label]):
    key = "id"

    def __init__(self, factor: float = 2.0) -> None:
        self.factor = factor
        self.asked: list[int] = []

    def network(self) -> nn.Module:
        line = nn.Linear(1, 1, bias=False)
        nn.init.constant_(line.weight, self.factor)
        line.register_forward_pre_hook(lambda _, inputs: _refuse("forward", inputs[0][:, 0].tolist()))
        return line

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        self.asked.append(len(events))
        _refuse("features", [event.x for event in events])
        return torch.tensor([[float("nan") if event.x == NAN else event.x] for event in events])

    def loss(self, outputs: torch.Tensor, labels: Sequence[Label]) -> torch.Tensor:
        return outputs.sum()

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        made: list[float] = outputs[:, 0].tolist()
        _refuse("predictions", [value / self.factor for value in made])
        return made

    def error(self, prediction: float, label: Label) -> float:
        return 0.0


class Steep(Times):
    """Predicts infinity for large outputs, which are finite."""

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        return [float("inf") if abs(x) > 1e6 else x for x in outputs[:, 0].tolist()]


def _refuse(step: str, values: Sequence[float]) -> None:
    if any(abs(value - FAILS_AT[step]) < 0.01 for value in values):
        raise ValueError(f"not at {step}")


def runner(
    model: Model[Any, Any] | None = None, *, version: int = 7, max_batch: int = 4096,
    weights: StaticWeights | None = None, remember: Callable[[torch.Tensor], None] | None = None,
) -> ModelRunner:  # fmt: skip
    """A champion's runner."""
    model = model or Times()
    spec = PipelineSpec(name="toy", model="model.py:Times", stream={"max_batch": max_batch})
    weights = weights or StaticWeights(model.network(), model="toy", version=version)
    return ModelRunner(Pipeline(Path(), spec, model), weights, remember=remember)


def variant_runners(*sections: tuple[dict[str, Any], Times, StaticWeights | None]) -> list[ModelRunner]:
    """Runners of further models, by their sections in pipeline.yaml; versions 1, 2, ... where no weights are given."""
    models = [{"model": "model.py:Times", **section} for section, _, _ in sections]
    spec = PipelineSpec(name="toy", model="model.py:Times", models=models)
    return [
        ModelRunner(Pipeline(Path(), spec, model, variant), weights or StaticWeights(model.network(), version=i))
        for i, (variant, (_, model, weights)) in enumerate(zip(spec.models, sections, strict=True), start=1)
    ]


def events(values: Sequence[float]) -> list[Event]:
    return [Event(f"k{i}", x) for i, x in enumerate(values)]
