"""A range of a topic: from what people write to offsets, and the records in it."""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from headrace.runtime import kafka
from headrace.runtime.errors import ConfigError, DependencyError
from headrace.runtime.settings import ServiceSettings

_OFFSETS = re.compile(r"\d+:\d+(,\d+:\d+)*")
CALL_S = 15.0
_AT_ONCE = 4096
_QUIET_S = 60.0
_STRICT = {
    "enable.partition.eof": True,
    "auto.offset.reset": "error",  # a range whose beginning was deleted is not the range
}

Offsets = dict[int, int]


def offsets_of(settings: ServiceSettings, topic: str, start: str, end: str) -> tuple[Offsets, Offsets]:
    """Partition → first offset, and → the offset after the last, as they are now.

    Raises:
        ConfigError: a position is of no known form, names no partition of the topic, or lies outside of it.
        DependencyError: Kafka does not answer.
    """
    consumer = kafka.consumer(settings, "headrace.range")
    try:
        where = [TopicPartition(topic, p) for p in range(kafka.partitions_of(consumer, topic))]

        def bounds() -> dict[int, tuple[int, int]]:
            return {tp.partition: consumer.get_watermark_offsets(tp, timeout=CALL_S) for tp in where}

        found = kafka.patiently(bounds, f"asking for the ends of {topic}")
        at = _At(consumer, topic, found)
        starts, ends = at.position("from", start), at.position("to", end)
    finally:
        consumer.close()
    return starts, {p: max(starts[p], stop) for p, stop in ends.items()}


class _At:
    """Positions of one topic, whose first offsets and ends are `bounds`."""

    def __init__(self, consumer: Consumer, topic: str, bounds: dict[int, tuple[int, int]]) -> None:
        self._consumer, self._topic, self._bounds = consumer, topic, bounds

    def position(self, which: str, text: str) -> Offsets:
        if text == "earliest":
            return {p: low for p, (low, _) in self._bounds.items()}
        if text == "latest":
            return {p: high for p, (_, high) in self._bounds.items()}
        if _OFFSETS.fullmatch(text):
            return self._written(which, text)
        return self._at_time(_milliseconds(which, text))

    def _written(self, which: str, text: str) -> Offsets:
        """Partitions that are not named are left out: nothing of them is in the range."""
        offsets = {p: high if which == "from" else low for p, (low, high) in self._bounds.items()}
        for one in text.split(","):
            partition, offset = map(int, one.split(":"))
            low, high = self._bounds.get(partition, (0, -1))
            if not low <= offset <= high:
                has = f"has {low} to {high}" if partition in self._bounds else "is no partition of the topic"
                raise ConfigError(f"--{which} {text}: {self._topic}[{partition}] {has}")
            offsets[partition] = offset
        return offsets

    def _at_time(self, at_ms: int) -> Offsets:
        wanted = [TopicPartition(self._topic, p, at_ms) for p in self._bounds]
        doing = f"finding the offsets of a time in {self._topic}"
        found = kafka.patiently(lambda: self._consumer.offsets_for_times(wanted, timeout=CALL_S), doing)
        return {tp.partition: int(tp.offset) if tp.offset >= 0 else self._bounds[tp.partition][1] for tp in found}


def _milliseconds(which: str, text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--{which} {text!r}: expected earliest, latest, a time such as 2026-01-31T12:00:00Z, or "
            "partition:offset,partition:offset"
        ) from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def read_range(settings: ServiceSettings, topic: str, starts: Offsets, ends: Offsets) -> Iterator[list[Message]]:
    """The committed records of the range, some at a time; within a partition in their order.

    Raises:
        DependencyError: Kafka does not answer, or no longer has a record of the range.
    """
    consumer = kafka.consumer(settings, "headrace.range", **_STRICT)
    left = {p for p, start in starts.items() if start < ends[p]}
    try:
        consumer.assign([TopicPartition(topic, p, starts[p]) for p in left])
        heard = time.monotonic()
        while left:
            found = list[Message]()
            for message in consumer.consume(_AT_ONCE, 0.2):
                partition, offset = int(message.partition() or 0), int(message.offset() or 0)
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's name
                    left.discard(partition)
                    continue
                kafka.check(message)
                heard = time.monotonic()
                if partition in left and offset < ends[partition]:
                    found.append(message)
                if offset + 1 >= ends[partition]:
                    left.discard(partition)
            if found:
                yield found
            elif time.monotonic() - heard > _QUIET_S:
                raise DependencyError(f"{topic}: no record came for {_QUIET_S:.0f} s", hint="is the broker up?")
    finally:
        consumer.close()
