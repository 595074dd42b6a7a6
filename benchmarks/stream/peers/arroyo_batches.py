"""Contestant: arroyo: batch → predict → unbatch → produce → commit offsets, as its own batched example."""

import sys
import time
from collections.abc import Mapping

import msgspec
import torch
from arroyo.backends.kafka.configuration import build_kafka_configuration, build_kafka_consumer_configuration
from arroyo.backends.kafka.consumer import KafkaConsumer, KafkaPayload, KafkaProducer
from arroyo.commit import CommitPolicy
from arroyo.processing.processor import StreamProcessor
from arroyo.processing.strategies import BatchStep, CommitOffsets, Produce, RunTask, UnbatchStep
from arroyo.processing.strategies.abstract import ProcessingStrategy, ProcessingStrategyFactory
from arroyo.processing.strategies.batching import ValuesBatch
from arroyo.types import Commit, Message, Partition, Topic, Value

from benchmarks.stream.task.event import Event
from benchmarks.stream.task.mlp import features, make_network
from benchmarks.stream.terms import Terms, told
from headrace.contracts.records import Prediction

CONFIG = {
    "compression.type": "lz4",
    "linger.ms": 5,
    "queue.buffering.max.messages": 1_000_000,
    "batch.num.messages": 10_000,
}
BATCH = 10_000


class Predict:
    """One forward pass for a batch."""

    def __init__(self) -> None:
        self._network = make_network().eval()
        self._decode, self._encode = msgspec.json.Decoder(Event).decode, msgspec.json.Encoder().encode

    def __call__(self, batch: Message[ValuesBatch[KafkaPayload]]) -> ValuesBatch[KafkaPayload]:
        """A prediction for every event, with its offset to commit."""
        events = [self._decode(value.payload.value) for value in batch.payload]
        with torch.inference_mode():
            found = self._network(features(events))[:, 0].tolist()
        now, made = time.time_ns() // 1000, []
        for value, event, prediction in zip(batch.payload, events, found, strict=True):
            source, at_ms = (value.partition.index, value.offset), int(value.timestamp.timestamp() * 1000)
            record = self._encode(Prediction(event.id, prediction, "bench", 1, "arroyo", source, at_ms, now))
            made.append(Value(KafkaPayload(value.payload.key, record, []), value.committable, value.timestamp))
        return made


class Factory(ProcessingStrategyFactory[KafkaPayload]):
    """The chain of strategies, made at every assignment."""

    def __init__(self, terms: Terms) -> None:
        config = build_kafka_configuration(CONFIG, bootstrap_servers=[terms.servers])
        self._producer, self._topic = KafkaProducer(config, use_simple_futures=True), Topic(terms.predictions)
        self._predict, self._wait_s = Predict(), 0.01 if terms.low_latency else 1.0

    def create_with_partitions(
        self,
        commit: Commit,
        partitions: Mapping[Partition, int],  # noqa: ARG002 - passed by its name
    ) -> ProcessingStrategy[KafkaPayload]:
        """Read from the last line to the first."""
        produce = Produce(self._producer, self._topic, CommitOffsets(commit), max_buffer_size=5 * BATCH)
        return BatchStep(BATCH, self._wait_s, RunTask(self._predict, UnbatchStep(produce)))


def main(argv: list[str]) -> None:
    """Predict until killed."""
    torch.set_num_threads(1)
    terms = told(argv)
    config = build_kafka_consumer_configuration(
        {}, terms.group, auto_offset_reset="earliest", bootstrap_servers=[terms.servers]
    )
    policy = CommitPolicy(0.2, None)  # its users mostly take 1 s; no slower so, and seen more finely
    StreamProcessor(KafkaConsumer(config), Topic(terms.events), Factory(terms), policy).run()


if __name__ == "__main__":
    main(sys.argv[1:])
