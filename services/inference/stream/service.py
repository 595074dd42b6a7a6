"""Predicting on the stream, without Kafka: chunks of events in, predictions and dead letters out.

Everything is by columns over the chunks of one round: decode, features, one forward pass (split at `max_batch`),
predictions, encode. The round is bound to one version of the weights. What cannot be processed is found one by one and
becomes a dead letter; when that is not the exception, or the version is at fault, the role ends before anything of the
round is committed.

A pipeline's further models, where it has any, come in as `Others`: `services.inference.stream.variants`.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

import msgspec
import torch

from headrace.contracts.records import TRACEPARENT, Prediction
from headrace.contracts.topics import EVENTS, PREDICTIONS, dead_letters
from headrace.deadletters.letters import Phase, dead_letter
from headrace.model.pipeline import Pipeline
from headrace.runtime.errors import DataError
from headrace.streams.chunks import Chunk, Partition, Record, header, headers_named, timestamps_ms
from headrace.streams.delivery import Batch, Outgoing, Output
from headrace.streams.isolation import Breaker, TooManyBadError, bisect
from headrace.weights.worker.source import Bound, WeightsSource
from services.inference.stream.version_check import VersionCheck

SERVICE = "inference-stream"
_BY_WEIGHTS: frozenset[Phase] = frozenset({"forward", "predictions"})
"""The phases in which an event fails with one version and not with another."""


class Observer(Protocol):
    """Who is told what happened; `services.inference.stream.metrics` in service."""

    def phase(self, name: str, seconds: float) -> None:
        """A phase of one round took so long: decode, predict, encode; produce, offsets, commit."""
        ...

    def bound(self, version: int) -> None:
        """The round was predicted with this version."""
        ...

    def dead(self, phase: str, records: int) -> None:
        """So many records became dead letters."""
        ...


class _Bad(NamedTuple):
    record: Record
    phase: Phase
    error: Exception | str


class Failed(NamedTuple):
    """Stands in the place of a prediction."""

    phase: Phase
    error: Exception | str


class Answer(NamedTuple):
    """Stands in the place of a prediction that another model than the champion made."""

    prediction: Any
    model: str
    version: int
    checkpoint: str


@dataclass
class Rows:
    """What is left of one chunk, in columns."""

    source: Partition
    records: Sequence[Record]
    events: list[Any]
    predictions: list[Any] = field(default_factory=list)


class OthersRound(Protocol):
    """One round of the further models, each bound to its version, or to none."""

    def answers(self, events: Sequence[Any], champion: Callable[[Sequence[Any]], list[Any]]) -> list[Any]:
        """For each event an `Answer`, or what `champion` returned for it: a prediction or `Failed`."""
        ...

    def shadows(self, rows: Sequence[Rows]) -> list[Batch]:
        """Predictions for the shadows' topic. Raises nothing; `rows` are all decoded records, `predictions` unset."""
        ...


class Others(Protocol):
    """The pipeline's further models."""

    def lease(self) -> AbstractContextManager[OthersRound]:
        """Bind every model's version for the length of a ``with`` block."""
        ...


_ALONE = nullcontext()


class StreamPredictor:
    """Chunks of the pipeline's events to an `Output` for its predictions topic.

    Args:
        pipeline: its model, decoder and names.
        weights: leased once a call.
        breaker: ends the role when too many records are bad.
        same_partitions: a prediction goes to the partition of the event's number, which keeps the order of each key;
            where the two topics differ in their number of partitions, the key chooses.
        served: told of the features of each batch.
        soundness: tells a version that is at fault from an event that is.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        weights: WeightsSource,
        breaker: Breaker,
        observer: Observer,
        *,
        same_partitions: bool = True,
        served: Callable[[torch.Tensor], None] = lambda _features: None,
        others: Others | None = None,
        soundness: VersionCheck | None = None,
    ) -> None:
        self._model = pipeline.model
        self._name = pipeline.name
        self._sink = PREDICTIONS.name(pipeline.name)
        self._dead_letters = dead_letters(EVENTS.name(pipeline.name))
        self._decode_one = pipeline.event_decoder.decode
        self._encoder = msgspec.json.Encoder()
        self._key = attrgetter(self._model.key)
        self._max_batch = pipeline.spec.stream.max_batch
        self._floats = self._model.prediction_type() is float
        self._weights = weights
        self._breaker = breaker
        self._observer = observer
        self._same_partitions = same_partitions
        self._served = served
        self._others = others
        self._soundness = soundness or VersionCheck()

    def process(self, chunks: Sequence[Chunk]) -> Output:
        """Everything that the chunks become, offsets included.

        Raises:
            DataError: too many of the records are bad; nothing is to be committed.
            WeightsError: records fail because of the version; nothing is to be committed.
        """
        output, bad = Output.of(chunks), list[_Bad]()
        records = sum(map(len, chunks))
        with self._weights.lease() as bound, self._others.lease() if self._others else _ALONE as others:
            with self._phase("decode"):
                rows = [self._decode(chunk, bad) for chunk in chunks]
            decoded = [Rows(row.source, row.records, row.events) for row in rows] if others else []
            with self._phase("predict"):
                self._predict([r for r in rows if r.events], bound, bad, others)
                self._judge(rows, bound, bad)
            with self._phase("encode"):
                for row in rows:
                    self._encode(row, bound, output)
            if others is not None:  # after what is served: nothing that a shadow does to an event can touch it
                with self._phase("shadow"):
                    output.batches += others.shadows(decoded)
            for found in bad:
                output.singles.append(self._dead_letter(found, bound))
            self._observer.bound(bound.version)
        output.dead = len(bad)
        if bad:
            self._count_dead(bad)
        self._breaker.count(len(bad), records, _describe(bad[0]) if bad else "")
        return output

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._observer.phase(name, time.perf_counter() - started)

    # -- decode
    # ----------------------------------------------------------------------------------------------------------

    def _decode(self, chunk: Chunk, bad: list[_Bad]) -> Rows:
        decode = self._decode_one
        try:
            return Rows(chunk.source, chunk.records, [decode(record.value()) for record in chunk.records])  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001 - a decode hook may raise anything; the record is found below
            rows, found = Rows(chunk.source, [], []), list[_Bad]()
        good: list[Record] = []
        for record in chunk.records:
            try:
                rows.events.append(decode(record.value() or b""))
                good.append(record)
            except Exception as error:  # noqa: BLE001 - as above
                found.append(_Bad(record, "decode", error))
        rows.records = good
        bad += found
        return rows

    # -- predict
    # ---------------------------------------------------------------------------------------------------------

    def _predict(self, rows: Sequence[Rows], bound: Bound, bad: list[_Bad], others: OthersRound | None) -> None:
        """Fill in each row's predictions; rows lose the records that have none."""
        events = [event for row in rows for event in row.events]
        if not events:
            return
        found = self._find(bound, events) if others is None else others.answers(events, partial(self._find, bound))
        start = 0
        for row in rows:
            row.predictions = found[start : start + len(row.events)]
            start += len(row.events)
            if any(type(p) is Failed for p in row.predictions):
                _drop_failed(row, bad)

    def _find(self, bound: Bound, events: Sequence[Any]) -> list[Any]:
        """Predictions where there are any, else `Failed`."""
        attempt = Attempt(self._model, bound.network, self._max_batch, floats=self._floats)
        try:
            found = attempt(events)
            self._served(attempt.features)
        except Exception:  # noqa: BLE001 - the model's author's code may raise anything; the record is found below
            if attempt.phase in _BY_WEIGHTS:
                self._examine(bound, others=1)  # whether there are, is not known before the records are found
            found = self._isolate(attempt, events)
        return found

    def _isolate(self, attempt: "Attempt", events: Sequence[Any]) -> list[Any]:
        try:
            return find_each(attempt, events, self._breaker.most_bad(len(events)))
        except TooManyBadError as error:
            cause = error.__cause__
            raise DataError(
                f"{error}: {attempt.phase} raises {type(cause).__name__}: {cause}",
                hint="is the model of this deploy sound? Nothing of the last chunk was committed",
            ) from cause

    def _judge(self, rows: Sequence[Rows], bound: Bound, bad: Sequence[_Bad]) -> None:
        """Blame no record for what is the version's fault; see `VersionCheck.examine`."""
        predicted = next((row.events for row in rows if row.events), [])
        if self._others is not None:  # what a canary has answered says nothing of this version
            own = ((e, p) for row in rows for e, p in zip(row.events, row.predictions, strict=True))
            predicted = [e for e, p in own if type(p) is not Answer]
        if any(b.phase in _BY_WEIGHTS for b in bad):
            self._examine(bound, others=len(predicted))
        self._soundness.predicted(predicted)

    def _examine(self, bound: Bound, *, others: int) -> None:
        attempt = Attempt(self._model, bound.network, self._max_batch, floats=self._floats)

        def predict(events: Sequence[Any]) -> list[bool]:
            return [type(found) is not Failed for found in attempt(events)]

        self._soundness.examine(bound.version, bound.checkpoint, predict, others=others)

    # -- encode
    # ----------------------------------------------------------------------------------------------------------

    def _encode(self, row: Rows, bound: Bound, output: Output) -> None:
        if not row.events:
            return
        key_of, at_us = self._key, time.time_ns() // 1000
        name, version, checkpoint, partition = self._name, bound.version, bound.checkpoint, row.source.partition
        columns = zip(row.records, row.events, row.predictions, timestamps_ms(row.records), strict=True)
        if self._others is None:
            made = [
                Prediction(str(key_of(e)), p, name, version, checkpoint, (partition, r.offset()), ms, at_us)
                for r, e, p, ms in columns
            ]
        else:
            made = [
                Prediction(str(key_of(e)), *by, (partition, r.offset()), ms, at_us)
                for r, e, p, ms in columns
                for by in (p if type(p) is Answer else (p, name, version, checkpoint),)
            ]
        values = self._encode_all(made)
        where = partition if self._same_partitions else None
        keyed = [{"value": v, "key": r.key()} for v, r in zip(values, row.records, strict=True)]
        output.batches.append(Batch(self._sink, where, keyed, headers_named(row.records, TRACEPARENT)))

    def _encode_all(self, predictions: Sequence[Prediction[Any]]) -> list[bytes]:
        """Each prediction's JSON, by one call: in JSON a line break never stands for itself, unless it is a `msgspec.Raw`'s."""
        *values, _end = self._encoder.encode_lines(predictions).split(b"\n")
        return values if len(values) == len(predictions) else [self._encoder.encode(p) for p in predictions]

    # -- dead letters
    # ----------------------------------------------------------------------------------------------------

    def _dead_letter(self, bad: _Bad, bound: Bound) -> Outgoing:
        letter = dead_letter(
            bad.record, phase=bad.phase, error=bad.error, service=SERVICE, model=self._name, version=bound.version
        )
        return Outgoing(self._dead_letters, bad.record.key(), letter, _trace(bad.record))

    def _count_dead(self, bad: Sequence[_Bad]) -> None:
        for phase in {b.phase for b in bad}:
            self._observer.dead(phase, sum(b.phase == phase for b in bad))


def find_each(attempt: "Attempt", events: Sequence[Any], most_bad: int) -> list[Any]:
    """Predictions of events that cannot be predicted at once, `Failed` in the place of those that cannot be at all.

    Raises:
        TooManyBadError: more than `most_bad` cannot; its cause is the last one's error.
    """
    phases: dict[int, Phase] = {}

    def work(part: Sequence[Any]) -> list[Any]:
        try:
            return attempt(part)
        finally:
            phases[id(part[0])] = attempt.phase

    good, failed = bisect(work, events, most_bad=most_bad)
    found: list[Any] = [None] * len(events)
    for index, prediction in good:
        found[index] = prediction
    for index, problem in failed:
        found[index] = Failed(phases[id(events[index])], problem)
    return found


class Attempt:
    """One pass of the model over some events. After it, `phase` names the step that it reached."""

    def __init__(self, model: Any, network: torch.nn.Module, max_batch: int, *, floats: bool) -> None:
        self._model = model
        self._network = network
        self._max_batch = max_batch
        self._floats = floats
        self.phase: Phase = "features"
        self.features = torch.empty(0)

    @torch.inference_mode()
    def __call__(self, events: Sequence[Any]) -> list[Any]:
        """Predictions, or `Failed` in the place of one that is not finite."""
        self.phase = "features"
        self.features = features = self._model.features(events)
        _same_length("features", features, events)
        self.phase = "forward"
        parts = [self._network(part) for part in features.split(self._max_batch)]
        outputs = parts[0] if len(parts) == 1 else torch.cat(parts)
        _same_length("the network", outputs, events)
        self.phase = "predictions"
        finite = _finite_rows(outputs)
        if finite is None:
            return self._numbers(list(self._model.predictions(outputs)), len(events))
        kept = iter(self._numbers(list(self._model.predictions(outputs[finite])), int(finite.sum())))
        wrong = Failed("forward", "the network's output is NaN or infinite")
        return [next(kept) if good else wrong for good in finite.tolist()]

    def _numbers(self, predictions: list[Any], expected: int) -> list[Any]:
        if len(predictions) != expected:
            raise ValueError(f"predictions returned {len(predictions)} values for {expected} events")
        if self._floats and not math.isfinite(sum(predictions)):
            wrong = Failed("predictions", "the prediction is NaN or infinite")
            return [p if math.isfinite(p) else wrong for p in predictions]
        return predictions


def _finite_rows(outputs: torch.Tensor) -> torch.Tensor | None:
    """Which rows are all numbers, shape [N]; None where all of them are."""
    if not (outputs.is_floating_point() or outputs.is_complex()):
        return None
    finite = torch.isfinite(outputs)
    return None if bool(finite.all()) else finite.reshape(len(outputs), -1).all(dim=1)


def _same_length(what: str, tensor: torch.Tensor, events: Sequence[Any]) -> None:
    if len(tensor) != len(events):
        raise ValueError(f"{what} returned {len(tensor)} rows for {len(events)} events")


def _drop_failed(row: Rows, bad: list[_Bad]) -> None:
    kept: list[tuple[Record, Any, Any]] = []
    for record, event, prediction in zip(row.records, row.events, row.predictions, strict=True):
        if type(prediction) is Failed:
            bad.append(_Bad(record, prediction.phase, prediction.error))
        else:
            kept.append((record, event, prediction))
    columns: Iterable[Any] = zip(*kept, strict=True) if kept else ([], [], [])
    row.records, row.events, row.predictions = map(list, columns)


def _trace(record: Record) -> list[tuple[str, bytes | None]]:
    """The headers that go on from an event to what is made of it."""
    trace = header(record, TRACEPARENT)
    return [] if trace is None else [(TRACEPARENT, trace)]


def _describe(bad: _Bad) -> str:
    record = bad.record
    return f"{record.topic()}[{record.partition()}] at {record.offset()}: {bad.phase}: {bad.error}"
