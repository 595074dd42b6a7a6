"""Offsets, asked of and given to the consumer; always explicit ones. On the poll thread only."""

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from headrace.runtime import kafka
from headrace.runtime.errors import DependencyError
from headrace.streams.chunks import Partition

REQUEST_S = 15.0
_PAUSE_S = 0.01
_WAKE_S = 0.2
_WAKE_ALL_S = 1.0


def at(partition: tuple[str, int], offset: int | None = None) -> TopicPartition:
    """A partition, at an offset if one is given, as the client takes it."""
    return TopicPartition(*partition) if offset is None else TopicPartition(*partition, offset)


def names(partitions: Iterable[Partition]) -> str:
    """Partitions for people."""
    return ", ".join(map(str, sorted(partitions))) or "nothing"


def committed(consumer: Consumer, partitions: Sequence[Partition], reset: str) -> dict[Partition, int]:
    """Where each partition starts.

    Its committed offset, or where there is none the "earliest" or "latest" end of the log.

    A read_committed consumer's request waits while a transaction that has offsets for them is open, so a predecessor's
    last commit is never missed.

    Raises:
        DependencyError: the broker does not answer, or refuses.
    """
    if not partitions:
        return {}
    positions: dict[Partition, int] = {}
    for entry in _committed_patiently(consumer, partitions):
        partition = Partition(entry.topic, entry.partition)
        positions[partition] = (
            entry.offset if entry.offset >= 0 else watermarks(consumer, partition)[reset != "earliest"]
        )
    return positions


def _committed_patiently(consumer: Consumer, partitions: Sequence[Partition]) -> list[TopicPartition]:
    """The request, again until its time is over: an open transaction may outlast one of them."""
    deadline = time.monotonic() + 2 * REQUEST_S
    while True:
        try:
            found = consumer.committed([at(p) for p in partitions], timeout=REQUEST_S)
            failed = next((entry.error for entry in found if entry.error is not None), None)
        except KafkaException as error:
            failed = error.args[0]
        if failed is None:
            return found
        if failed.fatal() or time.monotonic() > deadline:
            raise kafka.translate(KafkaException(failed), f"asking for the committed offsets of {names(partitions)}")
        time.sleep(_PAUSE_S)


def watermarks(consumer: Consumer, partition: tuple[str, int]) -> tuple[int, int]:
    """The first offset of the log and the one after the last."""
    low, high = consumer.get_watermark_offsets(at(partition), timeout=REQUEST_S)
    return int(low), int(high)


def wake_fetchers(consumer: Consumer, resumed: Iterable[tuple[str, int]]) -> None:
    """Have librdkafka fetch resumed partitions at once.

    Resuming does not wake the thread that fetches from their leader. With nothing else to fetch that thread sleeps for
    up to a second; a request to the same broker wakes it. A broker that does not answer holds nobody up for long.
    """
    until = time.monotonic() + _WAKE_ALL_S
    for partition in resumed:
        if time.monotonic() > until:
            return
        with contextlib.suppress(KafkaException):  # then it fetches when it wakes by itself
            consumer.get_watermark_offsets(at(partition), timeout=_WAKE_S)


def seek(consumer: Consumer, partition: tuple[str, int], offset: int) -> None:
    """Seek; librdkafka refuses while a partition is still starting, which passes.

    Raises:
        DependencyError: it does not pass.
    """
    deadline = time.monotonic() + REQUEST_S
    while True:
        try:
            consumer.seek(at(partition, offset))
        except KafkaException as error:
            if error.args[0].code() != KafkaError._STATE or time.monotonic() > deadline:  # noqa: SLF001 - librdkafka's own name
                raise DependencyError(f"seeking {Partition(*partition)} to {offset}: {error.args[0].str()}") from error
            time.sleep(_PAUSE_S)
        else:
            return


def commit(consumer: Consumer, offsets: Mapping[tuple[str, int], int]) -> None:
    """Commit, and wait for the answer."""
    consumer.commit(offsets=[at(partition, offset) for partition, offset in offsets.items()], asynchronous=False)


def position(consumer: Consumer, partition: tuple[str, int]) -> int | None:
    """The offset after the last record that was fetched; None before the first."""
    (found,) = consumer.position([at(partition)])
    return found.offset if found.offset >= 0 else None


def partition_counts(consumer: Consumer, topics: Iterable[str]) -> dict[str, int]:
    """Number of partitions of those topics that exist."""
    known = consumer.list_topics(timeout=REQUEST_S).topics
    return {topic: len(known[topic].partitions) for topic in topics if topic in known}
