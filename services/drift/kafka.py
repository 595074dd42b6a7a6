"""The drift role's Kafka edge: it reads events, predictions and labels, and writes its state with its alerts.

The order of durable effects, in `Ledger.commit`: 1. begin a transaction; 2. the alerts that started or stopped;
3. the state that they follow from, with the offsets up to which it has read; 4. commit. If the process dies before 4,
its successor reads the state before, reads the same records again and raises the same alerts. The transactional id is
the pipeline's, so a second drift role of a pipeline fences the first.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from google.protobuf.message import DecodeError

from headrace.contracts import topics
from headrace.contracts.events_pb2 import Alert, DriftState, PartitionOffset
from headrace.model.pipeline import Pipeline
from headrace.runtime import kafka
from headrace.runtime.errors import DependencyError
from headrace.runtime.lifecycle import Stop
from headrace.runtime.logging import get_logger
from services.drift.service import Prediction, Watch
from services.drift.settings import DriftSettings
from services.drift.state import FORMAT

log = get_logger("headrace.drift.kafka")

Offsets = Mapping[tuple[str, int], int]
_READ = (topics.EVENTS, topics.PREDICTIONS, topics.LABELS)


class Feed:
    """Reads the pipeline's topics and hands columns of records to the watch. It commits nothing to a group."""

    def __init__(self, settings: DriftSettings, pipeline: Pipeline) -> None:
        self._settings, self._pipeline = settings, pipeline
        self._events, self._predictions, self._labels = (spec.name(pipeline.name) for spec in _READ)
        self._consumer: Consumer = kafka.consumer(settings, f"headrace.drift.{pipeline.name}")
        kind = msgspec.defstruct(
            "Made", [("prediction", pipeline.model.prediction_type())], bases=(Prediction,), gc=False, kw_only=True
        )
        self._decode = msgspec.json.Decoder(kind).decode
        self._newest: dict[tuple[str, int], float] = {}
        self._partitions: list[tuple[str, int]] = []
        self._start: dict[tuple[str, int], int] = {}

    def open(self, stop: Stop, offsets: Offsets) -> None:
        """Wait for the topics and begin to read: at these offsets, of other partitions `history_s` ago.

        Raises:
            DependencyError: the broker did not answer, or a topic did not exist, within `startup_timeout_s`.
        """
        names = (self._events, self._predictions, self._labels)
        self._partitions = [(n, p) for n in names for p in range(_partitions(self._consumer, n, stop, self._settings))]
        since = int((time.time() - self._settings.history_s) * 1000)
        new = [TopicPartition(n, p, since) for n, p in self._partitions if (n, p) not in offsets]
        try:
            found = self._consumer.offsets_for_times(new, timeout=kafka.REQUEST_TIMEOUT_S) if new else []
        except KafkaException as error:
            raise kafka.translate(error, "offsets by time") from error
        start = {(f.topic, f.partition): f.offset for f in found}
        for topic, partition in [lane for lane, offset in start.items() if offset < 0]:  # no record is that late
            start[topic, partition] = kafka.end_offsets(self._consumer, topic, [partition])[partition]
        start.update({lane: offset for lane, offset in offsets.items() if lane in self._partitions})
        self._start = start
        self._consumer.assign([TopicPartition(topic, p, offset) for (topic, p), offset in start.items()])

    def read(self, watch: Watch) -> int:
        """Hand one batch of records to the watch; return how many."""
        by: dict[str, list[Message]] = {self._events: [], self._predictions: [], self._labels: []}
        messages = self._consumer.consume(self._settings.batch, 0.1)
        for message in messages:
            if message.error() is not None:
                kafka.check(message)
            by[message.topic()].append(message)  # type: ignore[index]
        now = time.time()
        if events := by[self._events]:
            at = np.array([message.timestamp()[1] for message in events], dtype=np.float64) / 1000
            self._note(events, at)
            watch.events([message.value() for message in events], at)
        if predictions := by[self._predictions]:
            some = [*predictions[::_SPARSE], predictions[-1]]
            self._note(some, np.array([message.timestamp()[1] for message in some], dtype=np.float64) / 1000)
            self._hand_predictions(watch, predictions, now)
        if labels := by[self._labels]:
            self._hand_labels(watch, labels, now)
        return len(messages)

    def positions(self) -> dict[tuple[str, int], int]:
        """The next offset to read of every partition."""
        lanes = [TopicPartition(topic, partition) for topic, partition in self._partitions]
        read = {(p.topic, p.partition): p.offset for p in self._consumer.position(lanes) if p.offset >= 0}
        return {**self._start, **read}

    def lag(self) -> tuple[int, float | None]:
        """Records that are still to be read, and the time, in seconds, before which all events and predictions were."""
        now, total = time.time(), 0
        positions, until = self.positions(), now
        for topic, partition in self._partitions:
            # As of the last fetch, which costs no request: there may be hundreds of partitions.
            _, end = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
            if end < 0:  # nothing was fetched yet
                until = 0.0
                continue
            behind = max(0, end - positions[topic, partition])
            total += behind
            if behind > _MARKERS and topic != self._labels:
                until = min(until, self._newest.get((topic, partition), 0.0))
        return total, until if until and self._reachable() else None

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()

    def _reachable(self) -> bool:
        """Whether the broker answers: while it is away, no record is not the same as no event."""
        try:
            kafka.end_offsets(self._consumer, self._events, [0])
        except DependencyError as error:
            log.debug("the broker does not answer", error=error.message)
            return False
        return True

    def _note(self, messages: Sequence[Message], at: Any) -> None:
        """How far each partition was read, in the records' time."""
        partitions = np.array([message.partition() for message in messages])
        topic = messages[0].topic() or ""
        for partition in np.unique(partitions).tolist():
            newest = float(at[partitions == partition].max())
            lane = (topic, partition)
            self._newest[lane] = max(newest, self._newest.get(lane, 0.0))

    def _hand_predictions(self, watch: Watch, messages: list[Message], now: float) -> None:
        decode = self._decode
        try:
            made: list[Any] = [decode(message.value()) for message in messages]  # type: ignore[arg-type]
            keys = [message.key() for message in messages]
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError):
            made, keys = self._each(watch, messages)
        watch.predictions(made, keys, now)

    def _each(self, watch: Watch, messages: list[Message]) -> tuple[list[Any], list[Any]]:
        made, keys = [], []
        for message in messages:
            try:
                made.append(self._decode(message.value() or b""))
                keys.append(message.key())
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                watch.counts["unreadable"] += 1
                _log_unreadable(message, error)
        return made, keys

    def _hand_labels(self, watch: Watch, messages: list[Message], now: float) -> None:
        keys, values = [], []
        for message in messages:
            key, value = message.key(), message.value() or b""
            if key is None:  # the producer sets no key, but the struct holds it
                try:
                    key = self._pipeline.model.key_of(self._pipeline.label_decoder.decode(value)).encode()
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    watch.counts["unreadable"] += 1
                    _log_unreadable(message, error)
                    continue
            keys.append(key)
            values.append(value)
        watch.labels(keys, values, now)


_SPARSE = 64
"""One in so many predictions tells how far its partition was read."""
_MARKERS = 2
"""A transaction's markers take offsets that hold no record: a position may stay so far before the end."""


class Ledger:
    """The role's state and its alerts on Kafka."""

    def __init__(self, settings: DriftSettings, pipeline: str) -> None:
        self._settings, self._pipeline = settings, pipeline
        self._producer = kafka.transactional_producer(settings, f"headrace.drift.{pipeline}")

    def read(self) -> DriftState | None:
        """The newest state of the pipeline; None if there is none, or its format is not ours."""
        found = last_of_key(self._settings, topics.DRIFT.name(), self._partition, self._pipeline.encode())
        if found is None:
            return None
        try:
            state = DriftState.FromString(found)
        except DecodeError as error:
            log.warning("the state cannot be decoded; beginning anew", error=str(error))
            return None
        if state.format != FORMAT:
            log.warning("the state is of another format; beginning anew", format=state.format, expected=FORMAT)
            return None
        return state

    def commit(self, alerts: Sequence[Alert], state: bytes, offsets: Offsets) -> None:
        """Write alerts and state together, or neither.

        Raises:
            FencedError: another drift role of this pipeline has taken over.
            DependencyError: the broker does not answer.
        """
        record = DriftState(
            pipeline=self._pipeline, format=FORMAT, state=state, at_us=int(time.time() * 1e6),
            offsets=[PartitionOffset(topic=t, partition=p, offset=o) for (t, p), o in sorted(offsets.items())],
        )  # fmt: skip
        try:
            self._producer.begin_transaction()
            for alert in alerts:
                log.warning("alert", name=alert.name, firing=alert.firing, message=alert.message, id=alert.id)
                self._producer.produce(
                    topics.ALERTS.name(), key=alert.model, value=alert.SerializeToString(),
                    partition=topics.model_partition(alert.model),
                )  # fmt: skip
            self._producer.produce(
                topics.DRIFT.name(), key=self._pipeline, value=record.SerializeToString(), partition=self._partition
            )
            self._producer.commit_transaction(kafka.REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise kafka.translate(error, "writing alerts and state") from error

    def close(self) -> None:
        """Leave Kafka."""
        kafka.close(self._producer, 5.0)

    @property
    def _partition(self) -> int:
        return topics.model_partition(self._pipeline)


def last_of_key(settings: DriftSettings, topic: str, partition: int, key: bytes) -> bytes | None:
    """The value of a partition's newest record of a key; None if there is none. It is looked for from the end."""
    consumer = kafka.consumer(settings, "headrace.drift.state", **{"enable.partition.eof": True})
    try:
        kafka.partitions_of(consumer, topic)
        end, span = kafka.end_offsets(consumer, topic, [partition])[partition], 64
        while end:
            consumer.assign([TopicPartition(topic, partition, max(0, end - span))])
            found = _newest(consumer, key)
            if found is not None or span >= end:
                return found
            span *= 8
        return None
    finally:
        consumer.close()


def _newest(consumer: Consumer, key: bytes) -> bytes | None:
    found = None
    while True:
        for message in consumer.consume(64, 1.0):
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own name
                return found
            if kafka.check(message).key() == key:
                found = message.value()


def _partitions(consumer: Consumer, topic: str, stop: Stop, settings: DriftSettings) -> int:
    deadline = time.monotonic() + settings.startup_timeout_s
    while True:
        try:
            return kafka.partitions_of(consumer, topic)
        except DependencyError:
            if stop.is_set() or time.monotonic() > deadline:
                raise
            stop.wait(0.3)


def _log_unreadable(message: Message, error: Exception) -> None:
    where = f"{message.topic()}[{message.partition()}]@{message.offset()}"
    log.debug("record cannot be decoded", where=where, error=str(error))
