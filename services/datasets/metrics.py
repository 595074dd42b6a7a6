"""Metrics of the role `datasets`."""

from prometheus_client import Counter

from headrace.jobs.metrics import JobMetrics
from headrace.jobs.records import Record, State
from services.datasets.records import ImportRecord

ROWS = Counter("headrace_datasets_rows", "Rows of versions that finished imports made.")
BAD = Counter("headrace_datasets_bad_rows", "Rows that finished imports left out, since they did not fit.")
UPLOADED = Counter("headrace_datasets_uploaded_bytes", "Bytes of parts of uploads.")
REMOVED = Counter("headrace_datasets_removed_versions", "Versions that were removed, by request or by retention.")


class DatasetsMetrics(JobMetrics):
    """Counts rows too."""

    def ended(self, record: Record, seconds: float) -> None:
        """See `JobMetrics.ended`."""
        super().ended(record, seconds)
        if isinstance(record, ImportRecord) and record.state is State.DONE:
            ROWS.inc(record.done)
            BAD.inc(record.bad)


METRICS = DatasetsMetrics("datasets")
