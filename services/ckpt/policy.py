"""How a rollout goes, and what it keeps track of while it does."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Policy:
    """How a rollout goes.

    Attributes:
        quorum: which share of the workers must be ready: "all", "majority", or a number.
        stage_timeout_s: seconds after which laggards are left behind.
        worker_ttl_s: seconds without a word after which a worker counts as gone.
        keep: how many of the newest versions stay available for a roll back, beside the active one and the one before.
    """

    quorum: str = "all"
    stage_timeout_s: float = 30.0
    worker_ttl_s: float = 5.0
    keep: int = 8

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
