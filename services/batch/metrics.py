"""Metrics of the role `batch`."""

from prometheus_client import Counter, Gauge, Histogram

from headrace.jobs.records import State
from services.batch.records import BatchRecord

REQUESTS = Counter("headrace_batch_requests", "Requests answered.", ["route", "status"])
SUBMITTED = Counter("headrace_batch_submitted_jobs", "Jobs that were accepted.")
FINISHED = Counter("headrace_batch_finished_jobs", "Jobs that ended, by state: done, failed or cancelled.", ["state"])
RUNNING = Gauge("headrace_batch_running_jobs", "Jobs that run now.")
WAITING = Gauge("headrace_batch_waiting_jobs", "Jobs that wait for their turn.")
ROWS = Counter("headrace_batch_rows", "Rows that finished jobs predicted.")
REJECTED = Counter("headrace_batch_rejected_rows", "Rows that finished jobs could not predict.")
UPLOADED = Counter("headrace_batch_uploaded_bytes", "Bytes of uploaded files.")
SECONDS = Histogram(
    "headrace_batch_job_seconds",
    "Time from a job's start to its end.",
    buckets=(1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0),
)


class JobMetrics:
    """See `headrace.jobs.manager.Observer`."""

    def submitted(self) -> None:
        """A job was taken."""
        SUBMITTED.inc()

    def counted(self, waiting: int, running: int) -> None:
        """So many wait and run now."""
        WAITING.set(waiting)
        RUNNING.set(running)

    def ended(self, record: BatchRecord, seconds: float) -> None:
        """A job is over."""
        if record.state is State.DONE:
            ROWS.inc(record.done - record.bad)
            REJECTED.inc(record.bad)
        FINISHED.labels(str(record.state)).inc()
        SECONDS.observe(seconds)
