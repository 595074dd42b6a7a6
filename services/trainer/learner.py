"""One network, its optimizer, and what happens to a batch: predict, then learn."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from headrace.deadletters.letters import Phase
from headrace.model.pipeline import Pipeline
from headrace.runtime.devices.host import HOST
from headrace.runtime.devices.port import Device
from headrace.runtime.errors import DataError, WeightsError
from headrace.runtime.logging import get_logger
from services.trainer import randomness
from services.trainer.batches import Item
from services.trainer.checkpoint import Checkpoint, Learning
from services.trainer.learning.lane import Lane
from services.trainer.learning.schedule import DriftDetector, Schedule
from services.trainer.learning.window import ReplayWindow
from services.trainer.progress import Progress
from services.trainer.tree import copied

log = get_logger("headrace.trainer")

MANY = 16
"""So many examples, all bad, are no accident."""
REFILL = 4096
"""Examples whose features are computed at once when the window is filled again."""
SWITCH, BEHIND = 0.99, 3.0
"""Of the followed lane's recent error: a lane below SWITCH of it is followed, one above BEHIND of it begins again."""


@dataclass(frozen=True)
class Bad:
    """An example that the model's own code raised on."""

    item: Item
    phase: Phase
    error: Exception


@dataclass
class State:
    """A copy of all that training changes, window and errors apart.

    `lanes` is empty where there is a single lane without an average: `weights` and `optimizer` are all of it then.
    """

    weights: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    random: dict[str, Any]
    lanes: list[dict[str, Any]] = field(default_factory=list)
    followed: int = 0

    @property
    def finite(self) -> bool:
        """Whether no weight is NaN or infinite."""
        sets = [self.weights, *(lane["weights"] for lane in self.lanes)]
        return all(bool(t.isfinite().all()) for s in sets for t in s.values() if t.is_floating_point())


class Learner:
    """Learns batch after batch.

    Args:
        pipeline: its model, learning rate and seed.
        window: examples in the recent error.
        resumed: where to go on; None begins anew from the seed. `refill` then gives it its window of examples again.
        device: where networks learn.
    """

    def __init__(
        self, pipeline: Pipeline, window: int, resumed: Checkpoint | None = None, device: Device = HOST
    ) -> None:
        self._device = device
        self.model, spec = pipeline.model, pipeline.spec.training
        self._spec, self._recent = spec, window
        self.lanes = [self._lane(multiple) for multiple in spec.race or (1.0,)]
        self.followed = 0
        self.steps = self.examples = self.skipped = self.restarts = 0
        self.loss = math.nan
        self.progress = Progress(self.model, window, resumed.header.progress if resumed else None)
        self.schedule = Schedule(spec.schedule)
        self.drift = DriftDetector(spec.drift) if spec.drift is not None else None
        self.window = ReplayWindow(spec.replay.window, spec.seed) if spec.replay is not None else None
        self._left_out: dict[int, list[int]] = {}
        if resumed is not None:
            self._resume(resumed)

    def _lane(self, multiple: float) -> Lane:
        """Every lane begins with the same weights."""
        randomness.seed(self._spec.seed)
        return Lane(self.model, self._spec, multiple, self._device)

    def _resume(self, resumed: Checkpoint) -> None:
        header = resumed.header
        self.steps, self.examples = header.step, header.examples
        self.schedule.began = header.learning.schedule_began
        if self.drift is not None and header.learning.drift is not None:
            self.drift = DriftDetector(self.drift.spec, header.learning.drift)
        self.restore(
            State(resumed.weights, resumed.optimizer, resumed.random, resumed.lanes, header.learning.followed_lane)
        )

    @property
    def network(self) -> torch.nn.Module:
        """The network that learns; of several, the one that is followed."""
        return self.lanes[self.followed].network

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Its optimizer."""
        return self.lanes[self.followed].optimizer

    @property
    def learning(self) -> Learning:
        """What a checkpoint keeps beside the tensors."""
        first = self.window.first_offsets if self.window is not None else {}
        return Learning(
            window=first,
            left_out={p: [o for o in offsets if o >= first[p]] for p, offsets in self._left_out.items() if p in first},
            schedule_began=self.schedule.began,
            drift=self.drift.state if self.drift is not None else None,
            followed_lane=self.followed,
        )

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

    def refill(self, items: Sequence[Item], left_out: Mapping[int, Sequence[int]]) -> None:
        """Put examples that were learned from before a restart back into the window.

        Args:
            items: by partition and offset, rising within a partition.
            left_out: offsets of each partition that could not be learned from.
        """
        assert self.window is not None
        self._left_out = {partition: list(offsets) for partition, offsets in left_out.items()}
        out = {(partition, offset) for partition, offsets in left_out.items() for offset in offsets}
        good = [item for item in items if (item.partition, item.offset) not in out]
        for start in range(0, len(good), REFILL):
            some = good[start : start + REFILL]
            self.window.add(some, self.model.features([item.example.event for item in some]))

    def _learn(self, items: Sequence[Item]) -> None:
        """What may raise on an example comes first; nothing was changed by then."""
        events, labels = [i.example.event for i in items], [i.example.label for i in items]
        features = self.model.features(events)
        predictions = [self._predictions(lane, features) for lane in self.lanes]
        more = self._sampled(0)
        losses = [self._loss(lane, features, labels, more) for lane in self.lanes]
        errors = self.progress.observe(events, labels, predictions[self.followed])
        if len(self.lanes) > 1:
            self._compare(labels, predictions)
        self.examples += len(items)
        self._descend(losses)
        for turn in range(1, self._spec.replay.steps if self._spec.replay is not None else 1):
            more = self._sampled(turn)
            self._descend([self._loss(lane, features, labels, more) for lane in self.lanes])
        if len(self.lanes) > 1:
            self._begin_lanes_again()
        if self.window is not None:
            self.window.add(items, features)
        if self.drift is not None and self.drift.observe(errors):
            self._begin_anew()

    def _predictions(self, lane: Lane, features: torch.Tensor) -> list[Any]:
        outputs = lane.predict(features)
        with torch.inference_mode():
            return list(self.model.predictions(outputs))

    def _sampled(self, turn: int) -> tuple[torch.Tensor, list[Any]] | None:
        replay = self._spec.replay
        if self.window is None or replay is None or not len(self.window):
            return None
        return self.window.sample(replay.examples, self.examples, turn)

    def _loss(
        self, lane: Lane, features: torch.Tensor, labels: list[Any], more: tuple[torch.Tensor, list[Any]] | None
    ) -> torch.Tensor:
        """The loss over a batch's new examples and those of the window."""
        if more is not None:
            features, labels = torch.cat([features, more[0].to(features.dtype)]), labels + more[1]
        return self.model.loss(lane.outputs(features), labels)

    def _descend(self, losses: list[torch.Tensor]) -> None:
        """An optimizer step of every lane whose loss and gradients are finite."""
        self.loss = losses[self.followed].item()
        taken = [lane.descend(loss, self.schedule, self.steps) for lane, loss in zip(self.lanes, losses, strict=True)]
        if taken[self.followed]:
            self.steps += 1
            return
        self.skipped += 1
        log.warning("batch skipped: loss or gradients are not finite", loss=self.loss, step=self.steps)

    def _compare(self, labels: list[Any], predictions: list[list[Any]]) -> None:
        """Follow the lane with the lowest recent error."""
        for lane, made in zip(self.lanes, predictions, strict=True):
            lane.observe([self.model.error(p, label) for p, label in zip(made, labels, strict=True)], self._recent)
        best = min(range(len(self.lanes)), key=lambda i: self.lanes[i].error)
        if self.lanes[best].error < SWITCH * self.lanes[self.followed].error:
            log.info("following another learning rate", multiple=self.lanes[best].multiple, step=self.steps)
            self.followed = best

    def _begin_lanes_again(self) -> None:
        """Lanes that fell far behind the followed one go on from its state, at their own rates."""
        leader = self.lanes[self.followed]
        for lane in self.lanes:
            if lane is not leader and lane.error > BEHIND * leader.error:
                log.debug("a learning rate begins again from the best", multiple=lane.multiple, step=self.steps)
                lane.follow(leader, load_weights)

    def _begin_anew(self) -> None:
        """After a drift: the schedule from its start, and only the newest examples to learn from again."""
        assert self._spec.drift is not None
        self.restarts += 1
        self.schedule.restart(self.steps)
        if self.window is not None:
            self.window.cut(self._spec.drift.examples)
        log.info("drift: the learning rate's schedule begins again", step=self.steps, examples=self.examples)

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
        for found in bad:
            self._left_out.setdefault(found.item.partition, []).append(found.item.offset)
        return bad

    def _try(self, item: Item) -> Bad | None:
        """What is wrong with one example, if anything. Changes nothing."""
        phase: Phase = "features"
        try:
            features = self.model.features([item.example.event])
            phase = "train"
            outputs = self.lanes[self.followed].predict(features)
            with torch.inference_mode():
                (prediction,) = self.model.predictions(outputs)
                self.model.loss(outputs, [item.example.label])
            self.model.error(prediction, item.example.label)
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything
            return Bad(item, phase, error)
        return None

    def state(self) -> State:
        """A copy that later batches do not change.

        Lanes that are no longer finite begin again from the followed one.
        """
        leader = self.lanes[self.followed]
        for lane in self.lanes:
            if lane is not leader and not lane.finite and leader.finite:
                lane.follow(leader, load_weights)
        plain = len(self.lanes) == 1 and leader.served is leader.network
        return State(
            copied(leader.weights()),
            copied(leader.optimizer.state_dict()) if plain else {},
            randomness.state(self._device.torch_device),
            [] if plain else [lane.state() for lane in self.lanes],
            self.followed,
        )

    def restore(self, state: State) -> None:
        """Go on from a copy. With other lanes than the copy has, all begin with its weights.

        Raises:
            WeightsError: it does not fit the model (from torch: names or shapes differ).
        """
        if len(state.lanes) == len(self.lanes):
            self.followed = state.followed
            for lane, saved in zip(self.lanes, state.lanes, strict=True):
                lane.restore(saved, load_weights)
        else:
            self.followed = 0
            optimizer = state.optimizer or (state.lanes[state.followed]["optimizer"] if state.lanes else {})
            for lane in self.lanes:
                lane.begin(state.weights, optimizer, load_weights)
        randomness.restore(state.random, self._device.torch_device)


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
