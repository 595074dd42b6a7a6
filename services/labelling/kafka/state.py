"""The role's state on headrace.labelling, and the labels that people gave: written together, exactly once.

Opening, in this order:

1. fence: the transactional producer of the pipeline ends whatever an earlier instance may still be writing;
2. read the pipeline's records to the end of now: that is all there is, and only this instance adds to it.

Each commit is one transaction: records of items and of work, labels on the pipeline's labels topic, and how far the
topics were read. If the process dies before the commit, none of it is there, and nobody was told that it was.
"""

import time
from collections.abc import Mapping

import msgspec
from confluent_kafka import OFFSET_BEGINNING, KafkaException, Producer, TopicPartition

from headrace.contracts.labelling import DECODER, LabelItem, LabelPositions, LabelWork, is_of
from headrace.contracts.topics import LABELLING, LABELS, model_partition
from headrace.runtime import kafka
from headrace.runtime.errors import DependencyError
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings
from services.labelling.work.store import LabelRecord, Outbox

log = get_logger("headrace.label")

_COMMIT_S = 30.0
_PAUSE_S = 0.05
_CATCH_UP_S = 60.0
_TRANSACTION_MS = 15_000


class State(msgspec.Struct):
    """What the topic holds of a pipeline."""

    items: dict[str, LabelItem] = {}
    works: dict[str, LabelWork] = {}
    positions: LabelPositions = msgspec.field(default_factory=LabelPositions)
    unreadable: int = 0


class StateLog:
    """See the module. One thread."""

    def __init__(self, settings: ServiceSettings, pipeline: str) -> None:
        self._settings, self._pipeline = settings, pipeline
        self._topic, self._labels = LABELLING.name(), LABELS.name(pipeline)
        self._producer: Producer | None = None
        self._partition = self._label_partitions = 0

    def open(self) -> State:
        """Fence earlier instances and read the state.

        Raises:
            DependencyError: the broker does not answer, or the topic cannot be read to its end.
        """
        name = f"headrace.labelling.{self._pipeline}"
        self._producer = kafka.transactional_producer(
            self._settings, name, **{"transaction.timeout.ms": _TRANSACTION_MS}
        )
        self._partition = model_partition(self._pipeline, kafka.partitions_of(self._producer, self._topic))
        self._label_partitions = kafka.partitions_of(self._producer, self._labels)
        return self._read()

    def commit(self, outbox: Outbox) -> None:
        """Write everything in one transaction; on return it is durable and visible.

        Raises:
            FencedError: another instance has taken over.
            DependencyError: the broker failed; the process must end, since what is in memory may not be on the topic.
        """
        producer = self._opened()
        try:
            producer.begin_transaction()
            for key, value in outbox.state.items():
                self._produce(self._topic, value, key, self._partition, {})
            for label in outbox.labels:
                self._produce_label(label)
            self._commit(producer)
        except KafkaException as error:
            raise kafka.translate(error, f"writing to {self._topic} and {self._labels}") from error

    def poll(self) -> None:
        """Take what the client has to tell; to be called every second or so.

        Raises:
            DependencyError: the client has lost its brokers for good.
        """
        self._opened().poll(0)

    def close(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            try:
                self._producer.close()
            except KafkaException as error:
                log.warning("closing the producer", error=error.args[0].str())

    def _opened(self) -> Producer:
        if self._producer is None:
            raise DependencyError("the state's log is not open")
        return self._producer

    def _produce_label(self, label: LabelRecord) -> None:
        fits = label.partition is not None and label.partition < self._label_partitions
        partition = label.partition if fits and label.partition is not None else -1
        self._produce(self._labels, label.value, label.key, partition, label.headers)

    def _produce(
        self, topic: str, value: bytes | None, key: bytes, partition: int, headers: Mapping[str, bytes]
    ) -> None:
        producer = self._opened()
        named: list[tuple[str, str | bytes | None]] = list(headers.items())
        while True:
            try:
                producer.produce(topic, value, key, partition, headers=named)
            except BufferError:
                producer.poll(0.1)
            else:
                return

    @staticmethod
    def _commit(producer: Producer) -> None:
        deadline = time.monotonic() + _COMMIT_S
        while True:
            try:
                producer.commit_transaction(_COMMIT_S)
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE_S)
            else:
                return

    def _read(self) -> State:
        consumer = kafka.consumer(
            self._settings, f"headrace.labelling.{self._pipeline}", **{"enable.partition.eof": True}
        )
        state, deadline = State(), time.monotonic() + _CATCH_UP_S
        try:
            end = self._end()
            consumer.assign([TopicPartition(self._topic, self._partition, OFFSET_BEGINNING)])
            at = 0
            while at < end:
                for message in consumer.consume(5000, 0.2):
                    if message.error() is None:
                        self._take(state, message.key() or b"", message.value())
                        deadline = time.monotonic() + _CATCH_UP_S
                    elif not kafka.at_end(message):
                        kafka.check(message)
                    at = max(at, (message.offset() or 0) + (message.error() is None))
                if time.monotonic() > deadline:
                    raise DependencyError(f"{self._topic}[{self._partition}] cannot be read to its end, {end}")
        finally:
            consumer.close()
        return state

    def _end(self) -> int:
        """Where the log ends, transactions that other pipelines have open now included: ours may lie behind theirs."""
        client = kafka.consumer(
            self._settings, f"headrace.labelling.{self._pipeline}", **{"isolation.level": "read_uncommitted"}
        )
        try:
            return kafka.end_offsets(client, self._topic, [self._partition])[self._partition]
        finally:
            client.close()

    def _take(self, state: State, key: bytes, value: bytes | None) -> None:
        """One record; the newest of a key counts."""
        if not is_of(self._pipeline, key):
            return
        if value is None:
            _, kind, name = key.decode().split("/", 2)
            held: dict[str, LabelItem] | dict[str, LabelWork] = state.items if kind == "item" else state.works
            held.pop(name, None)
            return
        try:
            record = DECODER.decode(value)
        except msgspec.DecodeError as error:
            state.unreadable += 1
            log.warning("a record cannot be decoded", topic=self._topic, key=key.decode(), error=str(error))
            return
        if isinstance(record, LabelItem):
            state.items[record.id] = record
        elif isinstance(record, LabelWork):
            state.works[record.id] = record
        else:
            state.positions = record
