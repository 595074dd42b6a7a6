"""The archive's metrics."""

from prometheus_client import Counter, Gauge, Histogram

from headrace.runtime.metrics import LATENCY_BUCKETS

KEPT = Counter("headrace_archive_records", "Records that are kept in segments, by table.", ["table"])
BYTES = Counter("headrace_archive_written_bytes", "Bytes of segments as they were first written, by table.", ["table"])
SEGMENTS = Counter("headrace_archive_segments", "Segments as they were first written, by table.", ["table"])
UNREADABLE = Counter(
    "headrace_archive_unreadable", "Records that could not be decoded and are kept as they came, by table.", ["table"]
)
LOST = Counter(
    "headrace_archive_lost", "Records that Kafka had removed before the archive could read them, by table.", ["table"]
)
WRITE = Histogram("headrace_archive_write_seconds", "From records to a durable segment.", buckets=LATENCY_BUCKETS)
WAITING = Gauge("headrace_archive_waiting_bytes", "Bytes of records that wait in memory to be written.")
MERGED = Counter("headrace_archive_merged_segments", "Segments that were merged into larger ones, by table.", ["table"])
REMOVED = Counter("headrace_archive_removed_segments", "Segments that were removed for their age or size.", ["table"])
SAMPLES = Counter("headrace_archive_samples", "Samples of metrics that were taken.", ["source"])
UNREACHED = Counter("headrace_archive_unreached", "Times that a process did not give its metrics.")
DROPPED = Counter("headrace_archive_dropped_samples", "Samples left out for max_series.")
REQUESTS = Histogram(
    "headrace_archive_request_seconds", "REST requests, by route and status.", ["route", "status"],
    buckets=LATENCY_BUCKETS,
)  # fmt: skip


def request(route: str, status: int, seconds: float) -> None:
    """Observe a request; see `headrace.runtime.rest.Observe`."""
    REQUESTS.labels(route, str(status)).observe(seconds)
