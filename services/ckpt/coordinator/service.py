"""One model's rollout as a state machine: no client library, no clock, no threads.

A `Rollout` takes any number of records; then `decide` returns the directives that follow from all of them. So a backlog
of checkpoints leads to the newest one, and not to each in turn. What holds at any time:

- at most one version is being staged, or is on canaries;
- a version is activated once enough of the workers that were there when its staging began have it ready, or at once if
  there are none, unless they have only just fallen silent; where the policy has canaries, they serve it first, and the
  others only after them;
- a version that too many workers refuse is retired, and not tried again; workers that are merely slow are left behind
  at the deadline, serving what they have;
- the active version goes back by an operator's roll back, which pins it until an operator resumes; or by itself, one
  step and once, when workers or a critical alert say that it cannot serve: then it is refused, nothing is pinned, and
  newer versions come. A version that was gone back to is not judged again: it has served before, so if it is bad now
  too, then the weights are not at fault;
- what an operator pinned is not judged either;
- a version that is held, and every one after it, waits until an operator deploys it, by itself or first on canaries for
  as long as the operator says, or resumes; if a version that an operator deploys fails, what serves is pinned;
- an operator's request that cannot be done is refused, with the reason; it changes nothing.

    the newest checkpoint that may serve ──▶ STAGE
    staged ── a quorum is ready, or at the deadline at least one worker ──▶ CANARY, if the policy says so ──▶ ACTIVATE
    staged ── refused by too many, or at the deadline no worker is ready ──▶ RETIRE
    on canaries ── a failure or an alert, or twice no canary is left ──▶ RETIRE
    active, on trial ── failures or an alert ──▶ ROLL_BACK to the version before
"""

import math
from collections.abc import Sequence

from headrace.contracts.events_pb2 import Alert, CheckpointPublished, Operation, RolloutDirective, WeightsApplied
from headrace.rollouts.directives import ACTIVATE, RETIRE, STAGE
from headrace.rollouts.view import RolloutView
from services.ckpt.coordinator.canaries import Asked, Canaries
from services.ckpt.coordinator.judge import Alarm, Judge
from services.ckpt.coordinator.ledger import VersionLedger
from services.ckpt.coordinator.policy import Policy, Verdict
from services.ckpt.coordinator.staging import Staging
from services.ckpt.coordinator.trials import CanaryTrial, VersionTrial
from services.ckpt.coordinator.workers import FleetWorkers

ANSWERED = 100
"""So many of the newest requests are known by their ids, so that none is done twice."""


class Rollout:
    """One model's rollout: what its ledger records, what its judge finds, and the version that is being staged.

    Args:
        model: the model's name.
        epoch: this coordinator's, greater than that of every coordinator before.
        policy: how it goes.
    """

    def __init__(self, model: str, *, epoch: int, policy: Policy) -> None:
        self.policy = policy
        self.ledger = VersionLedger(model, epoch=epoch, keep=policy.keep)
        self.judge = Judge(policy)
        self.canaries = Canaries(policy, self.ledger, self.judge)
        self.fleet = FleetWorkers(ttl_s=policy.worker_ttl_s, missed_s=policy.worker_ttl_s + policy.stage_timeout_s)
        self.staging: Staging | None = None
        self._requests: list[Operation] = []
        self._answered: list[str] = []

    @property
    def view(self) -> RolloutView:
        """What has been decided, as agents see it."""
        return self.ledger.view

    # What is told.

    def restore(self, directives: Sequence[RolloutDirective], now: float) -> None:
        """Take over from the coordinators before, given the newest directive of each key."""
        self.ledger.restore(directives)
        view = self.view
        if view.active is not None and view.active.action == ACTIVATE:
            self.judge.active = VersionTrial(view.active_digest, view.active.issued_at_us / 1e6)
        if view.canary is not None:
            canary = view.canary
            trial = VersionTrial(canary.manifest_digest, canary.issued_at_us / 1e6, frozenset(canary.canaries))
            until = canary.canary_until_us / 1e6 or math.inf
            self.judge.canary = CanaryTrial(trial, until, again=bool(canary.cause), operation=canary.operation_id)
        if view.staged is not None:
            rolls_back = view.staged.version < view.active_version
            self.staging = Staging(
                view.staged.manifest_digest,
                now + self.policy.stage_timeout_s,
                rolls_back=rolls_back,
                operation=view.staged.operation_id,
                canary_share=view.staged.canary_share,
            )

    def on_checkpoint(self, published: CheckpointPublished) -> bool:
        """Take note of a checkpoint; return whether it is new. Duplicates and a fenced trainer's late ones are not."""
        new = self.ledger.add(published)
        if new:
            self._forget_others()
        return new

    def on_applied(self, applied: WeightsApplied, now: float) -> None:
        """Take note of what a worker did."""
        self.fleet.on_applied(applied, now)
        self.judge.on_applied(applied, now)
        if self.staging is not None:
            self.staging.on_applied(applied)

    def on_alert(self, alert: Alert, at: float) -> None:
        """Take note of an alert that fired ``at``, in seconds since the epoch."""
        self.judge.on_alert(alert, at)

    def on_operation(self, operation: Operation) -> None:
        """Take an operator's request; it is answered by the next `decide`."""
        self._requests.append(operation)

    # What follows.

    def decide(self, now: float) -> list[RolloutDirective]:
        """Return the directives that follow from everything told so far, in order; often none."""
        self.fleet.expire(now)
        directives: list[RolloutDirective] = []
        requests, self._requests = self._requests, []
        for request in requests:
            directives += self._answer(request, now)
        directives += self._judge(now)
        directives += self._advance(now)
        if self.staging is None and self.judge.canary is None and (candidate := self.ledger.candidate()) is not None:
            directives += self._stage(candidate, now)
        return directives

    # Staging.

    def _stage(
        self, chosen: CheckpointPublished, now: float, *, rolls_back: bool = False, request: Operation | None = None
    ) -> list[RolloutDirective]:
        timeout_s, asked = self.policy.stage_timeout_s, request or Operation()
        self.staging = Staging(
            chosen.manifest_digest,
            now + timeout_s,
            rolls_back=rolls_back,
            operation=asked.id,
            canary_share=0.0 if rolls_back else asked.canary_share,
        )
        said = {"stage_timeout_s": timeout_s, "operation_id": asked.id, "canary_share": self.staging.canary_share}
        return [self.ledger.issue(STAGE, chosen, asked.reason, **said), *self._advance(now)]

    def _advance(self, now: float) -> list[RolloutDirective]:
        """Move the version being staged on, if it is time."""
        staging, alive = self.staging, self.fleet.alive.keys()
        if staging is None:
            return []
        verdict = staging.verdict(alive, self.policy, now, missing=self.fleet.missing)
        chosen = self.ledger.find(staging.digest)
        if verdict is None or chosen is None:
            return []
        self.staging = None
        if not verdict.go:
            if not staging.rolls_back:
                self.ledger.refuse(chosen, served=False)
            retired = self.ledger.issue(RETIRE, chosen, verdict.reason, operation_id=staging.operation)
            return [retired, *self._stay("" if staging.rolls_back else staging.operation, chosen)]
        return [self._ready(chosen, staging, verdict.reason, now)]

    def _ready(self, chosen: CheckpointPublished, staging: Staging, reason: str, now: float) -> RolloutDirective:
        """What follows when enough workers have a version ready."""
        if staging.rolls_back:
            return self._roll_back_to(chosen, reason, staging.operation)
        if staging.operation:
            return self._deployed(chosen, staging, reason, now)
        if self.canaries.needed(chosen, self.fleet.alive):
            return self.canaries.begin(chosen, reason, now, self.fleet.alive, ready=staging.ready)
        return self._activate(chosen, reason, now, frozenset(staging.waiting or ()))

    def _activate(
        self, chosen: CheckpointPublished, reason: str, now: float, voters: frozenset[str], operation: str = ""
    ) -> RolloutDirective:
        """Let the fleet serve a version, on trial by the ``voters``."""
        directive = self.ledger.serve(chosen, reason, operation=operation)
        self.judge.active = VersionTrial(chosen.manifest_digest, now, voters)
        self._forget_others()
        return directive

    # Judging.

    def _judge(self, now: float) -> list[RolloutDirective]:
        """Act on what workers and alerts say of the version on canaries and of the active one."""
        alarms, canary = self.judge.take_alarms(), self.judge.canary
        chosen = self.ledger.find(canary.digest) if canary is not None else None
        judged = {self.view.active_version, chosen.version if chosen is not None else 0}
        for version in alarms.keys() - judged:  # it serves no more, but should not be gone back to
            if version in self.ledger.checkpoints:
                self.ledger.refuse(self.ledger.checkpoints[version], served=True)
        directives = self._judge_canary(chosen, alarms.get(chosen.version, []), now) if chosen is not None else []
        return [*directives, *self._judge_active(alarms.get(self.view.active_version, []), now)]

    def _judge_canary(self, chosen: CheckpointPublished, alarms: Sequence[Alarm], now: float) -> list[RolloutDirective]:
        canary, verdict = self.judge.canary, self.judge.verdict_on_canary(alarms, self.fleet.alive, now)
        if canary is None or verdict is None:
            return []
        if verdict.go:
            self.judge.canary = None
            return [self._activate(chosen, verdict.reason, now, frozenset(self.fleet.alive))]
        if verdict.cause == "silence" and not canary.again:
            return [self.canaries.begin(chosen, verdict.reason, now, self.fleet.alive, again=True)]
        self.ledger.refuse(chosen, served=True)
        return [self.canaries.end(chosen, verdict.reason, verdict.cause), *self._stay(canary.operation, chosen)]

    def _judge_active(self, alarms: Sequence[Alarm], now: float) -> list[RolloutDirective]:
        verdict, active = self.judge.verdict_on_active(alarms, self.fleet.alive, now), self.ledger.active
        return self._take_back(active, verdict) if verdict is not None and active is not None else []

    def _take_back(self, bad: CheckpointPublished, verdict: Verdict) -> list[RolloutDirective]:
        """Go back to the version before, for good; nothing is pinned. If there is none before, the version stays."""
        self.judge.active = None
        target = self.ledger.target(0)
        if target is None:
            return []
        aside = self._set_aside(f"version {bad.version} is taken back")
        self.ledger.refuse(bad, served=True)
        reason = f"version {bad.version} was taken back: {verdict.reason}"
        directive = self.ledger.serve(target, reason, cause=verdict.cause)
        self._forget_others()
        return [*aside, directive]

    # Operators.

    def _answer(self, request: Operation, now: float) -> list[RolloutDirective]:
        if request.id and request.id in self._answered:
            return []
        self._answered = [*self._answered, request.id][-ANSWERED:]
        if request.kind == Operation.DEPLOY:
            return self._deploy(request, now)
        active = self.ledger.active
        if active is None:
            return [self.ledger.refuse_request(request, "no version is rolled out yet")]
        if request.kind == Operation.RESUME:
            return self._resume(request, active, now)
        if request.kind == Operation.ROLL_BACK:
            return self._roll_back(request, active, now)
        why = "this coordinator knows no such request: is it older than the command line?"
        return [self.ledger.refuse_request(request, why)]

    def _resume(self, request: Operation, active: CheckpointPublished, now: float) -> list[RolloutDirective]:
        if not self.view.pinned and not self.ledger.held:
            why = f"nothing is pinned: newer versions than {active.version} come as they are"
            return [self.ledger.refuse_request(request, why)]
        aside = self._set_aside("an operator resumes")  # a roll back that still waits for workers
        for held in self.ledger.held:  # they are passed over: what came after them is newer
            self.ledger.refuse(held, served=False)
        reason = request.reason or "resumed"
        return [*aside, self._activate(active, reason, now, frozenset(self.fleet.alive), request.id)]

    def _roll_back(self, request: Operation, active: CheckpointPublished, now: float) -> list[RolloutDirective]:
        # While there are canaries, the version before theirs is the active one.
        canaried = self.judge.canary is not None and not request.version
        target = active if canaried else self.ledger.target(request.version)
        if target is None:
            return [self.ledger.refuse_request(request, self.ledger.why_no_target(request.version))]
        aside = self._set_aside("an operator rolls back")
        warm = target.version in {active.version, self.view.previous_version}
        if not warm and self.fleet.alive:
            return [*aside, *self._stage(target, now, rolls_back=True, request=request)]
        reason = request.reason or f"rolled back by {request.requested_by or 'an operator'}"
        return [*aside, self._roll_back_to(target, reason, request.id)]

    def _roll_back_to(self, target: CheckpointPublished, reason: str, operation: str = "") -> RolloutDirective:
        """Let the fleet serve what an operator went back to; it is pinned, and not on trial."""
        self.judge.active = None
        directive = self.ledger.serve(target, reason, pins=True, cause="operator", operation=operation)
        self._forget_others()
        return directive

    # Deploying.

    def _deploy(self, request: Operation, now: float) -> list[RolloutDirective]:
        """Serve a version that an operator names: on canaries, on all after canaries, or on all."""
        chosen, canary = self.ledger.checkpoints.get(request.version), self.judge.canary
        why = self.ledger.why_not_deployed(request.version) if request.id else "a request to deploy needs an id"
        on_canaries = canary is not None and chosen is not None and canary.digest == chosen.manifest_digest
        if request.canary_share > 0 and not why:
            why = self._why_no_canaries(request.version, on_canaries=on_canaries)
        if why or chosen is None:
            return [self.ledger.refuse_request(request, why)]
        if canary is not None and on_canaries:
            return self._end_canary(chosen, canary, request, now)
        if request.version == self.view.active_version:
            return [self._activate(chosen, request.reason, now, frozenset(self.fleet.alive), request.id)]
        aside = self._set_aside(f"an operator deploys version {request.version}")
        return [*aside, *self._stage(chosen, now, request=request)]

    def _why_no_canaries(self, version: int, *, on_canaries: bool) -> str:
        if on_canaries:
            return f"version {version} is on canaries already"
        if version == self.view.active_version:
            return f"version {version} serves everywhere already"
        workers = len(self.fleet.alive)
        return "" if workers > 1 and self.view.active_version else f"canaries take two workers or more: {workers} serve"

    def _end_canary(
        self, chosen: CheckpointPublished, canary: CanaryTrial, request: Operation, now: float
    ) -> list[RolloutDirective]:
        """An operator says that a version has been on canaries for long enough."""
        canary.operation, canary.until, canary.again = request.id, now, True
        verdict = canary.verdict(self.fleet.alive, self.policy, now)
        if verdict is not None and not verdict.go:
            self.ledger.refuse(chosen, served=True)
            return [self.canaries.end(chosen, verdict.reason, verdict.cause), *self._stay(request.id, chosen)]
        self.judge.canary = None
        reason = verdict.reason if verdict is not None else "no workers to wait for"
        return [self._activate(chosen, reason, now, frozenset(self.fleet.alive), request.id)]

    def _deployed(self, chosen: CheckpointPublished, staging: Staging, reason: str, now: float) -> RolloutDirective:
        """A version that an operator deploys is ready."""
        if not staging.canary_share:
            return self._activate(chosen, reason, now, frozenset(staging.waiting or ()), staging.operation)
        asked = Asked(staging.operation, staging.canary_share)
        return self.canaries.begin(chosen, reason, now, self.fleet.alive, ready=staging.ready, asked=asked)

    def _stay(self, operation: str, failed: CheckpointPublished) -> list[RolloutDirective]:
        """Pin what serves after a version failed that an operator deployed: those after it were trained from it."""
        active = self.ledger.active
        if not operation or active is None:
            return []
        return [self._roll_back_to(active, f"version {failed.version}, which an operator deployed, failed")]

    # Both.

    def _set_aside(self, reason: str) -> list[RolloutDirective]:
        """End what is staged or on canaries; nothing is wrong with the version: it may come again."""
        canary, staging, self.staging = self.judge.canary, self.staging, None
        if canary is not None:
            chosen = self.ledger.find(canary.digest)
            return [self.canaries.end(chosen, reason)] if chosen is not None else []
        chosen = self.ledger.find(staging.digest) if staging is not None else None
        if chosen is None or staging is None:
            return []
        return [self.ledger.issue(RETIRE, chosen, reason, operation_id=staging.operation)]

    def _forget_others(self) -> None:
        """Keep what is named: what serves, what is staged or on canaries, the version before, and the newest."""
        self.ledger.forget(*(named.digest for named in (self.staging, self.judge.canary) if named is not None))
