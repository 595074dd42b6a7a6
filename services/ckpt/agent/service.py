"""The agent's logic: what one host does about directives, pulls and its workers, without clients, clock or threads.

Everything that happens is told to a `HostAgent`, which answers with what to do: messages to workers, and reports for
headrace.applied. What to pull next is asked of it (`next_pull`), so that a newer version replaces an older one that was
not pulled yet instead of queueing behind it.

A worker is driven towards the fleet's state in small steps, each taken only after the one before was acknowledged:

    1. serve the version that is meant for it, the active one or its canaries': Stage it unless the worker holds it, and
       Activate it;
    2. then stage the version that is to be active next.

A worker that has not served what is meant for it for longer than a grace, or never has, is told that it is not ready
until it does (services.ckpt.agent.fences).
"""

from collections.abc import Iterable, Iterator

from headrace.contracts.events_pb2 import RolloutDirective, WeightsApplied
from headrace.weights import Manifest, WeightsError, check_signature
from headrace.weights.worker.wire import Activate, Active, Failed, Hello, Released, Retire, Stage, Staged, ToAgent
from services.ckpt.agent.fences import fence
from services.ckpt.agent.state import Connection, Effect, Model, Report, Send, Version, Worker

RETRY_S = 0.5
"""Seconds before the fleet's active version is tried again where it failed."""


class HostAgent:
    """One host's part in every model's rollout.

    Args:
        agent: this agent's name.
        host: this host's name.
        signing_key: manifests must be signed with it; None accepts any.
        fence_grace_s: for so long may a worker serve another version than it is to, and be ready.
    """

    peer_address = ""
    """Where this agent serves chunks to others; reports carry it."""

    def __init__(self, *, agent: str, host: str, signing_key: bytes | None = None, fence_grace_s: float = 5.0) -> None:
        self._agent = agent
        self._fence_grace_s = fence_grace_s
        self._host = host
        self._signing_key = signing_key
        self.models: dict[str, Model] = {}
        self.workers: dict[Connection, Worker] = {}

    # From Kafka.

    def on_directive(self, directive: RolloutDirective, now: float) -> list[Effect]:
        """Take a coordinator's directive; one of an older coordinator, or seen before, does nothing."""
        model = self.models.setdefault(directive.model, Model(directive.model))
        if directive.coordinator_epoch < model.epoch or directive.sequence <= model.sequence:
            return []
        model.epoch, model.sequence = directive.coordinator_epoch, directive.sequence
        if directive.action == RolloutDirective.REFUSE:  # for whoever asked; it names no weights
            return []
        if directive.action == RolloutDirective.STAGE:
            model.peers = directive.peers if directive.HasField("peers") else None
            model.staged = self._version(model, directive, now)
            model.staged.peers = model.peers
            model.staged.stage_by = now + (directive.stage_timeout_s or float("inf"))
            return [*self._already_staged(self._of(model), model.staged, now), *self._drive_all(model, now)]
        if directive.action == RolloutDirective.RETIRE:
            return [*self._retire(model, directive.manifest_digest), *self._drive_all(model, now)]
        if directive.action == RolloutDirective.CANARY:  # the others keep it staged, to follow at once
            model.canary, model.canaries = self._version(model, directive, now), frozenset(directive.canaries)
            model.staged = model.canary
        elif directive.action in {RolloutDirective.ACTIVATE, RolloutDirective.ROLL_BACK}:
            version = self._version(model, directive, now)
            model.canary, model.canaries = None, frozenset()
            if model.active is None or model.active.digest != version.digest:
                model.previous = model.active
            model.active = version
            if model.staged is not None and model.staged.digest == version.digest:
                model.staged = None
        return list(self._drive_all(model, now))

    def _version(self, model: Model, directive: RolloutDirective, now: float) -> Version:
        for known in model.named():
            if known.digest == directive.manifest_digest:
                known.sequence = directive.sequence
                return known
        manifest, refusal = None, ""
        try:
            check_signature(directive.manifest, directive.signature, self._signing_key)
            manifest = Manifest.decode(directive.manifest)
            if manifest.digest != directive.manifest_digest:
                refusal = f"the manifest's digest is {manifest.digest}, the directive names {directive.manifest_digest}"
        except WeightsError as error:
            refusal = str(error)
        return Version(
            model=directive.model,
            version=directive.version,
            digest=directive.manifest_digest,
            encoded=directive.manifest,
            manifest=None if refusal else manifest,
            refusal=refusal,
            sequence=directive.sequence,
            seconds={"announce": max(0.0, now - directive.issued_at_us / 1e6)},
            peers=model.peers,
        )

    def _already_staged(self, workers: Iterable[Worker], version: Version, now: float) -> Iterator[Effect]:
        """Acknowledge for workers that hold a version from before."""
        word = Staged(version.version, version.digest, {})
        for worker in workers:
            if version.digest in worker.holds:
                yield self._report(worker, WeightsApplied.STAGED, now, word)

    def _retire(self, model: Model, digest: str) -> Iterator[Effect]:
        if model.canary is not None and model.canary.digest == digest:
            model.canary, model.canaries = None, frozenset()
        if model.staged is None or model.staged.digest != digest:
            return
        model.staged = None
        for worker in self._of(model):
            if worker.staging == digest:
                worker.staging = ""
            if digest in worker.holds and worker.serving != digest:
                yield Send(worker.connection, Retire(digest))

    # From workers.

    def on_message(self, connection: Connection, message: ToAgent, now: float) -> list[Effect]:
        """Take a worker's message; anything but a `Hello` from one that was not introduced does nothing."""
        if isinstance(message, Hello):
            return list(self._on_hello(connection, message, now))
        worker = self.workers.get(connection)
        if worker is None:
            return []
        model = self.models[worker.hello.model]
        return [*self._on_word(worker, message, now), *self._drive(worker, model, now)]

    def _on_hello(self, connection: Connection, hello: Hello, now: float) -> Iterator[Effect]:
        model = self.models.setdefault(hello.model, Model(hello.model))
        worker = Worker(hello, connection, hello.version, hello.serving, set(hello.holds), required=hello.required)
        for other in self._of(model):
            if other.hello.worker == hello.worker:  # it has come back before its old connection was seen to end
                del self.workers[other.connection]
        self.workers[connection] = worker
        yield self._report(worker, WeightsApplied.JOINED, now)
        if model.staged is not None:  # the agent before this one may have died with its word that it has staged it
            yield from self._already_staged([worker], model.staged, now)
        yield from self._drive(worker, model, now)

    def _on_word(self, worker: Worker, message: ToAgent, now: float) -> Iterator[Effect]:
        if isinstance(message, Staged):
            worker.holds.add(message.digest)
            worker.staging = "" if worker.staging == message.digest else worker.staging
            yield self._report(worker, WeightsApplied.STAGED, now, message)
        elif isinstance(message, Active):
            worker.holds.add(message.digest)
            worker.version, worker.serving = message.version, message.digest
            worker.required = "" if worker.required == message.digest else worker.required
            if worker.ordered != message.digest:
                worker.ordered = ""  # an order that crossed this word: it is given again, which costs nothing
            yield self._report(worker, WeightsApplied.ACTIVE, now, message)
        elif isinstance(message, Failed):
            worker.failed[message.digest] = now
            worker.holds.discard(message.digest)
            worker.staging = "" if worker.staging == message.digest else worker.staging
            worker.ordered = "" if worker.ordered == message.digest else worker.ordered
            yield self._report(worker, WeightsApplied.FAILED, now, message)
        elif isinstance(message, Released):
            worker.holds.discard(message.digest)

    def on_gone(self, connection: Connection, now: float) -> list[Effect]:
        """Take note that a worker's connection ended."""
        worker = self.workers.pop(connection, None)
        if worker is None:
            return []
        return [self._report(worker, WeightsApplied.LEFT, now)]

    # From the puller.

    def next_pull(self, now: float) -> Version | None:
        """Return the version to pull next: one that a worker here needs and can take, the active one first."""
        for model in self.models.values():
            for version in model.wanted():
                if not version.path and self._pullable(model, version, now):
                    return version
        return None

    def _pullable(self, model: Model, version: Version, now: float) -> bool:
        if version.manifest is None or (version.failed_at > float("-inf") and version is model.staged_only()):
            return False
        if now - version.failed_at < RETRY_S:
            return False
        return any(
            worker.hello.schema_hash == version.manifest.schema_hash and version.digest not in worker.holds
            for worker in self._of(model)
        )

    def wants(self, version: Version) -> bool:
        """Whether pulling a version still makes sense."""
        return any(version is wanted for wanted in self.models[version.model].wanted())

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
        effects: list[Effect] = []
        for worker in self._of(self.models[version.model]):
            if version.digest not in worker.holds:
                worker.failed[version.digest] = now
                effects.append(self._report(worker, WeightsApplied.FAILED, now, failure))
        return [*effects, *self._drive_all(self.models[version.model], now)]

    def more_to_come(self, applied: WeightsApplied) -> bool:
        """Whether another worker is about to say of this version what a report says."""
        workers, digest = self._of(self.models[applied.model]), applied.manifest_digest
        if applied.state == WeightsApplied.STAGED:
            return any(worker.staging == digest for worker in workers)
        if applied.state == WeightsApplied.ACTIVE:
            return any(worker.ordered == digest != worker.serving for worker in workers)
        return False

    # From the clock.

    def on_tick(self, now: float) -> list[Effect]:
        """Report that every worker is still there, and try again what failed."""
        effects: list[Effect] = [
            self._report(worker, WeightsApplied.HEARTBEAT, now) for worker in self.workers.values()
        ]
        for worker in self.workers.values():
            kept = self.keeps(worker.hello.model)
            worker.failed = {digest: at for digest, at in worker.failed.items() if digest in kept}
        for model in self.models.values():
            effects += self._drive_all(model, now)
        return effects

    def on_stop(self, now: float) -> list[Effect]:
        """Report every worker as gone: nobody speaks for them from now on."""
        workers, self.workers = list(self.workers.values()), {}
        return [self._report(worker, WeightsApplied.LEFT, now) for worker in workers]

    # Driving workers.

    def _of(self, model: Model) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.hello.model == model.name]

    def _drive_all(self, model: Model, now: float) -> Iterator[Effect]:
        for worker in self._of(model):
            yield from self._drive(worker, model, now)

    def _drive(self, worker: Worker, model: Model, now: float) -> Iterator[Effect]:
        yield from self._steps(worker, model, now)
        required = fence(worker, model, now, self._fence_grace_s)
        if required is not None:
            yield Send(worker.connection, required)
            yield self._report(worker, WeightsApplied.HEARTBEAT, now)

    def _steps(self, worker: Worker, model: Model, now: float) -> Iterator[Effect]:
        active, staged = model.meant_for(worker.hello.worker), model.staged
        if active is not None and worker.serving != active.digest:
            yield from self._bring_up(worker, active, now)
            if active.digest not in worker.failed:
                return
            # It cannot be had here, for now or for good: that must not keep the next one from being staged.
        elif active is not None:
            worker.ordered = active.digest
        if staged is not None and staged.digest not in worker.failed and worker.staging in {"", staged.digest}:
            yield from self._offer(worker, staged, now)

    def _bring_up(self, worker: Worker, active: Version, now: float) -> Iterator[Effect]:
        """Let a worker serve the active version; where it failed, again and again."""
        if now - worker.failed.get(active.digest, float("-inf")) < RETRY_S or worker.staging not in {"", active.digest}:
            return
        yield from self._offer(worker, active, now)
        held = active.digest in worker.holds or worker.staging == active.digest
        if held and worker.ordered != active.digest:
            worker.ordered = active.digest
            yield Send(worker.connection, Activate(active.version, active.digest))

    def _offer(self, worker: Worker, version: Version, now: float) -> Iterator[Effect]:
        """Let a worker stage a version, if it can and has not been asked yet."""
        if version.digest in worker.holds or worker.staging == version.digest:
            return
        refusal = version.refusal
        if version.manifest is not None and version.manifest.schema_hash != worker.hello.schema_hash:
            refusal = (
                f"version {version.version} has the schema {version.manifest.schema_hash}, "
                f"the worker's network {worker.hello.schema_hash}: are trainer and worker on the same pipeline folder?"
            )
        if refusal:
            repeated = version.digest in worker.failed
            worker.failed[version.digest] = now
            if not repeated:
                yield self._report(worker, WeightsApplied.FAILED, now, Failed(version.version, version.digest, refusal))
        elif version.path:
            worker.staging = version.digest
            stage = Stage(version.version, version.digest, version.encoded, version.path)
            yield Send(worker.connection, stage, by=version.stage_by)

    def _report(
        self,
        worker: Worker,
        state: "WeightsApplied.State.ValueType",
        now: float,
        word: Staged | Active | Failed | None = None,
    ) -> Report:
        applied = WeightsApplied(
            model=worker.hello.model,
            worker=worker.hello.worker,
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
        for version in self.models[worker.hello.model].wanted():
            if version.digest != applied.manifest_digest:
                continue
            applied.bytes_pulled, applied.bytes_from_peers = version.bytes_pulled, version.bytes_from_peers
            if word is not None:
                applied.sequence = version.sequence
                applied.seconds.update(version.seconds)
                applied.chunks_lost = version.lost and isinstance(word, Failed)
        if isinstance(word, Staged | Active):
            applied.seconds.update(word.seconds)
        return Report(applied)
