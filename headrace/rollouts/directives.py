"""Directives as records: their kinds, their keys on the compacted headrace.rollouts, and their order.

Compaction keeps the newest directive of each key. The keys are chosen so that the directives that are left, applied in
their order, give the same `headrace.rollouts.view.RolloutView` as all directives do.
"""

from typing import NamedTuple

from headrace.contracts.events_pb2 import CheckpointPublished, RolloutDirective

STAGE, ACTIVATE, CANARY = RolloutDirective.STAGE, RolloutDirective.ACTIVATE, RolloutDirective.CANARY
ROLL_BACK, RETIRE, REFUSE = RolloutDirective.ROLL_BACK, RolloutDirective.RETIRE, RolloutDirective.REFUSE
SERVES = frozenset({ACTIVATE, ROLL_BACK})
"""The actions that tell the whole fleet which version to serve."""

_KEYS = {
    STAGE: "staged",
    RETIRE: "staged",
    CANARY: "canary",
    ACTIVATE: "active",
    ROLL_BACK: "active",
    REFUSE: "refused",
}


class Position(NamedTuple):
    """A directive's place in the order of its model's directives: the greater one is the newer one.

    A coordinator has a greater epoch than every coordinator before it and goes on with the sequence that it found, so
    what a fenced coordinator writes late is older than anything that its successor wrote.
    """

    epoch: int
    sequence: int


def position_of(directive: RolloutDirective) -> Position:
    """A directive's place in the order."""
    return Position(directive.coordinator_epoch, directive.sequence)


def record_key(directive: RolloutDirective) -> str:
    """The record's key. The directive that ends a canary has its key, so compaction never brings a canary back."""
    kind = "canary" if directive.canaries else _KEYS[directive.action]
    return f"{directive.model}/{kind}"


def as_checkpoint(directive: RolloutDirective) -> CheckpointPublished:
    """The checkpoint that a directive names, with the fields that a directive carries."""
    return CheckpointPublished(
        model=directive.model,
        version=directive.version,
        manifest_digest=directive.manifest_digest,
        manifest=directive.manifest,
        signature=directive.signature,
        created_at_us=directive.checkpoint_created_at_us,
        newest_label_us=directive.newest_label_us,
        held=bool(directive.operation_id) and directive.action in {STAGE, CANARY},
    )
