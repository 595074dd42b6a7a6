"""Reads the sink topic: committed records only, every partition, without a group's offsets."""

import threading

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings
from services.gateway import positions
from services.gateway.fanout import Record
from services.gateway.feed import Start
from services.gateway.positions import Positions

_BATCH = 2000


class SinkReader:
    """See `services.gateway.feed.Reader`."""

    def __init__(self, settings: ServiceSettings, topic: str) -> None:
        self._settings, self._topic = settings, topic
        self._consumer: Consumer | None = None
        self._lock = threading.Lock()  # a cancelled follower closes the reader while a thread may still read from it
        self._ended: set[int] = set()
        self.positions: Positions = {}

    @property
    def at_end(self) -> bool:
        """See `Reader.at_end`."""
        return self._ended >= self.positions.keys()

    def open(self, start: Start) -> None:
        """See `Reader.open`."""
        # The group is only a name: the reader assigns itself the partitions and commits nothing.
        consumer = kafka.consumer(
            self._settings, f"headrace.gateway.{self._settings.instance}", **{"enable.partition.eof": True}
        )
        self._consumer = consumer
        count = kafka.partitions_of(consumer, self._topic)
        wanted = positions.parse(start, count) if start not in ("latest", "earliest") else {}
        ends = kafka.end_offsets(consumer, self._topic, range(count))
        self.positions = ends if start == "latest" else {p: min(wanted.get(p, 0), ends[p]) for p in range(count)}
        consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in self.positions.items()])

    def read(self, timeout: float) -> list[Record]:
        """See `Reader.read`."""
        with self._lock:
            messages = self._consumer.consume(_BATCH, timeout) if self._consumer is not None else []
        records = []
        for message in messages:
            partition, offset = message.partition(), message.offset()
            if partition is None or offset is None:
                continue
            error = message.error()
            if error is None:
                self.positions[partition] = offset + 1
                records.append(Record(partition, offset, message.key() or b"", message.value() or b""))
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own name
                self.positions[partition] = max(self.positions[partition], offset)
                self._ended.add(partition)
            else:
                raise kafka.translate(KafkaException(error), f"reading {self._topic}[{partition}]")
        return records

    def close(self) -> None:
        """See `Reader.close`. If another thread reads, this waits for it."""
        with self._lock:
            if self._consumer is not None:
                self._consumer.close()
                self._consumer = None
