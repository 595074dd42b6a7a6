"""The coordinator's loops: they connect each model's `Rollout` with Kafka, and remove chunks that nobody refers to."""

import asyncio
import time

from headrace.contracts.events_pb2 import Alert, CheckpointPublished, Operation, RolloutDirective
from headrace.contracts.topics import system_topics
from headrace.rollouts.directives import CANARY, SERVES, STAGE
from headrace.rollouts.feed import POLL_S
from headrace.runtime import kafka
from headrace.runtime.lifecycle import Context, Stop
from headrace.runtime.logging import get_logger
from headrace.runtime.scheduling import lower_priority
from headrace.weights import Manifest, WeightsError, open_store
from services.ckpt.coordinator import metrics
from services.ckpt.coordinator.kafka import CoordinatorLog, Event, Owned
from services.ckpt.coordinator.plan import PeerPlanner
from services.ckpt.coordinator.service import Rollout
from services.ckpt.coordinator.settings import CoordinatorSettings

log = get_logger("headrace.ckpt")

BACKLOG = 10_000
"""Records read at most before decisions are made."""
AWAY_S = 1.0
"""Between two decisions there is a fraction of a second: after a longer time this process did not get on."""


class CoordinatorApp:
    """The coordinator: records of the partitions that it owns go into their models' `Rollout`s, and directives out.

    One thread reads, decides and writes; chunks are swept in another.
    """

    def __init__(self, context: Context[CoordinatorSettings]) -> None:
        self._settings = context.settings
        lower_priority(self._settings.nice)
        self._ready = context.ready
        self._ready.declare("group")
        self._store = open_store(self._settings)
        self._log = CoordinatorLog(self._settings, self._on_taken, self._on_lost)
        self._owned: dict[int, Owned] = {}
        self._rollouts: dict[int, dict[str, Rollout]] = {}
        self._peers = PeerPlanner(self._settings.peer_policy)
        self._staged_at: dict[str, float] = {}
        self._decided_at = time.monotonic()

    async def run(self, stop: Stop) -> None:
        """Coordinate the models of the partitions that the group gives this process, until stopped."""
        await asyncio.to_thread(kafka.ensure_topics, self._settings, system_topics())
        work = asyncio.ensure_future(asyncio.to_thread(self._coordinate, stop))
        sweep = asyncio.ensure_future(asyncio.to_thread(self._sweep_for_ever, stop))
        try:
            await work
        finally:
            stop.set("the coordinator ends")
            await sweep
            self._store.close()

    def _coordinate(self, stop: Stop) -> None:
        self._log.open()
        try:
            while not stop.is_set():
                self._read()
                self._decide()
        finally:
            self._log.close()

    def _read(self) -> None:
        """Take what is there, without waiting for more: what follows is decided on everything known."""
        wait = POLL_S
        for _ in range(BACKLOG):
            taken = self._log.poll(wait)
            if taken is None:
                return
            self._on_event(*taken)
            wait = 0.0

    def _decide(self) -> None:
        now, away = time.time(), time.monotonic() - self._decided_at
        self._decided_at += away
        for number, owned in list(self._owned.items()):
            if owned.behind:
                continue
            for rollout in self._rollouts[number].values():
                if away > AWAY_S:
                    rollout.was_away(away, now)
                directives = rollout.decide(now)
                self._peers.complete(directives, now)
                started = time.perf_counter()
                self._log.issue(owned, directives)
                for directive in directives:
                    self._observe(directive, now, time.perf_counter() - started)
                metrics.FLEET.labels(rollout.model).set(len(rollout.workers))
                canary = rollout.canary
                metrics.CANARIES.labels(rollout.model).set(len(canary.voters or ()) if canary is not None else 0)
            self._log.issue(owned, [])  # operations that led to nothing are answered too

    def _on_taken(self, owned: Owned) -> None:
        self._owned[owned.partition] = owned
        self._rollouts[owned.partition] = {}
        by_model: dict[str, list[RolloutDirective]] = {}
        for directive in owned.directives:
            by_model.setdefault(directive.model, []).append(directive)
        for model, directives in by_model.items():
            self._rollout(owned, model).restore(directives, time.time())
        self._ready.set("group", ok=True, detail=f"{len(self._owned)} partitions")

    def _on_lost(self, number: int) -> None:
        del self._owned[number], self._rollouts[number]

    def _rollout(self, owned: Owned, model: str) -> Rollout:
        rollouts = self._rollouts[owned.partition]
        if model not in rollouts:
            rollouts[model] = Rollout(model, epoch=owned.epoch, policy=self._settings.policy)
            metrics.MODELS.set(sum(map(len, self._rollouts.values())))
        return rollouts[model]

    def _on_event(self, owned: Owned, event: Event) -> None:
        rollout = self._rollout(owned, event.model)
        if isinstance(event, CheckpointPublished):
            new = rollout.on_checkpoint(event)
            if not owned.behind:
                log.info("checkpoint", model=event.model, version=event.version, epoch=event.epoch, new=new)
                if not new:
                    metrics.IGNORED.labels(event.model).inc()
        elif isinstance(event, Operation):
            log.info("operation", model=event.model, kind=Operation.Kind.Name(event.kind), version=event.version)
            rollout.on_operation(event)
        else:
            # A report or alert read again at a takeover is as old as it says; one that comes in live is news, whatever
            # clocks say.
            now = time.time()
            at = min(now, event.at_us / 1e6) if owned.behind else now
            if isinstance(event, Alert):
                rollout.on_alert(event, at)
            else:
                rollout.on_applied(event, at)
                self._peers.on_applied(event, at)

    def _observe(self, directive: RolloutDirective, now: float, commit_s: float) -> None:
        action = RolloutDirective.Action.Name(directive.action)
        metrics.DIRECTIVES.labels(directive.model, action).inc()
        log.info(
            "directive issued",
            model=directive.model,
            action=action,
            version=directive.version,
            sequence=directive.sequence,
            epoch=directive.coordinator_epoch,
            reason=directive.reason,
            commit_ms=round(commit_s * 1000, 2),
        )
        metrics.COMMIT.observe(commit_s)
        if directive.cause and directive.action != CANARY:
            where = "canary" if directive.canaries else "fleet"
            metrics.ROLLBACKS.labels(directive.model, directive.cause, where).inc()
        if directive.action == STAGE:
            self._staged_at[directive.model] = now
        elif directive.action in SERVES:
            metrics.ACTIVE_VERSION.labels(directive.model).set(directive.version)
            metrics.PINNED.labels(directive.model).set(directive.pinned)
            metrics.ROLLOUT.labels(directive.model).observe(now - self._staged_at.pop(directive.model, now))

    def _sweep_for_ever(self, stop: Stop) -> None:
        while not stop.wait(self._settings.sweep_every_s):
            for number, owned in list(self._owned.items()):
                rollouts = self._rollouts.get(number, {})
                if not owned.behind:
                    for rollout in list(rollouts.values()):
                        self._sweep(rollout)

    def _sweep(self, rollout: Rollout) -> None:
        """Remove the model's chunks that no kept version refers to; what was published lately is spared by its age."""
        try:
            kept = rollout.kept()
            if rollout.active is None:
                return
            chunks = {chunk for version in kept for chunk in Manifest.decode(version.manifest).references}
            swept = self._store.sweep(rollout.model, chunks, self._settings.sweep_grace_s)
        except WeightsError as error:
            log.warning("sweep failed", model=rollout.model, error=str(error))
            return
        metrics.SWEPT.labels(rollout.model).inc(swept)
        if swept:
            log.info("swept", model=rollout.model, chunks=swept, versions=len(kept))
