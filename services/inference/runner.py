"""Runs one model on a batch of events: features, forward pass, predictions.

Champions, canaries, shadows and models on request are all run by a `ModelRunner`. It knows neither Kafka nor a
transport, and it does not decide what a failure means: its caller does.

    runner = ModelRunner(pipeline, weights)
    with runner.lease() as bound:
        results = runner.run(bound, events, most_bad=64)

`run` finds the events that cannot be predicted and returns a `Failed` for each of them. A caller that takes the time of
each step, or for which one bad event fails the whole batch, calls `features`, `outputs` and `predictions` itself.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import msgspec
import torch

from headrace.model.exact_rows import forward
from headrace.model.pipeline import Pipeline
from headrace.streams.isolation import bisect
from headrace.weights.worker.source import Bound, WeightsSource

Step = Literal["features", "forward", "predictions"]
"""Where an event failed; a dead letter's phase, too."""
Events = Sequence[msgspec.Struct]

NOT_FINITE = "the network's output is NaN or infinite"


class Predicted(NamedTuple):
    """One event's prediction, a value as `Model.predictions` made it."""

    value: object


class Failed(NamedTuple):
    """One event that could not be predicted, and at which step."""

    step: Step
    error: Exception | str


Result = Predicted | Failed


@dataclass(frozen=True, slots=True)
class Results:
    """What one version made of N events, in columns, in the events' order.

    Attributes:
        values: N predictions; None in the place of an event that failed.
        failed: the events that failed, by index, ascending; empty for most batches.
    """

    values: Sequence[object]
    failed: Mapping[int, Failed]

    @classmethod
    def of(cls, results: Sequence[Result]) -> "Results":
        """Columns of single results."""
        values = [result.value if isinstance(result, Predicted) else None for result in results]
        return cls(values, {i: result for i, result in enumerate(results) if isinstance(result, Failed)})

    @classmethod
    def all_failed(cls, failed: Failed, events: int) -> "Results":
        """So many events failed for the same reason."""
        return cls([None] * events, dict.fromkeys(range(events), failed))

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Result]:
        if not self.failed:
            return map(Predicted, self.values)
        return (self.failed.get(i) or Predicted(value) for i, value in enumerate(self.values))


class StepError(Exception):
    """A batch failed as a whole: the model's code raised `error` at `step`."""

    def __init__(self, step: Step, error: Exception) -> None:
        super().__init__(step, error)
        self.step, self.error = step, error

    def __str__(self) -> str:
        return f"{self.step} raises {type(self.error).__name__}: {self.error}"


class ModelRunner:
    """One model: its code, its versions of the weights, and what it remembers for warming up the next one.

    Safe to use from several threads if `remember` is.

    Args:
        pipeline: the pipeline as this model sees it.
        weights: where its versions come from.
        remember: is shown the features of each batch that `run` predicted at once, for warming up later versions.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        weights: WeightsSource,
        *,
        remember: Callable[[torch.Tensor], None] | None = None,
    ) -> None:
        self.name, self.variant = pipeline.model_name, pipeline.variant
        self.weights = weights
        self._model = pipeline.model
        self._max_batch = pipeline.spec.stream.max_batch
        self._floats = pipeline.model.prediction_type() is float
        self._remember = remember

    def lease(self) -> AbstractContextManager[Bound]:
        """See `WeightsSource.lease`."""
        return self.weights.lease()

    @torch.inference_mode()
    def run(
        self, bound: Bound, events: Events, *, most_bad: int, on_error: Callable[[StepError], None] | None = None
    ) -> Results:
        """Predict with the weights of `bound`. Where the batch fails as a whole, halves of it are tried.

        Args:
            bound: the version, from `lease`.
            events: at least one.
            most_bad: events at most that are worth finding one by one.
            on_error: is told that the batch failed as a whole, before halves are tried; what it raises goes through.

        Raises:
            TooManyBadError: more than `most_bad` events fail; its cause is the `StepError` of the last one.
        """
        try:
            return self._at_once(bound, events, remember=self._remember)
        except StepError as error:
            if on_error is not None:
                on_error(error)
        good, bad = bisect(lambda part: [*self._at_once(bound, part)], events, most_bad=most_bad)
        found = dict(good) | {i: _failed(error) for i, error in bad}
        return Results.of([found[i] for i in range(len(events))])

    @torch.inference_mode()
    def at_once(self, bound: Bound, events: Events) -> Results:
        """Predict with the weights of `bound`; only outputs that are not finite become `Failed`.

        Raises:
            StepError: the model's code cannot take the batch.
        """
        return self._at_once(bound, events)

    def _at_once(self, bound: Bound, events: Events, remember: Callable[[torch.Tensor], None] | None = None) -> Results:
        with _step("features"):
            features = self.features(events)
        with _step("forward"):
            outputs = self.outputs(bound, features)
        with _step("predictions"):
            results = self.predictions(outputs)
            if remember is not None:
                remember(features)
        return results

    # The steps, for callers that go through them one by one within `torch.inference_mode`.

    def features(self, events: Events) -> torch.Tensor:
        """The model's features, shape [N, ...], of N events.

        Raises:
            ValueError: it returned another number of rows.
            Exception: whatever the model raises.
        """
        features = self._model.features(events)
        _check_length("features", features, len(events))
        return features

    def outputs(self, bound: Bound, features: torch.Tensor) -> torch.Tensor:
        """The network's outputs, shape [N, ...], by passes of `stream.max_batch` rows at most; errors as `features`."""
        parts = [forward(bound.network, part) for part in torch.split(features, self._max_batch)]
        outputs: torch.Tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
        _check_length("the network", outputs, len(features))
        return outputs

    def predictions(self, outputs: torch.Tensor) -> Results:
        """The predictions of N outputs; an output or a prediction that is NaN or infinite is `Failed`.

        Errors as `features`.
        """
        finite = _finite_rows(outputs)
        if finite is None:
            return self._values(outputs)
        kept = iter(self._values(outputs[finite]))
        wrong = Failed("forward", NOT_FINITE)
        return Results.of([next(kept) if good else wrong for good in finite.tolist()])

    def _values(self, outputs: torch.Tensor) -> Results:
        values = list(self._model.predictions(outputs))
        if len(values) != len(outputs):
            raise ValueError(f"predictions returned {len(values)} values for {len(outputs)} events")
        if not self._floats or math.isfinite(sum(cast("list[float]", values))):
            return Results(values, {})
        wrong = Failed("predictions", "the prediction is NaN or infinite")
        return Results.of([Predicted(p) if math.isfinite(p) else wrong for p in cast("list[float]", values)])


@contextmanager
def _step(name: Step) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the model's author's code may raise anything
        raise StepError(name, error) from error


def _failed(error: Exception) -> Failed:
    return Failed(error.step, error.error) if isinstance(error, StepError) else Failed("predictions", error)


def _finite_rows(outputs: torch.Tensor) -> torch.Tensor | None:
    """Which rows are all numbers, shape [N]; None where all of them are."""
    if not (outputs.is_floating_point() or outputs.is_complex()):
        return None
    finite = torch.isfinite(outputs)
    return None if bool(finite.all()) else finite.reshape(len(outputs), -1).all(dim=1)


def _check_length(what: str, tensor: torch.Tensor, events: int) -> None:
    if len(tensor) != events:
        raise ValueError(f"{what} returned {len(tensor)} rows for {events} events")
