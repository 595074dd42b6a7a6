"""Whose fault it is when an event cannot be predicted: the event's, or that of the version that is to predict it.

A version of the weights that overflows, or does not fit, fails on sound events. They must not become dead letters: the
role ends with nothing committed, and a sound version predicts them later. So before the first dead letter for a failure
in which the weights have a part, the version is tested on events that were predicted before, or on the pipeline's
samples.
"""

from collections.abc import Callable

from headrace.runtime.errors import WeightsError
from services.inference.runner import Events

_KEPT = 64

Predict = Callable[[Events], int]
"""How many of the events a version predicts; where it raises, none."""


class VersionCheck:
    """Remembers events that were predicted, and tests versions on them.

    Args:
        samples: typical events, which no version has predicted yet; none where the pipeline has no source.
    """

    def __init__(self, samples: Events = ()) -> None:
        self._samples = samples
        self._witnesses: Events = ()
        self._sound = ""

    def predicted(self, events: Events) -> None:
        """These events were predicted. Cheap: only the first ones ever are kept."""
        if not self._witnesses:
            self._witnesses = list(events[:_KEPT])

    def examine(self, version: int, checkpoint: str, predict: Predict, *, others: int = 0) -> None:
        """Return if the events that fail with this version are at fault.

        Args:
            version: the version's number.
            checkpoint: its manifest's digest; a version that passed is not tested again.
            predict: predicts with it.
            others: events of the same round that it predicted.

        Raises:
            WeightsError: the version is at fault. It fails on an event that was predicted before; or, where none was
                yet, on every event that it was given.
        """
        if self._sound == checkpoint:
            return
        asked = self._witnesses or self._samples
        good = _count(predict, asked)
        if self._witnesses and good < len(asked):
            raise _refused(version, f"fails on {len(asked) - good} of {len(asked)} events that were predicted before")
        if not (good or others):
            raise _refused(version, "has not predicted anything yet, and fails on everything that it was given")
        self._sound = checkpoint if good else self._sound


def _count(predict: Predict, events: Events) -> int:
    if not events:
        return 0
    try:
        return predict(events)
    except Exception:  # noqa: BLE001 - the model's author's code may raise anything; then the version predicts none
        return 0


def _refused(version: int, why: str) -> WeightsError:
    return WeightsError(
        f"version {version} of the weights {why}; nothing of the last round was committed",
        hint="headrace rollback goes back to a sound version; this role then goes on where it was",
    )
