"""Directives as records: their keys on the compacted headrace.rollouts, and what a successor reads out of those that are left.

Compaction keeps the newest directive of each key. What is going on follows from the sequences of what it leaves: a
staging or a canary is over when a later directive serves another version, or ends it under its own key.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headrace.contracts.events_pb2 import CheckpointPublished, Refusal, RolloutDirective

STAGE, ACTIVATE, CANARY = RolloutDirective.STAGE, RolloutDirective.ACTIVATE, RolloutDirective.CANARY
ROLL_BACK, RETIRE, REFUSE = RolloutDirective.ROLL_BACK, RolloutDirective.RETIRE, RolloutDirective.REFUSE
SERVES = frozenset({ACTIVATE, ROLL_BACK})

_KEYS = {
    STAGE: "staged",
    RETIRE: "staged",
    CANARY: "canary",
    ACTIVATE: "active",
    ROLL_BACK: "active",
    REFUSE: "refused",
}


def record_key(directive: RolloutDirective) -> str:
    """The record's key. A canary's end has the canary's, so that compaction never brings a canary back."""
    kind = "canary" if directive.canaries else _KEYS[directive.action]
    return f"{directive.model}/{kind}"


def as_checkpoint(directive: RolloutDirective) -> CheckpointPublished:
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


@dataclass(frozen=True)
class Restored:
    """What the directives of a model amount to."""

    sequence: int
    active: RolloutDirective | None
    canary: RolloutDirective | None
    staged: RolloutDirective | None
    refused: tuple[Refusal, ...]


def restored(directives: Sequence[RolloutDirective]) -> Restored:
    """Read the newest directive of each key, or any more of them, in any order."""
    active = _newest(d for d in directives if d.action in SERVES)
    canary = _newest(d for d in directives if d.canaries)
    staged = _newest(d for d in directives if d.action in {STAGE, RETIRE} and not d.canaries)
    served_at = active.sequence if active else 0
    canaried_at = max(served_at, canary.sequence if canary else 0)
    return Restored(
        sequence=max((d.sequence for d in directives), default=0),
        active=active,
        canary=canary if canary and canary.action == CANARY and canary.sequence > served_at else None,
        staged=staged if staged and staged.action == STAGE and staged.sequence > canaried_at else None,
        refused=_refused(directives),
    )


def _refused(directives: Sequence[RolloutDirective]) -> tuple[Refusal, ...]:
    newest = _newest(d for d in directives if d.HasField("refusals"))
    if newest is not None:
        return tuple(newest.refusals.refused)
    # From before directives listed them: what was retired is all that is left of it.
    return tuple(
        Refusal(version=d.version, manifest_digest=d.manifest_digest) for d in directives if d.action == RETIRE
    )


def _newest(directives: Iterable[RolloutDirective]) -> RolloutDirective | None:
    return max(directives, key=lambda d: d.sequence, default=None)
