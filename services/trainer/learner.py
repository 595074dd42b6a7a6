"""One network, its optimizer, and what happens to a batch: predict, then learn."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from headrace.deadletters.letters import Phase
from headrace.model.pipeline import Pipeline
from headrace.runtime.errors import DataError, WeightsError
from headrace.runtime.logging import get_logger
from services.trainer import randomness
from services.trainer.batches import Item
from services.trainer.checkpoint import Checkpoint
from services.trainer.progress import Progress
from services.trainer.tree import copied

log = get_logger("headrace.trainer")

MANY = 16
"""So many examples, all bad, are no accident."""


@dataclass(frozen=True)
class Bad:
    """An example that the model's own code raised on."""

    item: Item
    phase: Phase
    error: Exception


@dataclass
class State:
    """Weights, optimizer and random state, copied out of training."""

    weights: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    random: dict[str, Any]

    @property
    def finite(self) -> bool:
        """Whether no weight is NaN or infinite."""
        return all(bool(t.isfinite().all()) for t in self.weights.values() if t.is_floating_point())


class Learner:
    """Learns batch after batch.

    Args:
        pipeline: its model, learning rate and seed.
        window: examples in the recent error.
        resumed: where to go on; None begins anew from the seed.
    """

    def __init__(self, pipeline: Pipeline, window: int, resumed: Checkpoint | None = None) -> None:
        self.model, spec = pipeline.model, pipeline.spec.training
        randomness.seed(spec.seed)
        self.network = self.model.network()
        self.optimizer = self.model.optimizer(self.network, spec.learning_rate)
        self.steps = self.examples = self.skipped = 0
        self.loss = math.nan
        self.progress = Progress(self.model, window, resumed.header.progress if resumed else None)
        if resumed is not None:
            self.steps, self.examples = resumed.header.step, resumed.header.examples
            self.restore(State(resumed.weights, resumed.optimizer, resumed.random))

    def learn(self, items: Sequence[Item]) -> list[Bad]:
        """Predict with the weights as they are, then learn from the batch; returns the examples that could not be used.

        Raises:
            DataError: not one example of a whole batch could be used: the model's code is wrong, not the data.
        """
        try:
            self._learn(items)
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything
            return self._learn_without_bad(items, error)
        return []

    def _learn(self, items: Sequence[Item]) -> None:
        events, labels = [i.example.event for i in items], [i.example.label for i in items]
        features = self.model.features(events)
        self.network.eval()
        with torch.inference_mode():
            predictions = list(self.model.predictions(self.network(features)))
        self.network.train()
        self.optimizer.zero_grad()
        loss = self.model.loss(self.network(features), labels)
        self.progress.observe(events, labels, predictions)
        self.examples += len(items)
        self._descend(loss)

    def _descend(self, loss: torch.Tensor) -> None:
        """An optimizer step, unless loss or gradients are not finite: one such step would ruin all weights."""
        self.loss = loss.item()
        if math.isfinite(self.loss):
            loss.backward()  # type: ignore[no-untyped-call]
            if math.isfinite(self._gradient_norm()):
                self.optimizer.step()
                self.steps += 1
                return
        self.skipped += 1
        log.warning("batch skipped: loss or gradients are not finite", loss=self.loss, step=self.steps)

    def _gradient_norm(self) -> float:
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        dense = [g.coalesce().values() if g.is_sparse else g for g in gradients]
        return float(torch.nn.utils.get_total_norm(dense).item())

    def _learn_without_bad(self, items: Sequence[Item], error: Exception) -> list[Bad]:
        bad = [found for found in map(self._try, items) if found is not None]
        if len(bad) == len(items) >= MANY:
            raise DataError(
                f"not one of {len(items)} examples could be learned from: {type(error).__name__}: {error}",
                hint="is this model.py the one that fits the topic's events?",
            ) from error
        rest = [item for item in items if all(item is not b.item for b in bad)]
        if not bad:
            raise error
        if rest:
            self._learn(rest)
        return bad

    def _try(self, item: Item) -> Bad | None:
        """What is wrong with one example, if anything. Changes nothing."""
        phase: Phase = "features"
        try:
            features = self.model.features([item.example.event])
            phase = "train"
            self.network.eval()
            with torch.inference_mode():
                outputs = self.network(features)
                (prediction,) = self.model.predictions(outputs)
                self.model.loss(outputs, [item.example.label])
            self.model.error(prediction, item.example.label)
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything
            return Bad(item, phase, error)
        return None

    def state(self) -> State:
        """A copy that later batches do not change."""
        return State(copied(self.network.state_dict()), copied(self.optimizer.state_dict()), randomness.state())

    def restore(self, state: State) -> None:
        """Go on from a copy.

        Raises:
            WeightsError: it does not fit the model (from torch: names or shapes differ).
        """
        load_weights(self.network, state.weights)
        # torch keeps the very tensors that it is given, and would change them in place.
        self.optimizer.load_state_dict(copied(state.optimizer))
        randomness.restore(state.random)


def load_weights(network: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Load, all or nothing.

    Raises:
        WeightsError: names or shapes differ.
    """
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise WeightsError(
            f"the checkpoint does not fit the model: {error}",
            hint="move the model's checkpoints away to begin anew, or give the changed model another pipeline name",
        ) from error
