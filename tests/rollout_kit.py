"""What tests of a rollout share: records as they are told to it, and its directives in short."""

from typing import Any

from headrace.contracts.events_pb2 import Alert, CheckpointPublished, Operation, RolloutDirective, WeightsApplied
from headrace.rollouts.directives import record_key
from services.ckpt.coordinator.policy import Policy
from services.ckpt.coordinator.service import Rollout

POLICY = Policy(quorum="all", stage_timeout_s=30.0, worker_ttl_s=5.0, keep=4)


def checkpoint(version: int, epoch: int = 1) -> CheckpointPublished:
    return CheckpointPublished(model="m", version=version, epoch=epoch, manifest_digest=f"d{version}", manifest=b"x")


def applied(worker: str, state: str, version: int = 0, **more: Any) -> WeightsApplied:
    number = WeightsApplied.State.Value(state)
    return WeightsApplied(
        model="m", worker=worker, state=number, version=version, manifest_digest=f"d{version}", **more
    )


def alert(version: int, severity: str = "CRITICAL", *, firing: bool = True) -> Alert:
    number = Alert.Severity.Value(severity)
    return Alert(model="m", name="version_worse", severity=number, version=version, message="far off", firing=firing)


def operation(kind: str, version: int = 0, name: str = "") -> Operation:
    return Operation(id=name, model="m", kind=Operation.Kind.Value(kind), version=version)


def steps(directives: list[RolloutDirective]) -> list[tuple[str, int]]:
    return [(RolloutDirective.Action.Name(d.action), d.version) for d in directives]


def rollout(policy: Policy = POLICY, workers: tuple[str, ...] = (), active: int = 0) -> Rollout:
    made = Rollout("m", epoch=1, policy=policy)
    if active:
        for version in range(max(1, active - 2), active + 1):
            made.on_checkpoint(checkpoint(version))
            made.decide(0.0)
    for worker in workers:
        made.on_applied(applied(worker, "JOINED", active), 0.0)
    return made


def newest(directives: list[RolloutDirective]) -> list[RolloutDirective]:
    """What compaction leaves."""
    kept = {record_key(d): d for d in directives}
    return sorted(kept.values(), key=lambda d: d.sequence)


def taken_over(log: list[RolloutDirective], versions: int, policy: Policy = POLICY, now: float = 0.0) -> Rollout:
    """A successor that knows what compaction left of the directives, and the checkpoints, and no reports yet."""
    heir = Rollout("m", epoch=log[-1].coordinator_epoch + 1, policy=policy)
    heir.restore(newest(log), now)
    for version in range(1, versions + 1):
        heir.on_checkpoint(checkpoint(version))
    return heir
