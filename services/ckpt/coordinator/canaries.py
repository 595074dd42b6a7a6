"""Canaries: the workers that serve a new version first."""

import math
import zlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from headrace.contracts.events_pb2 import CheckpointPublished, RolloutDirective
from headrace.rollouts.directives import CANARY, RETIRE
from services.ckpt.coordinator.judge import Judge
from services.ckpt.coordinator.ledger import VersionLedger
from services.ckpt.coordinator.policy import Policy
from services.ckpt.coordinator.trials import CanaryTrial, VersionTrial
from services.ckpt.coordinator.workers import FleetWorker

SCORED_ROLE = "stream"
"""The role whose predictions the monitor compares with labels: among the first canaries is one of it."""


class Asked(NamedTuple):
    """What an operator asked for: the request's id, and the share of the workers."""

    operation: str
    share: float


class Canaries:
    """Gives a version to a share of the workers, and takes it from them again.

    Args:
        policy: how large the share is, and for how long they serve it alone.
        ledger: numbers the directives.
        judge: judges the version meanwhile.
    """

    def __init__(self, policy: Policy, ledger: VersionLedger, judge: Judge) -> None:
        self._policy = policy
        self._ledger = ledger
        self._judge = judge

    def needed(self, chosen: CheckpointPublished, workers: Mapping[str, FleetWorker]) -> bool:
        """Whether a version goes to canaries first: a newer one does, where other workers are left."""
        active = self._ledger.view.active_version
        return self._policy.canary_share > 0 and 0 < active < chosen.version and len(workers) > 1

    def begin(
        self,
        chosen: CheckpointPublished,
        reason: str,
        now: float,
        workers: Mapping[str, FleetWorker],
        *,
        ready: AbstractSet[str] = frozenset(),
        again: bool = False,
        asked: Asked | None = None,
    ) -> RolloutDirective:
        """Let a share of the workers serve a version, of those ``ready``, or of all; ``again``: others than before.

        The policy says how many and for how long; where an operator ``asked``, it is until the operator goes on.
        """
        share, until = self._policy.canary_share, now + self._policy.canary_s
        if asked is not None:
            share, until = asked.share, math.inf
        names, operation = choose_canaries(workers, share, ready), asked.operation if asked is not None else ""
        trial = VersionTrial(chosen.manifest_digest, now, frozenset(names))
        self._judge.canary = CanaryTrial(trial, until, again=again, operation=operation)
        cause, until_us = "silence" if again else "", 0 if asked is not None else int(until * 1e6)
        return self._ledger.issue(
            CANARY, chosen, reason, canaries=names, canary_until_us=until_us, cause=cause, operation_id=operation
        )

    def end(self, chosen: CheckpointPublished, reason: str, cause: str = "") -> RolloutDirective:
        """Let the canaries serve the active version again."""
        canary, self._judge.canary = self._judge.canary, None
        names, operation = (sorted(canary.names), canary.operation) if canary is not None else ([], "")
        return self._ledger.issue(RETIRE, chosen, reason, canaries=names, cause=cause, operation_id=operation)


def choose_canaries(
    workers: Mapping[str, FleetWorker], share: float, ready: AbstractSet[str] = frozenset()
) -> list[str]:
    """Choose canaries: ``share`` of the workers, at least one, and not all where there are several.

    They come from those that are ``ready``, if any are. The same fleet gives the same canaries. Roles take turns, so
    that a canary is found in each where there are enough.
    """
    by_role: dict[str, list[str]] = {}
    for name in sorted(ready & workers.keys() or workers, key=lambda name: (zlib.crc32(name.encode()), name)):
        by_role.setdefault(workers[name].role, []).append(name)
    turns = [
        (turn, role != SCORED_ROLE, role, name) for role, names in by_role.items() for turn, name in enumerate(names)
    ]
    count = max(1, min(len(workers) - 1, math.ceil(share * len(workers))))
    return sorted(name for *_, name in sorted(turns)[:count])
