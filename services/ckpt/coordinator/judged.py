"""Judging what serves: a version on canaries, and the fleet's active one on trial; and going back to the version before."""

from collections.abc import Set as AbstractSet
from typing import NamedTuple

from headrace.contracts.events_pb2 import Alert, CheckpointPublished, RolloutDirective
from headrace.rollouts.directives import CANARY, RETIRE
from services.ckpt.coordinator.decided import Decided
from services.ckpt.coordinator.policy import Policy, Staging, Verdict, Worker
from services.ckpt.coordinator.trial import Canary, Trial, canaries


class Alarm(NamedTuple):
    """A critical alert about a version: when it fired, in seconds since the epoch, and what it says."""

    at: float
    why: str


class Judged(Decided):
    """What is going on with a model's versions, and what workers and alerts make of it."""

    def __init__(self, model: str, *, epoch: int, policy: Policy) -> None:
        super().__init__(model, epoch=epoch, policy=policy)
        self.staging: Staging | None = None
        self.canary: Canary | None = None
        self.trial: Trial | None = None
        """Of the active version; None where it is not judged, or not any more."""
        self.workers: dict[str, Worker] = {}
        self._alarms: dict[int, list[Alarm]] = {}

    def on_alert(self, alert: Alert, at: float) -> None:
        """Take note of an alert that fired ``at``, in seconds since the epoch; it counts if a version is at fault."""
        if alert.firing and alert.severity == Alert.CRITICAL and alert.version:
            why = f"{alert.name}: {alert.message}" if alert.message else alert.name
            self._alarms.setdefault(alert.version, []).append(Alarm(at, why))

    def activate(
        self, chosen: CheckpointPublished, reason: str, now: float, staged: Staging | None = None
    ) -> RolloutDirective:
        """Let the fleet serve a version, on trial unless an operator wants it."""
        by_operator = staged is not None and staged.rolls_back
        voters = frozenset(self.workers) if staged is None or staged.waiting is None else frozenset(staged.waiting)
        directive = self.serve(chosen, reason, pins=by_operator, cause="operator" if by_operator else "")
        self.trial = None if by_operator else Trial(chosen.manifest_digest, now, voters)
        self.forget_others()
        return directive

    def canaries_first(self, chosen: CheckpointPublished) -> bool:
        """Whether a version goes to canaries: a newer one does, where there are others to spare."""
        newer = self.active is not None and chosen.version > self.active.version
        return self.policy.canary_share > 0 and newer and len(self.workers) > 1

    def begin_canary(
        self,
        chosen: CheckpointPublished,
        reason: str,
        now: float,
        *,
        ready: AbstractSet[str] = frozenset(),
        again: bool = False,
    ) -> RolloutDirective:
        """Let a share of the workers serve a version, of those that are ``ready``, or of all; ``again``: others than before."""
        names, until = canaries(self.workers, self.policy.canary_share, ready), now + self.policy.canary_s
        self.canary = Canary(chosen.manifest_digest, now, frozenset(names), until=until, again=again)
        directive = self.directive(CANARY, chosen, reason)
        directive.canaries.extend(names)
        directive.canary_until_us = int(until * 1e6)
        directive.cause = "silence" if again else ""
        return directive

    def _end_canary(self, chosen: CheckpointPublished, reason: str, cause: str) -> RolloutDirective:
        """Let the canaries serve the active version again."""
        names = self.canary.voters if self.canary is not None else None
        self.canary = None
        directive = self.directive(RETIRE, chosen, reason)
        directive.canaries.extend(sorted(names or ()))
        directive.cause = cause
        return directive

    def judge(self, now: float) -> list[RolloutDirective]:
        """Act on what workers and alerts say of the version on canaries and of the active one."""
        alarms, self._alarms = self._alarms, {}
        canaried = self.find(self.canary.digest) if self.canary is not None else None
        judged = {self.active_version, canaried.version if canaried is not None else 0}
        for version in alarms.keys() - judged:  # its time is past; but nobody should go back to it
            if version in self.known.checkpoints:
                self.known.refuse(self.known.checkpoints[version], served=True)
        directives = self._judge_canary(canaried, alarms, now) if canaried is not None else []
        return [*directives, *self._judge_active(alarms, now)]

    def _judge_canary(
        self, chosen: CheckpointPublished, alarms: dict[int, list[Alarm]], now: float
    ) -> list[RolloutDirective]:
        canary = self.canary
        verdict = canary.verdict(self.workers, self.policy, now) if canary is not None else None
        if chosen.version in alarms:
            verdict = Verdict(go=False, reason=alarms[chosen.version][0].why, cause="alert")
        if canary is None or verdict is None:
            return []
        if verdict.go:
            self.canary = None
            return [self.activate(chosen, verdict.reason, now)]
        if verdict.cause == "silence" and not canary.again:
            return [self.begin_canary(chosen, verdict.reason, now, again=True)]
        self.known.refuse(chosen, served=True)
        return [self._end_canary(chosen, verdict.reason, verdict.cause)]

    def _judge_active(self, alarms: dict[int, list[Alarm]], now: float) -> list[RolloutDirective]:
        trial, active, window = self.trial, self.active, self.policy.rollback_window_s
        if trial is None or active is None:
            return []
        heard = alarms.get(active.version, []) if self.policy.rollback_on_alerts else []
        for alarm in heard:
            if trial.since <= alarm.at <= trial.since + window:
                return self._take_back(active, "alert", alarm.why)
        if now > trial.since + window:
            self.trial = None
        elif self.policy.rollback_on_failures and (why := trial.failure(self.workers, self.policy, now)):
            return self._take_back(active, "failures", why)
        return []

    def _take_back(self, bad: CheckpointPublished, cause: str, why: str) -> list[RolloutDirective]:
        """Go back to the version before, for good; nothing is pinned. Where there is none before, nothing is better."""
        self.trial = None
        target = self.target(0)
        if target is None:
            return []
        aside = self.set_aside(f"version {bad.version} is taken back")
        self.known.refuse(bad, served=True)
        directive = self.serve(target, f"version {bad.version} was taken back: {why}", cause=cause)
        self.forget_others()
        return [*aside, directive]

    def set_aside(self, reason: str) -> list[RolloutDirective]:
        """End what is going on; nothing is wrong with the version: it may come again."""
        going_on, self.staging = self.canary or self.staging, None
        chosen = self.find(going_on.digest) if going_on is not None else None
        if chosen is None:
            return []
        return [
            self._end_canary(chosen, reason, "") if self.canary is not None else self.directive(RETIRE, chosen, reason)
        ]

    def forget_others(self) -> None:
        """Keep what is named: what serves, what is going on, the version before, and the newest."""
        self.forget(*(going_on.digest for going_on in (self.staging, self.canary) if going_on is not None))
