"""What a consumer returned at once, sorted by partition, by few calls for many messages."""

from collections.abc import Iterable, Sequence
from itertools import compress
from operator import ne, or_

from confluent_kafka import Message


def by_partition(messages: Sequence[Message]) -> Iterable[list[Message]]:
    """The messages of each topic's partition in their order.

    They come in runs of one partition, which are cut out whole.
    """
    topics, partitions = list(map(Message.topic, messages)), list(map(Message.partition, messages))
    changes = map(or_, map(ne, topics, topics[1:]), map(ne, partitions, partitions[1:]))
    ends = [*compress(range(1, len(messages)), changes), len(messages)]
    found, start = dict[tuple[str | None, int | None], list[Message]](), 0
    for end in ends if messages else ():
        found.setdefault((topics[start], partitions[start]), []).extend(messages[start:end])
        start = end
    return found.values()


def without_errors(messages: Sequence[Message]) -> tuple[Sequence[Message], list[Message]]:
    """Those that are records, and those that are an error or a partition's end."""
    failed = [message for message in messages if message.error() is not None]
    return ([message for message in messages if message.error() is None] if failed else messages), failed
