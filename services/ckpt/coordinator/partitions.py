"""The rollouts of the models in the partitions that this coordinator owns: events in, directives out."""

import time
from collections.abc import Iterator
from typing import Protocol

from headrace.contracts.events_pb2 import Alert, CheckpointPublished, Operation, RolloutDirective
from headrace.runtime.logging import get_logger
from services.ckpt.coordinator import metrics
from services.ckpt.coordinator.kafka import Event, Owned
from services.ckpt.coordinator.plan import PeerPlanner
from services.ckpt.coordinator.policy import Policy
from services.ckpt.coordinator.service import Rollout

log = get_logger("headrace.ckpt")

AWAY_S = 1.0
"""Two decisions are a fraction of a second apart: after a longer time this process was not running."""


class DirectiveLog(Protocol):
    """Where directives are written; see `CoordinatorLog.issue`."""

    def issue(self, owned: Owned, directives: list[RolloutDirective]) -> None:
        """Write directives and the offsets of the operations answered, in one transaction."""
        ...


class OwnedPartitions:
    """Used from one thread, but for `rollouts`.

    Args:
        policy: how rollouts go.
        peers: plans from which other agents each agent takes versions.
    """

    def __init__(self, policy: Policy, peers: PeerPlanner) -> None:
        self._policy = policy
        self._peers = peers
        self._metrics = metrics.DirectiveMetrics()
        self._owned: dict[int, Owned] = {}
        self._rollouts: dict[int, dict[str, Rollout]] = {}
        self._decided_at = time.monotonic()

    def __len__(self) -> int:
        """How many partitions are owned."""
        return len(self._owned)

    def on_taken(self, owned: Owned) -> None:
        """A partition was taken over: its models' rollouts go on from what was decided before."""
        self._owned[owned.partition] = owned
        self._rollouts[owned.partition] = {}
        by_model: dict[str, list[RolloutDirective]] = {}
        for directive in owned.directives:
            by_model.setdefault(directive.model, []).append(directive)
        for model, directives in by_model.items():
            self._rollout(owned, model).restore(directives, time.time())

    def on_lost(self, number: int) -> None:
        """A partition was given up."""
        del self._owned[number], self._rollouts[number]

    def rollouts(self) -> Iterator[Rollout]:
        """The rollouts of the partitions that were read to their ends; may be asked for from another thread."""
        for number, owned in list(self._owned.items()):
            if not owned.behind:
                yield from list(self._rollouts.get(number, {}).values())

    def on_event(self, owned: Owned, event: Event) -> None:
        """Tell an event to its model's rollout."""
        rollout = self._rollout(owned, event.model)
        if isinstance(event, CheckpointPublished):
            _on_checkpoint(rollout, event, live=not owned.behind)
        elif isinstance(event, Operation):
            log.info("operation", model=event.model, kind=Operation.Kind.Name(event.kind), version=event.version)
            rollout.on_operation(event)
        else:
            # A report or alert that is read again at a takeover is as old as it says; one that comes in live has just
            # happened, whatever the clocks of other hosts say.
            now = time.time()
            at = min(now, event.at_us / 1e6) if owned.behind else now
            if isinstance(event, Alert):
                rollout.on_alert(event, at)
            else:
                rollout.on_applied(event, at)
                self._peers.on_applied(event, at)

    def decide(self, directive_log: DirectiveLog) -> None:
        """Let every rollout decide, and write the directives of each partition.

        Raises:
            FencedError: another coordinator has taken over.
            DependencyError: Kafka fails.
        """
        now, away = time.time(), time.monotonic() - self._decided_at
        self._decided_at += away
        for number, owned in list(self._owned.items()):
            if owned.behind:
                continue
            directives: list[RolloutDirective] = []
            for rollout in self._rollouts[number].values():
                if away > AWAY_S:
                    rollout.fleet.was_away(away, now)
                directives += rollout.decide(now)
                metrics.count_workers(rollout)
            # One transaction for all models of a partition: the offset that it commits passes the requests of each.
            self._issue(directive_log, owned, directives, now)

    def _issue(self, directive_log: DirectiveLog, owned: Owned, directives: list[RolloutDirective], now: float) -> None:
        self._peers.complete(directives, now)
        started = time.perf_counter()
        directive_log.issue(owned, directives)
        commit_s = time.perf_counter() - started
        for directive in directives:
            self._metrics.observe(directive, now, commit_s)
            log.info(
                "directive issued",
                model=directive.model,
                action=RolloutDirective.Action.Name(directive.action),
                version=directive.version,
                sequence=directive.sequence,
                epoch=directive.coordinator_epoch,
                reason=directive.reason,
                commit_ms=round(commit_s * 1000, 2),
            )

    def _rollout(self, owned: Owned, model: str) -> Rollout:
        rollouts = self._rollouts[owned.partition]
        if model not in rollouts:
            rollouts[model] = Rollout(model, epoch=owned.epoch, policy=self._policy)
            metrics.MODELS.set(sum(map(len, self._rollouts.values())))
        return rollouts[model]


def _on_checkpoint(rollout: Rollout, published: CheckpointPublished, *, live: bool) -> None:
    new, model = rollout.on_checkpoint(published), published.model
    if live:
        log.info("checkpoint", model=model, version=published.version, epoch=published.epoch, new=new)
        if not new:
            metrics.IGNORED.labels(model).inc()
