"""How long from an event that is produced to its committed prediction that is read, at a fixed offered rate."""

import subprocess
import sys
import time
from dataclasses import dataclass

import msgspec
import numpy as np
from confluent_kafka import Consumer, TopicPartition

from benchmarks.stream.backlog import make_events
from benchmarks.stream.measure import contestant
from headrace.contracts.records import Prediction
from headrace.contracts.topics import EVENTS, PREDICTIONS
from headrace.model.pipeline import Pipeline
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings

_WARM_UP_S = 2.0
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Latency:
    """Percentiles in ms over one run, the first seconds not counted."""

    rate: float
    read: int
    p50: float
    p99: float
    worst: float


def latency(name: str, settings: ServiceSettings, pipeline: Pipeline, *, rate: float, seconds: float, group: str) -> Latency:
    """Offer `rate` events/s for so many seconds to a contestant, and read what it commits."""
    reader = kafka.consumer(settings, f"{group}.reader", **{"fetch.wait.max.ms": 10})
    sink, partitions = PREDICTIONS.name(pipeline.name), pipeline.spec.topics.partitions
    offer = [
        sys.executable, "-m", "benchmarks.stream.offer", f"--servers={settings.kafka_bootstrap_servers}", f"--rate={rate}",
        f"--seconds={seconds + _WARM_UP_S}",
    ]  # fmt: skip
    decode = msgspec.json.Decoder(Prediction[float]).decode
    took: list[float] = []
    with contestant(name, settings, pipeline, group):
        ends = [reader.get_watermark_offsets(TopicPartition(sink, p), timeout=10)[1] for p in range(partitions)]
        reader.assign([TopicPartition(sink, p, end) for p, end in enumerate(ends)])
        _wait_until_it_answers(settings, pipeline, reader)
        with subprocess.Popen(offer) as producing:
            started, quiet = time.time(), 0
            while producing.poll() is None or quiet < 20:
                first = reader.poll(0.05)
                messages = [] if first is None else [first, *reader.consume(10_000, 0)]
                now = time.time() * 1000
                quiet = 0 if messages else quiet + 1
                made = [decode(m.value()).event_ms for m in messages if m.error() is None]
                took += [now - ms for ms in made if ms / 1000 > started + _WARM_UP_S]
    reader.close()
    p50, p99, worst = np.percentile(took, [50, 99, 100])
    return Latency(rate, len(took), float(p50), float(p99), float(worst))


def _wait_until_it_answers(settings: ServiceSettings, pipeline: Pipeline, reader: Consumer) -> None:
    """Produce one event and wait for its prediction: starting up is not what is measured."""
    producer = kafka.producer(settings)
    value, key = make_events(pipeline)[0]
    producer.produce(EVENTS.name(pipeline.name), value, key)
    producer.flush()
    if reader.poll(_PATIENCE_S) is None:
        raise TimeoutError(f"no prediction within {_PATIENCE_S:.0f} s")
