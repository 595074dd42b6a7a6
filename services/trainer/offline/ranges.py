"""A range of a topic, from what people write to offsets."""

import re
from datetime import UTC, datetime

from confluent_kafka import Consumer, TopicPartition

from headrace.runtime import kafka
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings

_OFFSETS = re.compile(r"\d+:\d+(,\d+:\d+)*")
CALL_S = 15.0

Offsets = dict[int, int]


def offsets_of(settings: ServiceSettings, topic: str, start: str, end: str) -> tuple[Offsets, Offsets]:
    """Partition → first offset, and → the offset after the last, as they are now.

    Raises:
        ConfigError: a position is of no known form, names no partition of the topic, or lies outside of it.
        DependencyError: Kafka does not answer.
    """
    consumer = kafka.consumer(settings, "headrace.trainer.range")
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
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--{which} {text!r}: expected earliest, latest, a time such as 2026-01-31T12:00:00Z, or "
            "partition:offset,partition:offset"
        ) from None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
