"""Whether the newest version that serves is at fault: its errors are much larger than others', or it fails on events.

Both checks use the version that stands on each prediction and dead letter, not the version that the fleet was told to
serve. Errors are known when labels arrive: if labels take an hour, so does the verdict.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from headrace.contracts.events_pb2 import DeadLetter

BY_WEIGHTS = frozenset({"forward", "predictions"})
"""Phases in which an event fails with one version and not with another."""
_SIGMAS = 4.0
_LEAST = 30
_VERSIONS_KEPT = 50


class Scored(NamedTuple):
    """One labelled prediction: when its event came, and the errors of the version and of each baseline."""

    version: int
    at: float
    error: float
    baselines: tuple[float, ...] = ()


@dataclass(frozen=True)
class Fault:
    """Why a version is at fault; `value` and `threshold` are errors, or shares of events."""

    version: int
    value: float
    threshold: float
    message: str


class VersionErrors:
    """Compares the newest version's errors with those of other versions.

    If other versions predicted at the same time, as beside a canary, only their predictions since then count. Else the
    last predictions before it count, and the factor grows by how much worse the best baseline has become since: that
    part is due to the events and not to the version.

    Args:
        window: the last labelled predictions that are compared.
        beside: a mean error larger by this factor than others' at the same time is a fault.
        before: a mean error larger by this factor than the versions' before is a fault.
    """

    def __init__(self, window: int, *, beside: float, before: float) -> None:
        self._scored: deque[Scored] = deque(maxlen=window)
        self._beside, self._before = beside, before

    def add(self, scored: Scored) -> None:
        """Take a labelled prediction."""
        self._scored.append(scored)

    def fault(self, unit: str = "") -> Fault | None:
        """Why the newest version that was scored is at fault; None if it is not, or too few predictions were scored."""
        unit = f" {unit}" if unit else ""
        newest = max((scored.version for scored in self._scored), default=0)
        its = [scored for scored in self._scored if scored.version == newest]
        if len(its) < _LEAST:
            return None
        since = min(scored.at for scored in its)
        beside = [s for s in self._scored if s.version != newest and s.at >= since]
        if len(beside) >= _LEAST:
            return _compared(its, beside, self._beside, f"{unit} at the same time")
        before = [s for s in self._scored if s.version != newest and s.at < since]
        if len(before) < _LEAST:
            return None
        return _compared(its, before, self._before * _drift(its, before), f"{unit} before")


def _compared(its: list[Scored], others: list[Scored], factor: float, when: str) -> Fault | None:
    """A fault if the mean is larger by the factor, and by more than four standard errors (Welch's statistic)."""
    mine, spread = _mean([s.error for s in its])
    theirs, noise = _mean([s.error for s in others])
    if mine <= factor * theirs or mine - theirs <= _SIGMAS * math.sqrt(spread + noise):
        return None
    version = its[0].version
    text = f"version {version} has the error {mine:.3g} on {len(its)} events, others had {theirs:.3g}{when}"
    return Fault(version, mine, factor * theirs, text)


def _mean(errors: list[float]) -> tuple[float, float]:
    """The mean and its squared standard error."""
    mean = math.fsum(errors) / len(errors)
    return mean, math.fsum((e - mean) ** 2 for e in errors) / (len(errors) - 1) / len(errors)


def _drift(its: list[Scored], before: list[Scored]) -> float:
    """The factor by which the error of the baseline that was best has grown since, at least 1."""
    then = [math.fsum(column) / len(before) for column in zip(*(s.baselines for s in before), strict=True)]
    if not then or not min(then):
        return 1.0
    best = then.index(min(then))
    now = math.fsum(s.baselines[best] for s in its) / len(its)
    return max(1.0, now / then[best])


class VersionFailures:
    """Compares the share of events that the newest version failed to predict with that of the version before.

    A version's counts are halved every `window` events, so that recent events weigh most.

    Args:
        share: a share of failures as large as this is a fault, unless the version before had at least half that share.
        least: the failures that a fault takes at least.
        window: events after which the counts are halved.
    """

    def __init__(self, *, share: float = 0.1, least: int = 20, window: int = 10_000) -> None:
        self._share, self._least, self._window = share, least, window
        self._counts: dict[int, tuple[float, float]] = {}

    def predicted(self, version: int) -> None:
        """Take an event that a version predicted."""
        self._count(version, 0)

    def dead_letter(self, letter: DeadLetter) -> None:
        """Take a dead letter; it counts if the failure can depend on the weights."""
        if letter.phase in BY_WEIGHTS and letter.model_version:
            self._count(letter.model_version, 1)

    def fault(self) -> Fault | None:
        """Why the newest version that was given events is at fault; None if it is not."""
        newest = max(self._counts, default=0)
        failed, given = self._counts.get(newest, (0.0, 0.0))
        if failed < self._least or failed < self._share * given:
            return None
        before = max((v for v in self._counts if v < newest), default=0)
        old_failed, old_given = self._counts.get(before, (0.0, 0.0))
        if old_given and old_failed / old_given >= failed / given / 2:
            return None  # the version before failed on such events too, so the events are the cause
        text = f"version {newest} fails on {failed:.0f} of {given:.0f} events: see headrace dlq list"
        return Fault(newest, failed / given, self._share, text)

    def _count(self, version: int, failed: int) -> None:
        bad, given = self._counts.get(version, (0.0, 0.0))
        bad, given = bad + failed, given + 1
        self._counts[version] = (bad / 2, given / 2) if given > self._window else (bad, given)
        if len(self._counts) > _VERSIONS_KEPT:
            del self._counts[min(self._counts)]
