"""Metrics of the role `ingest`. Labels: the pipeline, and the stream ("events" or "labels") where it matters."""

from prometheus_client import Counter, Gauge, Histogram

from headrace.runtime.metrics import LATENCY_BUCKETS, SIZE_BUCKETS

ACCEPTED = Counter("headrace_ingest_accepted_records", "Records acknowledged by the broker.", ["pipeline", "stream"])
REJECTED = Counter("headrace_ingest_rejected_records", "Records that did not fit the schema.", ["pipeline", "stream"])
FAILED = Counter(
    "headrace_ingest_unacknowledged_records", "Records that the broker did not acknowledge in time.", ["pipeline"]
)
OVERLOADED = Counter(
    "headrace_ingest_overloaded_requests", "Requests refused because too much was in flight.", ["pipeline"]
)
IN_FLIGHT = Gauge("headrace_ingest_in_flight_records", "Records waiting for the broker's acknowledgement.")
REQUEST_SECONDS = Histogram(
    "headrace_ingest_request_seconds",
    "From a request's arrival to its last acknowledgement.",
    ["pipeline", "edge"],
    buckets=LATENCY_BUCKETS,
)
REQUEST_RECORDS = Histogram(
    "headrace_ingest_request_records", "Records in a request.", ["pipeline"], buckets=SIZE_BUCKETS
)
