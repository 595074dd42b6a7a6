"""Driving a worker towards what the rollout means for it.

A worker is driven in small steps, each taken only after the one before was acknowledged:

1. serve the version that is meant for it, the active one or its canaries': Stage it unless the worker holds it, and
   Activate it;
2. then stage the version that is to be active next;
3. then keep versions that served before the worker did, which requests may name.

A worker that has not served what is meant for it for longer than a grace, or never has, is told that it is not ready
until it does (see `services.ckpt.agent.fences`).
"""

from collections.abc import Iterable, Iterator

from headrace.rollouts.reports import FAILED, HEARTBEAT, STAGED
from headrace.weights.worker.wire import Activate, Failed, Keep, Label, Retire, Stage, Staged
from services.ckpt.agent.fences import fence
from services.ckpt.agent.reporting import Reporter
from services.ckpt.agent.state import ConnectedWorker, Effect, Send
from services.ckpt.agent.versions import ModelVersions, Version

_LABELS = 2
"""The protocol from which on workers know labels and keep versions."""
RETRY_S = 0.5
"""Seconds before the version that a worker is to serve is tried again where it failed."""


class WorkerDriver:
    """Decides the next step of each worker.

    Args:
        reporter: makes reports.
        fence_grace_s: seconds for which a worker may serve another version than it is to, and be ready.
    """

    def __init__(self, reporter: Reporter, fence_grace_s: float) -> None:
        self._reporter = reporter
        self._fence_grace_s = fence_grace_s

    def drive(self, worker: ConnectedWorker, model: ModelVersions, now: float) -> Iterator[Effect]:
        """Take a worker's next steps, as far as nothing has to be acknowledged first."""
        if worker.hello.protocol >= _LABELS and worker.labels != model.labels:
            worker.labels = model.labels
            yield Send(worker.connection, Label(worker.labels))
        yield from self._steps(worker, model, now)
        yield from self._keep(worker, model)
        required = fence(worker, model.meant_for(worker.name), now, self._fence_grace_s)
        if required is not None:
            yield Send(worker.connection, required)
            yield self._reporter.report(worker, model.wanted(), HEARTBEAT, now)

    def acknowledge(
        self, workers: Iterable[ConnectedWorker], model: ModelVersions, version: Version, now: float
    ) -> Iterator[Effect]:
        """Report for workers that hold a version from before that they have staged it."""
        message = Staged(version.version, version.digest, {})
        for worker in workers:
            if version.digest in worker.holds:
                yield self._reporter.report(worker, model.wanted(), STAGED, now, message)

    def retire(self, workers: Iterable[ConnectedWorker], digest: str) -> Iterator[Effect]:
        """Let workers release a version that will not be activated, but for those that still serve it."""
        for worker in workers:
            if worker.staging == digest:
                worker.staging = ""
            if digest in worker.holds and worker.serving != digest:
                yield Send(worker.connection, Retire(digest))

    def _steps(self, worker: ConnectedWorker, model: ModelVersions, now: float) -> Iterator[Effect]:
        meant, prepared = model.meant_for(worker.name), model.prepared
        if meant is not None and worker.serving != meant.digest:
            yield from self._bring_up(worker, model, meant, now)
            if meant.digest not in worker.failed:
                return
            # It cannot be had here, for now or for good: the next one is staged all the same.
        elif meant is not None:
            worker.ordered = meant.digest
        if prepared is not None and prepared.digest not in worker.failed:
            yield from self._stage(worker, model, prepared, now)

    def _keep(self, worker: ConnectedWorker, model: ModelVersions) -> Iterator[Effect]:
        """Let a worker that serves keep the newest version that it lacks and is to keep, one at a time."""
        if worker.hello.protocol < _LABELS or not worker.serving or worker.staging or worker.keeping:
            return
        for version in model.kept()[: worker.hello.keeps]:
            here = version.path and version.digest not in worker.holds | worker.unkept
            if here and not _refusal(worker, version):
                worker.keeping = version.digest
                yield Send(worker.connection, Keep(version.version, version.digest, version.encoded, version.path))
                return

    def _bring_up(self, worker: ConnectedWorker, model: ModelVersions, meant: Version, now: float) -> Iterator[Effect]:
        """Let a worker serve a version; where it failed, again and again."""
        if now - worker.failed.get(meant.digest, float("-inf")) < RETRY_S or worker.staging not in {"", meant.digest}:
            return
        yield from self._stage(worker, model, meant, now)
        held = meant.digest in worker.holds or worker.staging == meant.digest
        if held and worker.ordered != meant.digest:
            worker.ordered = meant.digest
            yield Send(worker.connection, Activate(meant.version, meant.digest))

    def _stage(self, worker: ConnectedWorker, model: ModelVersions, version: Version, now: float) -> Iterator[Effect]:
        """Let a worker stage a version, if it can, does not hold it and is not staging already."""
        if version.digest in worker.holds or worker.staging:
            return
        refusal = _refusal(worker, version)
        if refusal:
            repeated = version.digest in worker.failed
            worker.failed[version.digest] = now
            if not repeated:
                message = Failed(version.version, version.digest, refusal)
                yield self._reporter.report(worker, model.wanted(), FAILED, now, message)
        elif version.path:
            worker.staging = version.digest
            stage = Stage(version.version, version.digest, version.encoded, version.path)
            yield Send(worker.connection, stage, by=version.stage_by)


def _refusal(worker: ConnectedWorker, version: Version) -> str:
    """Why a worker cannot take a version; "" if it can."""
    if version.manifest is None or version.manifest.schema_hash == worker.hello.schema_hash:
        return version.refusal
    return (
        f"version {version.version} has the schema {version.manifest.schema_hash}, "
        f"the worker's network {worker.hello.schema_hash}: are trainer and worker on the same pipeline folder?"
    )
