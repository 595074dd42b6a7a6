"""The training loop of one rank: rounds that all ranks make together."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from headrace.model.pipeline import Pipeline
from headrace.runtime.errors import ConfigError
from headrace.runtime.logging import get_logger
from services.trainer.batches import Batch, Batcher
from services.trainer.checkpoint import Gated, Header, Learning, Letter
from services.trainer.learner import State
from services.trainer.ports import ExampleLog, Observer
from services.trainer.ranks.group import Group
from services.trainer.ranks.learner import RankLearner
from services.trainer.ranks.publishing import RankPublisher
from services.trainer.service import Trainer

log = get_logger("headrace.trainer")

POLL_S = 0.01


class _Vote(NamedTuple):
    """What a rank brings into a round."""

    examples: int
    ends: dict[int, int]
    newest_label_us: int
    due: bool
    busy: bool
    stop: bool


class _Part(NamedTuple):
    """What a rank brings into a checkpoint."""

    positions: dict[int, int]
    letters: list[Letter]
    progress: dict[str, tuple[float, int]]
    learning: Learning


class RankTrainer(Trainer):
    """Trains one rank's partitions. Every rank takes its part of a batch, and all learn from the union at once.

    Args:
        pipeline, examples, publisher, observer: as of `Trainer`; `examples` has only this rank's partitions.
        group: the ranks.
        options: as of `Trainer`.

    Raises:
        ConfigError: the pipeline has a setting that several ranks do not support.
    """

    def __init__(
        self, pipeline: Pipeline, examples: ExampleLog, publisher: RankPublisher, observer: Observer, group: Group,
        **options: Any,
    ) -> None:  # fmt: skip
        check(pipeline)
        self._group = group
        self._gathered: list[Letter] | None = None
        self._parts: list[_Part] = []
        options["poll_s"] = min(POLL_S, options.get("poll_s", POLL_S))
        super().__init__(
            pipeline, examples, publisher, observer, make_learner=partial(RankLearner, group=group), **options
        )
        if group.rank and (resumed := self.learner.progress.errors):
            for error in resumed.values():  # rank 0 goes on with what all have counted
                error.total, error.count = 0.0, 0
        size = -(-self._spec.batch_size // group.size)
        self.batcher = Batcher(self.batcher.positions, size, self._spec.max_wait_s, self._clock)

    def run(self, stopped: Callable[[], bool]) -> None:
        """See `Trainer.run`; all ranks stop in the same round as soon as one is told to."""
        try:
            while self.round(stop=stopped()):
                pass
            self.finish()
        finally:
            self._thread.shutdown()

    def round(self, *, stop: bool = False) -> bool:
        """One bounded piece of work, together. False once a rank is to stop."""
        self._settle()
        if self._publishing is None:
            self._repair_lost()
        batch = self.batcher.take()
        if batch is None:
            self._read()
            batch = self.batcher.take()
        votes = self._vote(batch, stop=stop)
        if sum(vote.examples for vote in votes):
            ends = {partition: end for vote in votes for partition, end in vote.ends.items()}
            newest = max(vote.newest_label_us for vote in votes)
            self._learn_together(Batch(batch.items if batch is not None else [], ends), newest, votes)
        if votes[0].due and not any(vote.busy for vote in votes) and not self.learner.in_doubt:
            self._checkpoint()
        return not any(vote.stop for vote in votes)

    def _vote(self, batch: Batch | None, *, stop: bool) -> list[_Vote]:
        items = batch.items if batch is not None else []
        newest = max((item.label_ms for item in items), default=0) * 1000
        busy = self._publishing is not None
        vote = _Vote(len(items), self.batcher.positions, newest, self._due(), busy, stop)
        return self._group.exchange(vote)

    def _learn_together(self, batch: Batch, newest_label_us: int, votes: list[_Vote]) -> None:
        started, before = self._clock(), self.learner.examples
        bad = self.learner.learn(batch.items)
        learned = self.learner.examples - before if self._group.rank == 0 else 0
        self._observer.batch(self.learner, learned, self._clock() - started)
        self._tell_restores()
        for found in bad:
            self._bury(found.item.message, found.phase, found.error, found.reason)
        self._ends.append(batch.ends)
        self._new += sum(vote.examples for vote in votes)
        self._newest_label_us = max(self._newest_label_us, newest_label_us)

    def finish(self) -> None:
        """See `Trainer.finish`."""
        self._settle(wait=True)
        if any(self._group.exchange(bool(self._new or self._passed()))):
            self._checkpoint()
        self._settle(wait=True)

    def _passed(self) -> list[Letter]:
        return super()._passed() if self._gathered is None else self._gathered

    def _checkpoint(self) -> None:
        own = self._passed()
        part = _Part(self.batcher.positions, own, self.learner.progress.saved(), self.learner.learning)
        self._parts = self._group.exchange(part)
        self._gathered = [Letter(*letter) for part in self._parts for letter in part.letters]
        try:
            super()._checkpoint()
        finally:
            self._gathered = None

    def _random(self, state: State) -> dict[str, Any]:
        """Rank 0's, from which a single process goes on, and those of the others."""
        first, *others = self._group.exchange(state.random)
        return {**first, "ranks": others}

    def _header(self, gated: Gated | None) -> Header:
        """With all ranks' offsets, errors and windows."""
        offsets = {p: offset for part in self._parts for p, offset in part.positions.items()}
        progress = {
            name: (sum(part.progress[name][0] for part in self._parts), sum(p.progress[name][1] for p in self._parts))
            for name in self._parts[0].progress
        }
        partitions = sorted(offsets)
        header, learned = super()._header(gated), [part.learning for part in self._parts]
        learning = msgspec.structs.replace(
            header.learning, window={p: offset for one in learned for p, offset in one.window.items()},
            left_out={p: offsets for one in learned for p, offsets in one.left_out.items()},
        )  # fmt: skip
        return msgspec.structs.replace(
            header, offsets={p: offsets[p] for p in partitions}, progress=progress, learning=learning,
            partitions=partitions, batches=[[ends[p] for p in partitions] for ends in self._ends],
        )  # fmt: skip


def check(pipeline: Pipeline) -> None:
    """See that several ranks can train it.

    Raises:
        ConfigError: a setting is one that they cannot; the message names it.
    """
    if pipeline.spec.training.compile:
        raise ConfigError(
            "training.compile: not with several ranks", hint="leave it out, or train with one process (--ranks 1)"
        )
