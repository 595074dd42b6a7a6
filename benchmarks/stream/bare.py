"""Contestant: what one would write by hand with confluent-kafka, torch and msgspec, one thing after the other.

consume → decode → features → forward → encode → produce_batch → send_offsets_to_transaction → commit_transaction
"""

import sys
import time

import msgspec
import torch
from confluent_kafka import TopicPartition

from headrace.contracts.records import Prediction
from headrace.contracts.topics import EVENTS, PREDICTIONS
from headrace.model.pipeline import load_pipeline
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings, load

CHUNK = 10_000


def main(argv: list[str]) -> None:
    """Predict until killed."""
    settings = load(ServiceSettings, "bare", argv)
    if settings.pipeline is None:
        raise SystemExit("--pipeline FOLDER")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pipeline = load_pipeline(settings.pipeline)
    model, network = pipeline.model, pipeline.model.network().eval()
    decode, encode = pipeline.event_decoder.decode, msgspec.json.Encoder().encode
    sink = PREDICTIONS.name(pipeline.name)
    config = {"queue.buffering.max.messages": 1_000_000, "batch.num.messages": 10_000}
    producer = kafka.transactional_producer(settings, "bench.bare", **config)
    consumer = kafka.consumer(settings, settings.instance, **{"group.protocol": "consumer"})
    consumer.subscribe([EVENTS.name(pipeline.name)])
    while True:
        messages = consumer.consume(CHUNK, 0.05)
        if not messages:
            continue
        events = [decode(m.value()) for m in messages]
        with torch.inference_mode():
            predictions = model.predictions(network(model.features(events)))
        now = time.time_ns() // 1000
        values = [
            encode(Prediction(e.id, p, "bench", 1, "bare", (m.partition(), m.offset()), m.timestamp()[1], now))
            for m, e, p in zip(messages, events, predictions, strict=True)
        ]
        offsets = {(m.topic(), m.partition()): m.offset() + 1 for m in messages}
        producer.begin_transaction()
        producer.produce_batch(sink, [{"value": v, "key": m.key()} for m, v in zip(messages, values, strict=True)])
        producer.send_offsets_to_transaction(
            [TopicPartition(t, p, o) for (t, p), o in offsets.items()], consumer.consumer_group_metadata()
        )
        producer.commit_transaction()


if __name__ == "__main__":
    main(sys.argv[1:])
