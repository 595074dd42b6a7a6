"""Metrics of the role `batch`."""

from prometheus_client import Counter

from headrace.jobs.metrics import JobMetrics
from headrace.jobs.records import Record, State
from services.batch.records import BatchRecord

ROWS = Counter("headrace_batch_rows", "Rows that finished jobs predicted.")
REJECTED = Counter("headrace_batch_rejected_rows", "Rows that finished jobs could not predict.")
UPLOADED = Counter("headrace_batch_uploaded_bytes", "Bytes of uploaded files.")


class BatchMetrics(JobMetrics):
    """Counts rows too."""

    def ended(self, record: Record, seconds: float) -> None:
        """See `JobMetrics.ended`."""
        super().ended(record, seconds)
        if isinstance(record, BatchRecord) and record.state is State.DONE:
            ROWS.inc(record.done - record.bad)
            REJECTED.inc(record.bad)


METRICS = BatchMetrics("batch")
