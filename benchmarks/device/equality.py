"""Whether the device predicts what the processor does, and a row the same whatever its batch."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from benchmarks.weights.report import Part, table
from headrace.model.equal_rows import compare_rows, served_sizes
from headrace.model.exact_rows import forward
from headrace.model.pipeline import load_pipeline
from headrace.runtime.devices.port import Device
from headrace.weights.worker.copied import structures_on
from headrace.weights.worker.staging_throttle import at_once

EXAMPLES = Path(__file__).parents[2] / "examples"
TOLERANCE = 1e-4
"""Of the largest output: float32 products whose sums are added in another order."""
_MOST = 4096


def equality(device: Device) -> Part:
    """Differences relative to the largest output, and the batch sizes in which rows differ by a bit."""
    part = Part(tables=[shown := table(f"Predictions on {device.name}", "", "difference", "within", "unequal sizes")])
    for name, network, features in _networks():
        here, there = network.eval(), _moved(network, device)
        with torch.inference_mode():
            expected, got = forward(here, features), forward(there, features)
        difference = float((expected - got).abs().max() / expected.abs().max().clamp(min=1e-30))
        unequal = compare_rows(there, features, served_sizes(_MOST)).unequal
        part.figures[f"difference_{name}"], part.figures[f"unequal_sizes_{name}"] = difference, unequal
        within = "yes" if difference <= TOLERANCE else "NO"
        shown.add_row(name, f"{difference:.1e}", within, ", ".join(map(str, unequal)) or "none")
    part.figures["predictions_within_tolerance"] = all(
        value <= TOLERANCE for name, value in part.figures.items() if name.startswith("difference_")
    )
    return part


def _moved(network: nn.Module, device: Device) -> nn.Module:
    """The same weights on the device, loaded into a network of others as a worker does it."""
    other = deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    structure = structures_on(device)(other)
    structure.load(network.state_dict(), at_once)
    return structure.network


def _networks() -> Iterator[tuple[str, nn.Module, torch.Tensor]]:
    for name in ("rides", "flights"):
        pipeline = load_pipeline(EXAMPLES / name)
        torch.manual_seed(0)
        yield name, pipeline.model.network(), pipeline.model.features(pipeline.source().sample(64))
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 8))
    yield "wide", wide, torch.randn(500, 256)
