"""A step made together: each rank's gradients, averaged by the weight of its examples."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from headrace.model.pipeline import Pipeline
from headrace.runtime.devices.port import Device
from headrace.runtime.errors import ConfigError, DataError
from services.trainer.batches import Item
from services.trainer.checkpoint import Checkpoint
from services.trainer.gates import NOTHING, Part
from services.trainer.learner import MANY, Learner, State, _Seen
from services.trainer.learning.bad import Bad, NotFinite
from services.trainer.learning.lane import Lane, total_norm
from services.trainer.learning.window import Sampled
from services.trainer.ranks.group import Group


class _Own(NamedTuple):
    """What a rank has of a step.

    Attributes:
        good: its examples that can be learned from.
        bad: those that cannot.
        seen: what the model sees of the good ones; None if there are none, or if together they fail (`failed`).
        ready: the lanes with gradients.
    """

    good: list[Item]
    bad: list[Bad]
    seen: _Seen | None = None
    ready: Sequence[Lane] = ()

    @property
    def failed(self) -> bool:
        return bool(self.good) and self.seen is None


class _Told(NamedTuple):
    """What the ranks tell one another of a batch: the errors of what was served, those of each lane, the gates'."""

    errors: list[float]
    by_lane: list[list[float]]
    gated: Part


class RankLearner(Learner):
    """Learns its part of every batch; weights, optimizers and steps are the same in all ranks.

    What is learned from again is each rank's own: of every step's examples and of the window, each has an equal part.
    Races, drift and gates judge the errors of all ranks, in the order of the ranks.

    Raises:
        ConfigError: the network has buffers or sparse gradients, which ranks cannot average exactly.
    """

    def __init__(
        self, pipeline: Pipeline, window: int, resumed: Checkpoint | None, device: Device, *, group: Group
    ) -> None:
        self._group = group
        self._drawn: Sampled | None = None
        super().__init__(pipeline, window, resumed, device, (group.rank, group.size))
        network = self.lanes[0].network
        if buffer := next((name for name, _ in network.named_buffers()), None):
            raise ConfigError(f"ranks: the network has a buffer, {buffer}, which several ranks cannot learn exactly")
        if sparse := next((name for name, module in network.named_modules() if getattr(module, "sparse", False)), None):
            raise ConfigError(f"ranks: {sparse} has sparse gradients, which several ranks do not average")

    def learn(self, items: Sequence[Item]) -> list[Bad]:
        """Learn from this rank's examples, maybe none, together with the others; called by all ranks at once.

        Returns this rank's examples that could not be used.

        Raises:
            DataError: code raises on every example of a whole batch.
            DependencyError: another rank is gone.
        """
        own = self._own(items)
        self._leave_out([found.item for found in own.bad])
        try:
            ready, count = self._together(own)
            if count:
                self._learn_together(own, ready, count)
        except NotFinite as error:
            self._skip(own.good, error)
        else:
            self._in_doubt = 0 if count else self._in_doubt
        return own.bad

    def restore(self, state: State) -> None:
        """See `Learner.restore`; the random generators go on as this rank's did, if there were as many ranks."""
        first, others = state.random, state.random.get("ranks", ())
        random = [first, *others][self._group.rank] if len(others) == self._group.size - 1 else first
        super().restore(State(state.weights, state.optimizer, random, state.lanes, state.followed))

    def _own(self, items: Sequence[Item]) -> _Own:
        good, bad = list(items), list[Bad]()
        while good:
            try:
                ready, seen = self._prepare(good)
            except Exception as error:
                found = self._judge.bad(good, self.lanes[self.followed].predict, error)
                raised = [one for one in found if not isinstance(one.error, NotFinite)]
                if len(raised) == len(items) >= MANY:
                    message = f"not one of {len(items)} examples could be learned from: {type(error).__name__}: {error}"
                    raise DataError(message, hint="is this model.py the one that fits the topic's events?") from error
                if not found:
                    if not isinstance(error, NotFinite):
                        raise
                    return _Own(good, bad)
                bad += found
                out = {(one.item.partition, one.item.offset) for one in found}
                good = [item for item in good if (item.partition, item.offset) not in out]
            else:
                return _Own(good, bad, seen, ready)
        return _Own(good, bad)

    def _sampled(self, turn: int) -> Sampled | None:
        self._drawn = super()._sampled(turn)
        return self._drawn

    def _together(self, own: _Own) -> tuple[list[Lane], int]:
        """Average all ranks' gradients; the lanes that have some in every rank, and how many examples there are.

        Raises:
            NotFinite: a rank's examples fail together, though none is bad.
        """
        weight = _weight(own.seen.new, self._drawn) if own.seen is not None else 0.0
        parts = [_gradients(lane, weight if lane in own.ready else 0.0) for lane in self.lanes]
        lost = [float(own.seen is not None and lane not in own.ready) for lane in self.lanes]
        count, loss = (len(own.good), self.loss * weight) if weight else (0, 0.0)
        facts = torch.tensor([*lost, weight, count, float(own.failed), loss], dtype=torch.float64)
        *sums, told = torch.split(self._group.summed(torch.cat([*parts, facts])), [*map(len, parts), len(facts)])
        *lost, total, count, failures, loss = told.tolist()
        if failures:
            raise NotFinite("gradients")
        ready = [lane for lane, rank_lost in zip(self.lanes, lost, strict=True) if not rank_lost]
        if total:
            self.loss = loss / total
            for lane, part in zip(self.lanes, sums, strict=True):
                _set_gradients(lane, part / total)
        return ready, int(count)

    def _learn_together(self, own: _Own, ready: list[Lane], count: int) -> None:
        """As `Learner._learn`, in the same order.

        Raises:
            NotFinite: as there; in all ranks.
        """
        told = self._tell(own.seen)
        if self.gates is not None:
            own_sums, published, examples = zip(*(one.gated for one in told), strict=True)
            self.gates.add(math.fsum(own_sums), math.fsum(published), sum(examples))
        if len(self.lanes) > 1:
            self._compare([[e for one in told for e in one.by_lane[i]] for i in range(len(self.lanes))])
        self.examples += count
        self._step(ready)
        for turn in range(1, self._spec.replay.steps if self._spec.replay is not None else 1):
            again, _ = self._together(self._again(own, turn))
            self._step(again)
        if len(self.lanes) > 1:
            self._begin_lanes_again()
        if self.window is not None and own.seen is not None:
            self.window.add(own.good, own.seen.new.features)
        if self.drift is not None and self.drift.observe([e for one in told for e in one.errors]):
            self._begin_anew()

    def _again(self, own: _Own, turn: int) -> _Own:
        """The same examples, with others of the window."""
        if own.seen is None:
            return own
        more, new = self._sampled(turn), own.seen.new
        try:
            return own._replace(ready=self._backward([self._loss(lane, new, more) for lane in self.lanes]))
        except NotFinite:
            return own._replace(seen=None, ready=())

    def _tell(self, seen: _Seen | None) -> list[_Told]:
        """Note this rank's errors, and hear of all ranks' what is judged together."""
        told = _Told([], [[] for _ in self.lanes], NOTHING)
        if seen is not None:
            features, labels, _ = seen.new
            errors = self.progress.observe(seen.events, labels, seen.predictions[self.followed])
            by_lane = [self._errors(labels, made) for made in seen.predictions] if len(self.lanes) > 1 else []
            gated = self.gates.measure(features, labels, errors) if self.gates is not None else NOTHING
            told = _Told(errors, by_lane, gated)
        if self.gates is None and self.drift is None and len(self.lanes) == 1:
            return [told]
        return self._group.exchange(told)


def _weight(new: Sampled, more: Sampled | None) -> float:
    return sum(new.weights) + (sum(more.weights) if more is not None else 0.0)


def _parameters(lane: Lane) -> list[torch.nn.Parameter]:
    return [p for p in lane.network.parameters() if p.requires_grad]


def _gradients(lane: Lane, weight: float) -> torch.Tensor:
    """Gradients times weight, one after the other in float64; of no weight, zeros whatever they are."""
    parts = [torch.zeros(p.numel(), dtype=torch.float64) for p in _parameters(lane)]
    for part, parameter in zip(parts, _parameters(lane), strict=True):
        if weight and parameter.grad is not None:
            part.copy_(parameter.grad.reshape(-1)).mul_(weight)
    return torch.cat(parts)


def _set_gradients(lane: Lane, flat: torch.Tensor) -> None:
    parameters = _parameters(lane)
    for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
        parameter.grad = part.reshape(parameter.shape).to(parameter.dtype)
    lane.set_norm(total_norm([p.grad for p in parameters if p.grad is not None]))
