"""The champion on the stream.

What it cannot predict becomes a dead letter, unless its version or its code is at fault.
"""

from functools import partial

from headrace.runtime.errors import DataError
from headrace.streams.isolation import Breaker, TooManyBadError
from headrace.weights.worker.source import Bound
from services.inference.runner import Events, ModelRunner, Results, Step, StepError
from services.inference.stream.version_check import VersionCheck

_BY_WEIGHTS: frozenset[Step] = frozenset({"forward", "predictions"})
"""The steps at which an event fails with one version and not with another."""


class Champion:
    """Runs the champion and decides whether its failures are the events' fault.

    Args:
        runner: the champion's.
        breaker: says how many events of a batch are worth finding one by one.
        check: tells a version that is at fault from an event that is.
    """

    def __init__(self, runner: ModelRunner, breaker: Breaker, check: VersionCheck) -> None:
        self.runner, self.name = runner, runner.name
        self._breaker, self._check = breaker, check

    def predict(self, bound: Bound, events: Events) -> Results:
        """A result for each event; every `Failed` among them is the event's fault.

        Raises:
            DataError: too many events fail; nothing of the round is to be committed.
            WeightsError: events fail because of the version; nothing of the round is to be committed.
        """
        try:
            results = self.runner.run(
                bound, events, most_bad=self._breaker.most_bad(len(events)), on_error=partial(self._batch_failed, bound)
            )
        except TooManyBadError as error:
            raise DataError(
                f"{error}: {error.__cause__}",
                hint="is the model of this deploy sound? Nothing of the last chunk was committed",
            ) from error.__cause__
        self._judge(bound, events, results)
        return results

    def _batch_failed(self, bound: Bound, error: StepError) -> None:
        if error.step in _BY_WEIGHTS:
            self._examine(bound, others=1)  # not known before the events are tried one by one; `_judge` knows

    def _judge(self, bound: Bound, events: Events, results: Results) -> None:
        """Blame no event for what is the version's fault; see `VersionCheck.examine`."""
        failed = results.failed
        good = [event for i, event in enumerate(events) if i not in failed] if failed else events
        if any(one.step in _BY_WEIGHTS for one in failed.values()):
            self._examine(bound, others=len(good))
        self._check.predicted(good)

    def _examine(self, bound: Bound, *, others: int) -> None:
        def predicted(events: Events) -> int:
            return len(events) - len(self.runner.at_once(bound, events).failed)

        self._check.examine(bound.version, bound.checkpoint, predicted, others=others)
