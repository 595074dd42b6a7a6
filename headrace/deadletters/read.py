"""Reading dead letters from Kafka: which topics have some, the letters themselves, and which were put back."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from headrace.contracts.topics import DEAD_LETTER_SUFFIX, REPLAYS, dead_letters
from headrace.deadletters.letters import Letter, Letters
from headrace.deadletters.plan import entries_partition
from headrace.deadletters.selection import Selection
from headrace.runtime import kafka
from headrace.runtime.errors import DependencyError
from headrace.runtime.settings import ServiceSettings
from headrace.runtime.topic_reader import resolve

GROUP = "headrace.dlq"
"""For the consumers' configuration only: partitions are assigned by hand and nothing is committed."""
_CATCH_UP_S = 30.0
"""Longer than a transaction may stay open."""


def topics_with_letters(settings: ServiceSettings, pipeline: str | None, wanted: str | None = None) -> list[str]:
    """The topics that have a `.dlq`, without that suffix: the one `wanted`, else the pipeline's, else all.

    `wanted` may be a topic's last part, with the suffix or without.

    Raises:
        ConfigError: there is no such topic.
        DependencyError: Kafka does not answer.
    """
    known = kafka.metadata(kafka.admin(settings))
    known = {name: count for name, count in known.items() if name.endswith(DEAD_LETTER_SUFFIX)}
    if wanted is not None:
        full = wanted if wanted.endswith(DEAD_LETTER_SUFFIX) else wanted + DEAD_LETTER_SUFFIX
        return [resolve(full, known, pipeline).removesuffix(DEAD_LETTER_SUFFIX)]
    ours = (name for name in sorted(known) if pipeline is None or name.startswith(f"{pipeline}."))
    return [name.removesuffix(DEAD_LETTER_SUFFIX) for name in ours]


@dataclass(frozen=True)
class Listed:
    """A letter, and whether its record was put back."""

    letter: Letter
    replayed: bool


@dataclass(frozen=True)
class Listing:
    """Letters of several topics, the oldest first; `unreadable` are the places of other records, `t.dlq at 0:17`."""

    letters: list[Listed]
    unreadable: list[str]


def list_letters(settings: ServiceSettings, topics: Sequence[str], selection: Selection) -> Listing:
    """The selected letters of these topics.

    Raises:
        DependencyError: Kafka does not answer, or there is no such topic.
    """
    listed, unreadable = list[Listed](), list[str]()
    for topic in topics:
        letters, done = read_letters(settings, topic), replayed(settings, topic)
        unreadable += letters.unreadable_places
        listed += [Listed(letter, letter.record_id in done) for letter in letters.found if selection.takes(letter)]
    listed.sort(key=lambda one: one.letter.body.at_us)
    return Listing(listed, unreadable)


def find_letter(settings: ServiceSettings, topic: str, place: tuple[int, int]) -> Listed | None:
    """The letter at a partition and offset of `<topic>.dlq`; errors as `list_letters`."""
    for letter in read_letters(settings, topic).found:
        if (letter.partition, letter.offset) == place:
            return Listed(letter, letter.record_id in replayed(settings, topic))
    return None


def replayed(settings: ServiceSettings, topic: str) -> set[str]:
    """The ids of the records of `topic` that were put back; committed transactions only, and all of those.

    Raises:
        DependencyError: Kafka does not answer, or a transaction stays open for longer than it may.
    """
    if REPLAYS.name() not in kafka.metadata(kafka.admin(settings)):
        return set()
    prefix = f"{topic}/".encode()
    entries = _committed(settings, REPLAYS.name(), [entries_partition(topic)])
    return {key.decode() for entry in entries if (key := entry.key() or b"").startswith(prefix)}


def _committed(settings: ServiceSettings, topic: str, partitions: Sequence[int]) -> Iterator[Message]:
    """Every committed record up to the log's end of now, transactions that are open now included.

    They must be waited for: another topic's replay may hold one open on a partition that ours have entries behind.
    """
    uncommitted = kafka.consumer(settings, GROUP, **{"isolation.level": "read_uncommitted"})
    try:
        ends = kafka.end_offsets(uncommitted, topic, partitions)
    finally:
        uncommitted.close()
    consumer = kafka.consumer(settings, GROUP, **{"enable.partition.eof": True})
    try:
        kafka.end_offsets(
            consumer, topic, partitions
        )  # makes it know the leaders; else its first fetch waits for 0.5 s
        yield from _until(consumer, topic, ends)
    finally:
        consumer.close()


def _until(consumer: Consumer, topic: str, ends: Mapping[int, int]) -> Iterator[Message]:
    """Committed records up to `ends`. Where committed readers see a partition's end moves on as transactions end."""
    waiting, quiet_since = dict(ends), time.monotonic()
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in waiting])
    while waiting:
        for message in consumer.consume(1000, 0.1):
            error, partition, reached = message.error(), message.partition() or 0, message.offset() or 0
            if error is None or error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own name
                yield kafka.check(message)
                quiet_since, reached = time.monotonic(), reached + 1
            if reached >= waiting.get(partition, 0):
                waiting.pop(partition, None)
        if waiting and time.monotonic() > quiet_since + _CATCH_UP_S:
            raise DependencyError(
                f"{topic} cannot be read to its end: partitions and ends {waiting}", hint="is the broker up?"
            )


def read_letters(settings: ServiceSettings, topic: str) -> Letters:
    """Everything on `<topic>.dlq`, by partition and offset.

    Raises:
        DependencyError: Kafka does not answer, or there is no such topic.
    """
    name, letters = dead_letters(topic), Letters(topic)
    for record in _committed(settings, name, range(kafka.partitions_of(kafka.admin(settings), name))):
        letters.add(record)  # type: ignore[arg-type]
    letters.found.sort(key=lambda letter: (letter.partition, letter.offset))
    return letters
