"""What the checks of a pipeline share: the data that the model is tried on, and what it made of them so far."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from headrace.model.pipeline import Pipeline
from headrace.model.source import Item, Timed

BATCH = 32
"""Labelled examples that the model is tried on."""
SEARCHED = 20_000
"""Records that are read, to find those examples."""


class Broken(Exception):  # noqa: N818 - a promise is
    """A promise that the pipeline does not keep; the text says what, with field names, shapes and values."""


@dataclass(frozen=True)
class Outcome:
    """How one check went; `detail` is what it found, or what is wrong and where."""

    title: str
    ok: bool
    detail: str


@dataclass
class PipelineCheck:
    """One check of a pipeline's model. The fields without a value are filled in by the checks that come first."""

    pipeline: Pipeline
    records: Iterable[Item] | None = None
    """The data to try it on; None takes the pipeline's own source."""
    read: list[Timed] = field(default_factory=list)
    """The records that were read, in order."""
    events: list[Any] = field(default_factory=list)
    """Those that have a label, in the order of the labels."""
    labels: list[Any] = field(default_factory=list)
    features: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    network: nn.Module = field(default_factory=nn.Identity)
    outputs: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    predictions: list[Any] = field(default_factory=list)


def check_rows(what: str, tensor: torch.Tensor, rows: int) -> None:
    """Raise `Broken` unless the tensor has a row for each of `rows` events."""
    if tensor.dim() == 0 or tensor.shape[0] != rows:
        raise Broken(f"{what} has shape {list(tensor.shape)} for {rows} events, expected [{rows}, ...]")


def check_finite(what: str, tensor: torch.Tensor) -> None:
    """Raise `Broken` if the tensor holds NaN or infinity."""
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        place = (~torch.isfinite(tensor)).nonzero()[0].tolist()
        raise Broken(f"{what} holds {tensor[tuple(place)].item()} at {place}, expected finite numbers")


def described(tensor: torch.Tensor) -> str:
    """Shape and element type, for people."""
    return f"{list(tensor.shape)}, {str(tensor.dtype).removeprefix('torch.')}"
