"""What the agent knows of a connected worker, and the effects that it asks for."""

from dataclasses import dataclass, field

from headrace.contracts.events_pb2 import WeightsApplied
from headrace.weights.worker.wire import Active, Failed, Hello, Kept, Released, Staged, ToAgent, ToWorker

Connection = int
"""Names a worker's connection; a worker that comes back has another."""


@dataclass(frozen=True)
class Send:
    """A message for a worker.

    Attributes:
        connection: the worker's.
        message: what it is told.
        by: of a `Stage`, when the coordinator stops waiting for it, in seconds since the epoch.
    """

    connection: Connection
    message: ToWorker
    by: float = float("inf")


@dataclass(frozen=True)
class Report:
    """A record for headrace.applied."""

    applied: WeightsApplied


Effect = Send | Report


@dataclass
class ConnectedWorker:
    """A worker that is connected to this agent. Versions are named by their digests, "" for none.

    Attributes:
        hello: how it introduced itself.
        connection: its connection.
        version: the number of the version that it serves; 0 for none.
        serving: the version that it serves.
        holds: the versions that it has mapped and made ready.
        required: the version that it must serve before it is ready; "" while it is ready.
        staging: the version that it was told to stage, and has not acknowledged.
        ordered: the version that it was last told to serve.
        keeping: the version that served before and that it was told to keep, until it has answered.
        unkept: versions that it was told to keep and could not.
        labels: what it was last told of labels.
        failed: when it failed to take a version, in seconds since the epoch.
        behind_since: since when it has not served what it is to serve; None while it does.
    """

    hello: Hello
    connection: Connection
    version: int
    serving: str
    holds: set[str]
    required: str
    staging: str = ""
    ordered: str = ""
    keeping: str = ""
    unkept: set[str] = field(default_factory=set)
    labels: dict[str, str] = field(default_factory=dict)
    failed: dict[str, float] = field(default_factory=dict)
    behind_since: float | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self.hello.worker

    def on_message(self, message: ToAgent, now: float) -> None:
        """Take what it says about a version."""
        if isinstance(message, Staged):
            self._on_staged(message.digest)
        elif isinstance(message, Active):
            self._on_active(message)
        elif isinstance(message, Failed):
            self._on_failed(message.digest, now)
        elif isinstance(message, Kept):
            self.keeping = ""
            (self.unkept if message.error else self.holds).add(message.digest)
        elif isinstance(message, Released):
            self.holds.discard(message.digest)

    def _on_staged(self, digest: str) -> None:
        self.holds.add(digest)
        self.staging = "" if self.staging == digest else self.staging

    def _on_active(self, message: Active) -> None:
        digest = message.digest
        self.holds.add(digest)
        self.version, self.serving = message.version, digest
        self.required = "" if self.required == digest else self.required
        # An order for another version may have crossed this message: it is given again, which costs nothing.
        self.ordered = digest if self.ordered == digest else ""

    def _on_failed(self, digest: str, now: float) -> None:
        self.failed[digest] = now
        self.holds.discard(digest)
        self.staging = "" if self.staging == digest else self.staging
        self.ordered = "" if self.ordered == digest else self.ordered
