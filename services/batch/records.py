"""What the service keeps of a job of batch inference."""

from collections.abc import Mapping
from typing import Any

from headrace.batch.job import Job, Kind
from headrace.batch.work import work_folder
from headrace.jobs.records import Record
from headrace.runtime.files import remove


class BatchRecord(Record, kw_only=True):
    """A job, as the service knows it.

    `total` and `done` count rows (lines, of text files), `bad` those that were rejected; `version` and `checkpoint`
    name the weights, once they are settled.
    """

    job: Job
    output: Kind
    total: int = 0
    done: int = 0
    bad: int = 0
    version: int = 0
    checkpoint: str = ""

    def progress(self) -> dict[str, Any]:
        """See `Record.progress`."""
        return {
            "output": self.output,
            "rows": {"total": self.total, "done": self.done, "rejected": self.bad},
            "version": self.version,
            "checkpoint": self.checkpoint,
        }

    def heard(self, line: Mapping[str, Any]) -> None:
        """See `Record.heard`."""
        for name in ("total", "done", "bad", "version", "checkpoint"):
            setattr(self, name, line.get(name, getattr(self, name)))

    def succeeded(self, summary: Mapping[str, Any]) -> None:
        """See `Record.succeeded`."""
        self.bad, self.done = summary["bad_rows"], summary["rows"] + summary["bad_rows"]
        self.total = self.done
        self.version, self.checkpoint = summary["version"], summary["checkpoint"]

    def abandoned(self) -> None:
        """See `Record.abandoned`."""
        if (work := work_folder(self.job.output_path)).exists():
            remove(work)


def output_name(kind: Kind) -> str:
    """The name of a job's output in its folder."""
    return f"predictions.{kind}"
