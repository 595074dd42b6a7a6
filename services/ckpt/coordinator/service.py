"""One model's rollout as a state machine: no client library, no clock, no threads.

Records are told to a `Rollout` in any number; then `decide` says which directives they amount to, so that a backlog is
skipped over and not worked through. What holds at any time:

- at most one version is being staged, or is on canaries;
- a version is activated once enough of the workers that were there when its staging began have it warm, or at once if
  there are none, unless they have only just fallen silent; where the policy has canaries, they serve it first, and the
  others only after them;
- one that too many refuse is retired, and not tried again; workers that are merely slow are left behind at the
  deadline, serving what they have;
- the active version goes back by an operator's roll back, which pins it until an operator resumes; or by itself, one
step
  and once, when workers or a critical alert say that it cannot serve: then it is refused, nothing is pinned, and newer
  versions come. A version that was gone back to is not judged again: it has served before, so if it is now bad too,
  then it is not the weights;
- what an operator pinned is not judged either;
- an operator's request that cannot be done is refused, with the reason; it changes nothing.

    checkpoint ──▶ candidate ──STAGE──▶ staging ──quorum, or deadline with somebody ready──▶ [CANARY ──▶] ACTIVATE ──▶
                       on trial ▲                   ├──refused, or deadline with nobody ready──▶ RETIRE   │
                       │ └── the newest ─────┴───────────────── RETIRE ◀── failure, alert ─────────┘      ROLL_BACK
                       ◀─────────┘
"""

from headrace.contracts.events_pb2 import CheckpointPublished, Operation, RolloutDirective, WeightsApplied
from headrace.rollouts.directives import ACTIVATE, RETIRE, STAGE
from services.ckpt.coordinator.judged import Judged
from services.ckpt.coordinator.policy import Policy, Staging, Worker
from services.ckpt.coordinator.trial import Canary, Trial

_SERVING = {WeightsApplied.JOINED, WeightsApplied.ACTIVE, WeightsApplied.HEARTBEAT}


class Rollout(Judged):
    """One model's rollout; see `Decided` for the arguments."""

    def __init__(self, model: str, *, epoch: int, policy: Policy) -> None:
        super().__init__(model, epoch=epoch, policy=policy)
        self._silent: dict[str, float] = {}
        """When workers were last heard of that count as gone, and may only be slow."""
        self._requests: list[Operation] = []
        self._done: list[str] = []

    # What is told.

    def restore(self, directives: list[RolloutDirective], now: float) -> None:
        """Take over from the coordinators before: the newest directive of each key."""
        found = self.read_back(directives)
        if found.active is not None and found.active.action == ACTIVATE:
            self.trial = Trial(found.active.manifest_digest, found.active.issued_at_us / 1e6)
        if found.canary is not None:
            self.canary = Canary(
                found.canary.manifest_digest,
                found.canary.issued_at_us / 1e6,
                frozenset(found.canary.canaries),
                until=found.canary.canary_until_us / 1e6,
                again=bool(found.canary.cause),
            )
        if found.staged is not None:
            deadline = now + self.policy.stage_timeout_s
            rolls_back = found.staged.version < self.active_version
            self.staging = Staging(found.staged.manifest_digest, deadline, rolls_back=rolls_back)

    def on_checkpoint(self, published: CheckpointPublished) -> bool:
        """Take note of a checkpoint; return whether it is new. Duplicates and a fenced trainer's late ones are not."""
        if not self.known.add(published):
            return False
        if self.active is not None and self.active.manifest_digest == published.manifest_digest:
            self.active = published
        self.forget_others()
        return True

    def on_applied(self, applied: WeightsApplied, now: float) -> None:
        """Take note of what a worker did."""
        name = applied.worker
        self._silent.pop(name, None)
        for trial in (self.trial, self.canary):
            if trial is not None:
                trial.on_applied(applied, now)
        if applied.state == WeightsApplied.LEFT:
            self.workers.pop(name, None)
            return
        worker = self.workers.setdefault(name, Worker(now))
        worker.seen, worker.role = max(worker.seen, now), applied.role
        if applied.state in _SERVING:
            worker.version, worker.serving = applied.version, applied.manifest_digest
        staging = self.staging
        if staging is not None and applied.manifest_digest == staging.digest:
            if applied.state == WeightsApplied.STAGED:
                staging.ready.add(name)
                staging.refused.discard(name)
            elif applied.state == WeightsApplied.FAILED:
                staging.refused.add(name)
                staging.ready.discard(name)

    def on_operation(self, operation: Operation) -> None:
        """Take an operator's request; it is answered by the next `decide`."""
        self._requests.append(operation)

    # What follows.

    def decide(self, now: float) -> list[RolloutDirective]:
        """Return the directives that everything told so far amounts to, in order; empty when there is nothing to do."""
        self._miss(now)
        directives: list[RolloutDirective] = []
        requests, self._requests = self._requests, []
        for request in requests:
            directives += self._answer(request, now)
        directives += self.judge(now)
        directives += self._advance(now)
        if self.staging is None and self.canary is None and (candidate := self._candidate()) is not None:
            directives += self._begin(candidate, now)
        return directives

    def was_away(self, seconds: float, now: float) -> None:
        """For so long nobody could be heard, since the coordinator itself did not get on: that is not the workers' silence."""
        for worker in self.workers.values():
            worker.seen = min(now, worker.seen + seconds)

    def _miss(self, now: float) -> None:
        policy = self.policy
        for name, worker in list(self.workers.items()):
            if now - worker.seen > policy.worker_ttl_s:
                self._silent[name] = self.workers.pop(name).seen
        lasts = policy.worker_ttl_s + policy.stage_timeout_s
        self._silent = {name: seen for name, seen in self._silent.items() if now - seen <= lasts}

    # Staging.

    def _candidate(self) -> CheckpointPublished | None:
        """The newest version that may become active by itself."""
        if self.pinned:
            return None
        return self.known.next_after(self.active_version)

    def _begin(self, chosen: CheckpointPublished, now: float, *, rolls_back: bool = False) -> list[RolloutDirective]:
        self.staging = Staging(chosen.manifest_digest, now + self.policy.stage_timeout_s, rolls_back=rolls_back)
        staged = self.directive(STAGE, chosen, "")
        staged.stage_timeout_s = self.policy.stage_timeout_s
        return [staged, *self._advance(now)]

    def _advance(self, now: float) -> list[RolloutDirective]:
        """Move the version being staged on, if it is time."""
        staging = self.staging
        verdict = (
            staging.verdict(self.workers, self.policy, now, missing=bool(self._silent)) if staging is not None else None
        )
        chosen = self.find(staging.digest) if staging is not None else None
        if staging is None or verdict is None or chosen is None:
            return []
        self.staging = None
        if not verdict.go:
            if not staging.rolls_back:
                self.known.refuse(chosen, served=False)
            return [self.directive(RETIRE, chosen, verdict.reason)]
        if self.canaries_first(chosen):
            return [self.begin_canary(chosen, verdict.reason, now, ready=staging.ready)]
        return [self.activate(chosen, verdict.reason, now, staging)]

    # Operators.

    def _answer(self, request: Operation, now: float) -> list[RolloutDirective]:
        if request.id and request.id in self._done:
            return []
        self._done = [*self._done[-99:], request.id]
        if self.active is None:
            return [self.refuse_request(request, "no version is rolled out yet")]
        if request.kind == Operation.RESUME:
            if not self.pinned:
                why = f"nothing is pinned: newer versions than {self.active.version} come as they are"
                return [self.refuse_request(request, why)]
            return [self.activate(self.active, request.reason or "resumed", now)]
        if request.kind == Operation.ROLL_BACK:
            return self._roll_back(request, now)
        return [
            self.refuse_request(request, "this coordinator knows no such request: is it older than the command line?")
        ]

    def _roll_back(self, request: Operation, now: float) -> list[RolloutDirective]:
        # While there are canaries, the version before theirs is the active one.
        target = self.active if self.canary is not None and not request.version else self.target(request.version)
        if target is None or self.active is None:
            return [self.refuse_request(request, self.known.why_not(request.version, self.active_version))]
        aside = self.set_aside("an operator rolls back")
        warm = target.version in {self.active.version, self.previous_version}
        if not warm and self.workers:
            return [*aside, *self._begin(target, now, rolls_back=True)]
        self.trial = None
        reason = request.reason or f"rolled back by {request.requested_by or 'an operator'}"
        directive = self.serve(target, reason, pins=True, cause="operator")
        self.forget_others()
        return [*aside, directive]
