"""What the agent reports of a worker on headrace.applied."""

from collections.abc import Iterable

from headrace.contracts.events_pb2 import WeightsApplied
from headrace.weights.worker.wire import Active, Failed, Staged
from services.ckpt.agent.state import ConnectedWorker, Report
from services.ckpt.agent.versions import Version

Word = Staged | Active | Failed
"""What a worker said that is reported."""


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
        word: Word | None = None,
    ) -> Report:
        """A report of a worker.

        Args:
            worker: whom it is about.
            versions: what is known of its model's versions.
            state: what happened.
            now: seconds since the epoch.
            word: what the worker said; without it, the report is about the version that it serves.
        """
        applied = WeightsApplied(
            model=worker.hello.model,
            worker=worker.name,
            role=worker.hello.role,
            host=self._host,
            state=state,
            version=word.version if word else worker.version,
            manifest_digest=word.digest if word else worker.serving,
            error=word.error if isinstance(word, Failed) else "",
            at_us=int(now * 1e6),
            agent=self._agent,
            peer_address=self.peer_address,
            fenced=bool(worker.required),
            while_serving=isinstance(word, Failed) and word.while_serving,
        )
        version = next((version for version in versions if version.digest == applied.manifest_digest), None)
        if version is not None:
            _add(applied, version, word)
        if isinstance(word, Staged | Active):
            applied.seconds.update(word.seconds)
        return Report(applied)


def _add(applied: WeightsApplied, version: Version, word: Word | None) -> None:
    """Add what this host knows of the version."""
    applied.bytes_pulled, applied.bytes_from_peers = version.bytes_pulled, version.bytes_from_peers
    if word is not None:
        applied.sequence = version.sequence
        applied.seconds.update(version.seconds)
        applied.chunks_lost = version.lost and isinstance(word, Failed)
