"""What the service keeps of a training job."""

from collections.abc import Mapping
from typing import Any

from headrace.jobs.records import Record
from headrace.training.job import TrainingJob

_ON_THE_WAY = ("epoch", "epochs", "done", "batches")


class TrainingRecord(Record, kw_only=True):
    """A training job, as the service knows it.

    `batches` are those of the epoch that runs, `done` of them are; `report` is the finished job's, see
    `headrace.training.job.Report`.
    """

    job: TrainingJob
    epoch: int = 0
    epochs: int = 0
    done: int = 0
    batches: int = 0
    report: dict[str, Any] | None = None

    def progress(self) -> dict[str, Any]:
        """See `Record.progress`."""
        asked = {name: getattr(self.job, name) for name in ("data", "datasets", "model", "settings", "hand_over")}
        return {**asked, **{name: getattr(self, name) for name in _ON_THE_WAY}, "report": self.report}

    def heard(self, line: Mapping[str, Any]) -> None:
        """See `Record.heard`."""
        for name in _ON_THE_WAY:
            setattr(self, name, line.get(name, getattr(self, name)))

    def succeeded(self, summary: Mapping[str, Any]) -> None:
        """See `Record.succeeded`. Paths of this host stay here."""
        self.report = {name: value for name, value in summary.items() if name != "weights"}
