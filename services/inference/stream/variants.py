"""The pipeline's further models on the stream: canaries, which answer their keys, and shadows, which only predict.

Neither may cost the served predictions anything but time. A canary that has no version yet, or that raises or returns
NaN for a record, leaves the record to the champion. A shadow predicts after everything served has been encoded, and
what it cannot predict it leaves out. Both are counted and logged, never dead-lettered: the record itself has its
answer.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from operator import attrgetter
from typing import Any, Protocol

import msgspec
import torch

from headrace.contracts.records import Prediction
from headrace.contracts.topics import SHADOWS
from headrace.model.pipeline import Pipeline
from headrace.runtime.logging import get_logger
from headrace.streams.chunks import timestamps_ms
from headrace.streams.delivery import Batch
from headrace.streams.isolation import TooManyBadError
from headrace.weights.errors import NotReady
from headrace.weights.worker.source import Bound, WeightsSource
from services.inference.stream.routing import Router
from services.inference.stream.service import Answer, Attempt, Failed, Rows, find_each

log = get_logger("headrace.inference")

MOST_BAD = 64
"""Records of one round that are found one by one; where more fail, the model is left out of the round."""
LONGEST = 512 * 1024
"""Bytes of a shadow's prediction at most: one that the broker refused would take the served ones of its transaction along."""
LOG_EVERY_S = 10.0


class ModelsObserver(Protocol):
    """Who is told what the further models did."""

    def model_bound(self, model: str, version: int) -> None:
        """The round's version of this model."""
        ...

    def model_predicted(self, model: str, records: int) -> None:
        """So many predictions of this model go out with the round."""
        ...

    def model_failed(self, model: str, phase: str, records: int) -> None:
        """So many records it did not predict; `phase` is where it failed, `weights` while it has no version."""
        ...


class VariantPredictor:
    """One further model: its code, its weights, and what is said of its failures.

    Args:
        pipeline: the pipeline as this model sees it.
        weights: leased once a round.
        observer: told what it did.
        served: takes features that it was run on, for warming up its next version.
        clock: monotonic seconds, for the log's sake.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        weights: WeightsSource,
        observer: ModelsObserver,
        *,
        served: Callable[[torch.Tensor], None] = lambda _features: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if pipeline.variant is None:
            raise ValueError(f"{pipeline.name} is the champion, not a further model")
        self.name, self.spec = pipeline.model_name, pipeline.variant
        self._model, self._weights, self._observer = pipeline.model, weights, observer
        self._max_batch = pipeline.spec.stream.max_batch
        self._floats = pipeline.model.prediction_type() is float
        self._served, self._clock = served, clock
        self._next_log, self._unsaid = float("-inf"), 0

    @contextmanager
    def lease(self) -> Iterator[Bound | None]:
        """Its version for the length of a ``with`` block; None where it has none yet."""
        with ExitStack() as stack:
            try:
                bound = stack.enter_context(self._weights.lease())
                self._observer.model_bound(self.name, bound.version)
            except NotReady:
                bound = None
            yield bound

    def predictions(self, bound: Bound | None, events: Sequence[Any]) -> list[Any]:
        """A prediction for each event, or `Failed` in its place; raises nothing that the model raises."""
        if not events:
            return []
        if bound is None:
            missing = Failed("forward", "no version yet: is its trainer up?")
            self.failed(None, "weights", [missing.error] * len(events))
            return [missing] * len(events)
        attempt = Attempt(self._model, bound.network, self._max_batch, floats=self._floats)
        try:
            found = attempt(events)
            self._served(attempt.features)
        except Exception:  # noqa: BLE001 - its author's code may raise anything; the record is found below
            found = self._isolate(attempt, events)
        self._tell(bound, found)
        return found

    def _isolate(self, attempt: Attempt, events: Sequence[Any]) -> list[Any]:
        try:
            return find_each(attempt, events, MOST_BAD)
        except TooManyBadError as error:
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            return [Failed(attempt.phase, cause)] * len(events)

    def _tell(self, bound: Bound, found: Sequence[Any]) -> None:
        failures = [one for one in found if type(one) is Failed]
        for phase in {one.phase for one in failures}:
            self.failed(bound, phase, [one.error for one in failures if one.phase == phase])

    def failed(self, bound: Bound | None, phase: str, errors: Sequence[Exception | str]) -> None:
        """Count records that it could not predict, and log them, at most every `LOG_EVERY_S` seconds."""
        self._observer.model_failed(self.name, phase, len(errors))
        self._unsaid += len(errors)
        now = self._clock()
        if now < self._next_log:
            return
        error = errors[-1]
        said = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        log.warning(
            "a model could not predict", model=self.name, model_role=self.spec.role, version=bound.version if bound else 0,
            records=self._unsaid, phase=phase, error=said,
        )  # fmt: skip
        self._next_log, self._unsaid = now + LOG_EVERY_S, 0


class StreamModels:
    """See `services.inference.stream.service.Others`.

    Args:
        pipeline: the champion's; its `others` are the models.
        contenders: they, in the order of pipeline.yaml.
        same_partitions: a shadow's prediction goes to the partition of the event's number; else the key chooses.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        contenders: Sequence[VariantPredictor],
        observer: ModelsObserver,
        *,
        same_partitions: bool = True,
    ) -> None:
        self.champion = pipeline.model_name
        self.observer = observer
        self.canaries = [one for one in contenders if one.spec.role == "canary"]
        self.shadows = [one for one in contenders if one.spec.role == "shadow"]
        self.router = Router([one.spec.part for one in self.canaries])
        self.key = attrgetter(pipeline.model.key)
        self.topic = SHADOWS.name(pipeline.name)
        self.same_partitions = same_partitions

    def lease(self) -> AbstractContextManager["ModelsRound"]:
        """Bind the version of every model that has one, all at the start of a round."""
        return self._leased()

    @contextmanager
    def _leased(self) -> Iterator["ModelsRound"]:
        with ExitStack() as stack:
            bound = {one.name: stack.enter_context(one.lease()) for one in (*self.canaries, *self.shadows)}
            yield ModelsRound(self, bound)


class ModelsRound:
    """See `services.inference.stream.service.OthersRound`."""

    def __init__(self, models: StreamModels, bound: Mapping[str, Bound | None]) -> None:
        self._models = models
        self._bound = bound

    def answers(self, events: Sequence[Any], champion: Callable[[Sequence[Any]], list[Any]]) -> list[Any]:
        """Each event's answer: of its canary, else of the champion."""
        models = self._models
        found: list[Any] = [None] * len(events)
        keys = [str(models.key(event)) for event in events] if models.canaries else []
        for canary, chosen in zip(models.canaries, models.router.route(keys), strict=True):
            self._answer(canary, chosen, events, found)
        left = [i for i, answer in enumerate(found) if answer is None]
        if left:
            for i, prediction in zip(left, champion([events[i] for i in left]), strict=True):
                found[i] = prediction
        models.observer.model_predicted(models.champion, sum(type(found[i]) is not Failed for i in left))
        return found

    def _answer(self, canary: VariantPredictor, chosen: Sequence[int], events: Sequence[Any], found: list[Any]) -> None:
        bound = self._bound[canary.name]
        made = 0
        for i, prediction in zip(chosen, canary.predictions(bound, [events[i] for i in chosen]), strict=True):
            if bound is not None and type(prediction) is not Failed:
                found[i] = Answer(prediction, canary.name, bound.version, bound.checkpoint)
                made += 1
        self._models.observer.model_predicted(canary.name, made)

    def shadows(self, rows: Sequence[Rows]) -> list[Batch]:
        """What each shadow predicts of all that could be decoded."""
        return [batch for shadow in self._models.shadows for batch in self._shadow(shadow, rows)]

    def _shadow(self, shadow: VariantPredictor, rows: Sequence[Rows]) -> list[Batch]:
        bound = self._bound[shadow.name]
        found = iter(shadow.predictions(bound, [event for row in rows for event in row.events]))
        if bound is None:
            return []
        batches = []
        for row in rows:
            records = self._encoded(shadow, bound, row, [next(found) for _ in row.events])
            if records:
                batches.append(
                    Batch(self._models.topic, row.source.partition if self._models.same_partitions else None, records)
                )
        self._models.observer.model_predicted(shadow.name, sum(len(batch.records) for batch in batches))
        return batches

    def _encoded(
        self, shadow: VariantPredictor, bound: Bound, row: Rows, predictions: Sequence[Any]
    ) -> list[dict[str, Any]]:
        encode, key_of, at_us, partition = (
            _ENCODER.encode,
            self._models.key,
            time.time_ns() // 1000,
            row.source.partition,
        )
        records: list[dict[str, Any]] = []
        errors: list[Exception | str] = []
        for record, event, made, ms in zip(
            row.records, row.events, predictions, timestamps_ms(row.records), strict=True
        ):
            if type(made) is Failed:
                continue
            source = (partition, record.offset())
            try:
                value = encode(
                    Prediction(
                        str(key_of(event)), made, shadow.name, bound.version, bound.checkpoint, source, ms, at_us
                    )
                )
            except Exception as error:  # noqa: BLE001 - the model's author chooses what a prediction is
                errors.append(error)
                continue
            if len(value) > LONGEST:
                errors.append(f"a prediction of {len(value)} bytes, of at most {LONGEST}")
                continue
            records.append({"value": value, "key": record.key()})
        if errors:
            shadow.failed(bound, "encode", errors)
        return records


_ENCODER = msgspec.json.Encoder()
