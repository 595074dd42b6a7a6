"""The events, and the broker that holds them."""

import random

import msgspec
from confluent_kafka import Producer

from headrace.contracts.topics import EVENTS, pipeline_topics
from headrace.model.pipeline import Pipeline
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings

_DIFFERENT = 5000


def make_events(pipeline: Pipeline) -> list[tuple[bytes, bytes]]:
    """5000 different events as (value, key); the same every time."""
    dice = random.Random(0)
    event = pipeline.model.event_type()
    made = [
        event(
            f"event-{n}", *(round(dice.uniform(-1, 1), 6) for _ in range(4)), *(dice.randrange(100) for _ in range(3)), "x" * 40
        )
        for n in range(_DIFFERENT)
    ]
    return [(msgspec.json.encode(e), e.id.encode()) for e in made]


def fill(settings: ServiceSettings, pipeline: Pipeline, records: int) -> None:
    """Create the topics and produce `records` events, keys spread over the partitions."""
    kafka.ensure_topics(settings, pipeline_topics(pipeline.name, pipeline.spec.topics.partitions))
    batch = [{"value": value, "key": key} for value, key in make_events(pipeline)]
    producer = kafka.producer(settings, **{"queue.buffering.max.messages": 2_000_000})
    for first in range(0, records, _DIFFERENT):
        _send(producer, EVENTS.name(pipeline.name), batch[: records - first])
    producer.flush()


def _send(producer: Producer, topic: str, batch: list[dict[str, bytes]]) -> None:
    producer.produce_batch(topic, [dict(record) for record in batch])
    while len(producer) > 500_000:
        producer.poll(0.05)
