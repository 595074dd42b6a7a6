"""The loss over examples that do not all count the same: those of a sample, of corrected labels."""

from collections.abc import Sequence
from typing import Any

import torch

from headrace.model.port import Model


def weighted_loss(
    model: Model[Any, Any], outputs: torch.Tensor, labels: list[Any], weights: Sequence[float]
) -> torch.Tensor:
    """The model's loss, a scalar, with each example's weight.

    A model's loss is a mean over the examples that it is given. So examples of equal weight are given to it together,
    and the weighted mean of what it returns is the loss: exactly its own where all weights are equal.

    Args:
        model: its loss takes outputs and labels.
        outputs: [n, ...], of the network.
        labels: n of them.
        weights: n numbers above 0.
    """
    distinct = sorted(set(weights))
    if len(distinct) <= 1:
        return model.loss(outputs, labels)
    total, parts = sum(weights), list[torch.Tensor]()
    for weight in distinct:
        rows = [i for i, own in enumerate(weights) if own == weight]
        loss = model.loss(outputs[torch.tensor(rows, device=outputs.device)], [labels[i] for i in rows])
        parts.append(loss * (weight * len(rows) / total))
    return torch.stack(parts).sum()
