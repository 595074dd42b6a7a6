"""The monitor's metrics: what it sees of the pipeline as a whole. Each process's own come from that process.

They cover what the monitor has read, which begins in the past (setting `history_s`).
"""

from prometheus_client import Counter, Gauge, Histogram

from headrace.contracts.snapshot import Counts, ModelStatus, Snapshot
from headrace.runtime.metrics import LATENCY_BUCKETS

RECORDS = Counter("headrace_monitor_records", "Records read, by topic kind.", ["pipeline", "kind"])
DUPLICATES = Counter("headrace_monitor_duplicates", "Predictions of events that already had one.", ["pipeline"])
EXPIRED = Counter(
    "headrace_monitor_expired", "Keys dropped before event, prediction and label were together.", ["pipeline"]
)
UNREADABLE = Counter("headrace_monitor_unreadable", "Records that could not be decoded or scored.", ["pipeline"])
MISSING = Gauge(
    "headrace_monitor_missing",
    "Events without a prediction although later events of their partition have one.",
    ["pipeline"],
)
ERROR_WINDOW = Gauge(
    "headrace_monitor_error_window",
    "Mean error over the last window, by predictor.",
    ["pipeline", "predictor"],
)
ERROR_MEAN = Gauge(
    "headrace_monitor_error_mean", "Mean error since the start, by predictor.", ["pipeline", "predictor"]
)
TASK_METRIC = Gauge(
    "headrace_monitor_task_metric",
    "A metric of the pipeline's task, such as auc, by predictor; span is window, recent, decayed or whole.",
    ["pipeline", "predictor", "metric", "span"],
)
MODEL_TASK_METRIC = Gauge(
    "headrace_monitor_model_task_metric",
    "The same over the last window, by model, where a pipeline has several.",
    ["pipeline", "model", "metric"],
)
LAG = Gauge("headrace_monitor_lag_records", "Records that a role has still to read.", ["pipeline", "role"])
VERSION = Gauge(
    "headrace_monitor_version", "Newest checkpoint, and the version told to the fleet.", ["pipeline", "which"]
)
SWAPS = Gauge("headrace_monitor_swaps", "Times that the fleet was told to serve another version.", ["pipeline"])
WORKERS = Gauge("headrace_monitor_workers", "Connected serving processes, by state.", ["pipeline", "state"])
FRESHNESS = Histogram(
    "headrace_monitor_freshness_seconds",
    "From the newest label that a version knows to the version's first prediction, once for each version that served.",
    ["pipeline", "model"],
    buckets=(*LATENCY_BUCKETS, 60.0, 300.0, 900.0, 3600.0),
)
LATENCY = Histogram(
    "headrace_monitor_latency_seconds",
    "From an event's Kafka timestamp to its prediction, of one prediction in four.",
    ["pipeline"],
    buckets=(*LATENCY_BUCKETS, 60.0, 300.0),
)
MODEL_PREDICTIONS = Counter(
    "headrace_monitor_model_predictions",
    "Predictions read, by model, where a pipeline has several.",
    ["pipeline", "model"],
)
MODEL_SCORED = Counter(
    "headrace_monitor_model_scored",
    "Predictions whose label has arrived, by model, where a pipeline has several.",
    ["pipeline", "model"],
)
MODEL_ERROR_WINDOW = Gauge(
    "headrace_monitor_model_error_window", "Mean error over the last window, by model.", ["pipeline", "model"]
)
MODEL_ERROR_MEAN = Gauge(
    "headrace_monitor_model_error_mean", "Mean error since the start, by model.", ["pipeline", "model"]
)
MODEL_VERSION = Gauge(
    "headrace_monitor_model_version",
    "A model's newest checkpoint, and its version told to the fleet.",
    ["pipeline", "model", "which"],
)
ALERTS = Gauge("headrace_monitor_alerts_firing", "1 for each alert that is on.", ["pipeline", "name"])

_COUNTED = ("events", "labels", "predictions", "dead_letters", "joined")


class Durations:
    """Puts the durations of one pipeline into the histograms; an `Observer` of the monitor."""

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self._latency = LATENCY.labels(pipeline)

    def latency(self, seconds: float) -> None:
        """See `Observer.latency`."""
        self._latency.observe(seconds)

    def freshness(self, model: str, seconds: float) -> None:
        """See `Observer.freshness`."""
        FRESHNESS.labels(self._pipeline, model).observe(seconds)


class Exporter:
    """Puts one snapshot after the other into the metrics."""

    def __init__(self) -> None:
        self._before = Counts()
        self._models: dict[str, ModelStatus] = {}

    def export(self, snapshot: Snapshot) -> None:
        """Set every metric to what the snapshot says."""
        pipeline, counts, before = snapshot.pipeline, snapshot.counts, self._before
        self._before = counts
        for kind in _COUNTED:
            RECORDS.labels(pipeline, kind).inc(getattr(counts, kind) - getattr(before, kind))
        DUPLICATES.labels(pipeline).inc(counts.duplicates - before.duplicates)
        EXPIRED.labels(pipeline).inc(counts.expired - before.expired)
        UNREADABLE.labels(pipeline).inc(counts.unreadable - before.unreadable)
        MISSING.labels(pipeline).set(counts.missing)
        for name, score in {"model": snapshot.model, **snapshot.baselines}.items():
            if score.mean is not None and score.window is not None:
                ERROR_MEAN.labels(pipeline, name).set(score.mean)
                ERROR_WINDOW.labels(pipeline, name).set(score.window)
        for name, metrics in snapshot.metrics.items():
            for span in metrics.__struct_fields__:
                for metric, value in getattr(metrics, span).items():
                    TASK_METRIC.labels(pipeline, name, metric, span).set(value)
        for role, lag in snapshot.lag.items():
            LAG.labels(pipeline, role).set(lag)
        for model in snapshot.models:
            self._model(snapshot.pipeline, model)
        self._fleet(snapshot)

    def _model(self, pipeline: str, model: ModelStatus) -> None:
        before = self._models.get(model.model, ModelStatus(model.model, model.role))
        self._models[model.model] = model
        MODEL_PREDICTIONS.labels(pipeline, model.model).inc(model.predictions - before.predictions)
        MODEL_SCORED.labels(pipeline, model.model).inc(model.scored - before.scored)
        if model.score.mean is not None and model.score.window is not None:
            MODEL_ERROR_MEAN.labels(pipeline, model.model).set(model.score.mean)
            MODEL_ERROR_WINDOW.labels(pipeline, model.model).set(model.score.window)
        for metric, value in model.metrics.window.items():
            MODEL_TASK_METRIC.labels(pipeline, model.model, metric).set(value)
        MODEL_VERSION.labels(pipeline, model.model, "newest").set(model.versions.newest)
        MODEL_VERSION.labels(pipeline, model.model, "active").set(model.versions.active)

    def _fleet(self, snapshot: Snapshot) -> None:
        pipeline = snapshot.pipeline
        VERSION.labels(pipeline, "newest").set(snapshot.versions.newest)
        VERSION.labels(pipeline, "active").set(snapshot.versions.active)
        SWAPS.labels(pipeline).set(snapshot.versions.swaps)
        WORKERS.clear()
        for worker in snapshot.workers:
            WORKERS.labels(pipeline, worker.state).inc()
        ALERTS.clear()
        for alert in snapshot.alerts:
            ALERTS.labels(pipeline, alert.name).set(1)
