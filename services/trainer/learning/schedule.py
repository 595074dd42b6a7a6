"""The learning rate over optimizer steps, and when it begins anew.

Warm restarts: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017.
"""

import math

import torch

from headrace.model.spec import DriftSpec, ScheduleSpec


class Schedule:
    """The factor of the learning rate at each optimizer step; `began` is the step of the last restart."""

    def __init__(self, spec: ScheduleSpec, began: int = 0) -> None:
        self._spec, self.began = spec, began

    def factor(self, step: int) -> float:
        """The multiple of `learning_rate` at a step; steps count from 0."""
        spec, since = self._spec, max(0, step - self.began)
        if since < spec.warm_up:
            return spec.start * (since + 1) / (spec.warm_up + 1)
        since -= spec.warm_up
        if spec.kind == "inverse_time":
            falling = spec.start / (1 + since / spec.steps)
            return max(1.0, falling) if spec.start > 1 else falling
        if spec.kind == "cosine":
            return 1.0 + (spec.start - 1.0) * 0.5 * (1 + math.cos(math.pi * min(1.0, since / spec.steps)))
        return 1.0

    def restart(self, step: int) -> None:
        """Begin anew at a step."""
        self.began = step

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set the rate of each parameter group: its own first rate times the factor.

        A constant schedule without warm-up leaves the optimizer alone: the author's own may change its rates.
        """
        if self._spec.kind == "constant" and not self._spec.warm_up:
            return
        factor = self.factor(step)
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


class DriftDetector:
    """Compares the error of about the last `examples` with that of ten times as many: two decaying means.

    `state` is (recent mean, mean before, examples seen), which a checkpoint keeps.
    """

    LONGER = 10

    def __init__(self, spec: DriftSpec, state: tuple[float, float, int] = (0.0, 0.0, 0)) -> None:
        self.spec = spec
        self.recent, self.before, self.seen = state

    @property
    def state(self) -> tuple[float, float, int]:
        """What a checkpoint keeps."""
        return self.recent, self.before, self.seen

    def observe(self, errors: list[float]) -> bool:
        """Take a batch's errors; True where they are a drift, after which both means begin anew."""
        finite = [error for error in errors if math.isfinite(error)]
        if not finite:
            return False
        mean, count = math.fsum(finite) / len(finite), len(finite)
        self.recent = self._moved(self.recent, mean, count, self.spec.examples)
        self.before = self._moved(self.before, mean, count, self.spec.examples * self.LONGER)
        self.seen += count
        if self.seen < 2 * self.spec.examples or self.recent <= self.spec.ratio * self.before:
            return False
        self.recent = self.before = 0.0
        self.seen = 0
        return True

    def _moved(self, old: float, mean: float, count: int, over: int) -> float:
        """A decaying mean; at first a plain one, so that the first batch does not weigh more than others."""
        share = count / min(self.seen + count, over) if self.seen + count > 0 else 1.0
        return old + min(1.0, share) * (mean - old)
