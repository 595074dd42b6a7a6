"""The agent's logic: what one host does about directives, pulls and its workers, without clients, clock or threads.

Everything that happens is told to a `HostAgent`, which answers with what to do: messages to workers, and reports for
headrace.applied. The puller asks what to pull next (`next_pull`), so that a newer version replaces an older one that
was not pulled yet instead of queueing behind it. How a worker gets from one version to another is in
`services.ckpt.agent.driver`.
"""

from collections.abc import Iterator

from headrace.contracts.events_pb2 import RolloutDirective, WeightsApplied
from headrace.rollouts.directives import REFUSE, RETIRE, STAGE
from headrace.rollouts.reports import ACTIVE, FAILED, HEARTBEAT, JOINED, LEFT, STAGED
from headrace.weights.format.manifest import Keys
from headrace.weights.worker.wire import Active, Failed, Hello, Staged, ToAgent
from services.ckpt.agent.driver import RETRY_S, WorkerDriver
from services.ckpt.agent.reporting import Reported, Reporter
from services.ckpt.agent.state import ConnectedWorker, Connection, Effect, Report
from services.ckpt.agent.versions import ModelVersions, Version

_STATES: dict[type[Reported], "WeightsApplied.State.ValueType"] = {Staged: STAGED, Active: ACTIVE, Failed: FAILED}


class HostAgent:
    """One host's part in every model's rollout.

    Args:
        agent: this agent's name.
        host: this host's name.
        signing_key: manifests must be signed with it; None accepts any.
        fence_grace_s: seconds for which a worker may serve another version than it is to, and be ready.
    """

    def __init__(self, *, agent: str, host: str, signing_key: Keys = None, fence_grace_s: float = 5.0) -> None:
        self._signing_key = signing_key
        self.reporter = Reporter(agent, host)
        self._driver = WorkerDriver(self.reporter, fence_grace_s)
        self.models: dict[str, ModelVersions] = {}
        self.workers: dict[Connection, ConnectedWorker] = {}

    # From Kafka.

    def on_directive(self, directive: RolloutDirective, now: float) -> list[Effect]:
        """Take a coordinator's directive; one of an older coordinator, or seen before, does nothing."""
        model = self._model(directive.model)
        before = model.prepared
        if not model.apply(directive, now) or directive.action == REFUSE:  # a REFUSE answers an operator
            return []
        effects: list[Effect] = []
        staged, digest = model.staged, directive.manifest_digest
        if directive.action == STAGE and staged is not None:
            effects += self._driver.acknowledge(self._workers_of(model), model, staged, now)
        elif directive.action == RETIRE and before is not None and before.digest == digest:
            effects += self._driver.retire(self._workers_of(model), digest)
        return [*effects, *self._drive_all(model, now)]

    # From workers.

    def on_message(self, connection: Connection, message: ToAgent, now: float) -> list[Effect]:
        """Take a worker's message; anything but a `Hello` from one that was not introduced does nothing."""
        if isinstance(message, Hello):
            return list(self._on_hello(connection, message, now))
        worker = self.workers.get(connection)
        if worker is None:
            return []
        worker.on_message(message, now)
        said: list[Effect] = []
        if isinstance(message, Staged | Active | Failed):
            said.append(self._report(worker, _STATES[type(message)], now, message))
        return [*said, *self._drive(worker, now)]

    def _on_hello(self, connection: Connection, hello: Hello, now: float) -> Iterator[Effect]:
        model = self._model(hello.model)
        worker = ConnectedWorker(hello, connection, hello.version, hello.serving, set(hello.holds), hello.required)
        for other in self._workers_of(model):
            if other.name == worker.name:  # it has come back before its old connection was seen to end
                del self.workers[other.connection]
        self.workers[connection] = worker
        model.keeps = max(one.hello.keeps for one in self._workers_of(model))
        yield self._report(worker, JOINED, now)
        if (prepared := model.prepared) is not None:  # the agent before this one may have died before it reported so
            yield from self._driver.acknowledge([worker], model, prepared, now)
        yield from self._drive(worker, now)

    def on_gone(self, connection: Connection, now: float) -> list[Effect]:
        """Take note that a worker's connection ended."""
        worker = self.workers.pop(connection, None)
        return [self._report(worker, LEFT, now)] if worker is not None else []

    # From the puller.

    def next_pull(self, now: float) -> Version | None:
        """Return the version to pull next: one that a worker here needs and can take, the active one first."""
        for model in self.models.values():
            for version in model.wanted():
                if not version.path and self._pullable(model, version, now):
                    return version
        return None

    def _pullable(self, model: ModelVersions, version: Version, now: float) -> bool:
        if version.manifest is None or (version.failed_at > float("-inf") and version is model.staged):
            return False
        if now - version.failed_at < RETRY_S:
            return False
        return any(
            worker.hello.schema_hash == version.manifest.schema_hash and version.digest not in worker.holds
            for worker in self._workers_of(model)
        )

    def wants(self, version: Version) -> bool:
        """Whether pulling a version still makes sense."""
        return any(version is wanted for wanted in self.models[version.model].wanted())

    def slots(self, model: str) -> int:
        """How many slots a model needs: for what workers keep, one that is staged, and a spare one."""
        return self.models[model].keeps + 2

    def keeps(self, model: str) -> set[str]:
        """Return the digests of the versions whose slots must stay."""
        return {version.digest for version in self.models[model].named()}

    def on_pulled(
        self, version: Version, path: str, bytes_pulled: int, seconds: float, now: float, *, bytes_from_peers: int = 0
    ) -> list[Effect]:
        """Take note that a slot holds a version, whole and verified."""
        version.path, version.lost = path, False
        version.bytes_pulled, version.bytes_from_peers = bytes_pulled, bytes_from_peers
        version.seconds["pull"] = seconds
        return list(self._drive_all(self.models[version.model], now))

    def on_pull_failed(self, version: Version, error: str, now: float, *, lost: bool = False) -> list[Effect]:
        """Take note that a version cannot be had: every worker that waited for it has failed to take it.

        ``lost``: the stores lack something of it, or have it damaged. The reports say so to its trainer.
        """
        version.failed_at, version.lost = now, lost
        failure = Failed(version.version, version.digest, error)
        model = self.models[version.model]
        effects: list[Effect] = []
        for worker in self._workers_of(model):
            if version.digest not in worker.holds:
                worker.failed[version.digest] = now
                effects.append(self._report(worker, FAILED, now, failure))
        return [*effects, *self._drive_all(model, now)]

    # From the outbox.

    def more_to_come(self, applied: WeightsApplied) -> bool:
        """Whether another worker is about to report of this version what a report says."""
        workers, digest = self._workers_of(self.models[applied.model]), applied.manifest_digest
        if applied.state == STAGED:
            return any(worker.staging == digest for worker in workers)
        if applied.state == ACTIVE:
            return any(worker.ordered == digest != worker.serving for worker in workers)
        return False

    # From the clock.

    def on_tick(self, now: float) -> list[Effect]:
        """Report that every worker is still there, and try again what failed."""
        effects: list[Effect] = [self._report(worker, HEARTBEAT, now) for worker in self.workers.values()]
        for worker in self.workers.values():
            kept = self.keeps(worker.hello.model)
            worker.failed = {digest: at for digest, at in worker.failed.items() if digest in kept}
        for model in self.models.values():
            effects += self._drive_all(model, now)
        return effects

    def on_stop(self, now: float) -> list[Effect]:
        """Report every worker as gone, since this agent reports of them no more."""
        workers, self.workers = list(self.workers.values()), {}
        return [self._report(worker, LEFT, now) for worker in workers]

    # All of it.

    def _model(self, name: str) -> ModelVersions:
        return self.models.setdefault(name, ModelVersions(name, self._signing_key))

    def _workers_of(self, model: ModelVersions) -> list[ConnectedWorker]:
        return [worker for worker in self.workers.values() if worker.hello.model == model.model]

    def _drive_all(self, model: ModelVersions, now: float) -> Iterator[Effect]:
        for worker in self._workers_of(model):
            yield from self._driver.drive(worker, model, now)

    def _drive(self, worker: ConnectedWorker, now: float) -> Iterator[Effect]:
        yield from self._driver.drive(worker, self.models[worker.hello.model], now)

    def _report(
        self,
        worker: ConnectedWorker,
        state: "WeightsApplied.State.ValueType",
        now: float,
        message: Reported | None = None,
    ) -> Report:
        return self.reporter.report(worker, self.models[worker.hello.model].wanted(), state, now, message)
