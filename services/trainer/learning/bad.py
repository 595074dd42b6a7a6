"""Which examples of a batch cannot be learned from.

Examples are judged by a network as it is made, before it has learned anything: what is wrong there is wrong with the
example. What goes wrong only with the weights that training has come to is no example's fault.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from headrace.deadletters.letters import Phase
from headrace.model.port import Model
from services.trainer import randomness
from services.trainer.batches import Item
from services.trainer.learning.lane import total_norm

Forward = Callable[[torch.Tensor], torch.Tensor]
"""Outputs of features, both on the host."""


class NotFinite(ValueError):  # noqa: N818 - reads as the sentence it is
    """NaN or infinity where there must be none; `what` is features, loss, gradients or weights."""

    def __init__(self, what: str) -> None:
        super().__init__(f"NaN or infinity in the {what}")
        self.what = what


@dataclass(frozen=True)
class Bad:
    """An example that cannot be learned from: the model's own code raised, or what it made of it is not finite."""

    item: Item
    phase: Phase
    error: Exception

    @property
    def reason(self) -> str:
        """A word for metrics: features or train, where code raised; not_finite."""
        return "not_finite" if isinstance(self.error, NotFinite) else self.phase


class _Problem(NamedTuple):
    phase: Phase
    error: Exception


class Judge:
    """Finds bad examples by halving a batch: b bad ones of n take about 2 b log2 n passes. Changes no state."""

    def __init__(self, model: Model[Any, Any]) -> None:
        self._model = model
        self._untrained: torch.nn.Module | None = None

    def bad(self, items: Sequence[Item], predict: Forward, error: Exception) -> list[Bad]:
        """The bad ones of a batch from which learning failed with `error`.

        If there is none, and code has raised, those that it raises on with the outputs of `predict`.
        """
        network = self._reference()
        found = self._among(items, network, list(network.parameters()))
        if not found and not isinstance(error, NotFinite):
            found = self._among(items, predict, [])
        return found

    def _reference(self) -> torch.nn.Module:
        if self._untrained is None:
            with randomness.untouched():
                randomness.seed(0)
                self._untrained = self._model.network().eval()
        return self._untrained

    def _among(self, items: Sequence[Item], forward: Forward, weights: Sequence[torch.Tensor]) -> list[Bad]:
        problem = self._problem(items, forward, weights)
        if problem is None:
            return []
        if len(items) == 1:
            return [Bad(items[0], *problem)]
        middle = len(items) // 2
        return self._among(items[:middle], forward, weights) + self._among(items[middle:], forward, weights)

    def _problem(self, items: Sequence[Item], forward: Forward, weights: Sequence[torch.Tensor]) -> _Problem | None:
        phase: Phase = "features"
        labels = [item.example.label for item in items]
        try:
            features = self._model.features([item.example.event for item in items])
            phase = "train"
            outputs = forward(features)
            predictions = list(self._model.predictions(outputs.detach()))
            for prediction, label in zip(predictions, labels, strict=True):
                self._model.error(prediction, label)
            loss = self._model.loss(outputs, labels)
            what = _not_finite(loss, weights)
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything
            return _Problem(phase, error)
        if what is None:
            return None
        if features.is_floating_point() and not bool(features.isfinite().all()):
            return _Problem("features", NotFinite("features"))
        return _Problem("train", NotFinite(what))


def _not_finite(loss: torch.Tensor, weights: Sequence[torch.Tensor]) -> str | None:
    """Whether the loss or its gradients hold NaN or infinity."""
    if not math.isfinite(loss.item()):
        return "loss"
    parameters = [tensor for tensor in weights if tensor.requires_grad]
    if not parameters:
        return None
    gradients: Sequence[torch.Tensor | None] = torch.autograd.grad(loss, parameters, allow_unused=True)
    norm = total_norm([gradient for gradient in gradients if gradient is not None])
    return None if math.isfinite(norm) else "gradients"
