"""Epochs over the training part, the best of them by the validation part, and going on after a stop or a crash."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors.torch import load, save

from headrace.evaluation.judge import Judged
from headrace.model.pipeline import Pipeline
from headrace.runtime.errors import DataError
from headrace.runtime.files import synced
from headrace.training.job import EpochReport
from services.trainer import randomness
from services.trainer.learner import load_weights
from services.trainer.learning.importance import weighted_loss
from services.trainer.learning.lane import Lane
from services.trainer.learning.schedule import Schedule
from services.trainer.offline.examples import Examples
from services.trainer.offline.judging import judged, network_of
from services.trainer.offline.parts import Parts
from services.trainer.tree import copied, flatten, unflatten

_STATE = "state.safetensors"
_META = "headrace"


@dataclass
class Fitted:
    """What the passes so far came to.

    Attributes:
        epochs: each pass.
        best: the epoch whose weights are kept; 0 while there is none.
        weights, optimizer: of the best epoch; the weights are those that are served.
        steps, best_steps: optimizer steps in all, and up to the best epoch.
        skipped: batches whose loss or gradients were not finite.
        bad: indexes of examples that the model's loss raises on.
    """

    epochs: list[EpochReport] = field(default_factory=list)
    best: int = 0
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    best_steps: int = 0
    skipped: int = 0
    bad: list[int] = field(default_factory=list)


Tell = Callable[[int, int, int], None]
"""Is told the epoch, the batches done in it, and how many it has."""
OnEpoch = Callable[[EpochReport], None]


class Fitting:
    """Fits one network.

    Args:
        pipeline: the model and how it is trained; batches have `training.batch_size` examples in an order drawn anew
            in each epoch.
        examples: all of them.
        parts: which are for what.
        folder: where the state is kept after each epoch; a later fitting of the same goes on from there.
        check: is called at every batch, and may raise to stop.
    """

    def __init__(
        self, pipeline: Pipeline, examples: Examples, parts: Parts, folder: Path, check: Callable[[], None]
    ) -> None:
        self._model, self._spec = pipeline.model, pipeline.spec.training
        self._examples, self._parts, self._check = examples, parts, check
        self._state = folder / _STATE
        randomness.seed(self._spec.seed)
        self._lane = Lane(self._model, self._spec)
        self._schedule = Schedule(self._spec.schedule)
        self._train = parts.train
        self.fitted = Fitted()
        if self._state.exists():
            self._resume()

    def run(self, epochs: int, patience: int, tell: Tell, on_epoch: OnEpoch = lambda _: None) -> Fitted:
        """Make the passes that are left; `on_epoch` hears of each at its end, and may raise to end them.

        Raises:
            DataError: not one example can be learned from, or the weights are no longer finite.
        """
        fitted = self.fitted
        while len(fitted.epochs) < epochs and not self._patience_is_over(patience):
            self._epoch(len(fitted.epochs) + 1, tell)
            self._save()
            on_epoch(fitted.epochs[-1])
        return fitted

    def judged(self, part: np.ndarray, weights: dict[str, torch.Tensor] | None = None) -> list[Judged]:
        """Error and evidence of the prediction of each example of a part, with these weights or those of now."""
        served = self._lane.served if weights is None else network_of(self._model, weights)
        return judged(self._model, served, self._examples, part, self._check)

    def _epoch(self, number: int, tell: Tell) -> None:
        started, losses = time.monotonic(), list[float]()
        order = self._shuffled(number)
        batches = [order[i : i + self._spec.batch_size] for i in range(0, len(order), self._spec.batch_size)]
        for done, batch in enumerate(batches):
            self._check()
            tell(number, done, len(batches))
            losses += self._learn(batch)
        if not self._lane.finite:
            raise DataError("the weights are no longer finite", hint="a lower learning_rate, or clip_norm")
        tell(number, len(batches), len(batches))
        errors = np.array([judged.error for judged in self.judged(self._parts.validation)])
        validation = _mean(errors) if len(errors) else None
        loss = math.fsum(losses) / len(losses) if losses else math.nan
        self.fitted.epochs.append(EpochReport(number, loss, validation, time.monotonic() - started))
        self._keep_best(number, validation)

    def _shuffled(self, epoch: int) -> np.ndarray:
        """The training part in an order that is a function of the seed and the epoch."""
        generator = np.random.Generator(np.random.Philox(key=self._spec.seed, counter=[epoch, 0, 0, 0]))
        return self._train[generator.permutation(len(self._train))]

    def _learn(self, batch: np.ndarray) -> list[float]:
        """One step; returns the loss if it was taken."""
        try:
            loss = self._loss(batch)
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything
            self._lane.undo_buffers()
            batch = self._without_bad(batch, error)
            if not len(batch):
                return []
            loss = self._loss(batch)
        if not self._lane.descend(loss, self._schedule, self.fitted.steps):
            self.fitted.skipped += 1
            return []
        self.fitted.steps += 1
        return [loss.item()]

    def _loss(self, batch: np.ndarray) -> torch.Tensor:
        outputs = self._lane.outputs(self._examples.features[torch.from_numpy(batch)])
        labels, weights = ([of[i] for i in batch] for of in (self._examples.labels, self._examples.weights))
        return weighted_loss(self._model, outputs, labels, weights)

    def _without_bad(self, batch: np.ndarray, error: Exception) -> np.ndarray:
        """The examples of a batch that alone do not raise; the others are never tried again."""
        bad = [i for i in batch if self._raises(i)]
        if not bad:
            raise error
        reason = f"loss raises {type(error).__name__}: {error}"
        for i in bad:
            self._examples.left_out.add(f"{reason}, label {self._examples.labels[i]!r:.200}")
        self.fitted.bad += map(int, bad)
        self._train = np.setdiff1d(self._train, bad)
        if not len(self._train):
            raise DataError(f"not one example can be learned from: {reason}") from error
        return np.setdiff1d(batch, bad)

    def _raises(self, index: int) -> bool:
        try:
            with torch.inference_mode():
                served = self._lane.served.eval()
                outputs = served(self._examples.features[index : index + 1])
                self._model.loss(outputs, [self._examples.labels[index]])
        except Exception:  # noqa: BLE001 - the author's code may raise anything
            return True
        return False

    def _keep_best(self, epoch: int, validation: float | None) -> None:
        """Without a validation part the newest is the best."""
        fitted = self.fitted
        before = fitted.epochs[fitted.best - 1].validation if fitted.best else None
        if before is not None and (validation is None or not validation < before):
            return
        fitted.best, fitted.best_steps = epoch, fitted.steps
        fitted.weights = copied(self._lane.weights())
        fitted.optimizer = copied(self._lane.optimizer.state_dict())

    def _patience_is_over(self, patience: int) -> bool:
        fitted = self.fitted
        return bool(patience and fitted.best and len(fitted.epochs) - fitted.best >= patience)

    def _save(self) -> None:
        """All that the next epoch depends on, durable, in one file."""
        fitted, tensors = self.fitted, dict[str, torch.Tensor]()
        values = {
            "lane": self._lane.state(),
            "random": randomness.state(),
            "weights": fitted.weights,
            "optimizer": fitted.optimizer,
        }
        plain = {name: flatten(value, name, tensors) for name, value in values.items()}
        for name in ("best", "steps", "best_steps", "skipped", "bad"):
            plain[name] = getattr(fitted, name)
        plain["epochs"] = msgspec.to_builtins(fitted.epochs)
        kept = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
        with synced(self._state) as file:
            file.write(save(kept, {_META: json.dumps(plain)}))

    def _resume(self) -> None:
        data = self._state.read_bytes()
        length = int.from_bytes(data[:8], "little")
        plain, tensors = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_META]), load(data)
        self._lane.restore(unflatten(plain["lane"], tensors), load_weights)
        randomness.restore(unflatten(plain["random"], tensors))
        fitted = self.fitted
        fitted.weights = unflatten(plain["weights"], tensors)
        fitted.optimizer = unflatten(plain["optimizer"], tensors)
        fitted.epochs = msgspec.convert(plain["epochs"], list[EpochReport])
        for name in ("best", "steps", "best_steps", "skipped", "bad"):
            setattr(fitted, name, plain[name])
        self._train = np.setdiff1d(self._train, fitted.bad)


def _mean(errors: np.ndarray) -> float:
    """Infinity where one is not finite: such weights are no better than any."""
    return float(errors.mean()) if np.isfinite(errors).all() else math.inf
