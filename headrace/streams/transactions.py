"""Output to Kafka: exactly once through transactions, or at least once through acknowledged produces.

The order that keeps data safe stands in `TransactionalSink._attempt`. Fencing is KIP-447's: the offsets travel with the
member's group metadata, so the broker refuses the transaction of a member that has lost its partitions; and the
transactional id is one per process and stays the same over its restarts (`headrace.streams.identity`), so that a
restarted process aborts at once what its predecessor left open.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from headrace.runtime import kafka
from headrace.runtime.errors import DependencyError, HeadraceError
from headrace.runtime.logging import get_logger
from headrace.streams.chunks import Headers
from headrace.streams.delivery import AbortedError, Batch, Output
from headrace.streams.membership import Member

log = get_logger("headrace.streams")

_CALL_S = 15.0
_PAUSE_S = 0.05
_ATTEND_S = 0.5
_ANY_PARTITION = -1
"""librdkafka's number for a partition that the key chooses."""
PRODUCER_CONFIG: dict[str, Any] = {
    # One output is bounded by the chunk limits, and flushed before the next: the queue must never be what refuses a
    # record.
    "queue.buffering.max.messages": 2_000_000,
    "queue.buffering.max.kbytes": 1_048_576,
    "batch.num.messages": 10_000,
}
OnDelivery = Callable[[KafkaError | None, Message], None]
Observe = Callable[[str, float], None]
Lost = Callable[[HeadraceError], None]


class _Attendant(threading.Thread):
    """Polls a producer while others may be held up in its calls, for what the client has to say of itself."""

    def __init__(self, producer: Producer, lost: Lost) -> None:
        super().__init__(name="attendant", daemon=True)
        self._producer, self._lost = producer, lost
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(_ATTEND_S):
            try:
                self._producer.poll(0)
            except HeadraceError as error:  # headrace.runtime.brokers: nothing that waits for a broker will see one
                self._lost(error)
                return

    def stop(self) -> None:
        """End, after the poll that is under way."""
        self._over.set()
        self.join()


class TransactionalSink:
    """Outputs and offsets in one Kafka transaction each.

    Args:
        make_producer: connects.
        observe: told each phase of a transaction with its seconds.
        lost: told, from another thread, when the producer has lost its brokers for good: a call may then not return.
    """

    commits_offsets = True

    def __init__(
        self,
        make_producer: Callable[[], Producer],
        observe: Observe = lambda _phase, _seconds: None,
        lost: Lost | None = None,
    ) -> None:
        self._make = make_producer
        self._observe = observe
        self._lost = lost
        self._producer: Producer | None = None
        self._attendant: _Attendant | None = None

    def open(self) -> None:
        """Connect, and abort what an earlier instance of the same transactional id left open."""
        self._producer = self._make()
        if self._lost is not None:
            self._attendant = _Attendant(self._producer, self._lost)
            self._attendant.start()

    def deliver(self, output: Output, member: Member) -> None:
        """One transaction; see `Sink.deliver`."""
        producer = _opened(self._producer)
        if member.metadata is None or member.generation != output.generation:
            raise AbortedError("the member has lost its partitions")
        try:
            self._attempt(producer, output, member.metadata)
        except KafkaException as error:
            raise self._give_up(producer, error, output) from error

    def _attempt(self, producer: Producer, output: Output, metadata: bytes) -> None:
        # 1. Begin: from here to 4 nothing is visible to whoever reads committed records.
        producer.begin_transaction()
        # 2. Predictions and dead letters.
        started = time.perf_counter()
        _produce(producer, output)
        started = self._took("produce", started)
        # 3. The offsets that they came from, as this member of the group: a member that was replaced is refused here.
        offsets = [TopicPartition(*p, next_, output.metadata.get(p, "")) for p, next_ in output.offsets.items()]
        _patiently(producer.send_offsets_to_transaction, offsets, metadata)
        started = self._took("offsets", started)
        # 4. Commit: waits until the broker has every record, then all of it becomes visible at once.
        _patiently(producer.commit_transaction)
        self._took("commit", started)

    def _took(self, phase: str, started: float) -> float:
        now = time.perf_counter()
        self._observe(phase, now - started)
        return now

    def _give_up(self, producer: Producer, error: KafkaException, output: Output) -> Exception:
        """Abort where that heals; the error to raise."""
        cause = error.args[0]
        doing = "transaction of " + ", ".join(f"{p} to {o}" for p, o in sorted(output.offsets.items()))
        if cause.fatal() or not cause.txn_requires_abort():
            return kafka.translate(error, doing)
        try:
            _patiently(producer.abort_transaction)
        except KafkaException as failed:
            return kafka.translate(failed, f"aborting the {doing}")
        log.warning("transaction aborted", offsets=doing, code=cause.name(), error=cause.str())
        return AbortedError(cause.name())

    def close(self) -> None:
        """Disconnect; an open transaction was either committed or aborted before."""
        if self._attendant is not None:
            self._attendant.stop()
            self._attendant = None
        _close(self._producer)
        self._producer = None


class AcknowledgedSink:
    """Outputs that are acknowledged by the broker; their offsets are committed afterwards, by the consumer."""

    commits_offsets = False

    def __init__(self, make_producer: Callable[[], Producer], observe: Observe = lambda _phase, _seconds: None) -> None:
        self._make = make_producer
        self._observe = observe
        self._producer: Producer | None = None
        self._failed: list[str] = []

    def open(self) -> None:
        """Connect."""
        self._producer = self._make()

    def deliver(self, output: Output, member: Member) -> None:  # noqa: ARG002 - offsets are committed by the consumer
        """Produce and wait for every acknowledgement; see `Sink.deliver`."""
        producer, self._failed = _opened(self._producer), []
        started = time.perf_counter()
        try:
            _produce(producer, output, self._on_delivery)
        except KafkaException as error:
            raise kafka.translate(error, "producing predictions") from error
        produced = time.perf_counter()
        self._observe("produce", produced - started)
        left = producer.flush(_CALL_S)
        self._observe("commit", time.perf_counter() - produced)
        if left or self._failed:
            raise DependencyError(
                f"{left + len(self._failed)} records were not acknowledged: {self._failed[:1] or 'timed out'}"
            )

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed.append(f"{message.topic()}[{message.partition()}]: {error.str()}")

    def close(self) -> None:
        """Disconnect."""
        _close(self._producer)
        self._producer = None


def _opened(producer: Producer | None) -> Producer:
    if producer is None:
        raise HeadraceError("the sink is not open")
    return producer


def _close(producer: Producer | None) -> None:
    """Close; a producer that has failed for good says so once more, which `deliver` has already told."""
    try:
        if producer is not None:
            producer.close()
    except KafkaException as error:
        log.warning("closing the producer", error=error.args[0].str())


def _produce(producer: Producer, output: Output, on_delivery: OnDelivery | None = None) -> None:
    """Queue everything."""
    for batch in output.batches:
        if batch.headers is None:
            _produce_batch(producer, batch, on_delivery)
        else:
            _produce_with_headers(producer, batch, batch.headers, on_delivery)
    for single in output.singles:
        partition = _ANY_PARTITION if single.partition is None else single.partition
        producer.produce(
            single.topic, single.value, single.key, partition, on_delivery=on_delivery, headers=list(single.headers)
        )
    producer.poll(0)


def _produce_batch(producer: Producer, batch: Batch, on_delivery: OnDelivery | None) -> None:
    extra: dict[str, Any] = {} if on_delivery is None else {"on_delivery": on_delivery}
    where: dict[str, Any] = {} if batch.partition is None else {"partition": batch.partition}
    if producer.produce_batch(batch.topic, batch.records, **where, **extra) != len(batch.records):
        raise KafkaException(next(r["_error"] for r in batch.records if "_error" in r))


def _produce_with_headers(
    producer: Producer, batch: Batch, headers: Sequence[Headers | None], on_delivery: OnDelivery | None
) -> None:
    """One call a record, since `produce_batch` takes no headers.

    Arguments by position, which saves a third of its cost.
    """
    produce: Callable[..., None] = producer.produce
    topic, partition = batch.topic, _ANY_PARTITION if batch.partition is None else batch.partition
    for record, own in zip(batch.records, headers, strict=True):
        produce(topic, record["value"], record["key"], partition, None, on_delivery, 0, own)


def _patiently(call: Callable[..., None], *arguments: Any) -> None:
    """Call, and again while the broker says that trying again will do; librdkafka remembers where it was."""
    deadline = time.monotonic() + _CALL_S
    while True:
        try:
            call(*arguments, _CALL_S)
        except KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)
        else:
            return
