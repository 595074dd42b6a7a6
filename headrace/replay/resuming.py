"""Resuming a replay that an earlier process did not finish: no record is lost and none is produced twice.

A source gives the same records in the same order, keys decide partitions, and an idempotent producer keeps the order
within a partition. So what a partition holds is exactly the first part of what the source has for it, and its length is
the number of records to skip. This holds only while no other producer writes to these topics.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from headrace.model.source import BadRow, Item
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Austin Appleby's 32-bit hash, by which Kafka's Java client and librdkafka's `murmur2_random` place keys."""
    length = len(data)
    h = 0x9747B28C ^ length
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _M & _MASK
        h = (h * _M & _MASK) ^ ((k ^ k >> 24) * _M & _MASK)
    if length > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a keyed record."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def produced(settings: ServiceSettings, topics: Mapping[str, str]) -> dict[str, list[int]]:
    """How many records each partition has had, by kind of topic.

    Raises:
        DependencyError: Kafka does not answer.
    """
    client = kafka.consumer(settings, "headrace-produce", **{"isolation.level": "read_uncommitted"})
    try:
        counts = {}
        for kind, topic in topics.items():
            partitions = range(kafka.partitions_of(client, topic))
            ends = kafka.end_offsets(client, topic, partitions)
            counts[kind] = [ends[p] for p in partitions]
        return counts
    finally:
        client.close()


def after(items: Iterable[Item], key_of: Callable[[Any], str], counts: Mapping[str, list[int]]) -> Iterator[Item]:
    """The items without those that are in the topics already, and without bad rows before the first new record."""
    left = {kind: list(of_partitions) for kind, of_partitions in counts.items()}
    total = sum(sum(of_partitions) for of_partitions in left.values())
    for item in items:
        if total == 0:
            yield item
            continue
        if isinstance(item, BadRow):
            continue
        waiting = left[item.kind]
        partition = partition_of(key_of(item.value).encode(), len(waiting))
        if waiting[partition]:
            waiting[partition] -= 1
            total -= 1
        else:
            yield item
