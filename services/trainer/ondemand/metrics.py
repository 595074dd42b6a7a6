"""Metrics of the role `train`."""

from prometheus_client import Counter

from headrace.jobs.metrics import JobMetrics
from headrace.jobs.records import Record, State
from services.trainer.ondemand.records import TrainingRecord

HANDED_OVER = Counter("headrace_train_handed_over", "Versions that finished jobs published.")


class TrainMetrics(JobMetrics):
    """Counts versions too."""

    def ended(self, record: Record, seconds: float) -> None:
        """See `JobMetrics.ended`."""
        super().ended(record, seconds)
        if isinstance(record, TrainingRecord) and record.state is State.DONE and (record.report or {}).get("version"):
            HANDED_OVER.inc()


METRICS = TrainMetrics("train")
FURTHER_METRICS = {
    "evaluations": JobMetrics("evaluation"), "studies": JobMetrics("study"), "hand-overs": JobMetrics("hand_over"),
}  # fmt: skip
