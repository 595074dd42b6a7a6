"""Metrics of the role `labelling`. Labels: the queue, where it matters."""

from prometheus_client import Counter, Gauge, Histogram

from headrace.runtime.metrics import LATENCY_BUCKETS

OPEN = Gauge("headrace_labelling_open_items", "Items that wait to be labelled, leased ones included.", ["queue"])
REVIEW = Gauge("headrace_labelling_review_items", "Items that wait for a second person.", ["queue"])
PASSED_OVER = Gauge("headrace_labelling_passed_over_items", "Candidates for which a queue had no room.", ["queue"])
ADDED = Counter("headrace_labelling_added_items", "Items that joined a queue.")
PUBLISHED = Counter("headrace_labelling_published_labels", "Labels written to the pipeline's labels topic.")
DECISIONS = Counter("headrace_labelling_decisions", "What people decided: label, review, skip or undo.", ["kind"])
PENDING = Gauge("headrace_labelling_pending_candidates", "Predicted events that wait for a label from elsewhere.")
STATE = Gauge("headrace_labelling_state_bytes", "Items in memory, about.")
UNREADABLE = Gauge("headrace_labelling_unreadable_records", "Records read that could not be decoded.")
UNSCORED = Gauge("headrace_labelling_unscored_predictions", "Predictions that do not have their task's form.")
LOST = Gauge("headrace_labelling_lost_events", "Events that were gone, or too large, when they were to join a queue.")
REQUESTS = Counter("headrace_labelling_requests", "Requests answered.", ["route", "status"])
SECONDS = Histogram("headrace_labelling_request_seconds", "Time to answer.", ["route"], buckets=LATENCY_BUCKETS)

ENDLESS = "/events"


def request(route: str, status: int, seconds: float) -> None:
    """Count a request; streams have no time."""
    REQUESTS.labels(route, str(status)).inc()
    if not route.endswith(ENDLESS):
        SECONDS.labels(route).observe(seconds)
