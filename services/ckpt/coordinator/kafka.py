"""The coordinator's edge to Kafka: which models are its own, what happened to them, and directives, exactly once.

One consumer reads headrace.checkpoints, headrace.operations, headrace.applied and headrace.alerts. They have as many
partitions, a model is in the same one of each, and the range assignor gives a member the same partitions of all: the
member that has partition p is the only coordinator of p's models. (While a group has members of a release that did not
read the alerts, another member may have p's alerts; the checkpoints' partitions decide.)

Taking a partition over, in this order:

1. fence: a transactional producer `headrace.coordinator.<p>` ends whatever the coordinator before may still be writing;
2. read headrace.rollouts[p] to its end: what was decided; this coordinator's directives carry a greater epoch;
3. read checkpoints (the newest), reports and alerts (as far back as workers, a staging, a canary or the trial of what
   serves may matter), and operations that were not answered;
4. decide, once everything in 3 was read.

Issuing directives is one transaction with the offsets of the operations that they answer.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from headrace.contracts.events_pb2 import Alert, CheckpointPublished, Operation, RolloutDirective, WeightsApplied
from headrace.contracts.topics import ALERTS, APPLIED, CHECKPOINTS, OPERATIONS, ROLLOUTS
from headrace.rollouts.directives import record_key
from headrace.rollouts.feed import FAST, POLL_S, parse, reached_end
from headrace.rollouts.view import views_of
from headrace.runtime import kafka
from headrace.runtime.errors import DependencyError
from headrace.runtime.logging import get_logger
from services.ckpt.coordinator.settings import CoordinatorSettings

log = get_logger("headrace.ckpt")

GROUP = "headrace.coordinator"
HISTORY = 500
"""Checkpoint records read again at a takeover: enough for every version that is kept, of all models of a partition."""

Event = CheckpointPublished | Operation | WeightsApplied | Alert
_KINDS: dict[str, type[CheckpointPublished] | type[Operation] | type[WeightsApplied] | type[Alert]] = {
    CHECKPOINTS.name(): CheckpointPublished,
    OPERATIONS.name(): Operation,
    APPLIED.name(): WeightsApplied,
    ALERTS.name(): Alert,
}


@dataclass
class Owned:
    """A partition that this coordinator has taken over.

    Attributes:
        partition: its number.
        producer: writes its directives, and fences every earlier coordinator of it.
        directives: what was decided before, the newest of each key.
        behind: the topics that were not read to their end yet.
        answered: the offset of the next operation to read, if it moved since the last commit; else -1.
    """

    partition: int
    producer: Producer
    directives: list[RolloutDirective]
    behind: set[str] = field(default_factory=set)
    answered: int = -1

    @property
    def epoch(self) -> int:
        """This coordinator's epoch."""
        return max((directive.coordinator_epoch for directive in self.directives), default=0) + 1


class CoordinatorLog:
    """See the module. Used from one thread.

    Args:
        settings: the coordinator's.
        on_taken: called with each partition taken over, before any of its events.
        on_lost: called with the number of each partition that was given up.
    """

    def __init__(
        self, settings: CoordinatorSettings, on_taken: Callable[[Owned], None], on_lost: Callable[[int], None]
    ) -> None:
        self._settings = settings
        self._on_taken = on_taken
        self._on_lost = on_lost
        self._owned: dict[int, Owned] = {}
        extra = {"group.instance.id": settings.member} if settings.member else {}
        self._consumer: Consumer = kafka.consumer(
            settings,
            GROUP,
            **{
                **FAST,
                "group.protocol": "classic",  # the range assignor must be the client's: it pairs the topics' partitions
                "partition.assignment.strategy": "range",
                "session.timeout.ms": int(settings.session_timeout_s * 1000),
                "heartbeat.interval.ms": int(settings.session_timeout_s * 1000 / 3),
                **extra,
            },
        )

    def open(self) -> None:
        """Join the group."""
        self._consumer.subscribe(list(_KINDS), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    def poll(self, timeout_s: float = POLL_S) -> tuple[Owned, Event] | None:
        """Return the next event of a partition owned; None after ``timeout_s``, or if a record is skipped.

        Raises:
            FencedError: another coordinator has taken over.
            DependencyError: Kafka fails.
        """
        message = self._consumer.poll(timeout_s)
        for idle in self._owned.values():
            idle.producer.poll(0)  # takes its statistics, which else pile up while no directive is issued
        if message is None:
            return None
        owned = self._owned.get(message.partition() or 0)
        if message.error() is not None:
            if reached_end(message) and owned is not None:
                owned.behind.discard(message.topic() or "")
            return None
        return None if owned is None else self._event(owned, message)

    def _event(self, owned: Owned, message: Message) -> tuple[Owned, Event] | None:
        event = _KINDS[message.topic() or ""]()
        if isinstance(event, Operation):
            owned.answered = (message.offset() or 0) + 1
        return (owned, event) if parse(message, event) else None

    def issue(self, owned: Owned, directives: list[RolloutDirective]) -> None:
        """Write directives and the offsets of the operations answered, in one transaction.

        Raises:
            FencedError: another coordinator has taken over.
            DependencyError: Kafka fails; the process must not go on, since its directives may not have been written.
        """
        if not directives and owned.answered < 0:
            return
        try:
            owned.producer.begin_transaction()
            for directive in directives:
                directive.issued_at_us = time.time_ns() // 1000
                owned.producer.produce(
                    ROLLOUTS.name(),
                    directive.SerializeToString(),
                    key=record_key(directive).encode(),
                    partition=owned.partition,
                )
            if owned.answered >= 0:
                owned.producer.send_offsets_to_transaction(
                    [TopicPartition(OPERATIONS.name(), owned.partition, owned.answered)],
                    self._consumer.consumer_group_metadata(),
                )
            owned.producer.commit_transaction(kafka.REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise kafka.translate(error, f"issuing directives on {ROLLOUTS.name()}[{owned.partition}]") from error
        owned.answered = -1

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    # Taking over and giving up.

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = sorted({p.partition for p in partitions if p.topic == CHECKPOINTS.name()})
        with ThreadPoolExecutor(max(1, len(numbers))) as pool:  # each waits half a second for its producer's identity
            for owned in pool.map(self._take_over, numbers):
                owned.behind = {p.topic for p in partitions if p.partition == owned.partition}
                self._owned[owned.partition] = owned
                self._on_taken(owned)
        consumer.assign([self._from(self._owned[p.partition], p) for p in partitions if p.partition in self._owned])

    def _revoked(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for number in sorted({p.partition for p in partitions}):
            if self._owned.pop(number, None) is not None:
                log.info("partition given up", partition=number)
                self._on_lost(number)

    def _take_over(self, number: int) -> Owned:
        started = time.perf_counter()
        producer = kafka.transactional_producer(self._settings, f"{GROUP}.{number}")
        directives = self._read_rollouts(number)
        log.info("partition taken over", partition=number, seconds=round(time.perf_counter() - started, 3))
        return Owned(number, producer, directives)

    def _read_rollouts(self, number: int) -> list[RolloutDirective]:
        newest: dict[bytes, RolloutDirective] = {}
        reader = kafka.consumer(self._settings, f"{GROUP}.takeover", **FAST)
        try:
            reader.assign([TopicPartition(ROLLOUTS.name(), number, 0)])
            deadline = time.monotonic() + kafka.REQUEST_TIMEOUT_S
            while time.monotonic() < deadline:
                message = reader.poll(POLL_S)
                if message is None:
                    continue
                if message.error() is not None:
                    if reached_end(message):
                        return list(newest.values())
                    continue
                directive = RolloutDirective()
                if parse(message, directive):
                    newest[message.key() or b""] = directive
        finally:
            reader.close()
        raise DependencyError(f"{ROLLOUTS.name()}[{number}] could not be read to its end")

    def _from(self, owned: Owned, partition: TopicPartition) -> TopicPartition:
        """Where to start reading one of the topics."""
        name, number, limit = partition.topic, partition.partition, kafka.REQUEST_TIMEOUT_S
        where = f"where to begin with {name}[{number}]"
        if name == CHECKPOINTS.name():
            ends = kafka.patiently(lambda: self._consumer.get_watermark_offsets(partition, timeout=limit), where)
            return TopicPartition(name, number, max(ends[0], ends[1] - HISTORY))
        if name in {APPLIED.name(), ALERTS.name()}:
            wanted = [TopicPartition(name, number, int(self._matters_since(owned) * 1000))]
            found = kafka.patiently(lambda: self._consumer.offsets_for_times(wanted, timeout=limit), where)
        else:
            found = kafka.patiently(lambda: self._consumer.committed([partition], timeout=limit), where)
            found[0].offset = max(found[0].offset, 0)
        begin: TopicPartition = found[0]
        return begin

    def _matters_since(self, owned: Owned) -> float:
        """From when on reports and alerts matter, in seconds since the epoch."""
        now, settings = time.time(), self._settings
        since = now - settings.worker_ttl_s - settings.stage_timeout_s  # who is alive, and who fell silent lately
        for view in views_of(owned.directives).values():
            for going_on in (view.staged, view.canary):
                if going_on is not None:
                    since = min(since, going_on.issued_at_us / 1e6)
            if view.active is not None:  # on trial, if it still is
                since = min(since, max(view.active.issued_at_us / 1e6, now - settings.rollback_window_s))
        return since
