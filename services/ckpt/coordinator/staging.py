"""A version that workers make ready, and when enough of them have."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from headrace.contracts.events_pb2 import WeightsApplied
from headrace.rollouts.reports import FAILED, STAGED
from services.ckpt.coordinator.policy import Policy, Verdict


@dataclass
class Staging:
    """The version that is being staged, and the workers that it waits for.

    Attributes:
        digest: the version's.
        deadline: when laggards are left behind, in seconds since the epoch.
        rolls_back: an operator goes back to it.
        operation: the id of an operator's request to deploy it; "" where it comes by itself.
        canary_share: of such a request: the share of the workers that serve it first; 0 for all.
        waiting: the workers waited for; None until `verdict` is first asked, since a coordinator that takes over learns
            only then who is there.
        alone: there was no worker to wait for.
        ready: the workers that have it ready.
        refused: the workers that failed to stage it.
    """

    digest: str
    deadline: float
    rolls_back: bool = False
    operation: str = ""
    canary_share: float = 0.0
    waiting: set[str] | None = None
    alone: bool = False
    ready: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    def on_applied(self, applied: WeightsApplied) -> None:
        """Take note of a worker's report; one about another version says nothing here."""
        if applied.manifest_digest != self.digest:
            return
        if applied.state == STAGED:
            self.ready.add(applied.worker)
            self.refused.discard(applied.worker)
        elif applied.state == FAILED:
            self.refused.add(applied.worker)
            self.ready.discard(applied.worker)

    def verdict(
        self, workers: AbstractSet[str], policy: Policy, now: float, *, missing: bool = False
    ) -> Verdict | None:
        """What becomes of the version; None while it is open.

        Args:
            workers: those that are alive.
            policy: who must be ready.
            now: seconds since the epoch.
            missing: others fell silent a while ago and may be heard of again.
        """
        if self.waiting is None:
            if not workers and missing and now < self.deadline:
                return None  # a stalled host is not an empty fleet: its workers are waited for
            self.waiting = set(workers)
            self.alone = not self.waiting
        if self.alone:
            return Verdict(go=True, reason="no workers to wait for")
        waiting = self.waiting & workers
        if not waiting:
            # Everyone it waited for is gone, perhaps because of this very version: those who come next must prove it.
            self.waiting = waiting = set(workers)
        return self._count(waiting, policy, now)

    def _count(self, waiting: AbstractSet[str], policy: Policy, now: float) -> Verdict | None:
        ready, refused = self.ready & waiting, self.refused & waiting
        needed = policy.needed(len(waiting))
        if waiting and len(ready) >= needed:
            return Verdict(go=True, reason=f"{len(ready)} of {len(waiting)} workers ready")
        if waiting and len(waiting) - len(refused) < needed:
            return Verdict(go=False, reason=f"refused by {', '.join(sorted(refused))}")
        if now >= self.deadline:
            late = ", ".join(sorted(waiting - ready))
            return Verdict(go=bool(ready), reason=f"not staged within {policy.stage_timeout_s:g} s by {late}")
        return None
