"""The broker's topics: events put in, predictions counted."""

import os
from collections.abc import Mapping

from confluent_kafka import Consumer, TopicPartition

from benchmarks.stream.headers import make_headers
from benchmarks.stream.task.event import make_events
from headrace.contracts.topics import EVENTS, PREDICTIONS, pipeline_topics
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings

PARTITIONS_VARIABLE = "BENCH_PARTITIONS"
PIPELINE, PARTITIONS = "bench", int(os.environ.get(PARTITIONS_VARIABLE, "4"))
SOURCE, SINK = EVENTS.name(PIPELINE), PREDICTIONS.name(PIPELINE)


def create_topics(settings: ServiceSettings) -> None:
    """The pipeline's topics."""
    kafka.ensure_topics(settings, pipeline_topics(PIPELINE, PARTITIONS))


def fill(settings: ServiceSettings, records: int) -> None:
    """Produce so many events, the same number to every partition."""
    batch = [{"value": value, "key": key} for value, key in make_events()]
    producer = kafka.producer(settings, **{"queue.buffering.max.messages": 2_000_000})
    for partition in range(PARTITIONS):
        mine = batch[partition::PARTITIONS]
        for left in range(records // PARTITIONS, 0, -len(mine)):
            producer.produce_batch(SOURCE, [dict(record) for record in mine[:left]], partition=partition)
            while len(producer) > 500_000:
                producer.poll(0.05)
    producer.flush()


def fill_with_headers(settings: ServiceSettings, records: int, kind: str) -> None:
    """Produce so many events that carry headers of this kind, the same number to every partition."""
    events = make_events()
    headers = make_headers(kind, len(events))
    producer = kafka.producer(settings, **{"queue.buffering.max.messages": 2_000_000})
    for n in range(records // PARTITIONS * PARTITIONS):
        value, key = events[n % len(events)]
        producer.produce(SOURCE, value, key, n % PARTITIONS, headers=headers[n % len(events)])
        if n % 10_000 == 0:
            producer.poll(0)
    producer.flush()


def place(settings: ServiceSettings, group: str, records: int) -> None:
    """Let a group that has no member yet start so many events before the end, the same number in every partition."""
    if records % PARTITIONS:
        raise ValueError(f"{records} events are not the same number in each of {PARTITIONS} partitions")
    placer = kafka.consumer(settings, group)
    starts = {p: end - records // PARTITIONS for p, end in ends(placer, SOURCE).items()}
    if min(starts.values()) < 0:
        raise ValueError(f"there are fewer than {records:,} events")
    placer.commit(offsets=[TopicPartition(SOURCE, p, offset) for p, offset in starts.items()], asynchronous=False)
    placer.close()


def ends(reader: Consumer, topic: str) -> dict[int, int]:
    """The offset after the last record of each partition, markers of transactions counted."""
    return kafka.patiently(
        lambda: {p: reader.get_watermark_offsets(TopicPartition(topic, p), timeout=15)[1] for p in range(PARTITIONS)},
        f"asking for the ends of {topic}",
    )


def assign(reader: Consumer, topic: str, offsets: Mapping[int, int]) -> None:
    """Read on from there."""
    reader.assign([TopicPartition(topic, p, offset) for p, offset in offsets.items()])
