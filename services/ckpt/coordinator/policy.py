"""How a rollout goes, and what is concluded of a version."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """How a rollout goes.

    Attributes:
        quorum: which share of the workers must be ready: "all", "majority", or a number.
        stage_timeout_s: seconds after which laggards are left behind.
        worker_ttl_s: seconds without a report after which a worker counts as gone.
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


@dataclass(frozen=True)
class Verdict:
    """Whether a version goes on, and why; `cause` is that of the directive which ends it, where it does not."""

    go: bool
    reason: str
    cause: str = ""
