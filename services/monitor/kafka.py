"""The monitor's Kafka edge: it reads every topic of the pipeline and writes alerts.

It assigns itself all partitions, begins at a moment in the past and commits nothing. All that it knows comes from what
it reads, so a restarted monitor arrives at the same counts.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from google.protobuf.message import DecodeError

from headrace.contracts import topics
from headrace.contracts.events_pb2 import Alert, CheckpointPublished, DeadLetter, RolloutDirective, WeightsApplied
from headrace.model.pipeline import Pipeline
from headrace.runtime import kafka
from headrace.runtime.brokers import watched
from headrace.runtime.errors import DependencyError
from headrace.runtime.lifecycle import Stop
from headrace.runtime.logging import get_logger
from services.monitor.merge import Lane
from services.monitor.service import Monitor, Record
from services.monitor.settings import MonitorSettings

log = get_logger("headrace.monitor")

Handler = Callable[[Monitor, Lane, Message], None]


_SYSTEM = {spec.name() for spec in topics.SYSTEM_TOPICS}


class Feed:
    """Reads every record about one pipeline and hands it to the monitor."""

    def __init__(self, settings: MonitorSettings, pipeline: Pipeline) -> None:
        self._settings, self._pipeline = settings, pipeline
        self._names = {spec: spec.name(pipeline.name) for spec in topics.CATALOGUE}
        self._dead_letters = topics.dead_letters(self._names[topics.EVENTS])
        self._consumer = kafka.consumer(settings, f"headrace.monitor.{pipeline.name}", **{"enable.partition.eof": True})
        self._admin = kafka.admin(settings)
        self._models = {pipeline.model_name.encode(), *(other.model_name.encode() for other in pipeline.others)}
        self._handlers: Mapping[str, Handler] = {
            self._names[topics.EVENTS]: partial(_event, pipeline),
            self._names[topics.LABELS]: partial(_label, pipeline),
            self._names[topics.PREDICTIONS]: partial(_prediction, pipeline),
            self._dead_letters: partial(_system, DeadLetter, Monitor.dead_letter),
            self._names[topics.CHECKPOINTS]: partial(_system, CheckpointPublished, Monitor.checkpoint),
            self._names[topics.ROLLOUTS]: partial(_system, RolloutDirective, Monitor.directive),
            self._names[topics.APPLIED]: partial(_system, WeightsApplied, Monitor.applied),
            **({self._names[topics.SHADOWS]: partial(_shadow, pipeline)} if pipeline.spec.has_shadows else {}),
        }

    def open(self, stop: Stop) -> list[Lane]:
        """Wait for the topics and begin to read; return the lanes of events and labels.

        Raises:
            DependencyError: the broker did not answer, or a topic did not exist, within `startup_timeout_s`.
        """
        partitions = {name: self._partitions(name, stop) for name in self._handlers}
        since = self._since()
        start = [
            TopicPartition(name, p, since(name, count)[p]) for name, count in partitions.items() for p in range(count)
        ]
        self._consumer.assign(start)
        timed = (self._names[topics.EVENTS], self._names[topics.LABELS])
        return [(name, p) for name in timed for p in range(partitions[name])]

    def read(self, monitor: Monitor) -> int:
        """Hand one batch of records to the monitor; return how many."""
        messages = self._consumer.consume(self._settings.batch, 0.1)
        records = 0
        for message in messages:
            error, lane = message.error(), (message.topic() or "", message.partition() or 0)
            if error is None:
                records += 1
                self._handle(monitor, lane, message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own name
                monitor.at_end(lane)
            else:
                kafka.check(message)
        return records

    def lag(self, checkpoint_offsets: Mapping[str, Mapping[tuple[str, int], int]]) -> dict[str, int]:
        """How many records the join has still to read, and each trainer beyond its newest checkpoint."""
        self._admin.poll(0)  # takes its errors and log lines, which else pile up while the broker is away
        group = self._settings.join_group.format(pipeline=self._pipeline.name)
        read = {"join": self._committed(group) if group else {}, **checkpoint_offsets}
        return {role: self._behind(positions) for role, positions in read.items() if positions}

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()

    def _committed(self, group: str) -> dict[tuple[str, int], int]:
        """The offsets that a group has committed; none before its first commit, or while its coordinator moves."""
        asked = ConsumerGroupTopicPartitions(group)
        try:
            found = self._admin.list_consumer_group_offsets([asked], request_timeout=5.0)[group].result()
        except KafkaException as error:
            log.debug("no offsets", group=group, error=str(error))
            return {}
        return {(p.topic, p.partition): p.offset for p in found.topic_partitions if p.offset >= 0}

    def _behind(self, positions: Mapping[tuple[str, int], int]) -> int:
        total = 0
        for (topic, partition), offset in positions.items():
            total += max(0, kafka.end_offsets(self._consumer, topic, [partition])[partition] - offset)
        return total

    def _handle(self, monitor: Monitor, lane: Lane, message: Message) -> None:
        if lane[0] in _SYSTEM and (message.key() or b"").split(b"/")[0] not in self._models:
            return  # about a model of another pipeline: all pipelines share these topics
        try:
            self._handlers[lane[0]](monitor, lane, message)
        except (msgspec.MsgspecError, DecodeError, UnicodeDecodeError) as error:
            monitor.unreadable()
            where = f"{lane[0]}[{lane[1]}]@{message.offset()}"
            log.debug("record cannot be decoded", where=where, error=str(error))

    def _partitions(self, topic: str, stop: Stop) -> int:
        deadline = time.monotonic() + self._settings.startup_timeout_s
        while True:
            try:
                return kafka.partitions_of(self._consumer, topic)
            except DependencyError:
                if stop.is_set() or time.monotonic() > deadline:
                    raise
                stop.wait(0.3)

    def _since(self) -> Callable[[str, int], list[int]]:
        """Where to begin: in the pipeline's topics `history_s` ago, in the system's topics at their beginning."""
        at_ms = int((time.time() - self._settings.history_s) * 1000)

        def start(topic: str, partitions: int) -> list[int]:
            if topic not in {self._dead_letters, *(self._names[s] for s in topics.PIPELINE_TOPICS)}:
                return [OFFSET_BEGINNING] * partitions
            return offsets_at(self._consumer, topic, partitions, at_ms)

        return start


def offsets_at(consumer: Consumer, topic: str, partitions: int, at_ms: int) -> list[int]:
    """The first offset of each partition whose timestamp is `at_ms` or later; its end if no record is that late.

    Raises:
        DependencyError: the broker does not answer.
    """
    ends = kafka.end_offsets(consumer, topic, range(partitions))  # first, so that nothing written meanwhile is skipped
    asked = [TopicPartition(topic, p, at_ms) for p in range(partitions)]
    try:
        found = consumer.offsets_for_times(asked, timeout=kafka.REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise kafka.translate(error, f"offsets of {topic} by time") from error
    return [f.offset if f.offset >= 0 else ends[f.partition] for f in found]


class Announcer:
    """Writes alerts to headrace.alerts."""

    def __init__(self, settings: MonitorSettings) -> None:
        self._producer = kafka.producer(settings, **watched())
        self._partitions = kafka.partitions_of(self._producer, topics.ALERTS.name())

    def send(self, alert: Alert) -> None:
        """Send an alert; the client retries its delivery."""
        log.warning("alert", name=alert.name, firing=alert.firing, message=alert.message)
        self._producer.produce(
            topics.ALERTS.name(),
            key=alert.model,
            value=alert.SerializeToString(),
            partition=topics.model_partition(alert.model, self._partitions),
        )

    def poll(self) -> None:
        """Take what the client has to tell; to be called every few seconds.

        Raises:
            DependencyError: the client has lost its brokers for good.
        """
        self._producer.poll(0)

    def close(self) -> None:
        """Wait until the alerts that were sent are written."""
        if left := kafka.close(self._producer, 5.0):
            log.error("alerts not delivered", count=left)


def _record(pipeline: Pipeline, lane: Lane, message: Message, value: Any, key: bytes | None) -> Record:
    if key is None:  # the producer sets no key, but the struct holds it
        key = pipeline.model.key_of(value).encode()
    return Record(lane[1], message.offset() or 0, message.timestamp()[1] / 1000, key, value)


def _event(pipeline: Pipeline, monitor: Monitor, lane: Lane, message: Message) -> None:
    key = message.key()
    try:
        value = pipeline.event_decoder.decode(message.value() or b"") if key is None or monitor.follows(key) else None
    except msgspec.MsgspecError:
        undecoded = _record(pipeline, lane, message, None, key or b"")
        monitor.event(lane, undecoded)  # it is counted, since the stream answers it with a dead letter
        raise
    monitor.event(lane, _record(pipeline, lane, message, value, key))


def _label(pipeline: Pipeline, monitor: Monitor, lane: Lane, message: Message) -> None:
    key = message.key()
    value = pipeline.label_decoder.decode(message.value() or b"") if key is None or monitor.follows(key) else None
    monitor.label(lane, _record(pipeline, lane, message, value, key))


def _prediction(pipeline: Pipeline, monitor: Monitor, lane: Lane, message: Message) -> None:
    monitor.prediction(_predicted(pipeline, lane, message))


def _shadow(pipeline: Pipeline, monitor: Monitor, lane: Lane, message: Message) -> None:
    monitor.shadow(_predicted(pipeline, lane, message))


def _predicted(pipeline: Pipeline, lane: Lane, message: Message) -> Record:
    value = pipeline.prediction_decoder.decode(message.value() or b"")
    key = message.key()
    return _record(pipeline, lane, message, value, value.key.encode() if key is None else key)


def _system(kind: Any, take: Callable[[Monitor, Any], None], monitor: Monitor, _: Lane, message: Message) -> None:
    take(monitor, kind.FromString(message.value() or b""))
