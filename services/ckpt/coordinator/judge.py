"""Whether what serves can stay: a version on canaries, and the active version for a while after its activation."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from headrace.contracts.events_pb2 import Alert, WeightsApplied
from services.ckpt.coordinator.policy import Policy, Verdict
from services.ckpt.coordinator.trials import CanaryTrial, VersionTrial
from services.ckpt.coordinator.workers import FleetWorker


class Alarm(NamedTuple):
    """A critical alert about a version: when it fired, in seconds since the epoch, and what it says."""

    at: float
    why: str


class Judge:
    """Takes reports and alerts, and says what they mean for the version on canaries and for the active one.

    Args:
        policy: what speaks against a version.

    Attributes:
        canary: the trial of the version that is on canaries, if one is.
        active: the trial of the active version; None where it is not judged, or not any more.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._alarms: dict[int, list[Alarm]] = {}
        self.canary: CanaryTrial | None = None
        self.active: VersionTrial | None = None

    def on_applied(self, applied: WeightsApplied, now: float) -> None:
        """Take note of a worker's report."""
        if self.active is not None:
            self.active.on_applied(applied, now)
        if self.canary is not None:
            self.canary.trial.on_applied(applied, now)

    def on_alert(self, alert: Alert, at: float) -> None:
        """Take note of an alert that fired ``at``, in seconds since the epoch; it counts if a version is at fault."""
        if alert.firing and alert.severity == Alert.CRITICAL and alert.version:
            why = f"{alert.name}: {alert.message}" if alert.message else alert.name
            self._alarms.setdefault(alert.version, []).append(Alarm(at, why))

    def take_alarms(self) -> dict[int, list[Alarm]]:
        """The alarms since the last call, by version."""
        alarms, self._alarms = self._alarms, {}
        return alarms

    def verdict_on_canary(
        self, alarms: Sequence[Alarm], workers: Mapping[str, FleetWorker], now: float
    ) -> Verdict | None:
        """What becomes of the version on canaries, given the alarms about it; None while it is open."""
        if alarms:
            return Verdict(go=False, reason=alarms[0].why, cause="alert")
        return self.canary.verdict(workers, self._policy, now) if self.canary is not None else None

    def verdict_on_active(
        self, alarms: Sequence[Alarm], workers: Mapping[str, FleetWorker], now: float
    ) -> Verdict | None:
        """What speaks against the active version, given the alarms about it; None if nothing does."""
        policy, trial = self._policy, self.active
        if trial is None:
            return None
        ends = trial.since + policy.rollback_window_s
        for alarm in alarms if policy.rollback_on_alerts else ():
            if trial.since <= alarm.at <= ends:
                return Verdict(go=False, reason=alarm.why, cause="alert")
        if now > ends:
            self.active = None
        elif policy.rollback_on_failures:
            return trial.verdict(workers.keys(), policy, now)
        return None
