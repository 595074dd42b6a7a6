"""The training loop: read, batch, predict, learn, and every so often publish. One thread; publishing has another."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import msgspec
import torch

from headrace.deadletters.letters import Phase, dead_letter
from headrace.model.pipeline import Pipeline
from headrace.runtime.devices.host import HOST
from headrace.runtime.devices.port import Device
from headrace.runtime.logging import get_logger
from services.trainer.batches import Batch, Batcher, Item, new_item
from services.trainer.checkpoint import Checkpoint, Gated, Header, Letter
from services.trainer.chunk_repair import ChunkRepair
from services.trainer.gates import Gates
from services.trainer.learner import Learner, State
from services.trainer.origin import origin_of
from services.trainer.ports import ExampleLog, LostChunkReports, Observer
from services.trainer.publishing import Publisher, Resumed
from services.trainer.tree import copied
from services.trainer.warm_start import warm_start

log = get_logger("headrace.trainer")


class Trainer:
    """Trains one model until it is told to stop.

    Args:
        pipeline: the model and how it is trained.
        examples: where examples come from.
        publisher: where checkpoints go; it has fenced other trainers.
        observer: hears what happens.
        lost_chunks: what agents report of versions that they cannot get.
        window: examples in the recent error.
        warm_up: examples before the checkpoint that baselines learn from again.
        poll_s: seconds to wait for examples.
        clock: monotonic seconds.
        device: where the network learns.
        make_learner: of pipeline, window, checkpoint and device.
    """

    def __init__(
        self, pipeline: Pipeline, examples: ExampleLog, publisher: Publisher, observer: Observer, *,
        lost_chunks: LostChunkReports | None = None,
        window: int = 2000, warm_up: int = 0, poll_s: float = 0.05, clock: Callable[[], float] = time.monotonic,
        device: Device = HOST, make_learner: Callable[..., Learner] = Learner,
    ) -> None:  # fmt: skip
        self._pipeline, self._spec = pipeline, pipeline.spec.training
        self._log, self._publisher, self._observer = examples, publisher, observer
        self._poll_s, self._clock = poll_s, clock
        self._repair = ChunkRepair(lost_chunks, publisher, observer, clock) if lost_chunks is not None else None
        resumed = publisher.resume()
        self.learner = make_learner(pipeline, window, resumed.checkpoint, device)
        self.version, self.epoch = resumed.next_version - 1, resumed.epoch
        self._letters_sent = resumed.letters
        if resumed.damaged:
            observer.damaged(resumed.damaged)
        self._begin(resumed, warm_up)
        self._letters: list[Letter] = []
        self._ends: list[dict[int, int]] = []
        self._new = 0
        self._last_checkpoint = clock()
        self._decode = pipeline.example_decoder.decode
        self._publishing: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publisher")
        self._restores = 0
        self.learner.gates = self._gates = _gates(pipeline, resumed.checkpoint, device)
        self._first = resumed.checkpoint is None
        self._origin = origin_of(pipeline)
        self._warm_start = warm_start(pipeline, self.learner) if self._first else {}

    def start(self) -> None:
        """Publish a new model's first weights, so that predictions flow before the first label is there."""
        if self._first:
            self._checkpoint()
            self._settle(wait=True)
            self._warm_start = {}  # a fact about the first version

    def _begin(self, resumed: Resumed, warm_up: int) -> None:
        offsets = self._log.begin()
        self._newest_label_us, self._base = 0, 0
        if resumed.checkpoint is not None:
            header = resumed.checkpoint.header
            offsets = _from_checkpoint(header, offsets)
            self._newest_label_us, self._base = header.newest_label_us, header.version
            for value in self._log.before(offsets, warm_up) if warm_up else ():
                self._warm_up(value)
            if self.learner.window is not None:
                self._refill(header)
        self.batcher = Batcher(offsets, self._spec.batch_size, self._spec.max_wait_s, self._clock)
        self._log.seek(offsets)
        log.info(
            "training", version=resumed.next_version - 1, epoch=resumed.epoch, step=self.learner.steps, offsets=offsets
        )

    def _warm_up(self, value: bytes) -> None:
        try:
            example = self._pipeline.example_decoder.decode(value)
        except msgspec.DecodeError:
            return  # it is a dead letter already
        self.learner.progress.warm_up(example.event, example.label)

    def _refill(self, header: Header) -> None:
        """Read the examples that are learned from again; those that retention has deleted are missing from now on."""
        first, learning = self._log.begin(), header.learning
        window = {p: offset for p, offset in learning.window.items() if p in first}  # of several ranks, one's own
        starts = {p: max(offset, first[p]) for p, offset in window.items()}
        items: list[Item] = []
        for message in self._log.between(starts, {p: header.offsets[p] for p in starts}):
            try:
                example = self._pipeline.example_decoder.decode(message.value() or b"")
            except msgspec.DecodeError:
                continue  # it is a dead letter already
            items.append(Item(example.label_ms, message.partition(), message.offset(), example))
        self.learner.refill(items, learning.left_out)
        if starts != window:
            log.warning("examples to learn from again were deleted", window=window, first=first)

    def run(self, stopped: Callable[[], bool]) -> None:
        """Train until stopped; then publish what is not published yet.

        Raises:
            FencedError: a newer trainer has taken over.
            DependencyError: Kafka or storage failed; a restart goes on from the last checkpoint.
        """
        try:
            while not stopped():
                self.step()
            self.finish()
        finally:
            self._thread.shutdown()

    def step(self) -> bool:
        """One bounded piece of work: a batch if one is ready, else one poll. Returns whether a batch was learned."""
        self._settle()
        batch = self.batcher.take()
        if batch is not None:
            self._learn(batch)
        else:
            self._read()
        if self._publishing is None:
            self._repair_lost()
        if self._publishing is None and self._due():
            self._checkpoint()
        return batch is not None

    def _repair_lost(self) -> None:
        """Have the publisher's thread put back what agents found missing, if they did."""
        if self._repair is not None and (lost := self._repair.heard()):
            self._publishing = self._thread.submit(self._repair.mend, lost)

    def finish(self) -> None:
        """Publish what was learned since the last checkpoint, and wait until it is known."""
        self._settle(wait=True)
        if self._new or self._passed():
            self._checkpoint()
        self._settle(wait=True)

    def _due(self) -> bool:
        if self.learner.in_doubt:
            return False
        late = self._clock() - self._last_checkpoint >= self._spec.checkpoint_s
        mended = self._repair is not None and self._repair.mended
        return self._new >= self._spec.checkpoint_examples or (late and bool(self._new or mended or self._passed()))

    def _passed(self) -> list[Letter]:
        """The dead letters that the next checkpoint's offsets lie beyond."""
        positions = self.batcher.positions if self._letters else {}
        return [letter for letter in self._letters if letter.offset < positions[letter.partition]]

    def _read(self) -> None:
        self._balance()
        polled = self._log.poll(min(self._poll_s, max(0.005, self.batcher.due_in())))
        for partition, records in polled.records.items():
            self.batcher.add(partition, self._items(partition, records), records[-1].offset() + 1)
        for partition, end in polled.ends.items():
            self.batcher.at_end(partition, end)

    def _balance(self) -> None:
        """A partition far ahead of the others waits, so that memory stays bounded."""
        high = max(16_384, 8 * self._spec.batch_size)
        for partition in self.batcher.positions:
            backlog = self.batcher.backlog(partition)
            if backlog > high or backlog < high // 4:
                self._log.pause(partition, paused=backlog > high)

    def _items(self, partition: int, records: list[Any]) -> list[Item]:
        decode, items = self._decode, list[Item]()
        for message in records:
            try:
                example = decode(message.value() or b"")
            except msgspec.DecodeError as error:
                self._bury(message, "decode", error, "decode")
            else:
                items.append(new_item((example.label_ms, partition, message.offset(), example, message)))
        return items

    def _bury(self, message: Any, phase: Phase, error: Exception, reason: str) -> None:
        """Dead letters go out with the next checkpoint, in its transaction: its offsets are what lies beyond them.

        Only the champion's trainer writes any: putting a letter back teaches the example to every model of the
        pipeline, and one that has learned it already must not learn it again because another could not.
        """
        self._observer.dead(reason, 1)
        if self._pipeline.variant is not None:
            where = f"{message.topic()}[{message.partition()}] at {message.offset()}"
            log.warning("example left out", where=where, phase=phase, error=f"{type(error).__name__}: {error}")
            return
        if (message.partition(), message.offset()) in self._letters_sent:
            return
        value = dead_letter(
            message, phase=phase, error=error, service="trainer", model=self._pipeline.model_name, version=self.version
        )
        self._letters.append(Letter(message.partition(), message.offset(), message.key(), value))

    def _learn(self, batch: Batch) -> None:
        started, before = time.perf_counter(), self.learner.examples
        bad = self.learner.learn(batch.items)
        self._observer.batch(self.learner, self.learner.examples - before, time.perf_counter() - started)
        self._tell_restores()
        for found in bad:
            self._bury(found.item.message, found.phase, found.error, found.reason)
        self._ends.append(batch.ends)
        self._new += len(batch.items)
        newest = max(item.label_ms for item in batch.items)
        self._newest_label_us = max(self._newest_label_us, newest * 1000)

    def _tell_restores(self) -> None:
        for _ in range(self.learner.taken_back - self._restores):
            self._observer.restored()
        self._restores = self.learner.taken_back

    def _checkpoint(self) -> None:
        """Copy the state between two batches, and hand it to the publisher's thread."""
        started = time.perf_counter()
        taken_back = self.learner.taken_back
        state = self.learner.snapshot()
        gated = self._gated(state.weights, ruined=self.learner.taken_back > taken_back)
        self._tell_restores()
        letters = self._passed()
        checkpoint = Checkpoint(
            self._header(gated), state.weights, state.optimizer, self._random(state), letters, state.lanes,
            copied(self._gates.weights) if self._gates is not None and gated is not None and gated.gate else {},
        )  # fmt: skip
        self.version, self._base = checkpoint.header.version, checkpoint.header.version
        self._letters = [letter for letter in self._letters if letter not in letters]
        self._ends, self._new, self._last_checkpoint = [], 0, self._clock()
        if self._repair is not None:
            self._repair.mended = False
        self._observer.snapshot(time.perf_counter() - started)
        self._publishing = self._thread.submit(self._publish, checkpoint)

    def _random(self, state: State) -> dict[str, Any]:
        """The state of the random generators, as a checkpoint keeps it."""
        return state.random

    def _gated(self, weights: dict[str, torch.Tensor], *, ruined: bool) -> Gated | None:
        """What the gates say of these weights; if nothing, later ones are compared with them."""
        gates, version = self._gates, self.version + 1
        if gates is None:
            return None
        refused, base = gates.refusal(weights, ruined=ruined), gates.version
        if refused is None:
            gates.publish(version, weights)
            return Gated(published_version=version, base_version=base, window=gates.saved)
        log.warning("checkpoint not published", version=version, gate=refused.gate, reason=refused.reason)
        return Gated(published_version=base, base_version=base, window=gates.saved, **refused._asdict())

    def _header(self, gated: Gated | None) -> Header:
        positions, learner = self.batcher.positions, self.learner
        partitions = sorted(positions)
        metrics = {**learner.progress.metrics(), "loss": learner.loss, "examples": float(learner.examples)}
        return Header(
            model=self._pipeline.model_name,
            version=self.version + 1,
            base_version=self._base,
            epoch=self.epoch,
            step=learner.steps,
            examples=learner.examples,
            topic=self._log.topic,
            offsets=positions,
            partitions=partitions,
            batches=[[ends[p] for p in partitions] for ends in self._ends],
            newest_label_us=self._newest_label_us,
            created_at=time.time_ns() // 1000,
            metrics={name: value for name, value in metrics.items() if value == value},  # noqa: PLR0124 - NaN is not itself
            progress=learner.progress.saved(),
            learning=learner.learning,
            gated=gated,
            origin={**self._origin, **self._warm_start},
        )

    def _publish(self, checkpoint: Checkpoint) -> None:
        started, gated = time.perf_counter(), checkpoint.header.gated
        if gated is not None and gated.gate:
            self._publisher.refuse_checkpoint(checkpoint)
            self._observer.refused(gated.gate)
            return
        published = self._publisher.publish_checkpoint(checkpoint)
        self._observer.published(published, checkpoint.header, time.perf_counter() - started)

    def _settle(self, *, wait: bool = False) -> None:
        """Take note of a publication that has ended; its error ends training."""
        if self._publishing is not None and (wait or self._publishing.done()):
            self._publishing.result()
            self._publishing = None


def _gates(pipeline: Pipeline, resumed: Checkpoint | None, device: Device) -> Gates | None:
    """The pipeline's gates, as they stood."""
    spec = pipeline.spec.training.gates
    if spec is None:
        return None
    gated = resumed.header.gated if resumed is not None else None
    gates = Gates(spec, pipeline.model, gated.window if gated is not None else None, device)
    if resumed is not None:
        version = gated.published_version if gated is not None else resumed.header.version
        gates.publish(version, resumed.published or resumed.weights)
    return gates


def _from_checkpoint(header: Header, begin: Mapping[int, int]) -> dict[int, int]:
    """The checkpoint's offsets.

    Partitions that are new begin at their beginning, and what was deleted is passed over.
    """
    offsets = {partition: max(header.offsets.get(partition, first), first) for partition, first in begin.items()}
    deleted = {p: first - header.offsets[p] for p, first in begin.items() if first > header.offsets.get(p, first)}
    if deleted:
        log.warning("examples were deleted before they were learned from", topic=header.topic, offsets=deleted)
    return offsets
