"""Metrics of the role `stream`: observed once a round, never once a record, so that their cost does not show."""

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

from headrace.runtime.metrics import LATENCY_BUCKETS, SIZE_BUCKETS
from headrace.streams.chunks import Partition
from headrace.streams.delivery import Output

RECORDS = Counter(
    "headrace_inference_stream_records", "Records read and committed, dead letters among them.", ["pipeline"]
)
CHUNKS = Counter(
    "headrace_inference_stream_chunks", "Chunks committed: records of one partition in one transaction.", ["pipeline"]
)
PREDICTIONS = Counter("headrace_inference_stream_predictions", "Predictions committed to the sink.", ["pipeline"])
DEAD_LETTERS = Counter(
    "headrace_inference_stream_dead_letters", "Records that became dead letters.", ["pipeline", "phase"]
)
ABORTS = Counter("headrace_inference_stream_aborts", "Transactions aborted and tried again.", ["pipeline"])
ROUND_RECORDS = Histogram(
    "headrace_inference_stream_round_records", "Records in one transaction.", ["pipeline"], buckets=SIZE_BUCKETS
)
PHASE_SECONDS = Histogram(
    "headrace_inference_stream_phase_seconds",
    "Time of one round in each phase: decode, predict, encode, shadow, produce, offsets, commit.",
    ["pipeline", "phase"],
    buckets=LATENCY_BUCKETS,
)
LATENCY_SECONDS = Histogram(
    "headrace_inference_stream_latency_seconds",
    "From the Kafka timestamp of the oldest record of a round to its committed prediction.",
    ["pipeline"],
    buckets=LATENCY_BUCKETS,
)
LAG = Gauge(
    "headrace_inference_stream_lag_records",
    "Records behind the end of the log when a round was committed.",
    ["pipeline", "partition"],
)
VERSION = Gauge(
    "headrace_inference_stream_version", "Version of the weights of the newest round.", ["pipeline", "model"]
)
MODEL_PREDICTIONS = Counter(
    "headrace_inference_stream_model_predictions",
    "Predictions by model, shadows' among them, where there are several; those of an aborted transaction count again.",
    ["pipeline", "model"],
)
MODEL_FAILURES = Counter(
    "headrace_inference_stream_model_failures",
    "Records that a canary left to the champion or a shadow left out: it raised, was not finite, or has no version.",
    ["pipeline", "model", "phase"],
)
ASSIGNED = Gauge("headrace_inference_stream_partitions", "Partitions assigned to this process.", ["pipeline"])


class StreamMetrics:
    """Records what happens on one pipeline's stream; the `Observer` of its `StreamPredictor`, among others."""

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self.version = 0
        """The champion's, of the newest round."""

    def phase(self, name: str, seconds: float) -> None:
        """A phase of one round took so long."""
        PHASE_SECONDS.labels(self._pipeline, name).observe(seconds)

    def dead(self, phase: str, records: int) -> None:
        """So many records became dead letters."""
        DEAD_LETTERS.labels(self._pipeline, phase).inc(records)

    def bound(self, version: int) -> None:
        """A round was predicted with this version of the champion."""
        self.version = version
        VERSION.labels(self._pipeline, self._pipeline).set(version)

    def model_bound(self, model: str, version: int) -> None:
        """A round was predicted with this version of a further model."""
        VERSION.labels(self._pipeline, model).set(version)

    def model_predicted(self, model: str, records: int) -> None:
        """A round has so many predictions of this model."""
        MODEL_PREDICTIONS.labels(self._pipeline, model).inc(records)

    def model_failed(self, model: str, phase: str, records: int) -> None:
        """A further model could not predict so many records of a round."""
        MODEL_FAILURES.labels(self._pipeline, model, phase).inc(records)

    def aborted(self) -> None:
        """A transaction was aborted."""
        ABORTS.labels(self._pipeline).inc()

    def assigned(self, partitions: int) -> None:
        """So many partitions are assigned to this process now."""
        ASSIGNED.labels(self._pipeline).set(partitions)

    def committed(self, output: Output, highwaters: Mapping[Partition, int], now: float) -> None:
        """A round is durable. `now` is in seconds since the epoch."""
        RECORDS.labels(self._pipeline).inc(output.records)
        CHUNKS.labels(self._pipeline).inc(output.chunks)
        PREDICTIONS.labels(self._pipeline).inc(output.records - output.dead)
        ROUND_RECORDS.labels(self._pipeline).observe(output.records)
        if output.oldest_ms:
            LATENCY_SECONDS.labels(self._pipeline).observe(max(0.0, now - output.oldest_ms / 1000))
        for partition, offset in output.offsets.items():
            lag = max(0, highwaters.get(partition, offset) - offset)
            LAG.labels(self._pipeline, str(partition.partition)).set(lag)
