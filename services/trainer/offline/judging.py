"""How good weights are on examples: each prediction judged by its label, and what that comes to."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from headrace.evaluation.judge import Judged
from headrace.evaluation.port import Task
from headrace.model.port import Model
from services.trainer.learner import load_weights
from services.trainer.offline.examples import Examples
from services.trainer.offline.rows import AT_ONCE


def network_of(model: Model[Any, Any], weights: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """The model's network with these weights."""
    network = model.network()
    load_weights(network, weights)
    return network


def judged(
    model: Model[Any, Any],
    network: torch.nn.Module,
    examples: Examples,
    part: np.ndarray,
    check: Callable[[], None] = lambda: None,
) -> list[Judged]:
    """Error and evidence of a network's prediction of each example of a part; `check` may raise to stop."""
    network.eval()
    made: list[Judged] = []
    for start in range(0, len(part), AT_ONCE):
        check()
        some = part[start : start + AT_ONCE]
        with torch.inference_mode():
            predictions = model.predictions(network(examples.features[torch.from_numpy(some)]))
        judge, labels = model.judge, examples.labels
        made += [judge(prediction, labels[i]) for prediction, i in zip(predictions, some, strict=True)]
    return made


def task_metrics(task: Task, judged: list[Judged]) -> dict[str, float]:
    """The task's metrics over predictions whose evidence is finite."""
    evidence = np.array([one.evidence for one in judged], np.float64)
    evidence = evidence[np.isfinite(evidence).all(axis=1)]
    return task.metrics(task.sums(evidence, np.ones(len(evidence)))) if len(evidence) else {}


def baseline_errors(examples: Examples, part: np.ndarray) -> dict[str, float]:
    """The mean error of each baseline over a part, where it has one."""
    means = {name: finite_mean(errors[part]) for name, errors in examples.baselines.items()}
    return {name: mean for name, mean in means.items() if mean is not None}


def finite_mean(errors: np.ndarray) -> float | None:
    """The mean of those that are finite; None if none is."""
    finite = errors[np.isfinite(errors)]
    return float(finite.mean()) if len(finite) else None
