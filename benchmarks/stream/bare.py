"""Contestant: what one would write by hand with confluent-kafka, torch and msgspec, one thing after the other.

consume → decode → features → forward → encode → produce_batch → send_offsets_to_transaction → commit_transaction

Where events carry a `traceparent`, its predictions do too, and are produced one by one: `produce_batch` takes no
headers.
"""

import os
import sys
import time
from collections.abc import Sequence

import msgspec
import torch
from confluent_kafka import Message, Producer, TopicPartition

from benchmarks.stream.headers import TRACEPARENT
from benchmarks.stream.task.event import Event
from benchmarks.stream.task.mlp import features, make_network
from benchmarks.stream.terms import Terms, told
from headrace.contracts.records import Prediction
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings

CHUNK = 10_000


def main(argv: list[str]) -> None:
    """Predict until killed."""
    terms = told(argv)
    # consume(n, timeout) returns when n records are there or the time is over: it is the loop's only choice between the
    # two.
    wait_s = 0.005 if terms.low_latency else 0.05
    settings = ServiceSettings(kafka_bootstrap_servers=terms.servers).for_role("bare")
    torch.set_num_threads(1)
    network = make_network().eval()
    decode, encode = msgspec.json.Decoder(Event).decode, msgspec.json.Encoder().encode
    config = {"queue.buffering.max.messages": 1_000_000, "batch.num.messages": 10_000}
    producer = kafka.transactional_producer(settings, f"{terms.group}.{os.getpid()}", **config)
    consumer = kafka.consumer(settings, terms.group, **{"group.protocol": "consumer"})
    consumer.subscribe([terms.events])
    while True:
        messages = consumer.consume(CHUNK, wait_s)
        if not messages:
            continue
        events = [decode(m.value()) for m in messages]
        with torch.inference_mode():
            predictions = network(features(events))[:, 0].tolist()
        now = time.time_ns() // 1000
        values = [
            encode(Prediction(e.id, p, "bench", 1, "bare", (m.partition(), m.offset()), m.timestamp()[1], now))
            for m, e, p in zip(messages, events, predictions, strict=True)
        ]
        offsets = {(m.topic(), m.partition()): m.offset() + 1 for m in messages}
        producer.begin_transaction()
        _produce(producer, terms, messages, values)
        producer.send_offsets_to_transaction(
            [TopicPartition(t, p, o) for (t, p), o in offsets.items()], consumer.consumer_group_metadata()
        )
        producer.commit_transaction()


def _produce(producer: Producer, terms: Terms, messages: Sequence[Message], values: Sequence[bytes]) -> None:
    carried = [_trace(m) for m in messages] if terms.carry_headers else []
    if any(carried):
        for message, value, headers in zip(messages, values, carried, strict=True):
            producer.produce(terms.predictions, value, message.key(), headers=headers)
    else:
        producer.produce_batch(
            terms.predictions, [{"value": v, "key": m.key()} for m, v in zip(messages, values, strict=True)]
        )


def _trace(message: Message) -> list[tuple[str, bytes | None]] | None:
    """As cheap as it gets: a record of this benchmark has one header at most."""
    headers = message.headers()
    return headers if headers and headers[0][0] == TRACEPARENT else None


if __name__ == "__main__":
    main(sys.argv[1:])
