"""What has been decided of one model, and the directives that say so."""

from collections.abc import Sequence

from headrace.contracts.events_pb2 import CheckpointPublished, Operation, RolloutDirective
from headrace.rollouts.directives import ACTIVATE, REFUSE, ROLL_BACK, Restored, as_checkpoint, restored
from services.ckpt.coordinator.known import KnownVersions
from services.ckpt.coordinator.policy import Policy


class Decided:
    """What serves, whether it is pinned, and what is refused. Every change is a directive, numbered.

    Args:
        model: its name.
        epoch: this coordinator's, greater than that of every coordinator before.
        policy: how it goes.
    """

    def __init__(self, model: str, *, epoch: int, policy: Policy) -> None:
        self.model = model
        self.epoch = epoch
        self.policy = policy
        self.sequence = 0
        self.known = KnownVersions(policy.keep)
        self.active: CheckpointPublished | None = None
        self.previous_version = 0
        self.pinned = False

    @property
    def active_version(self) -> int:
        """The version that serves; 0 for none."""
        return self.active.version if self.active is not None else 0

    def kept(self) -> list[CheckpointPublished]:
        """Return the versions whose chunks must stay in the stores."""
        versions = dict(self.known.checkpoints)
        if self.active is not None:
            versions[self.active.version] = self.active
        return list(versions.values())

    def find(self, digest: str) -> CheckpointPublished | None:
        """The version of a digest, if it is kept."""
        return next((c for c in self.kept() if c.manifest_digest == digest), None)

    def read_back(self, directives: Sequence[RolloutDirective]) -> Restored:
        """Take over what the coordinators before decided; what was going on is for the caller to take up."""
        found = restored(directives)
        self.sequence = found.sequence
        self.known.refused = {refusal.manifest_digest: refusal for refusal in found.refused}
        if found.active is not None:
            self.active = as_checkpoint(found.active)
            self.previous_version = found.active.previous_version
            self.pinned = found.active.pinned
        for going_on in (found.canary, found.staged):
            if going_on is not None:
                self.known.checkpoints[going_on.version] = as_checkpoint(going_on)
        return found

    def serve(
        self, chosen: CheckpointPublished, reason: str, *, pins: bool = False, cause: str = ""
    ) -> RolloutDirective:
        """Let the fleet serve a version; it is a roll back if something caused it."""
        if self.active is not None and self.active.version != chosen.version:
            self.previous_version = self.active.version
        self.pinned = pins
        self.active = chosen
        directive = self.directive(ROLL_BACK if cause else ACTIVATE, chosen, reason)
        directive.cause = cause
        return directive

    def refuse_request(self, request: Operation, reason: str) -> RolloutDirective:
        """The answer to a request that cannot be done; it names the version asked for, and no weights."""
        refusal = self.directive(REFUSE, CheckpointPublished(model=self.model, version=request.version), reason)
        refusal.operation_id = request.id
        return refusal

    def target(self, version: int) -> CheckpointPublished | None:
        """The version to roll back to: the one asked for, or with 0 the one before the active one."""
        if self.active is None or version > self.active.version:
            return None
        if version:
            return self.active if version == self.active.version else self.known.checkpoints.get(version)
        return self.known.before(self.active.version, self.previous_version)

    def directive(
        self, action: "RolloutDirective.Action.ValueType", chosen: CheckpointPublished, reason: str
    ) -> RolloutDirective:
        """The next directive, about a version."""
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
            refusals=self.known.refusals,
        )

    def forget(self, *digests: str) -> None:
        """Keep the newest versions, the active one, the one before, and those of these digests."""
        self.known.forget({self.previous_version, self.active_version}, set(digests))
