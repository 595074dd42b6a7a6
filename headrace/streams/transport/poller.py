"""The poll thread: the only one that ever calls the Kafka consumer.

librdkafka's consumer takes calls from any thread, but the Python client holds a lock while it polls: a call from
another thread can wait for ever. So everything goes through this thread:

- records into the `ChunkBuffer`; while that is full, nothing is fetched, and when it stays full the partitions are
  paused and polling goes on, so that the group never drops a member whose model is slow;
- rebalance callbacks, which wait here until the listener has finished what is in hand, serving commands meanwhile;
- commands from the event loop (`call`), between two polls.

Positions are always explicit: a partition starts at its committed offset, looked up here, or where `auto.offset.reset`
says.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from headrace.runtime import kafka
from headrace.runtime.errors import HeadraceError
from headrace.runtime.logging import get_logger
from headrace.streams.buffer import ChunkBuffer
from headrace.streams.chunks import Partition, Record, by_partition
from headrace.streams.transport.commands import Commands
from headrace.streams.transport.positions import REQUEST_S, at, committed, names, seek, wake_fetchers

log = get_logger("headrace.streams")
T = TypeVar("T")

POLL_S = 0.05
"""How long one poll may wait for records: the delay of commands while the topic is idle."""
HOLD_S = 0.25
"""How long a full buffer just stops fetching before the partitions are paused: a pause throws away what librdkafka has
prefetched, so it is for slow models and not for every full buffer."""
_MOST_PER_FETCH = 10_000
_TRANSIENT = {
    KafkaError._TRANSPORT,  # noqa: SLF001 - librdkafka's own names
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001
    KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
    KafkaError._PARTITION_EOF,  # noqa: SLF001
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
}


_NO_CONSUMER_PROTOCOL = {
    KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001
    KafkaError.UNSUPPORTED_VERSION,
}

_REFUSED = "API version not supported"  # a fatal error's own code is not told, only its text


class _NoConsumerProtocolError(Exception):
    """The broker is older than the group protocol that was asked for."""


class Listener(Protocol):
    """Who is told about assignments, records and errors; called on the poll thread."""

    def on_quiesce(self, revoked: set[Partition], *, lost: bool) -> "Future[None]":
        """Stop working, finish and commit what is in hand (unless `lost`); done when nothing is."""
        ...

    def on_assignment(self, assigned: set[Partition], metadata: bytes | None) -> None:
        """Here is the whole new assignment: a new generation begins. Work goes on after `Poller.restart`."""
        ...

    def on_records(self) -> None:
        """The buffer has grown."""
        ...

    def on_metadata(self, metadata: bytes) -> None:
        """The group metadata as of now, of the same assignment."""
        ...

    def on_error(self, error: HeadraceError) -> None:
        """The consumer cannot go on."""
        ...


class Poller:
    """Owns one consumer and the thread that polls it."""

    def __init__(
        self, make: Callable[[str], Consumer], buffer: ChunkBuffer, listener: Listener, *, reset: str = "earliest"
    ) -> None:
        self._make = make
        self._buffer = buffer
        self._listener = listener
        self._reset = reset
        self._commands = Commands()
        self._thread = threading.Thread(target=self._run, name="kafka-poll", daemon=True)
        self._stopping = threading.Event()
        self._choked = False
        self._closing = False
        self._rebalancing = False
        self._topics: list[str] = []
        self._fresh: dict[Partition, int] = {}
        self._held: set[Partition] = set()
        self._paused: frozenset[Partition] = frozenset()
        self._wanted_pause: frozenset[Partition] = frozenset()
        self.assigned: frozenset[Partition] = frozenset()
        self.highwaters: dict[Partition, int] = {}

    # -- from the event loop
    # ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start polling; the consumer is made on the thread."""
        self._thread.start()

    def close(self, timeout: float = REQUEST_S) -> None:
        """Leave the group and end the thread."""
        self._stopping.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def call(self, function: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Run `function(consumer, *arguments)` on the poll thread."""
        return self._commands.put(function, *arguments)

    def pause(self, partitions: Iterable[Partition]) -> None:
        """The partitions that are to be paused from now on, no others; takes effect at the next poll."""
        self._wanted_pause = frozenset(partitions)

    # -- commands, on the poll thread
    # ------------------------------------------------------------------------------------

    def subscribe(self, consumer: Consumer, topics: Sequence[str]) -> None:
        """Join the group for these topics."""
        self._topics = list(topics)
        consumer.subscribe(list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def restart(self, consumer: Consumer) -> dict[Partition, int]:
        """Put every assigned partition back to its committed offset, and let it flow; the offsets."""
        kept = sorted(self.assigned - self._fresh.keys())
        self._buffer.drop()
        positions = {**self._fresh, **committed(consumer, kept, self._reset)}
        for partition in kept:
            seek(consumer, partition, positions[partition])
        self._fresh.clear()
        self._held.clear()
        self._apply_pauses(consumer)
        wake_fetchers(consumer, self.assigned)
        return {p: positions[p] for p in self.assigned if p in positions}

    def rewind(self, consumer: Consumer) -> None:
        """Give up everything in hand and begin a new generation at the committed offsets: after an aborted transaction.

        A rebalance that is under way does the same by itself.
        """
        if self._rebalancing:
            return
        self._wait(consumer, self._listener.on_quiesce(set(), lost=True))
        self._held.update(self.assigned)
        self._apply_pauses(consumer)
        self._listener.on_assignment(set(self.assigned), consumer.consumer_group_metadata())

    # -- the thread
    # ------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            try:
                self._poll_until_stopped("consumer")
            except _NoConsumerProtocolError:
                log.info("the broker has no KIP-848 group protocol; using cooperative-sticky")
                self._poll_until_stopped("classic")
        except KafkaException as error:
            self._listener.on_error(kafka.translate(error, f"polling {names(self.assigned)}"))
        except HeadraceError as error:
            self._listener.on_error(error)
        except Exception as error:  # noqa: BLE001 - the thread's edge: whatever it was, the process must learn of it
            self._listener.on_error(HeadraceError(f"the poll thread failed: {type(error).__name__}: {error}"))
        finally:
            self._stopping.set()
            self._commands.cancel()

    def _poll_until_stopped(self, protocol: str) -> None:
        consumer = self._make(protocol)
        try:
            if self._topics:
                self.subscribe(consumer, self._topics)
            while not self._stopping.is_set():
                self._commands.serve(consumer)
                self._step(consumer)
        finally:
            self._close(consumer)

    def _step(self, consumer: Consumer) -> None:
        """One poll: wait for a first record, then take whatever else is there without waiting."""
        if self._buffer.full:
            self._choked = self._choked or not self._hold(consumer)
        elif self._choked:
            self._choked = 2 * self._buffer.records > self._buffer.limits.records
        self._apply_pauses(consumer)
        first = consumer.poll(POLL_S)
        if first is None:
            return
        room = min(self._buffer.room, _MOST_PER_FETCH)
        self._accept(consumer, [first, *(consumer.consume(room, 0) if room else ())])

    def _hold(self, consumer: Consumer) -> bool:
        """Wait for the buffer to empty; whether it did."""
        deadline = time.monotonic() + HOLD_S
        while self._buffer.full and time.monotonic() < deadline and not self._stopping.is_set():
            self._commands.serve(consumer, wait=0.002)
        return not self._buffer.full

    def _accept(self, consumer: Consumer, messages: list[Message]) -> None:
        records = messages
        if any(map(Message.error, messages)):
            records = []
            for message in messages:
                if (error := message.error()) is not None:
                    self._fail(message, error)
                else:
                    records.append(message)
        fetched = {
            p: r
            for p, r in by_partition(cast("list[Record]", records)).items()
            if p in self.assigned and p not in self._held
        }
        if not fetched:
            return
        for partition in fetched:
            _, high = consumer.get_watermark_offsets(at(partition), cached=True)
            self.highwaters[partition] = high
        self._buffer.add(fetched)
        self._listener.on_metadata(consumer.consumer_group_metadata())
        self._listener.on_records()

    def _fail(self, message: Message, error: KafkaError) -> None:
        where = f"{message.topic()}[{message.partition()}]"
        if not self.assigned and (error.code() in _NO_CONSUMER_PROTOCOL or _REFUSED in error.str()):
            raise _NoConsumerProtocolError
        if error.fatal() or not (error.retriable() or error.code() in _TRANSIENT):
            raise kafka.translate(KafkaException(error), f"reading {where}")
        log.warning("kafka consumer", code=error.name(), error=error.str(), where=where)

    def _wait(self, consumer: Consumer, future: "Future[None]") -> None:
        """Serve commands until the event loop has done its part; when stopping, not for ever: the loop may be gone."""
        deadline = time.monotonic() + REQUEST_S
        while not future.done():
            self._commands.serve(consumer, wait=0.002)
            if self._stopping.is_set() and time.monotonic() > deadline:
                log.warning("gave up waiting for the work in hand", waited_s=REQUEST_S)
                return
        future.result()

    def _apply_pauses(self, consumer: Consumer) -> None:
        want = self.assigned if self._choked else self.assigned & (self._wanted_pause | self._held)
        paused = self._paused & self.assigned
        if pause := want - paused:
            consumer.pause([at(p) for p in pause])
        if resume := paused - want:
            consumer.resume([at(p) for p in resume])
        self._paused = frozenset(want)

    def _close(self, consumer: Consumer) -> None:
        self._closing = True
        try:
            consumer.close()
        except (KafkaException, RuntimeError) as error:
            log.warning("closing the consumer", error=str(error))
        self._closing = False

    # -- rebalances
    # ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _rebalance(self) -> Iterator[None]:
        self._rebalancing = True
        try:
            yield
        finally:
            self._rebalancing = False

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        with self._rebalance():
            self._take(consumer, {Partition(p.topic, p.partition) for p in partitions})

    def _take(self, consumer: Consumer, new: set[Partition]) -> None:
        if self._closing:
            return
        if not new and self.assigned:  # others' partitions moved; ours, and what is in hand of them, are as they were
            consumer.incremental_assign([])
            self._listener.on_metadata(consumer.consumer_group_metadata())
            return
        # 1. What is in hand belongs to the old generation: finish it while its group metadata is good.
        self._wait(consumer, self._listener.on_quiesce(set(), lost=False))
        # 2. Start the new partitions at explicit offsets, held until the app asks for them.
        positions = committed(consumer, sorted(new), self._reset)
        consumer.incremental_assign([at(p, positions[p]) for p in sorted(new)])
        self.assigned |= new
        self._fresh.update(positions)
        self._held.update(self.assigned)
        self._paused &= self.assigned - new
        self._apply_pauses(consumer)
        # 3. The new generation begins.
        log.info("assigned", partitions=names(new), all=len(self.assigned))
        self._listener.on_assignment(set(self.assigned), consumer.consumer_group_metadata())

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        with self._rebalance():
            self._give_up(consumer, {Partition(p.topic, p.partition) for p in partitions}, lost=False)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        with self._rebalance():
            self._give_up(consumer, {Partition(p.topic, p.partition) for p in partitions}, lost=True)

    def _give_up(self, consumer: Consumer, gone: set[Partition], *, lost: bool) -> None:
        if not self._closing:
            self._wait(consumer, self._listener.on_quiesce(gone, lost=lost))
        self.assigned -= gone
        self._buffer.drop(gone)
        self._held -= gone
        for partition in gone:
            self._fresh.pop(partition, None)
            self.highwaters.pop(partition, None)
        consumer.incremental_unassign([at(p) for p in gone])
        if self._closing:
            return
        # A KIP-848 member that only loses partitions gets no assignment callback: what remains is the new assignment.
        self._held.update(self.assigned)
        self._apply_pauses(consumer)
        log.info("lost" if lost else "revoked", partitions=names(gone), all=len(self.assigned))
        self._listener.on_assignment(set(self.assigned), None if lost else consumer.consumer_group_metadata())
