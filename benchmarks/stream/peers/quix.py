"""Contestant: Quix Streams, exactly once: a StreamingDataFrame, one record at a time."""

import sys
import time
from typing import Any

import msgspec
from quixstreams import Application, message_context
from quixstreams.models import Deserializer

from benchmarks.stream.task.event import Event
from benchmarks.stream.task.mlp import one_by_one
from benchmarks.stream.terms import told
from headrace.contracts.records import Prediction

CONFIG = {"compression.type": "lz4", "queue.buffering.max.messages": 1_000_000, "batch.num.messages": 10_000}


class EventDeserializer(Deserializer):
    """msgspec, as the others have it."""

    def __init__(self) -> None:
        super().__init__()
        self._decode = msgspec.json.Decoder(Event).decode

    def __call__(self, value: bytes, ctx: Any) -> Event:  # noqa: ARG002 - passed by its name
        """One event."""
        return self._decode(value)


def main(argv: list[str]) -> None:
    """Predict until killed."""
    terms = told(argv)
    app = Application(
        terms.servers,
        consumer_group=terms.group,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        # A transaction as large as the others' where throughput counts; by time, and a short one, where latency does.
        commit_every=0 if terms.low_latency else 10_000,
        commit_interval=0.02 if terms.low_latency else 5.0,
        producer_extra_config=CONFIG,
        state_dir=terms.folder,
        auto_create_topics=False,
        loglevel="WARNING",
    )
    predict, encode = one_by_one(), msgspec.json.Encoder().encode

    def answer(event: Event, _key: Any, timestamp: int, _headers: Any) -> bytes:
        at = message_context()
        now = time.time_ns() // 1000
        return encode(
            Prediction(event.id, predict(event), "bench", 1, "quix", (at.partition, at.offset), timestamp, now)
        )

    events = app.topic(terms.events, key_deserializer="bytes", value_deserializer=EventDeserializer())
    predictions = app.topic(terms.predictions, key_serializer="bytes", value_serializer="bytes")
    app.dataframe(events).apply(answer, metadata=True).to_topic(predictions)
    app.run()


if __name__ == "__main__":
    main(sys.argv[1:])
