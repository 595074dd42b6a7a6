"""One network, its optimizer, and what happens to a batch: predict, then learn."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from headrace.model.pipeline import Pipeline
from headrace.runtime.devices.host import HOST
from headrace.runtime.devices.port import Device
from headrace.runtime.errors import DataError, WeightsError
from headrace.runtime.logging import get_logger
from services.trainer import randomness
from services.trainer.batches import Item
from services.trainer.checkpoint import Checkpoint, Learning
from services.trainer.gates import Gates
from services.trainer.learning.bad import Bad, Judge, NotFinite
from services.trainer.learning.importance import weighted_loss
from services.trainer.learning.lane import Lane
from services.trainer.learning.schedule import DriftDetector, Schedule
from services.trainer.learning.window import ReplayWindow, Sampled
from services.trainer.progress import Progress
from services.trainer.tree import copied

log = get_logger("headrace.trainer")

MANY = 16
"""So many examples, on all of which code raises, are no accident."""
EXPLODED = 3
"""So many batches in a row of which neither loss nor gradients are finite, though no example is bad."""
REFILL = 4096
"""Examples whose features are computed at once when the window is filled again."""
SWITCH, BEHIND = 0.99, 3.0
"""Of the followed lane's recent error: a lane below SWITCH of it is followed, one above BEHIND of it begins again."""


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


class _Seen(NamedTuple):
    """A batch as the model sees it, and what each lane predicts of it."""

    events: list[Any]
    new: Sampled
    predictions: list[list[Any]]


class Learner:
    """Learns batch after batch.

    Args:
        pipeline: its model, learning rate and seed.
        window: examples in the recent error.
        resumed: where to go on; None begins anew from the seed. `refill` then gives it its window of examples again.
        device: where networks learn.
        part: of several processes that learn together, which this is, and how many there are: each has its part of
            what is learned from again.
    """

    def __init__(
        self, pipeline: Pipeline, window: int, resumed: Checkpoint | None = None, device: Device = HOST,
        part: tuple[int, int] = (0, 1),
    ) -> None:  # fmt: skip
        self._device, self._part = device, part
        self.model, spec = pipeline.model, pipeline.spec.training
        self._spec, self._recent = spec, window
        self.lanes = [self._lane(multiple) for multiple in spec.race or (1.0,)]
        self.followed = 0
        self.steps = self.examples = self.restarts = self.taken_back = 0
        self.skipped = Counter[str]()
        """Batches that changed nothing, by what was not finite: loss, gradients or weights."""
        self._in_doubt = 0
        self._judge = Judge(self.model)
        self.loss = math.nan
        self.progress = Progress(self.model, window, resumed.header.progress if resumed else None)
        self.schedule = Schedule(spec.schedule)
        self.drift = DriftDetector(spec.drift) if spec.drift is not None else None
        self.window = (
            ReplayWindow(self._share(spec.replay.window), spec.seed, part[0]) if spec.replay is not None else None
        )
        self._left_out: dict[int, list[int]] = {}
        if resumed is not None:
            self._resume(resumed)
        self._good = self.state()
        self.gates: Gates | None = None
        """See each batch before it is learned from."""

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

    @property
    def in_doubt(self) -> bool:
        """Whether the last batches failed, and nobody knows yet whether the weights are ruined."""
        return self._in_doubt > 0

    def learn(self, items: Sequence[Item]) -> list[Bad]:
        """Predict with the weights as they are, then learn from the batch; returns the examples that could not be used.

        A batch that fails though none of its examples is bad is skipped; after some of these in a row, or where weights
        are not finite, training goes on from the last snapshot.

        Raises:
            DataError: code raises on every example of a whole batch: the model's code is wrong, not the data.
        """
        try:
            ready, seen = self._prepare(items)
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything
            for lane in self.lanes:
                lane.undo_buffers()
            return self._learn_without_bad(items, error)
        try:
            self._learn(items, ready, seen)
        except NotFinite as error:
            self._skip(items, error)
        else:
            self._in_doubt = 0
        return []

    def snapshot(self) -> State:
        """A copy that later batches do not change, and to which training returns if its weights are ruined after it.

        It is the last snapshot's again if weights are not finite, or in doubt.
        """
        state = self.state()
        if not state.finite or self.in_doubt:
            self._take_back()
            return self._good
        self._good, self._left_out = state, self.learning.left_out
        return state

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

    def _prepare(self, items: Sequence[Item]) -> tuple[list[Lane], _Seen]:
        """What may fail because of an example: predictions and gradients. Changes nothing but buffers.

        Raises:
            NotFinite: loss or gradients are not finite.
        """
        events, labels = [i.example.event for i in items], [i.example.label for i in items]
        weights = [i.example.importance for i in items]
        features = self.model.features(events)
        predictions = [self._predictions(lane, features) for lane in self.lanes]
        more = self._sampled(0)
        new = Sampled(features, labels, weights)
        losses = [self._loss(lane, new, more) for lane in self.lanes]
        return self._backward(losses), _Seen(events, new, predictions)

    def _learn(self, items: Sequence[Item], ready: list[Lane], seen: _Seen) -> None:
        features, labels, _ = seen.new
        errors = self.progress.observe(seen.events, labels, seen.predictions[self.followed])
        if self.gates is not None:
            self.gates.observe(features, labels, errors)
        if len(self.lanes) > 1:
            self._compare([self._errors(labels, made) for made in seen.predictions])
        self.examples += len(items)
        self._step(ready)
        for turn in range(1, self._spec.replay.steps if self._spec.replay is not None else 1):
            more = self._sampled(turn)
            self._step(self._backward([self._loss(lane, seen.new, more) for lane in self.lanes]))
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

    def _sampled(self, turn: int) -> Sampled | None:
        replay = self._spec.replay
        if self.window is None or replay is None or not len(self.window):
            return None
        return self.window.sample(self._share(replay.examples), self.examples, turn)

    def _share(self, examples: int) -> int:
        """This process's part of so many."""
        return -(-examples // self._part[1])

    def _loss(self, lane: Lane, new: Sampled, more: Sampled | None) -> torch.Tensor:
        """The loss over a batch's new examples and those of the window."""
        features, labels, weights = new
        if more is not None:
            features = torch.cat([features, more.features.to(features.dtype)])
            labels, weights = labels + more.labels, weights + more.weights
        return weighted_loss(self.model, lane.outputs(features), labels, weights)

    def _backward(self, losses: list[torch.Tensor]) -> list[Lane]:
        """The lanes whose loss and gradients are finite.

        Raises:
            NotFinite: the followed lane is none of them.
        """
        self.loss = losses[self.followed].item()
        ready = [lane for lane, loss in zip(self.lanes, losses, strict=True) if lane.backward(loss)]
        if self.lanes[self.followed] not in ready:
            raise NotFinite("gradients" if math.isfinite(self.loss) else "loss")
        return ready

    def _step(self, ready: list[Lane]) -> None:
        """An optimizer step of these lanes.

        Raises:
            NotFinite: the followed lane's was undone, since it came to weights that are not finite.
        """
        taken = [lane for lane in ready if lane.step(self.schedule, self.steps)]
        if self.lanes[self.followed] not in taken:
            raise NotFinite("weights")
        self.steps += 1

    def _errors(self, labels: list[Any], predictions: list[Any]) -> list[float]:
        return [self.model.error(made, label) for made, label in zip(predictions, labels, strict=True)]

    def _compare(self, errors: list[list[float]]) -> None:
        """Follow the lane with the lowest recent error; `errors` are a batch's, by lane."""
        for lane, made in zip(self.lanes, errors, strict=True):
            lane.observe(made, self._recent)
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
            self.window.cut(self._share(self._spec.drift.examples))
        log.info("drift: the learning rate's schedule begins again", step=self.steps, examples=self.examples)

    def _learn_without_bad(self, items: Sequence[Item], error: Exception) -> list[Bad]:
        bad = self._judge.bad(items, self.lanes[self.followed].predict, error)
        raised = [found for found in bad if not isinstance(found.error, NotFinite)]
        if len(raised) == len(items) >= MANY:
            raise DataError(
                f"not one of {len(items)} examples could be learned from: {type(error).__name__}: {error}",
                hint="is this model.py the one that fits the topic's events?",
            ) from error
        self._leave_out([found.item for found in bad])
        if not bad:
            if not isinstance(error, NotFinite):
                raise error
            self._skip(items, error)
            return []
        out = {(found.item.partition, found.item.offset) for found in bad}
        rest = [item for item in items if (item.partition, item.offset) not in out]
        return bad + (self.learn(rest) if rest else [])

    def _skip(self, items: Sequence[Item], error: NotFinite) -> None:
        """No example is bad by itself: the weights, or how the examples add up, are the cause."""
        self.skipped[error.what] += 1
        self._in_doubt += 1
        self._leave_out(items)
        log.warning("batch skipped", reason=str(error), loss=self.loss, step=self.steps, examples=len(items))
        if self._in_doubt >= EXPLODED or not self.lanes[self.followed].finite:
            self._take_back()

    def _leave_out(self, items: Sequence[Item]) -> None:
        """Keep examples out of the window, also after a restart."""
        if self.window is None:
            return
        for item in items:
            self._left_out.setdefault(item.partition, []).append(item.offset)

    def _take_back(self) -> None:
        log.error("weights are ruined: going back to those of the last checkpoint", step=self.steps, loss=self.loss)
        self.taken_back += 1
        self._in_doubt = 0
        self.restore(self._good)

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

    def begin_from(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Begin with other weights than the network's own initial ones, which must be of the same names and shapes."""
        for lane in self.lanes:
            lane.begin(weights, {}, load_weights)
        self._good = self.state()

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
