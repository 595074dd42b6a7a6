"""A pipeline's further models on the stream: canaries, which answer their keys, and shadows, which only predict.

Neither may cost the served predictions anything but time. A canary that has no version yet, or that raises or returns
NaN for a record, leaves the record to the champion. A shadow predicts after everything served has been encoded, and
what it cannot predict it leaves out. Both are counted and logged, never dead-lettered: the champion answers the record.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal, Protocol

from headrace.runtime.logging import get_logger
from headrace.streams.isolation import TooManyBadError
from headrace.weights.errors import NotReady
from headrace.weights.worker.source import Bound
from services.inference.runner import Events, Failed, ModelRunner, Results, Step, StepError

log = get_logger("headrace.inference")

MOST_BAD = 64
"""Records of one round that are found one by one; where more fail, the model is left out of the round."""
LOG_EVERY_S = 10.0
FailedAt = Step | Literal["weights", "encode"]
"""Where a further model failed: `weights` while it has no version, `encode` where its prediction cannot be written."""


class VariantObserver(Protocol):
    """Who is told what the models did, where a pipeline has several."""

    def model_bound(self, model: str, version: int) -> None:
        """The round's version of this further model."""
        ...

    def model_predicted(self, model: str, records: int) -> None:
        """So many predictions of this model, the champion among them, go out with the round."""
        ...

    def model_failed(self, model: str, phase: str, records: int) -> None:
        """This further model did not predict so many records; `phase` is one of `FailedAt`."""
        ...


class Variant:
    """Runs one further model; counts and logs what it cannot predict.

    Args:
        runner: the model's.
        observer: told what it did.
        clock: monotonic seconds, for the log.

    Raises:
        ValueError: the runner is the champion's.
    """

    def __init__(
        self, runner: ModelRunner, observer: VariantObserver, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if runner.variant is None:
            raise ValueError(f"{runner.name} is the champion, not a further model")
        self.runner, self.name, self.spec = runner, runner.name, runner.variant
        self._observer, self._clock = observer, clock
        self._next_log, self._not_logged = float("-inf"), 0

    @contextmanager
    def lease(self) -> Iterator[Bound | None]:
        """Its version for the length of a ``with`` block; None where it has none yet."""
        with ExitStack() as stack:
            try:
                bound = stack.enter_context(self.runner.lease())
                self._observer.model_bound(self.name, bound.version)
            except NotReady:
                bound = None
            yield bound

    def predict(self, bound: Bound | None, events: Events) -> Results:
        """A result for each event; raises nothing that the model raises."""
        if not events:
            return Results([], {})
        if bound is None:
            missing = Failed("forward", "no version yet: is its trainer up?")
            self.failed(None, "weights", [missing.error] * len(events))
            return Results.all_failed(missing, len(events))
        try:
            results = self.runner.run(bound, events, most_bad=MOST_BAD)
        except TooManyBadError as error:
            results = Results.all_failed(_last_failure(error), len(events))
        failures = results.failed.values()
        for step in {one.step for one in failures}:
            self.failed(bound, step, [one.error for one in failures if one.step == step])
        return results

    def predicted(self, records: int) -> None:
        """So many of its predictions go out with the round."""
        self._observer.model_predicted(self.name, records)

    def failed(self, bound: Bound | None, phase: FailedAt, errors: Sequence[Exception | str]) -> None:
        """Count records that it could not predict, and log them, at most every `LOG_EVERY_S` seconds."""
        self._observer.model_failed(self.name, phase, len(errors))
        self._not_logged += len(errors)
        now = self._clock()
        if now < self._next_log:
            return
        error = errors[-1]
        said = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        log.warning(
            "a model could not predict", model=self.name, model_role=self.spec.role,
            version=bound.version if bound else 0,
            records=self._not_logged, phase=phase, error=said,
        )  # fmt: skip
        self._next_log, self._not_logged = now + LOG_EVERY_S, 0


def _last_failure(error: TooManyBadError) -> Failed:
    cause = error.__cause__
    return Failed(cause.step, cause.error) if isinstance(cause, StepError) else Failed("forward", error)
