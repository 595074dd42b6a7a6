"""How a rollout goes, and what it keeps track of while a version is staged."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Policy:
    """How a rollout goes.

    Attributes:
        quorum: which share of the workers must be ready: "all", "majority", or a number.
        stage_timeout_s: seconds after which laggards are left behind.
        worker_ttl_s: seconds without a word after which a worker counts as gone.
        keep: how many of the newest versions stay available for a roll back, beside the active one and the one before.
        canary_share: share of the workers that serve a new version first; 0 for none.
        canary_s: seconds for which they do.
        rollback_window_s: seconds after its activation in which a version is taken back by itself; 0 for never.
        rollback_on_failures: take it back if so many workers fail to activate it that the quorum is lost.
        rollback_on_alerts: take it back on a critical alert that names it.
        activate_grace_s: seconds for which a worker may fail to activate before that counts.
    """

    quorum: str = "all"
    stage_timeout_s: float = 30.0
    worker_ttl_s: float = 5.0
    keep: int = 8
    canary_share: float = 0.0
    canary_s: float = 60.0
    rollback_window_s: float = 600.0
    rollback_on_failures: bool = True
    rollback_on_alerts: bool = True
    activate_grace_s: float = 3.0

    def needed(self, workers: int) -> int:
        """How many of ``workers`` must be ready; all of them where the number asked for is larger."""
        if self.quorum == "all":
            return workers
        if self.quorum == "majority":
            return workers // 2 + 1 if workers else 0
        return min(int(self.quorum), workers)


@dataclass
class Worker:
    """What is known of a worker."""

    seen: float
    version: int = 0
    serving: str = ""
    """The digest of the version that answers, "" for none."""
    role: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether a version goes on, and why; `cause` is the directive's, where it does not."""

    go: bool
    reason: str
    cause: str = ""


@dataclass
class Staging:
    """The version that is being staged, and the workers that it waits for."""

    digest: str
    deadline: float
    waiting: set[str] | None = None
    """None until it is looked at for the first time: a coordinator that takes over learns only then who is there."""
    alone: bool = False
    """There was nobody to wait for."""
    ready: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    rolls_back: bool = False

    def verdict(
        self, workers: Mapping[str, Worker], policy: Policy, now: float, *, missing: bool = False
    ) -> Verdict | None:
        """What becomes of the version; None while it is open. ``missing``: others have fallen silent a while ago."""
        if self.waiting is None:
            if not workers and missing and now < self.deadline:
                return None  # a machine that does not get on is no empty fleet: who is heard of again is waited for
            self.waiting = set(workers)
            self.alone = not self.waiting
        if self.alone:
            return Verdict(go=True, reason="no workers to wait for")
        waiting = self.waiting & workers.keys()
        if not waiting:
            # All whom it waited for are gone, perhaps because of this very version: those who come next must prove it.
            self.waiting = waiting = set(workers)
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
