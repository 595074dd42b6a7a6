"""Putting dead letters back on Kafka, exactly once each: the durable order stands in `replay`.

One transactional id a source topic makes replays of that topic exclusive: a second one fences the first, and whoever is
fenced has nothing half done, since its open transaction is aborted.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from headrace.contracts.topics import REPLAYS, dead_letters
from headrace.deadletters.replays import Letter, Letters, entries_partition, entry_of, record_of
from headrace.runtime import kafka
from headrace.runtime.errors import DependencyError
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings
from headrace.streams.delivery import Outgoing
from headrace.streams.transactions import PRODUCER_CONFIG

log = get_logger("headrace.streams")

GROUP = "headrace.dlq"
"""For the consumers' configuration only: partitions are assigned by hand and nothing is committed."""
_PRODUCER = {**PRODUCER_CONFIG, "transaction.timeout.ms": 10_000}
_COMMIT_S = 30.0
_ABORT_S = 5.0
_CATCH_UP_S = 30.0
"""Longer than a transaction may stay open."""

Choose = Callable[[set[str]], Sequence[Letter]]
"""The letters to put back, given the ids of the records that were put back already."""


def replay(
    settings: ServiceSettings,
    topic: str,
    choose: Choose,
    *,
    by: str,
    batch: int = 500,
    told: Callable[[int], None] = lambda _: None,
) -> int:
    """Put the letters that `choose` returns back on `topic`; how many. `told` is called with the count after each batch.

    Raises:
        DependencyError: Kafka failed. What was put back stays so; running it again puts back the rest.
        FencedError: another replay of the topic was started.
    """
    kafka.ensure_topics(settings, [REPLAYS.topic()])
    # 1. Fence: an earlier replay's open transaction is aborted, and it cannot go on. From here on only we add entries.
    producer = kafka.transactional_producer(settings, f"{GROUP}.replay.{topic}", **_PRODUCER)
    # 2. Read what was put back: what is committed by now is all there is.
    letters, done = choose(replayed(settings, topic)), 0
    # 3. By batches: records and their entries, in one transaction each.
    while some := letters[done : done + batch]:
        _put_back(producer, some, by)
        done += len(some)
        told(done)
    producer.close()  # only here: a fenced producer's close raises once more, and hides why
    return done


def _put_back(producer: Producer, letters: Sequence[Letter], by: str) -> None:
    try:
        with _transaction(producer):
            for letter in letters:
                _produce(producer, record_of(letter))
                _produce(producer, entry_of(letter, by=by))
    except KafkaException as error:
        raise kafka.translate(error, f"putting back {letters[0].source} to {letters[-1].source}") from error


@contextmanager
def _transaction(producer: Producer) -> Iterator[None]:
    """Committed at the end of the block, aborted when that fails: readers of the topic wait for as long as it is open."""
    producer.begin_transaction()
    try:
        yield
        producer.commit_transaction(_COMMIT_S)
    except BaseException:  # an interrupt too
        try:
            producer.abort_transaction(_ABORT_S)
        except KafkaException as error:
            # Fenced, which aborts it too; or the broker is away, and aborts it after its timeout or at the next replay,
            # which reads from the entries what was committed after all.
            log.debug("transaction not aborted", code=error.args[0].name(), error=error.args[0].str())
        raise


def _produce(producer: Producer, made: Outgoing) -> None:
    while True:
        try:
            producer.produce(
                made.topic, made.value, made.key, headers=list(made.headers), partition=made.partition or 0
            )
        except BufferError:
            producer.poll(0.1)
        else:
            return


def replayed(settings: ServiceSettings, topic: str) -> set[str]:
    """The ids of the records of `topic` that were put back; committed transactions only, and all of those.

    Raises:
        DependencyError: Kafka does not answer, or somebody's transaction stays open for longer than it may.
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
