"""A lane: one network with its optimizer, and the average of its weights if that is what is served.

Averages of weights: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", SIAM 1992; here the
exponential form, whose first steps weigh less of the past so that the untrained weights fade at once.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from headrace.model.checks.training import closure_problem
from headrace.model.port import Model
from headrace.model.spec import TrainingSpec
from headrace.runtime.devices.host import HOST
from headrace.runtime.devices.port import Device
from headrace.runtime.errors import PipelineError
from services.trainer.learning.schedule import Schedule
from services.trainer.tree import copied

RISKY = 1e9
"""A step of this size, gradients' norm times learning rate, is far from any overflow in float32, squares included."""


class Lane:
    """Learns with one learning rate.

    Args:
        model: whose network and optimizer it has.
        spec: how it is trained.
        multiple: of the spec's learning rate.
        device: where network, optimizer and average are. Features, outputs, losses and copied states are on the host:
            the author's code need not know of devices.

    Raises:
        PipelineError: the model's optimizer needs a closure.
    """

    def __init__(
        self, model: Model[Any, Any], spec: TrainingSpec, multiple: float = 1.0, device: Device = HOST
    ) -> None:
        self._device, self._bf16 = device, spec.precision == "bf16"
        self.network = model.network().to(device.torch_device)
        self.optimizer = model.optimizer(self.network, spec.learning_rate * multiple)
        if problem := closure_problem(self.optimizer):
            raise PipelineError(f"{type(model).__name__}.optimizer: {problem}")
        self.multiple = multiple
        self._clip = spec.clip_norm
        self._average = _average(self.network, spec.average) if spec.average is not None else None
        self._learning: Callable[[torch.Tensor], torch.Tensor] = self.network
        if spec.compile:  # for any number of rows from the start: a trainer that resumes compiles the same
            self._learning = torch.compile(self.network, dynamic=True)
        self.error, self.weight = 0.0, 0.0
        self._norm = 0.0
        self._buffers: dict[str, torch.Tensor] = {}

    @property
    def served(self) -> torch.nn.Module:
        """The network whose weights are published: the average where there is one."""
        return self._average.module if self._average is not None else self.network

    def predict(self, features: torch.Tensor) -> torch.Tensor:
        """Outputs [N, ...] of the served weights for features [N, ...], as they are served: in full precision."""
        served = self.served.eval()
        with torch.inference_mode():
            return self._device.to_host(served(self._device.to_device(features)))

    def outputs(self, features: torch.Tensor) -> torch.Tensor:
        """Outputs [N, ...] to learn from, with the way back to the weights; gradients before them are dropped."""
        self._keep_buffers()
        self.network.train()
        self.optimizer.zero_grad()
        with torch.autocast(self._device.torch_device.type, torch.bfloat16, enabled=self._bf16):
            outputs = self._learning(self._device.to_device(features))
        return (outputs.float() if self._bf16 else outputs).to("cpu")

    def descend(self, loss: torch.Tensor, schedule: Schedule, step: int) -> bool:
        """An optimizer step; False, and nothing changed, if it would ruin weights: see `backward` and `step`."""
        return self.backward(loss) and self.step(schedule, step)

    def backward(self, loss: torch.Tensor) -> bool:
        """Gradients of the loss. False if it or they are not finite; buffers are then as before the forward pass."""
        if math.isfinite(loss.item()):
            loss.backward()  # type: ignore[no-untyped-call]
            self._norm = total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
            if math.isfinite(self._norm):
                return True
        self.undo_buffers()
        return False

    def set_norm(self, norm: float) -> None:
        """Take the norm of gradients that others computed, for `step`."""
        self._norm = norm

    def step(self, schedule: Schedule, step: int) -> bool:
        """The optimizer's step with these gradients, and the average's.

        A step so large that numbers may overflow is taken on trial: False, and all as before, if weights or the
        optimizer's state are not finite after it.
        """
        schedule.apply(self.optimizer, step)
        trial = self._clipped() * max(1.0, *(float(group["lr"]) for group in self.optimizer.param_groups)) > RISKY
        before = self.state() if trial else None
        self.optimizer.step()
        if before is not None and not self._sound:
            self.restore(before, load_plainly)
            self.undo_buffers()
            return False
        self._buffers = {}
        if self._average is not None:
            self._average.update_parameters(self.network)
        return True

    def _clipped(self) -> float:
        """The gradients' norm, once they are scaled down to `clip_norm`."""
        if self._clip is None or self._norm <= self._clip:
            return self._norm
        for parameter in self.network.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(self._clip / self._norm)
        return self._clip

    @property
    def _sound(self) -> bool:
        """Whether weights and optimizer state are finite."""
        states = (value for state in self.optimizer.state.values() for value in state.values())
        return self.finite and all(_finite(value) for value in states if isinstance(value, torch.Tensor))

    def _keep_buffers(self) -> None:
        """Remember the network's buffers, say running statistics, which a forward pass in training changes."""
        self._buffers = {name: buffer.clone() for name, buffer in self.network.named_buffers()}

    def undo_buffers(self) -> None:
        """Set the buffers back to what was remembered, unless a step has been taken since."""
        for name, buffer in self.network.named_buffers():
            if name in self._buffers:
                buffer.copy_(self._buffers[name])
        self._buffers = {}

    def observe(self, errors: list[float], window: int) -> None:
        """Take a batch's errors, made before it was learned from; `error` is their decaying mean over `window`."""
        finite = [min(error, 1e30) for error in errors if math.isfinite(error)]
        if len(finite) < len(errors):
            self.error = math.inf
        if not finite:
            return
        mean = math.fsum(finite) / len(finite)
        share = min(1.0, len(finite) / min(self.weight + len(finite), window))
        self.error = mean if math.isinf(self.error) else self.error + share * (mean - self.error)
        self.weight = min(self.weight + len(finite), window)

    @property
    def finite(self) -> bool:
        """Whether no weight is NaN or infinite."""
        tensors = (*self.network.state_dict().values(), *self.served.state_dict().values())
        return all(map(_finite, tensors))

    def weights(self) -> dict[str, torch.Tensor]:
        """The served weights, as they are; copy them to keep them."""
        return dict(self.served.state_dict())

    def state(self) -> dict[str, Any]:
        """A copy of all that later batches change."""
        average = self._average
        return {
            "weights": copied(self.network.state_dict()),
            "optimizer": copied(self.optimizer.state_dict()),
            "average": copied(dict(average.module.state_dict())) if average is not None else {},
            "averaged": int(average.n_averaged) if average is not None else 0,
            "error": self.error,
            "weight": self.weight,
        }

    def restore(self, state: Mapping[str, Any], load: Callable[[torch.nn.Module, Mapping[str, Any]], None]) -> None:
        """Go on from a copy; `load` loads weights into a module or raises."""
        load(self.network, state["weights"])
        self.optimizer.load_state_dict(copied(state["optimizer"]))  # torch keeps the very tensors that it is given
        if self._average is not None:
            load(self._average.module, state["average"] or state["weights"])
            self._average.n_averaged.fill_(state["averaged"])
        self.error, self.weight = float(state["error"]), float(state["weight"])

    def begin(
        self,
        weights: Mapping[str, torch.Tensor],
        optimizer: Mapping[str, Any],
        load: Callable[[torch.nn.Module, Mapping[str, Any]], None],
    ) -> None:
        """Go on from weights that were served, with an optimizer's state if there is one."""
        load(self.network, weights)
        if optimizer:
            self.optimizer.load_state_dict(copied(dict(optimizer)))
        if self._average is not None:
            load(self._average.module, weights)

    def follow(self, other: "Lane", load: Callable[[torch.nn.Module, Mapping[str, Any]], None]) -> None:
        """Begin again from another lane's state, at this lane's own learning rate."""
        rates = [(group["lr"], group.get("initial_lr")) for group in self.optimizer.param_groups]
        self.restore(other.state(), load)
        for group, (rate, first) in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
            if first is not None:
                group["initial_lr"] = first


def total_norm(gradients: Sequence[torch.Tensor]) -> float:
    """The norm of all of them together; sparse ones by their values."""
    dense = [g.coalesce().values() if g.is_sparse else g for g in gradients]
    return float(torch.nn.utils.get_total_norm(dense).item())


def load_plainly(network: torch.nn.Module, weights: Mapping[str, Any]) -> None:
    """Load weights that are the module's own."""
    network.load_state_dict(dict(weights))


def _finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _average(network: torch.nn.Module, decay: float) -> AveragedModel:
    def update(averaged: Sequence[torch.Tensor], current: Sequence[torch.Tensor], count: torch.Tensor | int) -> None:
        steps = float(count)
        share = 1.0 - min(decay, (1.0 + steps) / (10.0 + steps))
        floats = [(a, c) for a, c in zip(averaged, current, strict=True) if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [c for _, c in floats], share)
        for a, c in zip(averaged, current, strict=True):
            if not a.is_floating_point():
                a.copy_(c)

    average = AveragedModel(network, multi_avg_fn=update, use_buffers=True)
    average.requires_grad_(requires_grad=False)
    return average
