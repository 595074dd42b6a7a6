"""The section `tail:<topic>`: the newest records of a topic, decoded."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from headrace.contracts.plain_values import plain_value, text
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings

PREFIX = "tail:"
RECORDS = 30
_MOST_BEHIND = 5000
_LONGEST = 4000
_READ_S = 0.3


class TailSection:
    """`{"topic": ..., "records": [...], "skipped": n}`, the newest record first; committed records only.

    Where more is written than can be read, it goes on at the end of the topic, and `skipped` counts what it left out.
    """

    period_s = 0.8

    def __init__(self, settings: ServiceSettings, topic: str) -> None:
        self._settings, self._topic = settings, topic
        self._consumer: Consumer | None = None
        self._records: deque[Message] = deque(maxlen=RECORDS)
        self._skipped = 0

    async def look(self) -> bytes:
        """See `Section.look`."""
        return await asyncio.to_thread(self._look)

    def first(self) -> Mapping[str, bytes]:
        """See `Section.first`."""
        return {}

    async def close(self) -> None:
        """See `Section.close`."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await asyncio.to_thread(consumer.close)

    def _look(self) -> bytes:
        try:
            consumer = self._consumer or self._opened()
            deadline = time.monotonic() + _READ_S
            while messages := consumer.consume(500, 0.05):
                self._records.extend(sorted((m for m in messages if m.error() is None), key=lambda m: m.timestamp()[1]))
                if time.monotonic() > deadline:
                    self._skip(consumer)
                    break
        except KafkaException as error:
            raise kafka.translate(error, f"reading the end of {self._topic}") from error
        records = [_plain(self._topic, message) for message in reversed(self._records)]
        return msgspec.json.encode({"topic": self._topic, "records": records, "skipped": self._skipped})

    def _opened(self) -> Consumer:
        consumer = kafka.consumer(self._settings, f"headrace.page.{self._settings.instance}")
        try:
            count = kafka.partitions_of(consumer, self._topic)
            ends = kafka.end_offsets(consumer, self._topic, range(count))
        except BaseException:
            consumer.close()
            raise
        self._records.clear()
        self._skipped = 0
        # Transactions' markers take offsets too, so it begins a little earlier than the records that are shown.
        consumer.assign([TopicPartition(self._topic, p, max(0, end - 2 * RECORDS)) for p, end in ends.items()])
        self._consumer = consumer
        return consumer

    def _skip(self, consumer: Consumer) -> None:
        """Go on shortly before the end of each partition that is far behind."""
        for at in consumer.position(consumer.assignment()):
            _, end = consumer.get_watermark_offsets(at, timeout=kafka.REQUEST_TIMEOUT_S)
            if at.offset >= 0 and end - at.offset > _MOST_BEHIND:
                self._skipped += end - RECORDS - at.offset
                consumer.seek(TopicPartition(self._topic, at.partition, end - RECORDS))


def _plain(topic: str, message: Message) -> dict[str, Any]:
    key, value = message.key(), plain_value(topic, message.value())
    size = len(message.value() or b"")
    if size > _LONGEST:
        value = f"({size:,} bytes)"
    return {
        "partition": message.partition(),
        "offset": message.offset(),
        "at_ms": message.timestamp()[1],
        "key": None if key is None else text(key),
        "value": value,
    }
