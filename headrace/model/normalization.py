"""Normalization by running statistics that are part of the weights, so that serving uses those of its version."""

import torch


class RunningNorm(torch.nn.Module):
    """Features [N, width] less their running mean, divided by their running standard deviation, clipped to ±`limit`.

    Statistics are learned in training mode, from each batch before it is normalized, and stay as they are in eval mode.
    Unlike BatchNorm, both modes normalize by the running statistics: what is trained is what is served. Means and
    variances are merged as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", 1979; after `memory` examples old ones fade, so that statistics follow a drift.

    Args:
        width: features.
        memory: examples after which old ones begin to fade.
        limit: of the normalized values, so that one wild value cannot ruin a step.
    """

    mean: torch.Tensor
    variance: torch.Tensor
    count: torch.Tensor

    def __init__(self, width: int, memory: float = 100_000.0, limit: float = 10.0) -> None:
        super().__init__()
        self._memory, self._limit = memory, limit
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The normalized features, of the same shape."""
        if self.training and len(features):
            self._learn(features.detach())
        scale = torch.rsqrt(self.variance.clamp_min(1e-8))
        return ((features - self.mean) * scale).clamp(-self._limit, self._limit)

    def _learn(self, batch: torch.Tensor) -> None:
        size = float(len(batch))
        known = self.count.clamp(max=self._memory)
        total = known + size
        difference = batch.mean(dim=0) - self.mean
        spread = known * self.variance if float(known) else torch.zeros_like(self.variance)
        spread = spread + size * batch.var(dim=0, correction=0) + difference**2 * (known * size / total)
        self.mean.add_(difference * (size / total))
        self.variance.copy_(spread / total)
        self.count.copy_(total)
