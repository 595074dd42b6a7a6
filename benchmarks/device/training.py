"""A step of training: on the processor, on the device, in bfloat16, compiled; and going on from a copy of its state."""

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from torch import nn

from benchmarks.device.scale import Scale
from benchmarks.weights.report import Part, table
from headrace.contracts.records import Example
from headrace.model.pipeline import Pipeline
from headrace.model.port import Model
from headrace.model.spec import PipelineSpec
from headrace.runtime.devices.host import HOST
from headrace.runtime.devices.port import Device
from headrace.runtime.errors import ConfigError
from services.trainer.batches import Item
from services.trainer.compiler_check import check_compiler
from services.trainer.learner import Learner

BATCH, INPUTS = 256, 64
_RESUMED_STEPS = 5


class Event(msgspec.Struct):
    """What is predicted of."""

    key: int
    x: list[float]


class Label(msgspec.Struct):
    """What is predicted."""

    key: int
    y: float


class Wide(Model[Event, Label]):
    """A network of two hidden layers of `width`."""

    key = "key"

    def __init__(self, width: int) -> None:
        self._width = width

    def network(self) -> nn.Module:
        """Features [N, 64] to [N, 1]."""
        width = self._width
        return nn.Sequential(
            nn.Linear(INPUTS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        """The fields."""
        return torch.tensor([event.x for event in events])

    def loss(self, outputs: torch.Tensor, labels: Sequence[Label]) -> torch.Tensor:
        """Mean squared error."""
        return nn.functional.mse_loss(outputs[:, 0], torch.tensor([label.y for label in labels]))

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        """The outputs."""
        return outputs[:, 0].tolist()

    def error(self, prediction: float, label: Label) -> float:
        """Absolute."""
        return abs(prediction - label.y)


def training(device: Device, scale: Scale) -> Part:
    """Milliseconds of a step, features and loss included, and the error that it came to."""
    title = f"A step of training: {BATCH} examples, {INPUTS}-{scale.width}-{scale.width}-1"
    part = Part(tables=[shown := table(title, "", "ms a step", "error")])
    batches = _batches(scale.steps)
    ways: dict[str, tuple[Device, dict[str, object]]] = {
        "cpu": (HOST, {}), "device": (device, {}), "device_bf16": (device, {"precision": "bf16"}),
    }  # fmt: skip
    if scale.compiled:
        try:
            check_compiler(device)
            ways["device_compiled"] = (device, {"compile": True})
        except ConfigError as error:
            shown.caption = str(error)
    for name, (where, how) in ways.items():
        learner = _learner(scale, where, **how)
        part.figures[f"step_ms_{name}"], error = _steps(learner, batches)
        shown.add_row(
            f"{name.replace('_', ', ')} ({where.name})", f"{part.figures[f'step_ms_{name}']:.2f}", f"{error:.4f}"
        )
    part.ratios["step_cpu_over_device"] = part.figures["step_ms_cpu"] / part.figures["step_ms_device"]
    part.figures |= _resumed(scale, device, batches)
    return part


def _learner(scale: Scale, device: Device, **how: object) -> Learner:
    spec = PipelineSpec(name="device", model="model.py:Wide", training=how)
    return Learner(Pipeline(Path(), spec, Wide(scale.width)), 2000, device=device)


def _batches(count: int) -> list[list[Item]]:
    generator = torch.Generator().manual_seed(1)
    made = []
    for b in range(count):
        x = torch.randn(BATCH, INPUTS, generator=generator)
        y = torch.tanh(x[:, :8].sum(1)).tolist()
        examples = [
            Example(str(i), Event(i, row), Label(i, wanted), (0, i), (0, i), i, i)
            for i, (row, wanted) in enumerate(zip(x.tolist(), y, strict=True), b * BATCH)
        ]
        made.append([Item(example.label_ms, 0, example.label_ms, example) for example in examples])
    return made


def _steps(learner: Learner, batches: list[list[Item]]) -> tuple[float, float]:
    """Milliseconds of a step and the recent error; the first tenth warms up."""
    first = max(2, len(batches) // 10)
    for batch in batches[:first]:
        learner.learn(batch)
    started = time.perf_counter()
    for batch in batches[first:]:
        learner.learn(batch)  # each step waits for its loss
    ms = (time.perf_counter() - started) * 1e3 / (len(batches) - first)
    return round(ms, 3), learner.progress.errors["model"].recent or 0.0


def _resumed(scale: Scale, device: Device, batches: list[list[Item]]) -> dict[str, object]:
    """How far a learner that went on from a copy is from the one that was copied, after some steps of both."""
    one = _learner(scale, device)
    one.learn(batches[0])
    state = one.state()
    on_host = all(tensor.device.type == "cpu" for tensor in state.weights.values())
    other = _learner(scale, device)
    other.restore(state)
    other.steps, other.examples = one.steps, one.examples
    for batch in batches[1 : 1 + _RESUMED_STEPS]:
        one.learn(batch)
        other.learn(batch)
    left, right = one.state().weights, other.state().weights
    difference = max(float((left[name] - right[name]).abs().max()) for name in left)
    return {"checkpoint_on_host": on_host, "resumed_difference": difference}
