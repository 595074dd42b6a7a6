"""What the agent knows of versions, workers and models, and the effects that it asks for."""

from dataclasses import dataclass, field

from headrace.contracts.events_pb2 import RolloutDirective, WeightsApplied
from headrace.weights import Manifest
from headrace.weights.wire import Hello, ToWorker

Connection = int
"""Names a worker's connection; a worker that comes back has another."""


@dataclass(frozen=True)
class Send:
    """A message for a worker."""

    connection: Connection
    message: ToWorker


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
    failed_at: float = float("-inf")


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
