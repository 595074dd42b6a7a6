"""Metrics of the role `drift`. The rules and the dashboard of headrace/alerts name them."""

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

INFO = Gauge("headrace_drift_info", "1 for the pipeline that this process watches.", ["pipeline"])
RECORDS = Counter(
    "headrace_drift_records", "Records taken; kind is events, predictions or labels.", ["pipeline", "kind"]
)
UNREADABLE = Counter("headrace_drift_unreadable", "Records that could not be decoded.", ["pipeline"])
LAG = Gauge("headrace_drift_lag_records", "Records that the role has still to read.", ["pipeline"])
DISTANCE = Gauge(
    "headrace_drift_distance",
    "Distance of the last values from the reference; statistic is psi, ks or wasserstein, window short or long.",
    ["pipeline", "model", "column", "statistic", "window"],
)
LIMIT = Gauge(
    "headrace_drift_limit",
    "Distance from which it is drift.",
    ["pipeline", "model", "column", "statistic", "window"],
)
SHARE = Gauge(
    "headrace_drift_share",
    "Share of the short window's values that are missing, or outside: out of range or unseen.",
    ["pipeline", "model", "column", "what"],
)
ERROR = Gauge(
    "headrace_drift_error",
    "Mean error; which is recent, of the last 500 labelled predictions, or usual.",
    ["pipeline", "model", "which"],
)
LABELS_SHARE = Gauge("headrace_drift_labels_share", "Share of the keys whose error is followed.", ["pipeline"])
VOLUME = Gauge("headrace_drift_events_per_second", "Events a second in the last interval.", ["pipeline"])
ALERTS = Gauge(
    "headrace_drift_alerts_firing",
    "1 for each alert that is on, of any role; silenced is yes or no.",
    ["pipeline", "model", "name", "subject", "severity", "source", "silenced"],
)
ALERTS_CHANGED = Counter(
    "headrace_drift_alerts_changed", "Alerts of this role that started or stopped.", ["pipeline", "name", "firing"]
)
COMMIT = Histogram("headrace_drift_commit_seconds", "Time to write the role's state and its alerts.", ["pipeline"])
STATE_BYTES = Gauge("headrace_drift_state_bytes", "Size of the role's state when it was last written.", ["pipeline"])
WEBHOOK_ALERTS = Counter(
    "headrace_drift_webhook_alerts",
    "Alerts posted, by webhook; outcome is delivered, retried or given_up.",
    ["pipeline", "webhook", "outcome"],
)
REQUESTS = Counter("headrace_drift_requests", "Requests answered.", ["route", "status"])


def request(route: str, status: int, _: float) -> None:
    """See `headrace.runtime.rest.Observe`."""
    REQUESTS.labels(route, str(status)).inc()


class Exporter:
    """Puts one snapshot after the other into the metrics."""

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self._before: dict[str, int] = {}
        INFO.labels(pipeline).set(1)

    def export(self, snapshot: Mapping[str, Any], alerts: Iterable[Mapping[str, Any]], lag: int) -> None:
        """Set every metric to what the snapshot says."""
        pipeline, counts = self._pipeline, snapshot["counts"]
        for kind in ("events", "predictions", "labels"):
            RECORDS.labels(pipeline, kind).inc(max(0, counts[kind] - self._before.get(kind, 0)))
        UNREADABLE.labels(pipeline).inc(max(0, counts["unreadable"] - self._before.get("unreadable", 0)))
        self._before = dict(counts)
        LAG.labels(pipeline).set(lag)
        LABELS_SHARE.labels(pipeline).set(snapshot["labels_share"])
        VOLUME.labels(pipeline).set(snapshot["volume"]["per_second"] or 0.0)
        for column in snapshot["columns"]:
            self._column(column)
        for model, error in snapshot["errors"].items():
            for which in ("recent", "usual"):
                if error[which] is not None:
                    ERROR.labels(pipeline, model, which).set(error[which])
        ALERTS.clear()
        for alert in alerts:
            ALERTS.labels(
                pipeline, alert["model"], alert["name"], alert["subject"], alert["severity"], alert["source"],
                "yes" if alert["silenced"] else "no",
            ).set(1)  # fmt: skip

    def _column(self, column: Mapping[str, Any]) -> None:
        name, model = column["column"], column["model"]
        for window, figures in column["windows"].items():
            for statistic in ("psi", "ks", "wasserstein"):
                if figures[statistic] is not None:
                    DISTANCE.labels(self._pipeline, model, name, statistic, window).set(figures[statistic])
            for statistic in ("psi", "ks"):
                LIMIT.labels(self._pipeline, model, name, statistic, window).set(figures[f"limit_{statistic}"])
        if column["windows"]:
            SHARE.labels(self._pipeline, model, name, "missing").set(column["missing"])
            SHARE.labels(self._pipeline, model, name, "outside").set(column["outside"])
