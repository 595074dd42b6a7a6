"""What the service keeps of an import."""

import shutil
from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.datasets.importing.job import ImportJob
from headrace.jobs.records import Record

_TOLD = ("phase", "total", "done", "bad", "bad_rows")


class ImportRecord(Record, kw_only=True):
    """An import, as the service knows it.

    `total` and `done` count rows of the `phase` that runs, `bad` those that do not fit, of which `bad_rows` are the
    first; `datasets` are the versions that were made. `watched` is the file of the watched folder.
    """

    job: ImportJob
    phase: str = ""
    total: int = 0
    done: int = 0
    bad: int = 0
    bad_rows: list[dict[str, str]] = msgspec.field(default_factory=list)
    datasets: list[str] = msgspec.field(default_factory=list)
    left_out: int = 0
    watched: str = ""

    def progress(self) -> dict[str, Any]:
        """See `Record.progress`."""
        return {
            "name": self.job.name,
            "phase": self.phase,
            "rows": {"done": self.done, "total": self.total, "bad": self.bad, "left_out": self.left_out},
            "bad_rows": self.bad_rows,
            "datasets": self.datasets,
        }

    def heard(self, line: Mapping[str, Any]) -> None:
        """See `Record.heard`."""
        for name in _TOLD:
            setattr(self, name, line.get(name, getattr(self, name)))

    def succeeded(self, summary: Mapping[str, Any]) -> None:
        """See `Record.succeeded`."""
        self.datasets, self.bad, self.left_out = summary["sets"], summary["bad_rows"], summary["left_out"]
        self.done = self.total = sum(summary["rows"].values())
        self.phase = "done"

    def abandoned(self) -> None:
        """See `Record.abandoned`: everything but the list of bad rows goes."""
        for path in self.job.path.iterdir() if self.job.path.exists() else ():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
