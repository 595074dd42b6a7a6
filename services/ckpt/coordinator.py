"""One model's rollout as a state machine: no client library, no clock, no threads.

Records are told to a `Rollout` in any number; then `decide` says which directives they amount to, so that a backlog is
skipped over and not worked through. What holds at any time:

- at most one version is being staged;
- the active version never goes back, but by an operator's roll back, which pins it until an operator resumes;
- a version is activated once enough of the workers that were there when its staging began have it warm, or at once if
  there are none;
- one that too many refuse is retired, and not tried again; workers that are merely slow are left behind at the
  deadline, serving what they have;
- an operator's request that cannot be done is refused, with the reason; it changes nothing.

    checkpoint ──▶ candidate ──STAGE──▶ staging ──quorum, or deadline with somebody ready──▶ ACTIVATE
                       ▲                   ├──refused, or deadline with nobody ready──▶ RETIRE
                       └── the newest ─────┘
"""

from headrace.contracts.events_pb2 import CheckpointPublished, Operation, RolloutDirective, WeightsApplied
from services.ckpt.policy import Policy, Staging, Worker

STAGE, ACTIVATE = RolloutDirective.STAGE, RolloutDirective.ACTIVATE
ROLL_BACK, RETIRE, REFUSE = RolloutDirective.ROLL_BACK, RolloutDirective.RETIRE, RolloutDirective.REFUSE


class Rollout:
    """One model's rollout.

    Args:
        model: its name.
        epoch: this coordinator's, greater than that of every coordinator before.
        policy: how it goes.
    """

    def __init__(self, model: str, *, epoch: int, policy: Policy) -> None:
        self.model = model
        self.epoch = epoch
        self.sequence = 0
        self.policy = policy
        self.checkpoints: dict[int, CheckpointPublished] = {}
        self.active: CheckpointPublished | None = None
        self.previous_version = 0
        self.pinned = False
        self.staging: Staging | None = None
        self.workers: dict[str, Worker] = {}
        self.refused: dict[str, int] = {}
        """Digests of versions that are not tried again, with their versions."""
        self._trainer_epoch = 0
        self._requests: list[Operation] = []
        self._done: list[str] = []

    # What is told.

    def restore(self, directives: list[RolloutDirective], now: float) -> None:
        """Take over from the coordinators before: the newest directive of each key."""
        self.sequence = max((directive.sequence for directive in directives), default=0)
        active = max((d for d in directives if d.action in {ACTIVATE, ROLL_BACK}), key=lambda d: d.sequence, default=None)
        if active is not None:
            self.active = _as_checkpoint(active)
            self.previous_version = active.previous_version
            self.pinned = active.pinned
        for directive in directives:
            if directive.action == STAGE and (active is None or directive.sequence > active.sequence):
                staged = _as_checkpoint(directive)
                self.checkpoints[staged.version] = staged
                self.staging = Staging(
                    staged.manifest_digest,
                    now + self.policy.stage_timeout_s,
                    rolls_back=self._is_older(staged),
                )
            elif directive.action == RETIRE:
                self.refused[directive.manifest_digest] = directive.version

    def on_checkpoint(self, published: CheckpointPublished) -> bool:
        """Take note of a checkpoint; return whether it is new. Duplicates and a fenced trainer's late ones are not."""
        if published.epoch < self._trainer_epoch or published.version in self.checkpoints:
            return False
        self._trainer_epoch = published.epoch
        if self.checkpoints and published.version < max(self.checkpoints) - self.policy.keep:
            return False
        self.checkpoints[published.version] = published
        if self.active is not None and self.active.manifest_digest == published.manifest_digest:
            self.active = published
        self._forget()
        return True

    def on_applied(self, applied: WeightsApplied, now: float) -> None:
        """Take note of what a worker did."""
        name = applied.worker
        if applied.state == WeightsApplied.LEFT:
            self.workers.pop(name, None)
            return
        worker = self.workers.setdefault(name, Worker(now))
        worker.seen = max(worker.seen, now)
        if applied.state in {WeightsApplied.JOINED, WeightsApplied.ACTIVE, WeightsApplied.HEARTBEAT}:
            worker.version = applied.version
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
        gone = [name for name, worker in self.workers.items() if now - worker.seen > self.policy.worker_ttl_s]
        for name in gone:
            del self.workers[name]
        directives: list[RolloutDirective] = []
        requests, self._requests = self._requests, []
        for request in requests:
            directives += self._answer(request, now)
        directives += self._advance(now)
        if self.staging is None and (candidate := self._candidate()) is not None:
            directives += self._begin(candidate, now)
        return directives

    def kept(self) -> list[CheckpointPublished]:
        """Return the versions whose chunks must stay in the stores."""
        versions = dict(self.checkpoints)
        if self.active is not None:
            versions[self.active.version] = self.active
        return list(versions.values())

    def _advance(self, now: float) -> list[RolloutDirective]:
        """Move the version being staged on, if it is time."""
        staging = self.staging
        if staging is None:
            return []
        if staging.waiting is None:
            staging.waiting = set(self.workers)
            staging.alone = not staging.waiting
        if staging.alone:
            return self._activate("no workers to wait for")
        waiting = staging.waiting & self.workers.keys()
        if not waiting:
            # All whom it waited for are gone, perhaps because of this very version: those who come next must prove it.
            staging.waiting = waiting = set(self.workers)
        ready, refused = staging.ready & waiting, staging.refused & waiting
        needed = self.policy.needed(len(waiting))
        if waiting and len(ready) >= needed:
            return self._activate(f"{len(ready)} of {len(waiting)} workers ready")
        if waiting and len(waiting) - len(refused) < needed:
            return self._give_up(f"refused by {', '.join(sorted(refused))}")
        if now >= staging.deadline:
            late = ", ".join(sorted(waiting - ready))
            reason = f"not staged within {self.policy.stage_timeout_s:g} s by {late}"
            return self._activate(reason) if ready else self._give_up(reason)
        return []

    def _candidate(self) -> CheckpointPublished | None:
        """The newest version that may become active by itself."""
        if self.pinned:
            return None
        floor = self.active.version if self.active is not None else 0
        fit = (c for v, c in self.checkpoints.items() if v > floor and c.manifest_digest not in self.refused)
        return max(fit, key=lambda c: c.version, default=None)

    def _begin(self, chosen: CheckpointPublished, now: float, *, rolls_back: bool = False) -> list[RolloutDirective]:
        self.staging = Staging(chosen.manifest_digest, now + self.policy.stage_timeout_s, rolls_back=rolls_back)
        staged = self._directive(STAGE, chosen, "")
        return [staged, *self._advance(now)]

    def _activate(self, reason: str) -> list[RolloutDirective]:
        staging, self.staging = self.staging, None
        chosen = self._by_digest(staging.digest) if staging else None
        if staging is None or chosen is None:
            return []
        return [self._serve(chosen, reason, rolls_back=staging.rolls_back)]

    def _serve(self, chosen: CheckpointPublished, reason: str, *, rolls_back: bool) -> RolloutDirective:
        if self.active is not None and self.active.version != chosen.version:
            self.previous_version = self.active.version
        self.pinned = rolls_back
        self.active = chosen
        directive = self._directive(ROLL_BACK if rolls_back else ACTIVATE, chosen, reason)
        self._forget()
        return directive

    def _give_up(self, reason: str) -> list[RolloutDirective]:
        staging, self.staging = self.staging, None
        chosen = self._by_digest(staging.digest) if staging else None
        if staging is None or chosen is None:
            return []
        if not staging.rolls_back:
            self.refused[staging.digest] = chosen.version
        return [self._directive(RETIRE, chosen, reason)]

    def _answer(self, request: Operation, now: float) -> list[RolloutDirective]:
        if request.id and request.id in self._done:
            return []
        self._done = [*self._done[-99:], request.id]
        if self.active is None:
            return [self._refuse(request, "no version is rolled out yet")]
        if request.kind == Operation.RESUME:
            if not self.pinned:
                return [self._refuse(request, f"nothing is pinned: newer versions than {self.active.version} come as they are")]
            self.pinned = False
            return [self._directive(ACTIVATE, self.active, request.reason or "resumed")]
        if request.kind == Operation.ROLL_BACK:
            return self._roll_back(request, now)
        return [self._refuse(request, "this coordinator knows no such request: is it older than the command line?")]

    def _refuse(self, request: Operation, reason: str) -> RolloutDirective:
        """The answer to a request that cannot be done; it names the version asked for, and no weights."""
        asked = CheckpointPublished(model=self.model, version=request.version)
        refusal = self._directive(REFUSE, asked, reason)
        refusal.operation_id = request.id
        return refusal

    def _roll_back(self, request: Operation, now: float) -> list[RolloutDirective]:
        target = self._target(request.version)
        if target is None or self.active is None:
            return [self._refuse(request, self._why_not(request.version))]
        directives = self._give_up("an operator rolls back") if self.staging is not None else []
        if directives:
            self.refused.pop(directives[0].manifest_digest, None)  # nothing is wrong with it: it may come again
        reason = request.reason or f"rolled back by {request.requested_by or 'an operator'}"
        warm = target.version in {self.active.version, self.previous_version}
        if warm or not self.workers:
            return [*directives, self._serve(target, reason, rolls_back=True)]
        return [*directives, *self._begin(target, now, rolls_back=True)]

    def _target(self, version: int) -> CheckpointPublished | None:
        """The version to roll back to: the one asked for, or the newest before the active one."""
        if self.active is None or version > self.active.version:
            return None
        if version:
            return self.active if version == self.active.version else self.checkpoints.get(version)
        older = [v for v in self.checkpoints if v < self.active.version]
        if self.previous_version in older:
            return self.checkpoints[self.previous_version]
        usable = [v for v in older if self.checkpoints[v].manifest_digest not in self.refused]
        return self.checkpoints[max(usable)] if usable else None

    def _why_not(self, version: int) -> str:
        """Why no version can be served in answer to a request to roll back to ``version``."""
        active = self.active.version if self.active is not None else 0
        if version > active:
            return f"version {version} is newer than the active {active}: there is nothing to roll back to"
        older = ", ".join(str(v) for v in sorted(self.checkpoints) if v < active)
        kept = f"kept are {older}" if older else f"none older than the active {active} is kept"
        return f"version {version} is not kept any more, or never was: {kept}" if version else kept

    def _directive(
        self, action: "RolloutDirective.Action.ValueType", chosen: CheckpointPublished, reason: str
    ) -> RolloutDirective:
        self.sequence += 1
        return RolloutDirective(
            model=self.model,
            action=action,
            version=chosen.version,
            previous_version=self.previous_version,
            sequence=self.sequence,
            coordinator_epoch=self.epoch,
            manifest_digest=chosen.manifest_digest,
            manifest=chosen.manifest,
            signature=chosen.signature,
            pinned=self.pinned,
            reason=reason,
            checkpoint_created_at_us=chosen.created_at_us,
            newest_label_us=chosen.newest_label_us,
        )

    def _by_digest(self, digest: str) -> CheckpointPublished | None:
        return next((c for c in self.kept() if c.manifest_digest == digest), None)

    def _is_older(self, checkpoint: CheckpointPublished) -> bool:
        return self.active is not None and checkpoint.version < self.active.version

    def _forget(self) -> None:
        """Keep the newest versions, the active one, the one before, and the one being staged."""
        named = {self.previous_version, self.active.version if self.active is not None else 0}
        newest = set(sorted(self.checkpoints)[-self.policy.keep :])
        staged = self.staging.digest if self.staging is not None else ""
        self.checkpoints = {v: c for v, c in self.checkpoints.items() if v in newest | named or c.manifest_digest == staged}
        oldest = min(self.checkpoints, default=0)
        self.refused = {digest: version for digest, version in self.refused.items() if version >= oldest}


def _as_checkpoint(directive: RolloutDirective) -> CheckpointPublished:
    """The checkpoint that a directive named, as far as it says."""
    return CheckpointPublished(
        model=directive.model,
        version=directive.version,
        manifest_digest=directive.manifest_digest,
        manifest=directive.manifest,
        signature=directive.signature,
        created_at_us=directive.checkpoint_created_at_us,
        newest_label_us=directive.newest_label_us,
    )
