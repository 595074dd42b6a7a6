"""The year of flights through the whole system: every prediction as it was served, compared with its label."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from headrace.contracts.records import prediction_decoder
from headrace.contracts.topics import EVENTS, LABELS, PREDICTIONS
from headrace.launch.pipeline_run import Drained, PipelineRun, Replay, fresh_folder
from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings, load

FOLDER = Path("examples/flights")
LONGEST_S = 3600.0


@dataclass(frozen=True)
class Served:
    """Errors of predictions as they were served, by month of departure: (sum, count)."""

    speed: float
    seconds: float
    by_month: Mapping[int, tuple[float, int]]

    def mean(self, first_month: int = 1) -> float:
        """Minutes, from a month on."""
        chosen = [v for month, v in self.by_month.items() if month >= first_month]
        return sum(total for total, _ in chosen) / sum(count for _, count in chosen)

    def months(self) -> dict[int, float]:
        """Minutes by month."""
        return {month: total / count for month, (total, count) in sorted(self.by_month.items())}


def serve_the_year(speed: float, run_dir: Path | None = None) -> Served:
    """Replay the year at `speed` event seconds a second, through Kafka and every service.

    Raises:
        RuntimeError: not every event was predicted once, or it took more than an hour.
    """
    pipeline, started = load_pipeline(FOLDER), time.monotonic()
    with PipelineRun(FOLDER, fresh_folder("bench-learning", run_dir), Replay(speed=speed), core=True) as run:
        run.start()
        drained = Drained()
        while not (run.replay_is_over and drained.check(run.snapshot())):
            run.check()
            if time.monotonic() - started > LONGEST_S:
                raise RuntimeError("the year's events are not all predicted after an hour")
            time.sleep(0.5)
        servers = run.platform.start().kafka_bootstrap_servers
        settings = load(ServiceSettings, "headrace", ["--kafka-bootstrap-servers", servers])
        by_month = _errors_by_month(settings, pipeline)
    return Served(speed, time.monotonic() - started, by_month)


def _errors_by_month(settings: ServiceSettings, pipeline: Pipeline) -> dict[int, tuple[float, int]]:
    model, name = pipeline.model, pipeline.name
    departed = {
        event.flight_id: event.departed
        for event in map(pipeline.event_decoder.decode, _values(settings, EVENTS.name(name)))
    }
    decode = prediction_decoder(float).decode
    made: dict[str, float] = {}
    for value in _values(settings, PREDICTIONS.name(name)):
        prediction = decode(value)
        if prediction.key in made:
            raise RuntimeError(f"{prediction.key} was predicted twice")
        made[prediction.key] = prediction.prediction
    if made.keys() != departed.keys():
        raise RuntimeError(f"{len(departed)} events and {len(made)} predictions: they should be the same keys")
    sums: dict[int, tuple[float, int]] = {}
    for value in _values(settings, LABELS.name(name)):
        label: Any = pipeline.label_decoder.decode(value)
        month = datetime.fromtimestamp(departed[label.flight_id], UTC).month
        total, count = sums.get(month, (0.0, 0))
        sums[month] = total + model.error(made[label.flight_id], label), count + 1
    return sums


def _values(settings: ServiceSettings, topic: str) -> Iterator[bytes]:
    """All committed values of a topic."""
    consumer: Consumer = kafka.consumer(settings, "bench-learning", **{"enable.partition.eof": True})
    try:
        left = set(range(kafka.partitions_of(consumer, topic)))
        consumer.assign([TopicPartition(topic, p, 0) for p in left])
        while left:
            for message in consumer.consume(10_000, 1.0):
                if message.error() is not None:
                    left.discard(message.partition())
                else:
                    yield message.value() or b""
    finally:
        consumer.close()
