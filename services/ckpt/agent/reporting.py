"""What the agent reports of a worker on headrace.applied."""

from collections.abc import Iterable

from headrace.contracts.events_pb2 import WeightsApplied
from headrace.weights.worker.wire import Active, Failed, Staged
from services.ckpt.agent.state import ConnectedWorker, Report
from services.ckpt.agent.versions import Version

Reported = Staged | Active | Failed
"""The messages of workers that are reported."""


class Reporter:
    """Makes reports in the name of one agent.

    Args:
        agent: the agent's name.
        host: this host's name.

    Attributes:
        peer_address: where the agent serves chunks to others, "" if it does not; reports carry it.
    """

    def __init__(self, agent: str, host: str) -> None:
        self._agent = agent
        self._host = host
        self.peer_address = ""

    def report(
        self,
        worker: ConnectedWorker,
        versions: Iterable[Version],
        state: "WeightsApplied.State.ValueType",
        now: float,
        message: Reported | None = None,
    ) -> Report:
        """A report of a worker.

        Args:
            worker: the worker.
            versions: what is known of its model's versions.
            state: what happened.
            now: seconds since the epoch.
            message: what the worker said; without it, the report is about the version that it serves.
        """
        applied = WeightsApplied(
            model=worker.hello.model,
            worker=worker.name,
            role=worker.hello.role,
            host=self._host,
            state=state,
            version=message.version if message else worker.version,
            manifest_digest=message.digest if message else worker.serving,
            error=message.error if isinstance(message, Failed) else "",
            at_us=int(now * 1e6),
            agent=self._agent,
            peer_address=self.peer_address,
            fenced=bool(worker.required),
            while_serving=isinstance(message, Failed) and message.while_serving,
        )
        version = next((version for version in versions if version.digest == applied.manifest_digest), None)
        if version is not None:
            _add(applied, version, message)
        if isinstance(message, Staged | Active):
            applied.seconds.update(message.seconds)
        return Report(applied)


def _add(applied: WeightsApplied, version: Version, message: Reported | None) -> None:
    """Add what this host knows of the version."""
    applied.bytes_pulled, applied.bytes_from_peers = version.bytes_pulled, version.bytes_from_peers
    if message is not None:
        applied.sequence = version.sequence
        applied.seconds.update(version.seconds)
        applied.chunks_lost = version.lost and isinstance(message, Failed)
