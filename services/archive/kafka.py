"""The archive's Kafka edge: it reads every partition of the pipeline's topics from where its segments end.

It assigns itself all partitions. The offsets that it commits to its group are for people who look at the group's lag:
they are never read back.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicCollection, TopicPartition

from headrace.archive.folder import topic_folder
from headrace.archive.segments.listing import list_segments
from headrace.archive.tables import Table
from headrace.contracts import topics
from headrace.contracts.records import Samples
from headrace.runtime import kafka
from headrace.runtime.brokers import watched
from headrace.runtime.errors import DataError, DependencyError
from headrace.runtime.lifecycle import Stop
from headrace.runtime.logging import get_logger
from services.archive import metrics
from services.archive.service import Archive, Lane, Source
from services.archive.settings import ArchiveSettings

log = get_logger("headrace.archive")
T = TypeVar("T")
_FRUGAL = {
    "fetch.wait.max.ms": 500,  # nobody waits for it
    "fetch.max.bytes": 4 << 20,
    "max.partition.fetch.bytes": 1 << 20,
    "queued.max.messages.kbytes": 4 << 10,
}
_WITHOUT_ID = "topic"  # brokers before 2.8 give topics no id


def ensure_metrics_topic(settings: ArchiveSettings, stop: Stop) -> None:
    """Create headrace.metrics, which is the archive's own topic, if it does not exist.

    Raises:
        DependencyError: the broker did not answer within `startup_timeout_s`, or refuses.
    """
    _patiently(lambda: kafka.ensure_topics(settings, [topics.METRICS.topic()]), settings, stop)


def _patiently(ask: Callable[[], T], settings: ArchiveSettings, stop: Stop) -> T:
    """What `ask` returns; again while it fails, for `startup_timeout_s` at most, or until somebody asks for a stop."""
    deadline = time.monotonic() + settings.startup_timeout_s
    while True:
        try:
            return ask()
        except DependencyError:
            if stop.is_set() or time.monotonic() > deadline:
                raise
            stop.wait(0.3)


class Feed:
    """Reads the topics of an archive's tables."""

    def __init__(self, settings: ArchiveSettings, pipeline: str) -> None:
        self._settings = settings
        self._consumer = kafka.consumer(settings, f"headrace.archive.{pipeline}", **_FRUGAL)
        self._admin = kafka.admin(settings)

    def open(self, root: Path, tables: Sequence[Table], stop: Stop) -> list[Lane]:
        """Wait for the topics, begin to read where the segments end, and return the partitions.

        Raises:
            DependencyError: the broker did not answer, or a topic did not exist, within `startup_timeout_s`.
            DataError: a topic ends before what is kept of it.
        """
        partitions = {table.topic: self._partitions(table.topic, stop) for table in tables}
        ids, lanes = self._ids(list(partitions)), list[Lane]()
        for table in tables:
            folder = topic_folder(root, table.name, ids[table.topic])
            ends, encode = list_segments(folder).ends, table.encoder()
            for partition in range(partitions[table.topic]):
                source = Source(table, ids[table.topic], partition, folder)
                lanes.append(Lane(source, self._start(source, ends.get(partition, 0)), encode))
        self._consumer.assign([TopicPartition(*lane.source.name, lane.first or OFFSET_BEGINNING) for lane in lanes])
        return lanes

    def read(self, archive: Archive) -> int:
        """Hand one batch of records to the archive; return how many."""
        messages, now, lanes = self._consumer.consume(self._settings.batch, 0.2), time.monotonic(), archive.lanes
        for message in messages:
            kafka.check(message)
            lane = lanes[message.topic(), message.partition()]  # type: ignore[index]
            lane.add(message.offset(), message.timestamp()[1], message.key(), message.value(), now)  # type: ignore[arg-type]
        return len(messages)

    def commit(self, topic: str, partition: int, offset: int) -> None:
        """Tell the group how far the archive is. Failing is of no consequence."""
        try:
            self._consumer.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=True)
        except KafkaException as error:
            log.debug("offset not committed", topic=topic, partition=partition, error=str(error))

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()

    def _start(self, source: Source, kept: int) -> int:
        """The offset to go on at."""
        topic, partition = source.name

        def bounds() -> tuple[int, int]:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), kafka.REQUEST_TIMEOUT_S)
            return int(low), int(high)

        low, high = kafka.patiently(bounds, f"ends of {topic}[{partition}]")
        if kept > high:
            raise DataError(
                f"{topic}[{partition}] ends at offset {high}, and {source.folder} holds it up to {kept}",
                hint="the topic has lost records; move the folder away to begin again",
            )
        if kept and low > kept:
            metrics.LOST.labels(source.table.name).inc(low - kept)
            log.error(
                "records lost: Kafka removed them before they were read",
                topic=topic, partition=partition, first=kept, next=low,
            )  # fmt: skip
        return kept

    def _partitions(self, topic: str, stop: Stop) -> int:
        return _patiently(lambda: kafka.partitions_of(self._consumer, topic), self._settings, stop)

    def _ids(self, names: list[str]) -> dict[str, str]:
        """The ids of the topics, by name."""
        found = self._admin.describe_topics(TopicCollection(names), request_timeout=kafka.REQUEST_TIMEOUT_S)
        try:
            ids = {name: str(future.result().topic_id) for name, future in found.items()}
        except KafkaException as error:
            raise kafka.translate(error, "asking for topics' ids") from error
        return {name: found.replace("/", "_") or _WITHOUT_ID for name, found in ids.items()}


class Sender:
    """Writes samples to headrace.metrics. The idempotent client retries, in order."""

    def __init__(self, settings: ArchiveSettings) -> None:
        self._producer = kafka.producer(settings, **watched())
        self._partitions = kafka.partitions_of(self._producer, topics.METRICS.name())

    def send(self, samples: Samples) -> None:
        """Send what was measured at one time."""
        self._producer.produce(
            topics.METRICS.name(),
            key=samples.pipeline,
            value=msgspec.json.encode(samples),
            partition=topics.model_partition(samples.pipeline, self._partitions),
            timestamp=samples.at_us // 1000,
        )
        self._producer.poll(0)

    def close(self) -> None:
        """Wait until what was sent is written."""
        if left := kafka.close(self._producer, 5.0):
            log.error("samples not delivered", count=left)
