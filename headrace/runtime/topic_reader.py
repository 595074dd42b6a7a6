"""Reading a topic for people: its oldest records, its newest, and what comes."""

from collections.abc import Iterator, Mapping

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from headrace.runtime import kafka
from headrace.runtime.errors import ConfigError


def resolve(wanted: str, known: Mapping[str, int], pipeline: str | None) -> str:
    """The topic among those `known` that `wanted` names, in full or by its last part, the pipeline's first.

    Raises:
        ConfigError: there is none, or there are several.
    """
    if wanted in known:
        return wanted
    if pipeline and f"{pipeline}.{wanted}" in known:
        return f"{pipeline}.{wanted}"
    fitting = sorted(name for name in known if name.endswith("." + wanted))
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ConfigError(f"{wanted!r} may be {' or '.join(fitting)}", hint="name it in full")
    there = ", ".join(sorted(name for name in known if not name.startswith("__"))) or "none"
    raise ConfigError(f"no topic {wanted!r}", hint=f"there are: {there}")


class TopicReader:
    """Reads a topic's beginning or end, then what follows. Committed records only, as `consumer` is set.

    Args:
        consumer: with `enable.partition.eof`; its partitions are assigned here.
        topic: in full.
    """

    def __init__(self, consumer: Consumer, topic: str) -> None:
        self._consumer, self._topic = consumer, topic
        self._partitions = range(kafka.partitions_of(consumer, topic))

    def first(self, number: int) -> Iterator[Message]:
        """The oldest records of each partition in turn, `number` at most."""
        ends = kafka.end_offsets(self._consumer, self._topic, self._partitions)
        self._assign(dict.fromkeys(self._partitions, OFFSET_BEGINNING))
        for _, message in zip(range(number), self._until(ends), strict=False):
            yield message

    def last(self, number: int) -> list[Message]:
        """The newest records over all partitions, oldest first."""
        ends = kafka.end_offsets(self._consumer, self._topic, self._partitions)
        span = number
        while True:  # transactions' markers take offsets too: look further back if there were too few records
            self._assign({p: max(0, end - span) for p, end in ends.items()})
            found = sorted(self._until(ends), key=lambda m: (m.timestamp()[1], m.partition(), m.offset()))
            if len(found) >= number or span >= max(ends.values(), default=0):
                return found[len(found) - number :] if number < len(found) else found
            span *= 4

    def follow(self) -> Iterator[Message]:
        """Records as they are written, without end."""
        while True:
            for message in self._consumer.consume(500, 0.2):
                if not kafka.at_end(message):
                    yield kafka.check(message)

    def _assign(self, offsets: dict[int, int]) -> None:
        self._consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in offsets.items()])

    def _until(self, ends: dict[int, int]) -> Iterator[Message]:
        """Records below `ends`; returns when every partition has reached its own."""
        open_partitions = {p for p, end in ends.items() if end > 0}
        while open_partitions:
            for message in self._consumer.consume(500, 0.2):
                partition, offset = message.partition() or 0, message.offset() or 0
                if kafka.at_end(message):
                    open_partitions.discard(partition)
                elif partition in open_partitions and kafka.check(message):
                    if offset + 1 >= ends[partition]:
                        open_partitions.discard(partition)
                    yield message
