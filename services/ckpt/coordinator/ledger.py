"""The ledger of one model's versions: which are kept, which are refused, what serves; it numbers the directives."""

from collections.abc import Iterable
from typing import Any

from headrace.contracts.events_pb2 import CheckpointPublished, Operation, Refusal, Refusals, RolloutDirective
from headrace.rollouts.directives import ACTIVATE, REFUSE, ROLL_BACK, as_checkpoint
from headrace.rollouts.view import RolloutView, views_of


class VersionLedger:
    """Every change to what serves or is refused is a directive, which the ledger numbers and applies to its own view.

    Args:
        model: the model's name.
        epoch: this coordinator's, greater than that of every coordinator before.
        keep: how many of the newest versions stay, beside the active one and the one before.

    Attributes:
        view: the rollout as agents see it.
        checkpoints: the versions kept, by number.
        refused: the versions that never serve again unless an operator orders it, by digest.
    """

    def __init__(self, model: str, *, epoch: int, keep: int) -> None:
        self.model = model
        self.view = RolloutView(model)
        self.checkpoints: dict[int, CheckpointPublished] = {}
        self.refused: dict[str, Refusal] = {}
        self._epoch = epoch
        self._keep = keep
        self._trainer_epoch = 0

    # What is told.

    def restore(self, directives: Iterable[RolloutDirective]) -> None:
        """Take over what the coordinators before decided, from the newest directive of each key or from more."""
        self.view = views_of(directives).get(self.model, self.view)
        self.refused = self.view.refused
        for named in (self.view.active, self.view.canary, self.view.staged):
            if named is not None:
                self.checkpoints[named.version] = as_checkpoint(named)

    def add(self, published: CheckpointPublished) -> bool:
        """Take note of a checkpoint; return whether it is new. Duplicates and a fenced trainer's late ones are not."""
        if published.epoch < self._trainer_epoch:
            return False
        self._trainer_epoch = published.epoch
        version = published.version
        if version in self.checkpoints:
            return False
        if version < max(self.checkpoints, default=0) - self._keep and version not in self._in_use:
            return False
        self.checkpoints[version] = published
        return True

    def refuse(self, chosen: CheckpointPublished, *, served: bool) -> None:
        """Never try a version again; ``served`` says whether a worker has served it."""
        digest = chosen.manifest_digest
        self.refused[digest] = Refusal(version=chosen.version, manifest_digest=digest, served=served)

    def forget(self, *digests: str) -> None:
        """Keep the newest versions, the active one, the one before, and those of these digests."""
        stay = {*sorted(self.checkpoints)[-self._keep :], *self._in_use, *(c.version for c in self.held)}
        self.checkpoints = {v: c for v, c in self.checkpoints.items() if v in stay or c.manifest_digest in digests}
        oldest = min(self.checkpoints, default=0)
        self.refused = {digest: refusal for digest, refusal in self.refused.items() if refusal.version >= oldest}

    # What is asked.

    @property
    def active(self) -> CheckpointPublished | None:
        """The version that serves; None while none does."""
        return self.checkpoints.get(self.view.active_version)

    def kept(self) -> list[CheckpointPublished]:
        """The versions whose chunks must stay in the stores; may be called from another thread."""
        return list(self.checkpoints.values())

    @property
    def held(self) -> list[CheckpointPublished]:
        """The versions that wait until an operator deploys them or resumes; those after the first one wait with it."""
        active = self.view.active_version
        waiting = (c for v, c in sorted(self.checkpoints.items()) if c.held and v > active)
        return [checkpoint for checkpoint in waiting if checkpoint.manifest_digest not in self.refused]

    def find(self, digest: str) -> CheckpointPublished | None:
        """The version of a digest, if it is kept."""
        return next((c for c in self.checkpoints.values() if c.manifest_digest == digest), None)

    def candidate(self) -> CheckpointPublished | None:
        """The newest version that may serve next by itself: newer also than every one that served and was refused.

        A version that is held keeps itself and what came after it from that.
        """
        if self.view.pinned:
            return None
        floor = max([self.view.active_version, *(r.version for r in self.refused.values() if r.served)])
        held = min((c.version for c in self.held), default=None)
        newer = (c for v, c in self.checkpoints.items() if v > floor and (held is None or v < held))
        fit = (c for c in newer if c.manifest_digest not in self.refused)
        return max(fit, key=lambda c: c.version, default=None)

    def target(self, version: int) -> CheckpointPublished | None:
        """The version to go back to: the one asked for, or with 0 the one before the active one; None if there is none.

        The one before is the version that served before, which workers keep ready, else the newest not refused.
        """
        active = self.view.active_version
        if version:
            return self.checkpoints.get(version) if version <= active else None
        older = {v: c for v, c in self.checkpoints.items() if v < active and c.manifest_digest not in self.refused}
        return older.get(self.view.previous_version) or older.get(max(older, default=0))

    def why_not_deployed(self, version: int) -> str:
        """Why a version cannot be served by an operator's order now; "" if it can."""
        active, chosen = self.view.active_version, self.checkpoints.get(version)
        if chosen is None:
            kept = ", ".join(str(v) for v in sorted(self.checkpoints) if v >= active) or "none"
            return f"version {version} is not kept any more, or never was: kept are {kept}"
        if version < active:
            return f"version {version} is older than the active {active}: roll back to it"
        return f"version {version} was refused" if chosen.manifest_digest in self.refused else ""

    def why_no_target(self, asked: int) -> str:
        """Why `target` finds no version to go back to."""
        active = self.view.active_version
        if asked > active:
            return f"version {asked} is newer than the active {active}: there is nothing to roll back to"
        older = ", ".join(str(v) for v in sorted(self.checkpoints) if v < active)
        if not asked and older:
            why = f"every version kept before the active {active} was refused"
            return f"{why}; name one of {older} to serve it all the same"
        kept = f"kept are {older}" if older else f"none older than the active {active} is kept"
        return f"version {asked} is not kept any more, or never was: {kept}" if asked else kept

    @property
    def _in_use(self) -> set[int]:
        return {self.view.active_version, self.view.previous_version}

    # Directives.

    def issue(
        self, action: "RolloutDirective.Action.ValueType", chosen: CheckpointPublished, reason: str, **fields: Any
    ) -> RolloutDirective:
        """The next directive, about a version; ``fields`` are further fields of it."""
        said = {"previous_version": self.view.previous_version, "pinned": self.view.pinned, **fields}
        directive = RolloutDirective(
            model=self.model,
            action=action,
            version=chosen.version,
            sequence=self.view.position.sequence + 1,
            coordinator_epoch=self._epoch,
            manifest_digest=chosen.manifest_digest,
            manifest=chosen.manifest,
            signature=chosen.signature,
            reason=reason,
            checkpoint_created_at_us=chosen.created_at_us,
            newest_label_us=chosen.newest_label_us,
            refusals=Refusals(refused=sorted(self.refused.values(), key=lambda refusal: refusal.version)),
            **said,
        )
        self.view.apply(directive)
        return directive

    def serve(
        self, chosen: CheckpointPublished, reason: str, *, pins: bool = False, cause: str = "", operation: str = ""
    ) -> RolloutDirective:
        """Let the fleet serve a version; it is a roll back if something caused it. `operation` is what it answers."""
        again = chosen.version == self.view.active_version
        before = self.view.previous_version if again else self.view.active_version
        action = ROLL_BACK if cause else ACTIVATE
        return self.issue(
            action, chosen, reason, previous_version=before, pinned=pins, cause=cause, operation_id=operation
        )

    def refuse_request(self, request: Operation, reason: str) -> RolloutDirective:
        """The answer to a request that cannot be done; it names the version asked for, and no weights."""
        asked = CheckpointPublished(model=self.model, version=request.version)
        return self.issue(REFUSE, asked, reason, operation_id=request.id)
