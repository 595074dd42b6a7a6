"""Checks of learning: errors and baselines, the loss and a step of the optimizer, and the weights after it."""

import inspect
import math
from typing import Any

import torch

from headrace.model.checks.pipeline_check import Broken, PipelineCheck, check_finite


def check_errors(check: PipelineCheck) -> str:
    """The model's and the baselines' errors are finite numbers."""
    model = check.pipeline.model
    _check_judging(check)
    pairs = list(zip(check.predictions, check.labels, strict=True))
    errors = {"untrained": [_error(model.error(p, label), "error") for p, label in pairs]}
    for name, baseline in model.baselines().items():
        errors[name] = []
        for event, label in zip(check.events, check.labels, strict=True):
            errors[name].append(_error(model.error(baseline.predict(event), label), f"error of baseline {name!r}"))
            baseline.learn(event, label)
    named = "" if model.judge.error_name == "mean error" else f"{model.judge.error_name}: "
    return (
        named
        + ", ".join(f"{name} {sum(e) / len(e):.3g}" for name, e in errors.items())
        + f" {model.error_unit}".rstrip()
    )


def _check_judging(check: PipelineCheck) -> None:
    """Predictions and labels have the form that the task reads."""
    judge = check.pipeline.model.judge
    if judge.target is None:
        return
    for prediction, true in zip(check.predictions, map(judge.target, check.labels), strict=True):
        try:
            judge.task.evidence(prediction, true)
        except (TypeError, ValueError) as error:
            raise Broken(f"task {judge.task.name}: {error}") from error


def _error(value: Any, what: str) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise Broken(f"{what} is {value!r}, expected a finite number")
    return float(value)


def check_learning(check: PipelineCheck) -> str:
    """The loss is one finite number, its gradients are finite, and a step leaves finite weights."""
    model, network = check.pipeline.model, check.network.train()
    optimizer = model.optimizer(network, check.pipeline.spec.training.learning_rate)
    if problem := closure_problem(optimizer):
        raise Broken(problem)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss: Any = model.loss(network(check.features), check.labels)
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            raise Broken(f"loss returned {_shown(loss)}, expected a scalar tensor")
        check_finite("the loss", loss.detach())
        if not loss.requires_grad:
            raise Broken("the loss has no gradient: compute it from the outputs with torch")
        torch.autograd.backward(loss)
        for name, parameter in network.named_parameters():
            if parameter.grad is not None:
                check_finite(f"the gradient of {name}", parameter.grad)
        optimizer.step()
        losses.append(float(loss.detach()))
    for name, tensor in network.state_dict().items():
        check_finite(f"{name}, after a step,", tensor)
    if all(p.grad is None for p in network.parameters()):
        raise Broken("no parameter of the network has a gradient")
    return f"loss {losses[0]:.4g}, then {losses[1]:.4g} after a step of {type(optimizer).__name__}"


def closure_problem(optimizer: torch.optim.Optimizer) -> str:
    """Why the trainer cannot use an optimizer whose step needs a closure, as LBFGS does; "" for all others."""
    needed = [
        p.name
        for p in inspect.signature(optimizer.step).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    if not needed:
        return ""
    return (
        f"the step of {type(optimizer).__name__} needs a {needed[0]}, to compute the loss of one batch several times; "
        "the trainer computes it once: take an optimizer whose step() needs none, e.g. torch.optim.Adam"
    )


def check_weights(check: PipelineCheck) -> str:
    """A trained network's weights, written as safetensors and loaded into a fresh network, give the same outputs."""
    from safetensors.torch import load

    from headrace.weights.format.payload import dump

    network = check.network.eval()
    payload = dump(network.state_dict())
    fresh = check.pipeline.model.network().eval()
    fresh.load_state_dict(load(payload))
    with torch.inference_mode():
        if not torch.equal(fresh(check.features), network(check.features)):
            raise Broken(
                "a network with the same state dict answers differently: something it learns is not in state_dict()"
            )
    return f"{len(payload):,} bytes of safetensors, the same outputs"


def _shown(value: Any) -> str:
    return f"shape {list(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
