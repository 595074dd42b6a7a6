"""Metrics of ingest and join. Labels: the pipeline, and the stream ("events" or "labels") where it matters."""

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

JOINED = Counter("headrace_join_joined_examples", "Events that got their label, once each.", ["pipeline"])
DUPLICATES = Counter("headrace_join_duplicate_records", "Events and labels whose key was there already.", ["pipeline"])
EXPIRED = Counter(
    "headrace_join_expired_records", "Records whose other half did not come within the window.", ["pipeline", "stream"]
)
EVICTED = Counter("headrace_join_evicted_records", "Waiting records given up because too many waited.", ["pipeline"])
DEAD_LETTERS = Counter("headrace_join_dead_letters", "Records that could not be decoded.", ["pipeline"])
WAITING = Gauge(
    "headrace_join_waiting_records", "Records in the window without their other half.", ["pipeline", "stream"]
)
REMEMBERED = Gauge("headrace_join_remembered_keys", "Keys remembered to tell duplicates.", ["pipeline", "stream"])
LAG = Gauge("headrace_join_lag_records", "Records not read yet.", ["pipeline", "stream"])
PARTITIONS = Gauge("headrace_join_assigned_partitions", "Partitions that this process joins.", ["pipeline"])
