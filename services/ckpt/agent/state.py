"""What the agent knows of versions, workers and models, and the effects that it asks for."""

from dataclasses import dataclass, field

from headrace.contracts.events_pb2 import RolloutDirective, WeightsApplied
from headrace.weights import Manifest
from headrace.weights.worker.wire import Hello, ToWorker

Connection = int
"""Names a worker's connection; a worker that comes back has another."""


@dataclass(frozen=True)
class Send:
    """A message for a worker."""

    connection: Connection
    message: ToWorker
    by: float = float("inf")
    """Of a `Stage`: when the coordinator stops waiting for it, in seconds since the epoch."""


@dataclass(frozen=True)
class Report:
    """A record for headrace.applied."""

    applied: WeightsApplied


Effect = Send | Report


@dataclass
class Version:
    """A version that a directive named."""

    model: str
    version: int
    digest: str
    encoded: bytes
    manifest: Manifest | None
    """None if the manifest was refused."""
    refusal: str
    sequence: int
    seconds: dict[str, float] = field(default_factory=dict)
    bytes_pulled: int = 0
    bytes_from_peers: int = 0
    peers: RolloutDirective.Peers | None = None
    """The coordinator's plan for taking it from other agents."""
    path: str = ""
    """The slot that holds it, "" until it was pulled."""
    stage_by: float = float("inf")
    """When the coordinator stops waiting for workers to stage it, by this host's clock; inf where nobody waits."""
    failed_at: float = float("-inf")
    lost: bool = False
    """It could not be pulled for the stores lack something of it, or have it damaged."""


@dataclass
class Worker:
    """A connected worker."""

    hello: Hello
    connection: Connection
    version: int
    serving: str
    holds: set[str]
    staging: str = ""
    """The version offered and not yet acknowledged."""
    ordered: str = ""
    """The version that it was last told to serve."""
    failed: dict[str, float] = field(default_factory=dict)
    """When it failed to take a version."""
    behind_since: float | None = None
    """Since when it has not served what it is to serve; None while it does."""
    required: str = ""
    """The version that it must serve before it is ready; "" while it is ready."""


@dataclass
class Model:
    """What the fleet is to do with one model."""

    name: str
    epoch: int = 0
    sequence: int = 0
    active: Version | None = None
    previous: Version | None = None
    staged: Version | None = None
    peers: RolloutDirective.Peers | None = None
    """The newest plan: whoever joins later learns from it who is there."""
    canary: Version | None = None
    canaries: frozenset[str] = frozenset()
    """The workers that serve `canary` while the others serve `active`."""

    def meant_for(self, worker: str) -> Version | None:
        """The version that a worker is to serve."""
        return self.canary if self.canary is not None and worker in self.canaries else self.active

    def wanted(self) -> list[Version]:
        """What some worker is to serve now or next, in this order."""
        return [version for version in (self.active, self.canary, self.staged_only()) if version is not None]

    def staged_only(self) -> Version | None:
        """What is staged and nobody is to serve yet."""
        return None if self.staged is self.canary else self.staged

    def named(self) -> list[Version]:
        """What must stay in shared memory: also the version before the active one."""
        return [*self.wanted(), *([] if self.previous is None else [self.previous])]
